"""What no history may show: of leases, epochs, wipes, keys and bills. All pure."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tests.simulation.promises import check_promises
from tests.simulation.records import (
    FINAL_STATES,
    EndedRental,
    Held,
    Objection,
    Operation,
    Rest,
    find_certain,
    group_by_lease,
)


def check_history(operations: Sequence[Operation], rest: Rest) -> list[Objection]:
    """Return everything that no run may show."""
    return [
        *_check_holders(operations, rest),
        *_check_intervals(operations),
        *_check_epochs(operations, rest),
        *_check_wipes(operations, rest),
        *_check_keys(operations, "rent", {each.rental_id: each.key for each in rest.rentals}),
        *_check_keys(operations, "book", {each.reservation_id: each.key for each in rest.reservations}),
        *check_promises(operations, rest),
        *_check_rest(rest),
    ]


def _name_holders(operations: Sequence[Operation], rest: Rest) -> dict[tuple[str, int], set[str]]:
    holders: dict[tuple[str, int], set[str]] = defaultdict(set)
    seen = (held for operation in operations for held in operation.held)
    kept = (held for rental in rest.rentals for held in rental.leases)
    for held in (*seen, *kept):
        holders[held.gpu_uuid, held.epoch].add(held.rental_id)
    return holders


def _check_holders(operations: Sequence[Operation], rest: Rest) -> Iterator[Objection]:
    seen = group_by_lease(operations)
    for (gpu_uuid, epoch), rental_ids in _name_holders(operations, rest).items():
        if len(rental_ids) > 1:
            shown = [
                each for rental_id in sorted(rental_ids) for each in seen[Held(rental_id, gpu_uuid, epoch)]
            ]
            text = f"{gpu_uuid} has epoch {epoch} for {sorted(rental_ids)}"
            yield Objection("double lease", text, tuple(shown))


def _check_intervals(operations: Sequence[Operation]) -> Iterator[Objection]:
    """Two leases of a GPU that were both held for certain at one instant."""
    certain: dict[str, list[tuple[int, int, Held]]] = defaultdict(list)
    seen = group_by_lease(operations)
    for held, (since_us, until_us) in find_certain(operations).items():
        certain[held.gpu_uuid].append((since_us, until_us, held))
    for gpu_uuid, intervals in certain.items():
        intervals.sort(key=lambda each: each[:2])
        furthest: tuple[int, Held] | None = None
        for since_us, until_us, held in intervals:
            if furthest is not None and since_us < furthest[0]:
                other = furthest[1]
                shown = tuple(sorted(seen[held] + seen[other], key=lambda each: each.invoked_us))
                text = f"{gpu_uuid} is held by {other.rental_id} and {held.rental_id} at {since_us}"
                yield Objection("double lease", text, shown)
            if furthest is None or until_us > furthest[0]:
                furthest = (until_us, held)


def _check_epochs(operations: Sequence[Operation], rest: Rest) -> Iterator[Objection]:
    """What was seen by an operation is not undone for one that began after its end."""
    seen: dict[str, list[tuple[int, int, int, Operation]]] = defaultdict(list)
    for number, operation in enumerate(operations):
        pairs = {(held.gpu_uuid, held.epoch) for held in operation.held} | set(operation.epochs)
        for gpu_uuid, epoch in pairs:
            seen[gpu_uuid].append((operation.invoked_us, number, epoch, operation))
    for gpu_uuid, sightings in seen.items():
        over: list[tuple[int, int, int, Operation]] = []
        highest: tuple[int, Operation] | None = None
        for invoked_us, number, epoch, operation in sorted(sightings, key=lambda each: each[:2]):
            while over and over[0][0] < invoked_us:
                _, _, ended_epoch, ended = heapq.heappop(over)
                if highest is None or ended_epoch > highest[0]:
                    highest = (ended_epoch, ended)
            if highest is not None and epoch < highest[0]:
                text = f"the epoch of {gpu_uuid} fell from {highest[0]} to {epoch}"
                yield Objection("falling epoch", text, (highest[1], operation))
            heapq.heappush(over, (operation.ended_us, number, epoch, operation))
        last = rest.gpus.get(gpu_uuid)
        top = max(epoch for _, _, epoch, _ in sightings)
        if last is not None and last[1] < top:
            yield Objection("falling epoch", f"{gpu_uuid} was at epoch {top} and ends at {last[1]}")


def _check_wipes(operations: Sequence[Operation], rest: Rest) -> Iterator[Objection]:
    """Between two leases of a GPU somebody had begun to acknowledge the wipe of the first."""
    begun: dict[tuple[str, int], int] = {}
    for operation in operations:
        if operation.outcome != "fail":
            for wiped in operation.wiped:
                begun[wiped] = min(operation.invoked_us, begun.get(wiped, operation.invoked_us))
    first_seen = {
        (held.gpu_uuid, held.epoch): min(shown, key=lambda each: each.ended_us)
        for held, shown in group_by_lease(operations).items()
    }
    epochs: dict[str, list[int]] = defaultdict(list)
    for gpu_uuid, epoch in _name_holders(operations, rest):
        epochs[gpu_uuid].append(epoch)
    for gpu_uuid, leased in epochs.items():
        leased.sort()
        for before, after in pairwise(leased):
            acknowledged_us = begun.get((gpu_uuid, before + 1))
            seen = first_seen.get((gpu_uuid, after))
            if acknowledged_us is None:
                yield Objection("no wipe", f"{gpu_uuid} goes from epoch {before} to {after} unwiped")
            elif seen is not None and seen.ended_us < acknowledged_us:
                text = f"{gpu_uuid} is leased at epoch {after} before it was wiped at {acknowledged_us}"
                yield Objection("no wipe", text, (seen,))


def _check_keys(operations: Sequence[Operation], kind: str, kept: Mapping[str, str]) -> Iterator[Objection]:
    """``kept``: the key that made each thing that is stored."""
    noun = {"rent": "rental", "book": "reservation"}[kind]
    asked: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.kind == kind:
            asked[operation.subject].append(operation)
    made: dict[str, set[str]] = defaultdict(set)
    for made_id, key in kept.items():
        made[key].add(made_id)
    for key in sorted({*asked, *made}):
        asks = sorted(asked[key], key=lambda each: each.invoked_us)
        answered = {each.made_id for each in asks if each.outcome == "ok" and each.made_id is not None}
        if len(answered | made[key]) > 1:
            text = f"{key} made {sorted(answered | made[key])}"
            yield Objection(f"two {noun}s of one key", text, tuple(asks))
        for made_id in sorted(answered - made[key]):
            yield Objection(f"lost {noun}", f"{made_id} was promised and is not there", tuple(asks))
        if asks and asks[-1].outcome == "fail" and not answered and made[key]:
            yield Objection("refused and made", f"{key} was refused and made {made[key]}", tuple(asks))
        if not asks:
            yield Objection(f"{noun} from nowhere", f"nobody asked for {made[key]}")


def _check_rest(rest: Rest) -> Iterator[Objection]:
    for rental in rest.rentals:
        yield from _check_ended(rental)
    if rest.ledger_sum_micros:
        yield Objection("ledger", f"the ledger sums to {rest.ledger_sum_micros}")
    for account_id, micros in rest.held_micros.items():
        if micros:
            yield Objection("hold", f"{account_id} still holds {micros}")
    for account_id, gpus in rest.used_gpus.items():
        if gpus:
            yield Objection("quota", f"{account_id} still uses {gpus} GPUs")
    for ticket in rest.tickets:
        yield Objection("ticket", f"{ticket} still stands in line")
    for gpu_uuid, (state, epoch) in rest.gpus.items():
        if state != "free":
            yield Objection("lost GPU", f"{gpu_uuid} ends as {state} at epoch {epoch}")


def _check_ended(rental: EndedRental) -> Iterator[Objection]:
    name = rental.rental_id
    if rental.state not in FINAL_STATES:
        yield Objection("no end", f"{name} ends as {rental.state}")
    counts = Counter(bill.segment for bill in rental.bills)
    for segment in sorted({*rental.segments, *counts}):
        if counts[segment] != 1 or segment not in rental.segments:
            yield Objection("bill", f"the stay {segment} of {name} has {counts[segment]} bills")
    for bill in rental.bills:
        if bill.state != "settled" or bill.hold_state not in {"void", "captured"}:
            text = f"{name}:{bill.segment} ends {bill.state} with its hold {bill.hold_state}"
            yield Objection("bill", text)
        if bill.posted_micros != bill.charged_micros:
            text = f"{name}:{bill.segment} was charged {bill.charged_micros}, posted {bill.posted_micros}"
            yield Objection("bill", text)
        if sorted(bill.postings) != list(range(len(bill.postings))):
            yield Objection("bill", f"{name}:{bill.segment} has the postings {sorted(bill.postings)}")
    charged = sum(bill.charged_micros for bill in rental.bills)
    if charged != rental.charge_micros:
        yield Objection("bill", f"{name} shows {rental.charge_micros} and was charged {charged}")
    if rental.segments and rental.billing_state != "settled":
        yield Objection("bill", f"{name} ends {rental.billing_state}")
