"""What an account may have: its quota, and while it is new the step of the ramp on which it stands."""

from dataclasses import replace

from chalicelib.core.capacity import Quota
from chalicelib.core.ids import read_created_ms
from chalicelib.rentals.ports import RentalPorts
from chalicelib.rentals.ramp import Allowance, choose_allowance


def find_allowance(ports: RentalPorts, account_id: str) -> Allowance | None:
    """``None``: the account is no longer new, or an operator has set its quota.

    Costs no call for an old account that this process has seen to have paid. An account whose id tells no
    time is as new as can be.
    """
    if not ports.ramp:
        return None
    now_ms = ports.clock.now_ms()
    created_at_ms = read_created_ms(account_id)
    allowance = choose_allowance(
        ports.ramp,
        now_ms if created_at_ms is None else created_at_ms,
        ports.wallets.find_paid_since(account_id),
        now_ms,
    )
    if allowance is None or ports.scheduling.get_quota(account_id).is_set:
        return None
    return allowance


def read_quota(ports: RentalPorts, account_id: str) -> tuple[Quota, Allowance | None]:
    """Return how many GPUs the account may have now, and the step of the ramp that says so, if one does."""
    quota, allowance = ports.scheduling.get_quota(account_id), find_allowance(ports, account_id)
    if allowance is not None:
        quota = replace(quota, max_gpus=min(quota.max_gpus, allowance.max_gpus))
    return quota, allowance
