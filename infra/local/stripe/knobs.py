"""What ``POST /_simulator/NAME`` with a JSON document does; tests in-process call the parts themselves."""

import dataclasses
from collections.abc import Callable

from infra.local.stripe.errors import Object, Refused
from infra.local.stripe.faults import Fault
from infra.local.stripe.simulator import Simulator
from infra.local.stripe.webhooks import Disorder


def turn(simulator: Simulator, name: str, given: Object) -> object:
    """Turn one knob and return what came of it.

    Raises:
        Refused: there is no such knob, or the document does not fit it.
    """
    knob = _KNOBS.get(name)
    if knob is None:
        raise Refused(f"There is no knob {name}: {', '.join(sorted(_KNOBS))}.", status=404)
    try:
        return knob(simulator, **given)
    except (TypeError, ValueError) as error:
        raise Refused(f"{name}: {error}") from error


def _advance(simulator: Simulator, *, seconds: float = 0) -> Object:
    simulator.world.advance(seconds)
    return {"now": simulator.world.now()}


def _register(
    simulator: Simulator, *, url: str, secrets: list[str], events: tuple[str, ...] = ("*",)
) -> Object:
    return {"id": simulator.webhooks.register(url, *secrets, events=frozenset(events)).id}


def _roll(simulator: Simulator, *, endpoint: str, secrets: list[str]) -> Object:
    with simulator.world.lock:
        found = simulator.webhooks.endpoints.get(endpoint)
        if found is None or not secrets:
            raise Refused("There is no such endpoint, or no secret was given.", status=404)
        found.secrets = secrets
    return {"id": endpoint}


def _disorder(simulator: Simulator, **given: float) -> Object:
    with simulator.world.lock:
        simulator.webhooks.disorder = Disorder(**given)  # type: ignore[arg-type]  # by its fields' names
    return dict(given)


def _plan_fault(simulator: Simulator, **given: str) -> Object:
    with simulator.world.lock:
        simulator.faults.plan(Fault(**given))  # type: ignore[arg-type]  # by its fields' names
    return dict(given)


def _clear_faults(simulator: Simulator) -> Object:
    with simulator.world.lock:
        simulator.faults.clear()
    return {}


def _set_tax(simulator: Simulator, *, basis_points: int) -> Object:
    with simulator.world.lock:
        simulator.tax.basis_points = int(basis_points)
    return {"basis_points": basis_points}


def _redeliver(simulator: Simulator, *, event: str) -> Object:
    simulator.webhooks.redeliver(event)
    return {"event": event}


def _forge(simulator: Simulator, *, event: str, how: str) -> Object:
    simulator.webhooks.forge(event, how)  # type: ignore[arg-type]  # checked there
    return {"event": event}


def _summarise(simulator: Simulator) -> Object:
    with simulator.world.lock:
        return simulator.books.summarise()


def _list_attempts(simulator: Simulator) -> list[Object]:
    with simulator.world.lock:
        return [dataclasses.asdict(attempt) for attempt in simulator.webhooks.attempts]


_KNOBS: dict[str, Callable[..., object]] = {
    "advance": _advance,
    "webhook_endpoints": _register,
    "roll_secret": _roll,
    "disorder": _disorder,
    "redeliver": _redeliver,
    "forge": _forge,
    "attempts": _list_attempts,
    "faults": _plan_fault,
    "clear_faults": _clear_faults,
    "tax": _set_tax,
    "summary": _summarise,
    "authenticate": lambda s, *, intent, succeeds: s.payments.authenticate(intent, succeeds=succeeds),
    "settle": lambda s, *, intent, succeeds: s.payments.settle(intent, succeeds=succeeds),
    "fail_refund": lambda s, *, refund: s.refunds.fail(refund),
    "open_dispute": lambda s, *, charge, amount=None: s.refunds.open_dispute(charge, amount),
    "close_dispute": lambda s, *, dispute, won: s.refunds.close_dispute(dispute, won=won),
    "pay_out": lambda s, *, currency="usd", amount=None: s.books.pay_out(currency, amount),
    "move_order": lambda s, *, order, to: s.climate.move(order, to),
    "sell_removals": lambda s, *, product, cents_per_ton, tons: s.climate.sell(
        product, cents_per_ton=cents_per_ton, tons=tons
    ),
    "charge_fee": lambda s, *, amount, currency="usd": s.books.charge_fee(amount, currency),
}
