"""Statements of capture: drawn from the records, submitted, verified or failed with evidence."""

from dataclasses import dataclass
from itertools import islice

from chalicelib.carbon.figures import find_average, read_hours
from chalicelib.carbon.intensity import Figure
from chalicelib.core.capacity import PLATFORM
from chalicelib.core.clock import format_hour
from chalicelib.core.errors import Conflict, NotFound
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.core.principal import Principal
from chalicelib.metering.model import KeptDatapoint
from chalicelib.removals.accounting import Component, Rate, account, emit, estimate_heat_pump
from chalicelib.removals.measuring import MAX_GAP_MS, MAX_LOOK_BACK, Datapoint, list_unjoined, measure
from chalicelib.removals.model import (
    MAX_TENANTS,
    Content,
    Share,
    ShareState,
    State,
    Statement,
    Window,
    check_day,
    decide,
    revise,
    submit,
    supersede,
)
from chalicelib.removals.plausibility import Measured, Readings, check, check_chain
from chalicelib.removals.ports import CaptureRecords, RemovalPorts, add_audit, find_region, insist

_ACTIONS: dict[State, str] = {
    "awaiting_verification": "removal.submitted",
    "verified": "removal.verified",
    "failed": "removal.failed",
}


@dataclass(frozen=True, slots=True)
class DrawStatement:
    """``additions``: what no meter of the unit tells, such as sorbent, transport, losses.

    ``rated_mg_per_cycle``: by the plant's maker. ``heat_pump_cop_milli``: for a plant whose electricity meter
    does not see its heat pump.
    """

    window: Window
    additions: tuple[Component, ...] = ()
    rated_mg_per_cycle: int | None = None
    heat_pump_cop_milli: int | None = None


def draw_statement(ports: RemovalPorts, principal: Principal, command: DrawStatement) -> Statement:
    """Return the day's statement by the records as they are now; again, it changes nothing.

    Raises:
        NotFound: no such host, or no intensity is known for its region.
        InvalidInput: ``day_not_over``, ``negative_mass`` or ``invalid_heat_pump``.
        WrongState: a verifier is looking at it.
        Conflict: ``too_many_tenants``.
    """
    window, now_ms = command.window, ports.clock.now_ms()
    region = find_region(ports, window.host_id)
    check_day(window, now_ms, MAX_GAP_MS)
    content = _build_content(ports, command, region)

    def attempt() -> Statement:
        latest = ports.store.get_latest(window)
        changed = revise(latest, window, content, now_ms)
        if changed is None:
            assert latest is not None
            return latest
        tx = ports.transactions()
        if latest is None or latest.revision != changed.revision:
            ports.store.add_statement(tx, changed)
        else:
            ports.store.replace_statement(tx, latest, changed)
        if latest is not None and latest.revision != changed.revision:
            ports.store.replace_statement(tx, latest, supersede(latest))
            if latest.state == "verified":
                put_shares(ports, tx, latest, latest.share_out(0), "withdrawn")
        details: dict[str, object] = {"credited_mg": content.removal.credited_mg}
        add_audit(ports, tx, principal, "removal.drawn", changed.name, details)
        tx.commit()
        return changed

    return insist(attempt)


def submit_statement(ports: RemovalPorts, principal: Principal, window: Window, revision: int) -> Statement:
    """Hand it to the verifier. Raises as `_move`, and Implausible: it says what cannot be."""
    return _move(ports, principal, (window, revision), "awaiting_verification", None)


def verify_statement(
    ports: RemovalPorts, principal: Principal, window: Window, revision: int, evidence: str
) -> Statement:
    """Lock it as verified. Raises as `_move`."""
    return _move(ports, principal, (window, revision), "verified", evidence)


def fail_statement(
    ports: RemovalPorts, principal: Principal, window: Window, revision: int, evidence: str
) -> Statement:
    """Refuse it for good; another revision may follow. Raises as `_move`."""
    return _move(ports, principal, (window, revision), "failed", evidence)


def _move(
    ports: RemovalPorts, principal: Principal, which: tuple[Window, int], state: State, evidence: str | None
) -> Statement:
    """Return the statement in ``state``; again with the same evidence, it changes nothing.

    Raises:
        NotFound: there is no such statement.
        WrongState: it is somewhere else, or another revision has taken its place.
    """
    window, revision = which

    def attempt() -> Statement:
        old = read_statement(ports, window, revision)
        if old.state == state and old.evidence == evidence:
            return old
        if evidence is None:
            new = submit(old)
        else:
            new = decide(old, state, evidence, principal.actor_id, ports.clock.now_ms())
        tx = ports.transactions()
        ports.store.replace_statement(tx, old, new)
        if state == "awaiting_verification":
            put_shares(ports, tx, new, new.share_out(new.due_mg), "provisional")
        if state == "failed":
            put_shares(ports, tx, new, new.share_out(0), "withdrawn")
        details: dict[str, object] = {} if evidence is None else {"evidence": evidence}
        add_audit(ports, tx, principal, _ACTIONS[state], new.name, details)
        tx.commit()
        return new

    return insist(attempt)


def put_shares(
    ports: RemovalPorts,
    tx: Transaction,
    statement: Statement,
    parts: dict[str, int],
    state: ShareState,
    serials: dict[str, str] | None = None,
) -> None:
    """Add to ``tx`` what of the statement is each tenant's; the platform keeps no list of its own."""
    for tenant, mass_mg in parts.items():
        if tenant != PLATFORM:
            serial = (serials or {}).get(tenant)
            ports.store.put_share(
                tx, Share(tenant, statement.window, statement.revision, mass_mg, state, serial)
            )


def read_statement(ports: RemovalPorts, window: Window, revision: int | None = None) -> Statement:
    """Return a revision, or the latest. Raises NotFound."""
    store = ports.store
    found = store.get_latest(window) if revision is None else store.get_revision(window, revision)
    if found is None:
        raise NotFound("There is no such statement.")
    return found


def list_statements(
    ports: RemovalPorts, host_id: str, unit_id: str, limit: int, start: str | None
) -> Page[Statement]:
    return ports.store.list_statements(host_id, unit_id, limit, start)


def list_shares(ports: RemovalPorts, account_id: str, limit: int, start: str | None) -> Page[Share]:
    return ports.store.list_shares(account_id, limit, start)


def read_datapoints(records: CaptureRecords, window: Window) -> list[Datapoint]:
    """Return the window's, and the last before it of counters that were silent when it began."""
    unit = (window.host_id, window.unit_id)
    kept = records.list_datapoints(*unit, window.from_ms - MAX_GAP_MS, window.until_ms + MAX_GAP_MS + 1)
    found = [_read(each) for each in kept]
    sought = list_unjoined(found, window.from_ms)
    if sought:
        for each in islice(records.list_datapoints_before(*unit, window.from_ms), MAX_LOOK_BACK):
            counter = (each.datapoint.quantity, each.datapoint.sensor_id)
            if counter in sought:
                found.append(_read(each))
                sought.remove(counter)
            if not sought:
                break
    return found


def _build_content(ports: RemovalPorts, command: DrawStatement, region: str) -> Content:
    window = command.window
    readings = measure(read_datapoints(ports.records, window), window.from_ms, window.until_ms)
    hours = format_hour(window.from_ms), format_hour(window.until_ms - 1)
    energies = ports.records.list_site_energy(window.host_id, *hours)
    if len(energies) > MAX_TENANTS:
        raise Conflict(f"More than {MAX_TENANTS} tenants warmed the host that day.", code="too_many_tenants")
    components = (*_list_components(ports, command, readings, region), *command.additions)
    removal = account(components)
    found = check(
        readings,
        gpu_heat_millijoules=sum(energies.values()),
        rated_mg_per_cycle=command.rated_mg_per_cycle,
    )
    return Content(components, removal, (*found, *check_chain(removal)), tuple(sorted(energies.items())))


def _list_components(
    ports: RemovalPorts, command: DrawStatement, readings: Readings, region: str
) -> list[Component]:
    captured = readings.captured
    # Below nothing is a finding; as a mass it is nothing.
    found = [
        Component("sequestration", max(0, captured.value), captured.standard_deviation, "gas flow and purity")
    ]
    used: list[tuple[str, Measured]] = []
    if readings.electricity is not None:
        used.append(("electricity of the unit", readings.electricity))
    if command.heat_pump_cop_milli is not None and readings.heat is not None:
        told = f"electricity of the heat pump at COP {command.heat_pump_cop_milli}/1000"
        used.append((told, _estimate_heat_pump(readings.heat, command.heat_pump_cop_milli)))
    annual = find_average(region)
    figures = read_hours(
        ports.grid, region, "average", {hour_ms for _, measured in used for hour_ms, _ in measured.hours}
    )
    for told, measured in used:
        parts = [(energy, figures[hour_ms] or annual) for hour_ms, energy in measured.hours] or [(0, annual)]
        rates = [(energy, _rate(figure, annual)) for energy, figure in parts]
        found.append(emit(rates, measured.standard_deviation, told))
    return found


def _estimate_heat_pump(heat: Measured, cop_milli: int) -> Measured:
    """Return the electricity by hours; the parts sum to that of the whole heat."""
    reached = given = 0
    hours = []
    for hour_ms, part in heat.hours:
        reached += part
        total = estimate_heat_pump(reached, cop_milli)
        hours.append((hour_ms, total - given))
        given = total
    return Measured(given, estimate_heat_pump(heat.standard_deviation, cop_milli), tuple(hours))


def _rate(figure: Figure, annual: Figure) -> Rate:
    return Rate(
        figure.mg_co2e_per_kwh,
        figure.method,
        figure.source,
        figure.version,
        figure.zone,
        figure.estimated,
        annual=figure == annual,
    )


def _read(kept: KeptDatapoint) -> Datapoint:
    point = kept.datapoint
    return Datapoint(
        point.sensor_id,
        point.quantity,
        point.value,
        point.standard_deviation,
        point.unit,
        point.sampled_at_ms,
        kept.received_at_ms,
    )
