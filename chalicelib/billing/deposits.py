"""What a reservation costs beside the time of its rentals: its deposit, its cancel fee, our credit for it.

Each is added to the transaction that changes the reservation: whichever of cancelling, breaking and ending
it comes first finds the deposit's hold, and the others fail.
"""

from dataclasses import dataclass, replace

from chalicelib.billing.crediting import SERVICE_CREDIT_SOURCE
from chalicelib.billing.model import RESERVATION_REVENUE, SERVICE_CREDIT, Hold, Leg, name_shard
from chalicelib.billing.ports import BillingPorts
from chalicelib.billing.posting import Posting, add_event, add_posting, find_balance
from chalicelib.core.ports import Transaction
from chalicelib.reservations.model import CancelFee, Reservation

#: Source and kind of the journal.
RESERVATION_FEE = "reservation_fee"


def name_deposit(reservation_id: str) -> str:
    """Return the hold's id: a stay's ends in its segment's number."""
    return f"{reservation_id}#deposit"


@dataclass(frozen=True, slots=True)
class ReservationDeposits:
    """The `Deposits` of reservations."""

    ports: BillingPorts

    def take(self, tx: Transaction, reservation: Reservation) -> None:
        """See `reservations.ports.Deposits`."""
        self.ports.rentals.standings.require(tx, reservation.account_id)
        if reservation.deposit_micros:
            self.ports.wallets.add_deposit(tx, reservation.account_id, _build_hold(reservation))

    def give_back(self, tx: Transaction, reservation: Reservation) -> None:
        """See `reservations.ports.Deposits`."""
        if reservation.deposit_micros:
            self.ports.wallets.void_deposit(tx, reservation.account_id, _build_hold(reservation))

    def keep_fee(self, tx: Transaction, reservation: Reservation, fee: CancelFee, now_ms: int) -> int:
        """See `reservations.ports.Deposits`. A wallet never falls below zero: what it lacks is waived."""
        deposit = reservation.deposit_micros
        if not deposit:
            return 0
        balance = find_balance(self.ports, reservation.account_id)
        charged = min(fee.total_micros, max(0, deposit + balance.available_micros))
        if not charged:
            self.give_back(tx, reservation)
            return 0
        hold = _build_hold(reservation)
        captured = replace(hold, amount_micros=0, captured_micros=min(charged, deposit), state="captured")
        self.ports.wallets.change_hold(tx, reservation.account_id, hold, captured)
        posting = Posting(
            source=RESERVATION_FEE,
            source_id=reservation.reservation_id,
            kind=RESERVATION_FEE,
            legs=(Leg(name_shard(RESERVATION_REVENUE, reservation.account_id), charged),),
            details={
                "reservation_id": reservation.reservation_id,
                "begun_micros": fee.begun_micros,
                "kept_micros": fee.kept_micros,
                "waived_micros": fee.total_micros - charged,
                "amount_micros": charged,
            },
            held_micros=-deposit,
        )
        add_posting(self.ports, tx, balance, posting, now_ms)
        return charged

    def credit_broken(self, tx: Transaction, broken: Reservation, why: str, now_ms: int) -> None:
        """See `reservations.ports.Deposits`."""
        amount, deposit = broken.credit_due_micros or 0, broken.deposit_micros
        if not amount:
            self.give_back(tx, broken)
            return
        if deposit:
            hold = _build_hold(broken)
            void = replace(hold, amount_micros=0, state="void")
            self.ports.wallets.change_hold(tx, broken.account_id, hold, void)
        posting = Posting(
            source=SERVICE_CREDIT_SOURCE,
            source_id=broken.reservation_id,
            kind="service_credit",
            legs=(Leg(name_shard(SERVICE_CREDIT, broken.account_id), -amount),),
            details={
                "reservation_id": broken.reservation_id,
                "reason": why,
                "host_ids": [booking.host_id for booking in broken.bookings],
                "starts_at_ms": broken.starts_at_ms,
                "ends_at_ms": broken.ends_at_ms,
                "broken_at_ms": broken.broken_at_ms,
                "price_micros_per_gpu_hour": broken.price_micros_per_gpu_hour,
                "gpu_count": broken.total_gpus,
                "amount_micros": amount,
            },
            held_micros=-deposit,
        )
        add_posting(self.ports, tx, find_balance(self.ports, broken.account_id), posting, now_ms)
        add_event(
            self.ports, tx, broken.account_id, "credit.posted", {"kind": posting.kind, **posting.details}
        )


def _build_hold(reservation: Reservation) -> Hold:
    return Hold(
        name_deposit(reservation.reservation_id),
        reservation.deposit_micros,
        "pending",
        gpu_type=reservation.gpu_type,
        label=reservation.label,
    )
