"""What no history may show of reservations. All pure.

A promise was in force for certain from the first operation that had seen it until somebody began to cancel
the reservation or to give up the host, or to the end.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.simulation.records import (
    SLOT_MS,
    Held,
    Objection,
    Operation,
    Promised,
    Rest,
    find_certain,
    group_by_lease,
)


def check_promises(operations: Sequence[Operation], rest: Rest) -> Iterator[Objection]:
    yield from _check_slots(operations, rest)
    yield from _check_uses(operations, rest)
    yield from _check_ends(operations, rest)
    yield from _check_calendars(rest)


def _group_by_promise(operations: Sequence[Operation]) -> dict[Promised, list[Operation]]:
    found: dict[Promised, list[Operation]] = defaultdict(list)
    for operation in operations:
        for promised in operation.promised:
            found[promised].append(operation)
    return found


def _ends(operation: Operation, promised: Promised, since_us: int) -> bool:
    if operation.outcome == "fail":
        return False
    if operation.kind == "cancel":
        return operation.subject == promised.reservation_id
    lost = operation.kind == "fail_over" and operation.subject == promised.host_id
    return lost and operation.ended_us >= since_us


def _check_slots(operations: Sequence[Operation], rest: Rest) -> Iterator[Objection]:
    """A slot of a host for which more GPUs were promised at one instant than it has."""
    enders = [each for each in operations if each.kind in {"cancel", "fail_over"}]
    seen = _group_by_promise(operations)
    changes: dict[str, list[tuple[float, int, Promised]]] = defaultdict(list)
    for promised, shown in seen.items():
        since_us = min(each.ended_us for each in shown)
        until_us = min(
            (each.invoked_us for each in enders if _ends(each, promised, since_us)), default=math.inf
        )
        if since_us < until_us:
            changes[promised.host_id] += [
                (since_us, promised.gpu_count, promised),
                (until_us, -promised.gpu_count, promised),
            ]
    for host_id, moments in changes.items():
        slots: Counter[int] = Counter()
        # What ends at an instant is gone before what begins at it.
        for at_us, gpus, promised in sorted(moments, key=lambda each: each[:2]):
            slots.update(dict.fromkeys(promised.slots, gpus))
            most = max((slots[slot] for slot in promised.slots), default=0)
            if gpus > 0 and most > len(rest.host_gpus[host_id]):
                text = f"{host_id} has {len(rest.host_gpus[host_id])} GPUs and promises {most} at {at_us}"
                yield Objection("oversold", text, tuple(seen[promised]))


def _check_uses(operations: Sequence[Operation], rest: Rest) -> Iterator[Objection]:
    """More GPUs that were held at one instant for a reservation than it has on that host, or too early."""
    host_of = {gpu_uuid: host_id for host_id, gpus in rest.host_gpus.items() for gpu_uuid in gpus}
    redeemed = {each.rental_id: each.reservation_id for each in rest.rentals if each.reservation_id}
    booked = {(each.reservation_id, each.host_id): each for each in _group_by_promise(operations)}
    booked |= {
        (each.reservation_id, each.host_id): each for kept in rest.reservations for each in kept.promised
    }
    seen, changes = (
        group_by_lease(operations),
        defaultdict[tuple[str, str], list[tuple[int, int, Held]]](list),
    )
    for held, shown in seen.items():
        reservation_id = redeemed.get(held.rental_id)
        if reservation_id is None:
            continue
        promised = booked.get((reservation_id, host_of[held.gpu_uuid]))
        if promised is None:
            text = f"{held.rental_id} has {held.gpu_uuid}, on a host that {reservation_id} has not"
            yield Objection("overused", text, tuple(shown))
        elif min(each.ended_us for each in shown) < promised.starts_at_ms * 1000:
            text = f"{held.rental_id} has {held.gpu_uuid} before {reservation_id} begins"
            yield Objection("early use", text, tuple(shown))
    for held, (since_us, until_us) in find_certain(operations).items():
        reservation_id = redeemed.get(held.rental_id)
        if reservation_id is not None:
            place = (reservation_id, host_of[held.gpu_uuid])
            changes[place] += [(since_us, 1, held), (until_us, -1, held)]
    for place, moments in changes.items():
        most = booked[place].gpu_count if place in booked else 0
        used = 0
        for at_us, gpus, held in sorted(moments, key=lambda each: each[:2]):
            used += gpus
            if gpus > 0 and used > most:
                text = f"{place[0]} has {most} GPUs on {place[1]} and uses {used} at {at_us}"
                yield Objection("overused", text, tuple(seen[held]))


def _check_ends(operations: Sequence[Operation], rest: Rest) -> Iterator[Objection]:
    cancels: dict[str, list[Operation]] = defaultdict(list)
    lost_hosts = {each.subject for each in operations if each.kind == "fail_over" and each.outcome != "fail"}
    on_hosts: dict[str, set[str]] = defaultdict(set)
    for operation in operations:
        if operation.kind == "cancel" and operation.outcome != "fail":
            cancels[operation.subject].append(operation)
        for promised in operation.promised:
            on_hosts[promised.reservation_id].add(promised.host_id)
    for kept in rest.reservations:
        name, asked = kept.reservation_id, cancels[kept.reservation_id]
        if kept.state == "cancelled" and not asked:
            yield Objection("cancelled by nobody", f"{name} ends cancelled")
        # One that was broken before is no less over for whom cancels it.
        if kept.state != "cancelled" and any(each.outcome == "ok" for each in asked):
            yield Objection("lost cancel", f"{name} was cancelled and ends {kept.state}", tuple(asked))
        if kept.state == "broken" and on_hosts[name] and not on_hosts[name] & lost_hosts:
            yield Objection("broken by nobody", f"{name} ends broken, and none of its hosts was lost")
        if kept.used_gpus:
            yield Objection("in use", f"{name} has {kept.used_gpus} GPUs in use")


def _check_calendars(rest: Rest) -> Iterator[Objection]:
    wanted: Counter[tuple[str, int]] = Counter()
    first = -(-rest.at_ms // SLOT_MS)
    for kept in rest.reservations:
        for promised in kept.promised:
            for slot in promised.slots:
                if slot >= first:
                    wanted[promised.host_id, slot] += promised.gpu_count
    for (host_id, slot), gpus in rest.calendars.items():
        if gpus > len(rest.host_gpus[host_id]):
            yield Objection("oversold", f"{host_id} promises {gpus} in the slot {slot}")
    for host_id, slot in sorted({*wanted, *rest.calendars}):
        told, right = rest.calendars.get((host_id, slot), 0), wanted[host_id, slot]
        if told != right:
            text = f"{host_id} promises {told} in the slot {slot}, and its bookings are of {right}"
            yield Objection("calendar", text)
