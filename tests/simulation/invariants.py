"""I1 to I7: what holds after every step of a simulated run, and at its end."""

from collections import Counter

from chalicelib.rentals.ports import name_hold
from chalicelib.rentals.rules import ACTIVE_STATES, FINAL_STATES, WAITING_STATES
from tests.simulation.hosts import Violation
from tests.simulation.world import World


class Checker:
    """Remembers what may only rise."""

    def __init__(self) -> None:
        self.epochs: dict[tuple[str, str], int] = {}
        self.holders: dict[tuple[str, str], tuple[int, str | None]] = {}
        self.audits = 0

    def check(self, world: World) -> None:
        tables = world.cloud.db.tables
        self._check_ledger(tables)
        self._check_leases(tables)
        self._check_rentals(world, tables)
        self._check_line(tables)

    def _check_ledger(self, tables) -> None:
        total = sum(leg.amount_micros for leg, _ in tables.get("legs", {}).values())
        require(total == 0, f"I1: the ledger sums to {total}")
        for account_id, balance in tables.get("balances", {}).items():
            held = sum(
                hold.amount_micros
                for (owner, _), hold in tables.get("holds", {}).items()
                if owner == account_id
            )
            require(balance.held_micros == held, f"I1: {account_id} holds {balance.held_micros}, not {held}")
            require(
                balance.available_micros == balance.posted_micros - balance.held_micros,
                f"I1: {account_id}'s available is not posted less held",
            )
            require(balance.available_micros >= 0, f"I1: {account_id} overspent")

    def _check_leases(self, tables) -> None:
        for key, gpu in tables["gpus"].items():
            before = self.epochs.get(key, 0)
            require(gpu.epoch >= before, f"I4: the epoch of {key} fell from {before} to {gpu.epoch}")
            holder = (gpu.epoch, gpu.rental_id)
            old = self.holders.get(key)
            if old is not None and old[1] != gpu.rental_id and gpu.rental_id is not None:
                require(gpu.epoch > old[0], f"I4: {key} changed hands at epoch {gpu.epoch}")
            self.epochs[key], self.holders[key] = gpu.epoch, holder
            held = gpu.lease_state in {"leased", "wiping"}
            require(held == (gpu.rental_id is not None), f"I4: {key} is {gpu.lease_state} by {gpu.rental_id}")
        free = Counter(host for (host, _), gpu in tables["gpus"].items() if gpu.lease_state == "free")
        for host_id, host in tables["hosts"].items():
            require(host.free_gpus == free[host_id], f"I4: {host_id} counts {host.free_gpus} free GPUs")

    def _check_rentals(self, world: World, tables) -> None:
        leased = {
            key[1]: (gpu.rental_id, gpu.epoch)
            for key, gpu in tables["gpus"].items()
            if gpu.lease_state == "leased"
        }
        used: Counter[str] = Counter()
        for rental in tables.get("rentals", {}).values():
            if rental.state in ACTIVE_STATES:
                used[rental.account_id] += rental.gpu_count
                for lease in rental.leases:
                    found = leased.pop(lease.gpu_uuid, None)
                    require(
                        found == (rental.rental_id, lease.epoch),
                        f"I4: {rental.rental_id} runs on {lease}, which is leased to {found}",
                    )
            if rental.state in WAITING_STATES and rental.waiting is None:
                require(rental.policies.start_at_ms is not None, f"{rental.rental_id} waits nowhere")
            lived_ms = sum(
                host.measure_life_ms(rental.rental_id, world.now_ms) for host in world.hosts.values()
            )
            require(
                rental.billed_seconds <= lived_ms // 1000 + 1,
                f"I2: {rental.rental_id} ran {lived_ms} ms and is billed {rental.billed_seconds} s",
            )
        require(not leased, f"I4: leased to nobody that runs: {leased}")
        restarting = Counter({rental.account_id: 0 for rental in tables.get("rentals", {}).values()})
        for rental in tables.get("rentals", {}).values():
            if rental.state == "stopping" and rental.reason == "restart_requested":
                restarting[rental.account_id] += rental.gpu_count
        for account_id, quota in tables.get("quotas", {}).items():
            wanted = used[account_id] + restarting[account_id]
            require(quota.used_gpus == wanted, f"quota: {account_id} uses {wanted}, not {quota.used_gpus}")

    def _check_line(self, tables) -> None:
        waiting = {
            rental.waiting.ticket_key
            for rental in tables.get("rentals", {}).values()
            if rental.waiting is not None
        }
        standing = {key for _, key in tables.get("tickets", {})}
        require(waiting == standing, f"line: {waiting ^ standing} differ")


def check_end(world: World) -> None:
    """I3 and I7: everything that was asked for has come to one end, and to one final bill."""
    tables = world.cloud.db.tables
    for rental in tables.get("rentals", {}).values():
        require(rental.state in FINAL_STATES, f"I7: {rental.rental_id} ends as {rental.state}")
        meters = [meter for meter in tables.get("meters", {}).values() if meter.rental_id == rental.rental_id]
        require(
            {meter.segment for meter in meters} == {stay.segment for stay in rental.placements},
            f"I7: {rental.rental_id} has stays without a meter",
        )
        require(
            all(meter.state == "settled" for meter in meters),
            f"I7: {rental.rental_id} is not settled: {[meter.state for meter in meters]}",
        )
        charged = sum(meter.charged_micros for meter in meters)
        require(rental.charge_micros == charged, f"I7: {rental.rental_id} shows {rental.charge_micros}")
        posted = sum(
            -leg.amount_micros
            for leg, journal_key in tables.get("legs", {}).values()
            if journal_key.startswith(f"usage#{rental.rental_id}:") and leg.amount_micros < 0
        )
        require(posted == charged, f"I2: {rental.rental_id} was charged {charged} and posted {posted}")
        for stay in rental.placements:
            hold = tables["holds"].get((rental.account_id, name_hold(rental.rental_id, stay.segment)))
            require(
                hold is not None and hold.state in {"void", "captured"},
                f"I7: {rental.rental_id} still holds money",
            )
    require(not tables.get("tickets"), "I7: somebody still stands in line")
    require(not tables.get("stays"), "I7: a spot stay is left")
    require(not tables.get("spreads"), "I7: a spread group is left")
    for key, gpu in tables["gpus"].items():
        require(gpu.lease_state == "free", f"I7: {key} ends as {gpu.lease_state} of {gpu.rental_id}")
    for account_id, quota in tables.get("quotas", {}).items():
        require(quota.used_gpus == 0, f"I7: {account_id} still uses {quota.used_gpus} GPUs")


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)
