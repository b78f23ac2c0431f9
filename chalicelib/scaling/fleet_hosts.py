"""The fleet as scaling's `Hosts`: enrolment by a derived token, retirement of who has nothing leased.

The token is derived from the launch, so that an order repeated after a crash is the same order byte by byte
(EC2 refuses a client token with other parameters), and no secret is stored.
"""

import hashlib
import hmac
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chalicelib.accounts.model import build_token, compute_digest
from chalicelib.core.ports import Transaction
from chalicelib.fleet.model import ENROLMENT_LIFETIME_MS, Enrolment, Host, HostGpu
from chalicelib.fleet.service import Bookings, FleetPorts
from chalicelib.scaling.model import PoolSettings
from chalicelib.scaling.ports import (
    SCALING_ACTOR,
    HostInUse,
    HostStanding,
    InstanceError,
    Instances,
    ScalingStore,
)

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_CHARACTERS = 32
#: What makes a used enrolment one that no machine has used: install ids of machines never look like it.
_REVOKED_BY = f"revoked-by-{SCALING_ACTOR}"


@dataclass(frozen=True, slots=True)
class FleetHosts:
    """`Hosts`. ``fail_over`` ends what ran on a host that is gone; ``unwatch`` ends its watch, if any."""

    fleet: FleetPorts
    bookings: Bookings
    fail_over: Callable[[str, int], object]
    unwatch: Callable[[Transaction, str], None] | None = None

    def add_enrolment(self, tx: Transaction, launch_id: str, host_id: str, settings: PoolSettings) -> None:
        digest = compute_digest(self.build_token(launch_id), self.fleet.accounts.read_pepper())
        now_ms = self.fleet.accounts.clock.now_ms()
        enrolment = Enrolment(
            name_enrolment(launch_id),
            host_id,
            digest,
            settings.gpu_type,
            settings.region,
            now_ms,
            now_ms + ENROLMENT_LIFETIME_MS,
        )
        self.fleet.store.add_enrolment(tx, enrolment)

    def build_token(self, launch_id: str) -> str:
        secret = derive_secret(launch_id, self.fleet.accounts.read_pepper())
        return build_token("enrol", name_enrolment(launch_id), secret)

    def find_standing(self, host_id: str) -> HostStanding:
        host = self.fleet.store.get_host(host_id)
        if host is None:
            return "unknown"
        return "retired" if host.state == "retired" else "enrolled"

    def close(self, tx: Transaction, launch_id: str, host_id: str) -> None:
        # The host first: leases that begin after this read change what `retire_unleased` asks for.
        host = self.fleet.store.get_host(host_id)
        if host is None:
            self._revoke_enrolment(tx, launch_id)
            return
        if host.state == "retired":
            return
        if host.reservable:
            raise HostInUse("The host is kept for reservations.")
        gpus = self.fleet.store.list_gpus(host_id)
        if any(gpu.lease_state in {"leased", "wiping"} for gpu in gpus):
            raise HostInUse("GPUs of the host are leased or owe a wipe.")
        self._retire(tx, host, gpus)

    def retire(self, host_id: str) -> None:
        host = self.fleet.store.get_host(host_id)
        if host is None or host.state == "retired":
            return
        # First: a ticket that redeems a reservation looks for it where it is then.
        self.bookings.vacate(host_id)
        self.fail_over(host_id, self.fleet.accounts.clock.now_ms())
        host = self.fleet.store.get_host(host_id)
        assert host is not None
        gpus = self.fleet.store.list_gpus(host_id)
        # What is wiping is wiped: the machine is gone, and no GPU of it is leased again.
        if any(gpu.lease_state == "leased" for gpu in gpus):
            raise HostInUse("A rental of the host that is gone could not be failed over yet.")
        tx = self.fleet.accounts.transactions()
        self.bookings.require_none(tx, host_id)
        self._retire(tx, host, gpus)
        tx.commit()

    def _retire(self, tx: Transaction, host: Host, gpus: list[HostGpu]) -> None:
        accounts = self.fleet.accounts
        self.fleet.store.retire_unleased(tx, host, gpus)
        accounts.store.revoke_key(tx, host.api_key_id, accounts.clock.now_ms())
        if self.unwatch is not None and self.fleet.store.get_liveness(host.host_id) is not None:
            self.unwatch(tx, host.host_id)

    def _revoke_enrolment(self, tx: Transaction, launch_id: str) -> None:
        enrolment = self.fleet.store.get_enrolment(name_enrolment(launch_id))
        if enrolment is None:
            return
        if enrolment.install_id not in {None, _REVOKED_BY}:
            raise HostInUse("The machine enrolled at the same time.")
        self.fleet.store.use_enrolment(tx, enrolment, _REVOKED_BY)


@dataclass(frozen=True, slots=True)
class LaunchedInstances:
    """The fleet's `InstanceStates`, of hosts that scaling launched."""

    store: ScalingStore
    instances: Instances

    def list_ended(self, host_ids: Sequence[str]) -> frozenset[str]:
        """See `fleet.watch.InstanceStates`. EC2 that does not answer is asked no more in this round."""
        ended = set()
        for host_id in host_ids:
            launch = self.store.find_by_host(host_id)
            if launch is None or launch.instance_id is None:
                continue
            try:
                instance = self.instances.find_instance(launch.region, launch.instance_id)
            except InstanceError:
                break
            if instance is not None and instance.state in {"terminated", "stopped"}:
                ended.add(host_id)
        return frozenset(ended)


def name_enrolment(launch_id: str) -> str:
    return f"enr_{launch_id.partition('_')[2]}"


def derive_secret(launch_id: str, pepper: bytes) -> str:
    """Return the secret of a launch's token: 32 characters of base 62, known to who has the pepper."""
    digest = hmac.new(pepper, f"enrolment-of-launch:{launch_id}".encode(), hashlib.sha512).digest()
    number = int.from_bytes(digest)
    characters = ""
    for _ in range(_SECRET_CHARACTERS):
        number, digit = divmod(number, len(_BASE62))
        characters += _BASE62[digit]
    return characters
