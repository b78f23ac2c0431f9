"""Reads a copy of a spool and sends its records again, under their own numbers; the copy is never changed.

The cloud stores a record once by (host, boot, sequence), so sending what it has already costs a message
and nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from chalicelib.wire.v1 import InvalidMessage
from host_agent.backoff import Backoff
from host_agent.frames import scan_frames
from host_agent.outbox import Pending
from host_agent.sender import TelemetrySender
from host_agent.transport import TransportError

#: With full jitter up to 30 s, five failures in a row are about half a minute without the cloud.
MAX_FAILURES = 5


class Contents(msgspec.Struct):
    """What a copy holds. ``damaged_bytes`` lie behind a frame that does not check out."""

    files: int = 0
    records: int = 0
    boots: int = 0
    samples: int = 0
    samples_thinned: int = 0
    intervals: int = 0
    xids: int = 0
    unreadable_records: int = 0
    damaged_bytes: int = 0
    first_at_ms: int | None = None
    last_at_ms: int | None = None


def list_files(path: Path) -> list[Path]:
    """Return the segment files of ``path``, a spool's directory or one of its files, oldest first."""
    return sorted(path.glob("*.spool")) if path.is_dir() else [path]


def survey(path: Path) -> Contents:
    """Raises OSError: the copy cannot be read."""
    found, boots = Contents(), set[str]()
    for file in list_files(path):
        data = file.read_bytes()
        found.files += 1
        intact = 0
        for end, frame in scan_frames(data):
            intact = end
            found.records += 1
            boots.add(frame.boot_id)
            _count(found, Pending(frame.boot_id, frame.seq, frame.record))
        found.damaged_bytes += len(data) - intact
    found.boots = len(boots)
    return found


def _count(found: Contents, pending: Pending) -> None:
    try:
        record = pending.record
    except InvalidMessage:
        found.unreadable_records += 1
        return
    found.samples += len(record.samples)
    found.intervals += len(record.intervals)
    found.xids += len(record.xids)
    instants = [sample.sampled_at_ms for sample in record.samples]
    instants += [interval.ended_at_ms for interval in record.intervals]
    instants += [xid.last_at_ms for xid in record.xids]
    if record.thinned is not None:
        found.samples_thinned += record.thinned.samples
        instants += [record.thinned.first_at_ms, record.thinned.last_at_ms]
    if instants:
        found.first_at_ms = min(instants + ([] if found.first_at_ms is None else [found.first_at_ms]))
        found.last_at_ms = max(instants + ([] if found.last_at_ms is None else [found.last_at_ms]))


class SpoolCopy:
    """An outbox that reads ``path`` file by file and forgets in memory only."""

    def __init__(self, path: Path) -> None:
        self._unread = self._read(path)
        self._taken: list[Pending] = []
        self.sent = 0
        self.refused = 0

    def take(self, limit: int) -> list[Pending]:
        """Raises OSError: the copy cannot be read."""
        while len(self._taken) < limit:
            pending = next(self._unread, None)
            if pending is None:
                break
            self._taken.append(pending)
        return self._taken[:limit]

    def confirm(self, sent: Sequence[Pending], refused: Sequence[Pending]) -> None:
        self.sent += len(sent)
        self.refused += len(refused)
        done = {(each.boot_id, each.seq) for each in (*sent, *refused)}
        self._taken = [each for each in self._taken if (each.boot_id, each.seq) not in done]

    @staticmethod
    def _read(path: Path) -> Iterator[Pending]:
        for file in list_files(path):
            for _, frame in scan_frames(file.read_bytes()):
                yield Pending(frame.boot_id, frame.seq, frame.record)


def replay(
    copy: SpoolCopy,
    sender: TelemetrySender,
    pace: Callable[[int], float],
    backoff: Backoff,
    wait: Callable[[float], bool],
) -> Iterator[int]:
    """Send all of ``copy``; yield how many are sent after each batch. Ends early when ``wait`` returns True.

    Raises:
        TransportError: the queue did not take anything ``MAX_FAILURES`` times in a row.
        OSError: the copy cannot be read.
    """
    failures = 0
    while copy.take(1):
        before = copy.sent + copy.refused
        failure = TransportError("not_accepted", "the queue accepted nothing")
        try:
            sender.send_next()
        except TransportError as error:
            failure = error
        done = copy.sent + copy.refused - before
        if done:
            failures = 0
            backoff.reset()
            yield copy.sent
        else:
            failures += 1
            if failures == MAX_FAILURES:
                raise failure
        if wait(pace(done) if done else backoff.next_delay()):
            return
