"""Charges what volumes of stopped rentals cost: one transaction with the cursor, which is the rental's."""

from dataclasses import replace

from chalicelib.billing.model import OVERRUN, VOLUME_REVENUE, Leg, name_shard
from chalicelib.billing.ports import MAX_ATTEMPTS, AlreadyPosted, BillingPorts, Wallet, find_data_hold_end
from chalicelib.billing.posting import Posting, add_posting, find_wallet
from chalicelib.billing.rating import Purchaser, split_charge
from chalicelib.core.errors import Unavailable
from chalicelib.rentals.model import Rental
from chalicelib.rentals.retention import DAY_MS, DataHold, Keeping
from chalicelib.rentals.volumes import end_hold

VOLUME = "volume"
SHARDS = 8
HOUR_MS = 3_600_000
#: Hosts that may not have the volume any more: what may be gone is not sold.
_GONE = frozenset({"lost", "retired"})


def charge_volumes(ports: BillingPorts, now_ms: int, deadline_ms: int) -> int:
    """Charge every volume for which a day or a finished stretch is due; return how many charges were posted.

    Runs each hour; twice, or not for a week, comes to the same sums. One that fails is for the next hour, and
    so is what is left when time runs out: each hour begins with another part.
    """
    posted, first = 0, now_ms // HOUR_MS
    for shard in range(SHARDS):
        for rental_id in ports.rentals.store.list_kept(f"KEPT#{(first + shard) % SHARDS}"):
            if ports.rentals.clock.now_ms() >= deadline_ms:
                return posted
            try:
                posted += charge_volume(ports, rental_id, now_ms)
            except Unavailable:
                continue
    return posted


def charge_volume(ports: BillingPorts, rental_id: str, now_ms: int) -> int:
    """Charge one rental's volume; return how many charges were posted.

    Raises:
        Unavailable: too much contention; come again.
    """
    posted = 0
    for _ in range(MAX_ATTEMPTS):
        rental = ports.rentals.store.get_rental(rental_id)
        due = None if rental is None else _find_due(rental, now_ms)
        if rental is None or due is None:
            return posted
        try:
            posted += _charge(ports, rental, due, now_ms)
        except (Unavailable, AlreadyPosted):
            continue
    raise Unavailable(f"The rental {rental_id} changes all the time.")


def _find_due(rental: Rental, now_ms: int) -> Keeping | None:
    """Return the first stretch that is over, or has a day that is not charged."""
    for each in rental.kept:
        if each.until_ms is not None or now_ms - each.since_ms - each.charged_seconds * 1000 >= DAY_MS:
            return each
    return None


def _charge(ports: BillingPorts, rental: Rental, kept: Keeping, now_ms: int) -> bool:
    """Post what one stretch has cost since the last charge, or let it go for nothing."""
    wallet = find_wallet(ports, rental.account_id)
    seconds = kept.count_seconds(now_ms)
    due_micros = kept.compute_micros(seconds) - kept.compute_micros(kept.charged_seconds)
    if rental.data_hold is not None and find_data_hold_end(wallet.balance) is None:
        _write(ports, rental, end_hold(rental, now_ms))
        return False
    if rental.data_hold is not None or _may_be_gone(ports, rental, kept):
        _write(ports, rental, _replace(rental, kept, _begin_again(kept, now_ms)))
        return False
    if not due_micros:
        _write(ports, rental, _replace(rental, kept, _advance(kept, seconds)))
        return False
    _post(ports, wallet, rental, (kept, seconds, due_micros), now_ms)
    return True


def _may_be_gone(ports: BillingPorts, rental: Rental, kept: Keeping) -> bool:
    if kept.until_ms is not None or rental.volume_host_id is None:
        return False
    host = ports.rentals.fleet.get_host(rental.volume_host_id)
    return host is None or host.state in _GONE


def _begin_again(kept: Keeping, now_ms: int) -> Keeping | None:
    """Return the stretch as if it began now; what is over by now is over."""
    return None if kept.until_ms is not None else replace(kept, since_ms=now_ms, charged_seconds=0)


def _advance(kept: Keeping, seconds: int) -> Keeping | None:
    return None if kept.until_ms is not None else replace(kept, charged_seconds=seconds)


def _replace(rental: Rental, old: Keeping, new: Keeping | None) -> Rental:
    following = (new if each == old else each for each in rental.kept)
    return replace(rental, kept=tuple(each for each in following if each is not None))


def _write(ports: BillingPorts, rental: Rental, after: Rental) -> None:
    tx = ports.rentals.transactions()
    ports.rentals.store.replace_rental(tx, rental, after)
    tx.commit()


def _post(
    ports: BillingPorts, wallet: Wallet, rental: Rental, due: tuple[Keeping, int, int], now_ms: int
) -> None:
    kept, seconds, due_micros = due
    split = split_charge(due_micros, [Purchaser(wallet.balance.available_micros, 0)])
    # Only a volume that is still there is held for want of money.
    poor = bool(split.overrun_micros) and kept.until_ms is None
    legs = (
        Leg(name_shard(OVERRUN, rental.account_id), -split.overrun_micros),
        Leg(name_shard(VOLUME_REVENUE, rental.account_id), due_micros),
    )
    posting = Posting(
        source=VOLUME,
        source_id=f"{rental.rental_id}:{kept.since_ms}:{kept.charged_seconds}",
        kind=VOLUME,
        legs=tuple(leg for leg in legs if leg.amount_micros),
        details={
            "rental_id": rental.rental_id,
            "size_mib": kept.size_mib,
            "price_micros_per_gib_hour": kept.price_micros_per_gib_hour,
            "from_seconds": kept.charged_seconds,
            "to_seconds": seconds,
            "amount_micros": due_micros,
        },
        exhausts=poor,
    )
    after = _replace(rental, kept, _advance(kept, seconds))
    tx = ports.rentals.transactions()
    balance = add_posting(ports, tx, wallet.balance, posting, now_ms)
    if poor:
        until_ms = find_data_hold_end(balance)
        assert until_ms is not None, "it was just exhausted"
        after = replace(after, data_hold=DataHold(until_ms))
    ports.rentals.store.replace_rental(tx, rental, after)
    tx.commit()
