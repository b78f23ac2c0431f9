"""Links what the stream of the audit trail tells, once each; a sweep finds what the stream has lost.

The number of a link is a key that is put on absence, and so is the entry's own mark: two consumers at once,
a record that comes again and a death at any point leave one chain without a gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.compliance.model import build_links, chunk
from chalicelib.compliance.ports import ChainPorts, EntryKey, LinkTaken
from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import AuditEntry

#: Of entries in one transaction: two writes each and a mark, of the hundred that DynamoDB takes.
CHUNK = 40
ATTEMPTS = 8
HOUR_MS = 3_600_000
#: So long the stream is left to do it.
LATE_MS = 2 * 60_000
#: An entry that is older and not linked is reported.
OVERDUE_MS = 15 * 60_000
#: Where the first sweep of an installation begins.
FIRST_HOURS = 24


@dataclass(frozen=True, slots=True)
class Swept:
    """``linked`` now; ``overdue`` had waited for longer than `OVERDUE_MS`."""

    linked: int
    overdue: int


def link_entries(ports: ChainPorts, account_id: str, entries: Sequence[AuditEntry]) -> int:
    """Link those of an account's entries that are not linked, in the order given; return how many.

    Raises:
        Unavailable: try again.
    """
    # A stream may tell twice in one batch.
    once = list({entry.audit_id: entry for entry in entries}.values())
    return sum(_append(ports, account_id, once[at : at + CHUNK]) for at in range(0, len(once), CHUNK))


def sweep_entries(ports: ChainPorts, deadline_ms: int) -> Swept:
    """Link what the stream did not, hour by hour, until ``deadline_ms``.

    An hour is left behind once it is over and each of its entries is linked.
    """
    now_ms = ports.clock.now_ms()
    done = ports.store.get_swept_hour()
    hour = now_ms // HOUR_MS - FIRST_HOURS if done is None else done
    linked = overdue = 0
    while hour * HOUR_MS <= now_ms and ports.clock.now_ms() < deadline_ms:
        for keys in chunk(ports.store.list_hour(hour), CHUNK):
            found = _sweep(ports, [key for key in keys if key.at_ms <= now_ms - LATE_MS])
            linked += len(found)
            overdue += sum(entry.at_ms < now_ms - OVERDUE_MS for entry in found)
        hour += 1
        if hour * HOUR_MS <= now_ms - OVERDUE_MS:
            ports.store.put_swept_hour(hour)
    return Swept(linked, overdue)


def _sweep(ports: ChainPorts, keys: Sequence[EntryKey]) -> list[AuditEntry]:
    known = ports.store.find_linked([key.audit_id for key in keys])
    late = [key for key in keys if key.audit_id not in known]
    found = list(ports.store.find_entries(late).values()) if late else []
    for account_id in sorted({entry.account_id for entry in found}):
        link_entries(ports, account_id, [entry for entry in found if entry.account_id == account_id])
    return found


def _append(ports: ChainPorts, account_id: str, entries: Sequence[AuditEntry]) -> int:
    for _ in range(ATTEMPTS):
        # First what is linked, then the head: who links in between takes the number, and we look again.
        known = ports.store.find_linked([entry.audit_id for entry in entries])
        fresh = [entry for entry in entries if entry.audit_id not in known]
        if not fresh:
            return 0
        head = ports.store.get_head(account_id)
        links = build_links(account_id, head, fresh, ports.clock.now_ms())
        tx = ports.transactions()
        ports.store.add_links(tx, links)
        try:
            tx.commit()
        except LinkTaken:
            continue
        return len(fresh)
    raise Unavailable("The chain of the account moves too fast; try again.")
