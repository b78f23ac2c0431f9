"""Verifies trails: entries against their links, links against one another, chains against kept anchors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from chalicelib.compliance.anchors import (
    ANCHORS_START,
    AnchorDocument,
    AnchorMismatch,
    AnchorProof,
    build_proof,
    name_anchor,
    read_document,
)
from chalicelib.compliance.linking import OVERDUE_MS
from chalicelib.compliance.model import (
    EMPTY,
    AccountHead,
    Head,
    Link,
    Problem,
    check_entry,
    check_links,
    chunk,
)
from chalicelib.compliance.ports import ChainPorts, EntryKey, Place
from chalicelib.core.errors import InvalidInput
from chalicelib.core.ports import AuditEntry

#: Of links that one call looks at: two to three seconds of DynamoDB.
LINKS = 5_000
#: Of entries that are read in one call.
CHUNK = 100
#: Of problems that are named; all are counted.
NAMED = 100
#: So many of the newest anchors are searched for a head that no row tells of.
ANCHORS_BACK = 24


@dataclass(slots=True)
class Findings:
    """``problems`` are the first `NAMED` of ``count``."""

    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def add(self, problems: Iterable[Problem | None]) -> None:
        for problem in problems:
            if problem is not None:
                self.count += 1
                if len(self.problems) < NAMED:
                    self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class ChainReport:
    """``links`` from ``first_sequence`` were verified; ``next_sequence`` is where to go on, if not all."""

    account_id: str
    head: Head
    first_sequence: int
    links: int
    next_sequence: int | None
    last_anchor: AnchorProof | None
    findings: Findings


@dataclass(frozen=True, slots=True)
class AnchorsReport:
    """``last_number``: the last anchor that was verified. ``at``: how far the one behind it is, if begun."""

    anchors: int
    links: int
    last_number: int
    findings: Findings
    at: Place | None = None


def verify_account(
    ports: ChainPorts, account_id: str, first_sequence: int = 1, limit: int = LINKS
) -> ChainReport:
    """Verify ``limit`` links of an account from one on: entries, links, what the last anchor says.

    Raises:
        InvalidInput: ``unknown_sequence``: the chain has no such link.
        Unavailable: try again.
    """
    found = Findings()
    head = ports.store.get_head(account_id)
    if first_sequence > head.sequence + 1:
        raise InvalidInput("The chain is shorter.", code="unknown_sequence")
    before = _find_before(ports, account_id, first_sequence, found)
    last = min(first_sequence + limit - 1, head.sequence)
    links, _ = _verify_links(ports, account_id, before, last, found)
    complete = last >= head.sequence
    until_ms = _find_instant(ports, account_id, last) if not complete else ports.clock.now_ms() - OVERDUE_MS
    found.add(
        _list_unlinked(ports, account_id, _find_instant(ports, account_id, first_sequence - 1), until_ms)
    )
    proof = _check_anchor(ports, account_id, found)
    return ChainReport(account_id, head, first_sequence, links, None if complete else last + 1, proof, found)


def verify_anchors(
    ports: ChainPorts, first: int, last: int, deadline_ms: int, at: Place | None = None
) -> AnchorsReport:
    """Verify each anchor from ``first`` to ``last``, and what each added to the chains that it holds.

    ``at``: where in the first an earlier call ended. One part of a chain is verified at least.
    """
    found, links = Findings(), 0
    before = None if first == 1 else ports.store.get_anchor(first - 1)
    root = ANCHORS_START if before is None else before.root
    for number in range(first, last + 1):
        if number > first and ports.clock.now_ms() >= deadline_ms:
            return AnchorsReport(number - first, links, number - 1, found)
        document = _read_kept(ports, number, found)
        if document is None:
            row = ports.store.get_anchor(number)
            root = "" if row is None else row.root
            continue
        if document.previous_root != root or document.anchor != ports.store.get_anchor(number):
            found.add([Problem("anchor_changed", "", number)])
        root = document.anchor.root
        begun = at if number == first else None
        count, stopped = _verify_heads(ports, document, begun, deadline_ms, found)
        links += count
        if stopped is not None:
            return AnchorsReport(number - first, links, number - 1, found, stopped)
    return AnchorsReport(last - first + 1, links, last, found)


def verify_round(ports: ChainPorts, deadline_ms: int) -> Findings:
    """Verify what was anchored since the last call, then go on with the round over all anchors."""
    progress, last = ports.store.get_progress(), ports.store.get_last_anchor()
    found = Findings()
    newest = 0 if last is None else last.number
    # Rows may be taken away; what is kept knows better.
    found.add(Problem("anchor_missing", "", number) for number in range(newest + 1, progress.newest + 1))
    if _is_kept_for_long(ports, newest + 1):
        found.add([Problem("anchor_missing", "", newest + 1)])
    if newest == 0 or found.count:
        return found
    if newest > progress.newest:
        new = verify_anchors(ports, progress.newest + 1, newest, deadline_ms, progress.new_at)
        _merge(found, new.findings)
        progress = replace(progress, newest=new.last_number, new_at=new.at)
    # Put once nothing may fail any more: what was found is told, or found again.
    if progress.newest < newest:
        ports.store.put_progress(progress)
        return found
    if ports.clock.now_ms() < deadline_ms:
        if progress.round >= newest:
            progress = replace(progress, round=0, round_at=None)
        old = verify_anchors(ports, progress.round + 1, newest, deadline_ms, progress.round_at)
        _merge(found, old.findings)
        progress = replace(progress, round=old.last_number, round_at=old.at)
    ports.store.put_progress(replace(progress, finished_at_ms=ports.clock.now_ms()))
    return found


def measure_verification_age_ms(ports: ChainPorts) -> int:
    """Return how long ago all that was new was verified; before the first time, how old the oldest is."""
    progress = ports.store.get_progress()
    if progress.finished_at_ms is not None:
        return ports.clock.now_ms() - progress.finished_at_ms
    waiting = ports.store.get_anchor(progress.newest + 1)
    return 0 if waiting is None else ports.clock.now_ms() - waiting.at_ms


def _is_kept_for_long(ports: ChainPorts, number: int) -> bool:
    """Say whether an anchor without a row is kept, and nobody is about to write the row."""
    document = _read_kept(ports, number, Findings())
    return document is not None and document.at_ms < ports.clock.now_ms() - OVERDUE_MS


def _merge(into: Findings, other: Findings) -> None:
    named = len(other.problems)
    into.add(other.problems)
    into.count += other.count - named


def _verify_links(
    ports: ChainPorts,
    account_id: str,
    before: Head,
    last: int,
    found: Findings,
    deadline_ms: int | None = None,
) -> tuple[int, Head | None]:
    """Verify the links behind ``before`` up to the number ``last``; return how many there are.

    And the last of them that was verified, where time ran out. A chunk of them is done at least.
    """
    count, seen = 0, set[str]()
    for part in chunk(ports.store.list_links(account_id, before.sequence + 1, last), CHUNK):
        found.add(check_links(account_id, before, part))
        before = part[-1].head
        entries = _read_entries(ports, account_id, part)
        for link in part:
            found.add([check_entry(link, entries.get(link.audit_id))])
            if link.audit_id in seen:
                found.add([Problem("entry_twice", account_id, link.sequence, link.audit_id)])
            seen.add(link.audit_id)
        count += len(part)
        if deadline_ms is not None and before.sequence < last and ports.clock.now_ms() >= deadline_ms:
            return count, before
    if before.sequence < last:
        found.add([Problem("link_missing", account_id, before.sequence + 1)])
    return count, None


def _read_entries(ports: ChainPorts, account_id: str, links: list[Link]) -> dict[str, AuditEntry]:
    wanted = {link.audit_id: EntryKey(account_id, link.at_ms, link.audit_id) for link in links}
    return dict(ports.store.find_entries(list(wanted.values())))


def _find_before(ports: ChainPorts, account_id: str, first_sequence: int, found: Findings) -> Head:
    if first_sequence == 1:
        return EMPTY
    number = first_sequence - 1
    link = next(iter(ports.store.list_links(account_id, number, number)), None)
    if link is None:
        found.add([Problem("link_missing", account_id, number)])
        return Head(number, "")
    return link.head


def _find_instant(ports: ChainPorts, account_id: str, number: int) -> int:
    """Return when the entry of a link was written; 0 before the first.

    One part ends where the next begins, so that together they look at all of the trail, whatever its clocks.
    """
    link = next(iter(ports.store.list_links(account_id, number, number)), None)
    return 0 if link is None else link.at_ms


def _list_unlinked(ports: ChainPorts, account_id: str, from_ms: int, until_ms: int) -> Iterator[Problem]:
    """Yield entries of a part of the trail that have waited too long for their link."""
    if until_ms <= from_ms:
        return
    until_ms = min(until_ms, ports.clock.now_ms() - OVERDUE_MS)
    for part in chunk(ports.store.list_entries(account_id, from_ms, until_ms), CHUNK):
        yield from _name_unlinked(ports, part)


def _name_unlinked(ports: ChainPorts, entries: list[AuditEntry]) -> list[Problem]:
    known = ports.store.find_linked([entry.audit_id for entry in entries])
    return [
        Problem("entry_not_linked", entry.account_id, 0, entry.audit_id)
        for entry in entries
        if entry.audit_id not in known
    ]


def _check_anchor(ports: ChainPorts, account_id: str, found: Findings) -> AnchorProof | None:
    """Compare the last head that is kept with the chain; rows only say where to look."""
    row, last = ports.store.find_last_anchored(account_id), ports.store.get_last_anchor()
    told = 0 if row is None else row.number
    newest = 0 if last is None else last.number
    for number in range(newest, max(told, newest - ANCHORS_BACK), -1):
        proof = _prove(ports, account_id, number, found)
        if proof is not None:
            # Its row was taken away.
            found.add([Problem("anchor_changed", account_id, proof.head.sequence)])
            return _contradict(ports, proof, found)
    if row is None:
        return None
    proof = _prove(ports, account_id, told, found)
    if proof is None or (proof.head.sequence, proof.head.hash) != (row.head.sequence, row.head.hash):
        found.add([Problem("anchor_changed", account_id, row.head.sequence)])
        return proof
    return _contradict(ports, proof, found)


def _prove(ports: ChainPorts, account_id: str, number: int, found: Findings) -> AnchorProof | None:
    document = _read_kept(ports, number, found)
    return None if document is None else build_proof(document, account_id)


def _contradict(ports: ChainPorts, proof: AnchorProof, found: Findings) -> AnchorProof:
    found.add(_compare_heads(ports, [proof.head]))
    return proof


def _read_kept(ports: ChainPorts, number: int, found: Findings) -> AnchorDocument | None:
    kept = ports.vault.read(name_anchor(number))
    if kept is None:
        found.add([Problem("anchor_missing", "", number)])
        return None
    if kept.covered:
        found.add([Problem("anchor_covered", "", number)])
    try:
        document = read_document(kept.body)
    except AnchorMismatch:
        document = None
    if document is None or document.number != number:
        found.add([Problem("anchor_changed", "", number)])
        return None
    return document


def _verify_heads(
    ports: ChainPorts, document: AnchorDocument, at: Place | None, deadline_ms: int, found: Findings
) -> tuple[int, Place | None]:
    """Verify what an anchor added; return how many links, and where to go on if time ran out."""
    heads, links = document.heads, 0
    if at is None:
        found.add(_compare_heads(ports, heads))
        at = Place(0)
    for index in range(at.head, len(heads)):
        head = heads[index]
        before = at.link if index == at.head else None
        if before is None:
            older = ports.store.find_last_anchored(head.account_id, below=head.sequence)
            before = EMPTY if older is None else older.head
        count, reached = _verify_links(ports, head.account_id, before, head.sequence, found, deadline_ms)
        links += count
        if reached is not None:
            return links, Place(index, reached)
        if index + 1 < len(heads) and ports.clock.now_ms() >= deadline_ms:
            return links, Place(index + 1)
    return links, None


def _compare_heads(ports: ChainPorts, heads: Iterable[AccountHead]) -> Iterator[Problem]:
    wanted = list(heads)
    hashes = ports.store.find_hashes(wanted)
    for head in wanted:
        if hashes.get((head.account_id, head.sequence)) != head.hash:
            yield Problem("anchor_contradicted", head.account_id, head.sequence)
