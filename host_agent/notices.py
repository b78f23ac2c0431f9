"""What the provider announces for this machine, asked by a thread of its own: a hung service stops nobody."""

from chalicelib.wire.v1 import HostNotice
from host_agent import logs
from host_agent.instance import Instance, InstanceMetadata, MetadataUnavailable, read_instance, read_notices

#: EC2 gives 120 s; AWS recommends to look every five.
POLL_SECONDS = 5.0
#: A machine that is not on EC2 may only not be there yet.
ABSENT_SECONDS = 60.0


class Machine:
    """What is known of the machine. One thread writes; others read values that are replaced as a whole."""

    def __init__(self) -> None:
        #: Of the machine's own boot; empty: not known.
        self.kernel_boot_id = ""
        #: ``None`` while it is not known to be an EC2 instance.
        self.instance: Instance | None = None
        self.notices: tuple[HostNotice, ...] = ()

    @property
    def interruption_at_ms(self) -> int | None:
        """When work on this machine ends, by the provider's clock; ``None``: nothing says that it does."""
        # A mere recommendation has no time.
        ends = [notice.ends_at_ms for notice in self.notices if notice.ends_at_ms is not None]
        return min(ends, default=None)


class NoticeWatch:
    """Asks the metadata service and writes the `Machine`."""

    def __init__(self, metadata: InstanceMetadata, machine: Machine) -> None:
        self._metadata, self._machine = metadata, machine
        self._answers = True

    def step(self) -> float:
        """Ask once; return how many seconds to pause. A notice stands until the service takes it back."""
        machine = self._machine
        try:
            if machine.instance is None:
                machine.instance = read_instance(self._metadata)
                logs.info("on_ec2", instance_id=machine.instance.instance_id, zone=machine.instance.zone)
            notices = read_notices(self._metadata)
        except MetadataUnavailable as error:
            if self._answers:
                known = machine.instance is not None
                logs.info("metadata_unanswered" if known else "not_on_ec2", reason=str(error))
            self._answers = False
            return ABSENT_SECONDS if machine.instance is None else POLL_SECONDS
        self._answers = True
        if notices != machine.notices:
            for notice in notices:
                logs.warn("notice", kind=notice.kind, action=notice.action, ends_at_ms=notice.ends_at_ms)
            if not notices:
                logs.info("notices_withdrawn")
            machine.notices = notices
        return POLL_SECONDS
