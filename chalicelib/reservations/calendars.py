"""How many GPUs of a host are promised when, and which hosts a booking is put on. Pure.

A calendar has 96 counters a UTC day. Best fit: of the hosts that have room over the whole window, the one
whose calendar is fullest, so that long and large blocks stay free on the others.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.reservations.model import SLOTS_PER_DAY, Span

EMPTY_DAY: tuple[int, ...] = (0,) * SLOTS_PER_DAY


@dataclass(frozen=True, slots=True)
class Calendar:
    """What is promised of one host; a day that is not there has no promise."""

    host_id: str
    gpu_count: int
    fabric_id: str | None = None
    days: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    #: Of ``gpu_count``: they are promised to nobody.
    faulty_gpus: int = 0

    @property
    def sound_gpus(self) -> int:
        return self.gpu_count - self.faulty_gpus

    def find_peak(self, spans: Sequence[Span]) -> int:
        """Return the most GPUs that are promised at once in the window."""
        return max(
            (
                max(self.days[span.day][span.first : span.end])
                for span in spans
                if span.day in self.days and span.first < span.end
            ),
            default=0,
        )

    def count_free(self, spans: Sequence[Span]) -> int:
        """Return how many GPUs can be promised over the whole window."""
        return max(0, self.sound_gpus - self.find_peak(spans))

    def measure_room(self, spans: Sequence[Span]) -> tuple[int, int]:
        """Return what is not promised yet in the window, and in its days, in slots of one GPU."""
        days = [(self.days.get(span.day, EMPTY_DAY), span) for span in spans]
        return (
            sum(
                self.gpu_count * (span.end - span.first) - sum(day[span.first : span.end])
                for day, span in days
            ),
            sum(self.gpu_count * SLOTS_PER_DAY - sum(day) for day, _ in days),
        )


def promise(day: Sequence[int], span: Span, gpus: int) -> tuple[int, ...]:
    """Return a day's counters with ``gpus`` more promised in the span; fewer, when it is negative."""
    return tuple(count + gpus if span.first <= slot < span.end else count for slot, count in enumerate(day))


def list_choices(
    calendars: Sequence[Calendar], spans: Sequence[Span], gpu_count: int, node_count: int, seed: str
) -> Iterator[tuple[Calendar, ...]]:
    """Yield the hosts on which the booking fits, best first: one, or the nodes of a cluster.

    A cluster takes whole hosts of one fabric, of the fabric that it leaves the fewest of. Equal ones are
    spread by ``seed``, so that parallel bookings mostly want different hosts.
    """

    def rank(calendar: Calendar) -> tuple[tuple[int, int], bytes]:
        spread = hashlib.sha256(f"{seed}:{calendar.host_id}".encode()).digest()
        return calendar.measure_room(spans), spread

    fitting = sorted((each for each in calendars if each.count_free(spans) >= gpu_count), key=rank)
    if node_count == 1:
        yield from ((calendar,) for calendar in fitting)
        return
    fabrics: dict[str, list[Calendar]] = defaultdict(list)
    for calendar in fitting:
        if calendar.fabric_id is not None and calendar.gpu_count == gpu_count:
            fabrics[calendar.fabric_id].append(calendar)
    large_enough = [hosts for hosts in fabrics.values() if len(hosts) >= node_count]
    for hosts in sorted(large_enough, key=len):
        yield tuple(hosts[:node_count])
