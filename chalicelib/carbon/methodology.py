"""How energy and emissions are counted, drawn from the tables and constants by which they are. Pure."""

from chalicelib.carbon import (
    electricity_maps_gateway,
    embodied,
    figures,
    grid,
    hardware,
    intensity,
    model,
    policies,
    sci,
    service,
    starts,
    uk_intensity_gateway,
    watttime_gateway,
)
from chalicelib.core import units
from chalicelib.core.methodology import OWN, Cell, Column, Constant, Section, Statement, Table, name_code
from chalicelib.metering import model as metering
from chalicelib.wire import accuracy

_SPECIFICATION, _SPECIFICATION_VERSION = sci.SPECIFICATION, sci.SPECIFICATION_VERSION
_MASS = "mg CO2e"
_INTENSITY = "mg CO2e/kWh"


def list_sections() -> tuple[Section, ...]:
    return (
        _describe_energy(),
        _describe_intensity(),
        _describe_emissions(),
        _describe_overhead(),
        _describe_embodied(),
        _describe_sci(),
        _describe_reports(),
        _describe_planning(),
    )


def _describe_energy() -> Section:
    constants = {
        symbol: Constant(symbol, meaning, getattr(accuracy, symbol), unit, source, version)
        for symbol, (meaning, unit, source, version) in accuracy.ORIGINS.items()
    }

    def pick(*symbols: str) -> tuple[Constant, ...]:
        return tuple(constants[each] for each in symbols)

    statements = (
        Statement(
            "Energy of an interval, by the board's counter",
            "E = C2 - C1",
            "Intervals of a GPU touch and never overlap; they end at a steady pace and at each boundary of "
            "a lease. The true energy is within the stated bounds: the gain error of the counter and a step "
            "of it at either end, and never more than the board can draw.",
            "NVML API reference, nvmlDeviceGetTotalEnergyConsumption",
            "undated",
            ("host_agent.metering.EnergyMeter._measure", "host_agent.metering.EnergyMeter._bound"),
            pick(
                "COUNTER_STEP_MS",
                "GAIN_PERCENT",
                "PLAUSIBLE_FACTOR_PERCENT",
                "DEFAULT_POWER_LIMIT_MILLIWATTS",
            ),
        ),
        Statement(
            "Energy without a counter",
            "E = sum of (P1 + P2) / 2 * (t2 - t1)",
            "From power, averaged by the driver or sampled; without power, from the limit and utilisation. "
            "Time for which no sample speaks widens the bounds up to what the board can draw. The method is "
            "stated.",
            "trapezoidal rule",
            "undated",
            ("host_agent.metering.EnergyMeter._integrate", "host_agent.metering.EnergyMeter._model"),
            pick("AVERAGED_MS", "MAX_INTEGRATION_STEP_MS", "MODEL_IDLE_PERCENT"),
        ),
        Statement(
            "Gaps, resets and jumps",
            "C2 < C1: E = C2;  C2 - C1 > what the board can draw: E = the power integral",
            "Such an interval is marked as estimated, with the cause. What a counter had counted before its "
            "reset is not invented. An interval that was lost on the way is seen by its number, and the "
            "receipt stays provisional. A GPU that cannot be read has no reading, which is not zero.",
            OWN,
            None,
            ("host_agent.metering.EnergyMeter._measure_power", *name_code(model.list_missing)),
        ),
        Statement(
            "Instances of one board (MIG)",
            "E_i = idle * slices_i / 7 + rest * active_i * slices_i / (sum of active_j * slices_j)",
            "The parts sum to the board's energy to the millijoule, by the largest remainder. Where "
            "activity is not known, the rest goes by slices of the leased instances; what nobody leased is "
            "the platform's.",
            "NVIDIA MIG user guide; Kepler, MIG power attribution",
            "undated",
            ("host_agent.mig.split_board", "host_agent.mig.share_step"),
            pick("BOARD_SLICES", "MAX_IDLE_PERCENT", "LOOK_MS"),
        ),
        Statement(
            "Energy of an hour",
            "E_h = E * (time of the interval in h) / (time of the interval)",
            "By UTC hours; the parts of an interval sum to it.",
            OWN,
            None,
            name_code(metering.split_by_hour),
        ),
    )
    return Section("energy", "Energy", statements)


def _describe_intensity() -> Section:
    by_symbol = {each.symbol: each for each in intensity.CONSTANTS}
    limits = tuple(each for each in intensity.CONSTANTS if each.symbol != "GRAMS_PER_POUND")
    statements = (
        Statement(
            "The figure of an hour",
            "I_h = sum of (I_i * t_i) / 1 h, over the points of one series that tile the hour",
            "A measured hour of the first provider that has one, then an hour that a provider has "
            "estimated, then the annual figure of the region, which is an estimate by definition. Series "
            "are never averaged with one another, and half an hour does not stand for the other. Filters of "
            "offers and the choice of machines use the annual figure.",
            "decision 34 of this platform",
            None,
            name_code(intensity.choose_figure, intensity.average_hour, figures.read_hours),
        ),
        Statement(
            "Units of the providers",
            "g/kWh * 1000 = mg/kWh;  lb/MWh * 453.59237 = mg/kWh",
            "Exact factors; the result is rounded half up to a milligram per kilowatt-hour.",
            by_symbol["GRAMS_PER_POUND"].source,
            by_symbol["GRAMS_PER_POUND"].version,
            name_code(intensity.convert_grams, intensity.convert_pounds, intensity.round_half_up),
            (by_symbol["GRAMS_PER_POUND"],),
        ),
        Statement(
            "What is refused",
            "0 <= I <= the largest that is believed, in intervals that are whole and ended",
            "A reply of another zone, signal or unit, an empty one, or one whose newest figure is old, is "
            "refused whole; a single figure that cannot be is refused by itself. What a provider revises is "
            "stored beside what it said before.",
            "decision 34 of this platform",
            None,
            name_code(intensity.check_actuals, intensity.check_forecast, intensity.list_revised),
            limits,
        ),
    )
    return Section("intensity", "Grid intensity", statements, (_list_providers(), _list_regions()))


def _list_providers() -> Table:
    columns = ("Provider", "Signal", "Method", "Told in", "Version")
    uk, maps, watttime = uk_intensity_gateway, electricity_maps_gateway, watttime_gateway
    rows = [(uk.SOURCE, "average", uk.METHOD, uk.UNIT, uk.DATASET)]
    rows += [
        (maps.SOURCE, "average", maps.describe_method(each), maps.UNIT, maps.DATASET) for each in maps.FACTORS
    ]
    rows += [
        (watttime.SOURCE, signal, watttime.METHODS[signal], watttime.UNITS, f"{watttime.DATASET}/{name}")
        for signal, name in watttime.SIGNALS.items()
    ]
    return Table(
        "Providers of hourly figures",
        tuple(Column(each) for each in columns),
        tuple(rows),
        "the providers' own documentation",
        "undated",
        "In the order of preference, where an installation has their keys. Each figure names its own "
        "version.",
    )


def _list_regions() -> Table:
    rows: list[tuple[Cell, ...]] = []
    for region in sorted(grid.REGIONS):
        average, marginal = grid.find_annual(region, "average"), grid.find_annual(region, "marginal")
        market, pue = grid.find_annual(region, "average", "market"), grid.find_pue(region)
        assert average is not None, "each region of the table has one"
        rows.append(
            (
                region,
                average.version.rpartition("/")[2],
                None if pue is None else pue.permille,
                average.mg_co2e_per_kwh,
                None if marginal is None else marginal.mg_co2e_per_kwh,
                None if market is None else market.mg_co2e_per_kwh,
                ", ".join(dict.fromkeys(each.zone for each in grid.list_series(region, "average"))),
            )
        )
    return Table(
        "Annual figures and PUE by region",
        (
            Column("Region"),
            Column("Year"),
            Column("PUE", "permille"),
            Column("Average", _INTENSITY),
            Column("Marginal", _INTENSITY),
            Column("Market", _INTENSITY),
            Column("Zones"),
        ),
        tuple(rows),
        grid.SOURCE,
        grid.VERSION,
        f"Average: {grid.METHOD}. Marginal: {grid.MARGINAL_METHOD}. Market: {grid.MARKET_METHOD}: 0 is its "
        "claim, a blank is what nobody has said. They rank regions differently and are never mixed.",
    )


def _describe_emissions() -> Section:
    statements = (
        Statement(
            "Emissions of a rental",
            "O = sum over hours of E_h * I_h",
            "Location-based average, each hour's energy with that hour's own figure. Rounded once a region, "
            "half up; an hour's or a source's part is what it adds in the order of time, so parts sum to "
            "the whole. Figures that come later state it anew, from the same energy.",
            _SPECIFICATION,
            _SPECIFICATION_VERSION,
            name_code(model.compute_emissions, units.split_emissions_mg, units.compute_emissions_mg),
            units.CONSTANTS,
        ),
        Statement(
            "What stands beside it",
            "marginal, market-based, overhead: lines of their own",
            "Computed by the same formula, never added to the headline and never netted. A sum of which an "
            "hour has no figure is not stated at all.",
            "GHG Protocol Scope 2 guidance",
            "2015",
            name_code(model.compute_regional),
        ),
    )
    return Section("emissions", "Emissions", statements)


def _describe_overhead() -> Section:
    statement = Statement(
        "Overhead of the site",
        "overhead = E * (PUE - 1), at the hours' average intensity",
        "Annual PUE of the region, rounded once, half up. Reuse of heat is no part of the data centre "
        "(ISO/IEC 30134-6): electricity of a capture unit is deducted from its removals and stands in no "
        "tenant's overhead. Where the source has no PUE there is no line, and no value is assumed.",
        "ISO/IEC 30134-2; values: " + grid.SOURCE,
        grid.VERSION,
        ("chalicelib.carbon.model._compute_overhead",),
    )
    rows = tuple(
        (name, power.milliwatts, power.source, power.version) for name, power in hardware.list_node_powers()
    )
    nodes = Table(
        "Servers around the GPUs",
        (Column("GPU"), Column("Of each GPU", "mW"), Column("Source"), Column("Version")),
        rows,
        "boaviztapi",
        "2.5.0",
        "A row stands for every GPU whose name begins so.",
    )
    return Section("pue", "Servers and site", (statement, _describe_nodes()), (nodes,))


def _describe_nodes() -> Statement:
    return Statement(
        "Servers around the GPUs, in reports",
        "E_node = P_node * covered time;  overhead = (E + E_node) * (PUE - 1)",
        "Processors, memory, disks and fans, which no meter of ours sees: a model, in a line of its own, by "
        "the reserved GPUs. Where no figure is published the line says of how much it is not known. "
        "Receipts of single rentals have no such line, and their overhead is of the GPUs alone.",
        "boaviztapi, AWS p5.48xlarge; its figure has no use of GPUs in it",
        "2.5.0",
        (*name_code(hardware.find_node_power), "chalicelib.reporting.rows._Counter.count"),
    )


def _describe_reports() -> Section:
    statements = (
        Statement(
            "Rows, groups, days and months",
            "a month is the sum of its days, a day of its groups, a group of its rows",
            "A row is an hour of a stay on a host. Masses are rounded once over a region's rows of a day, "
            "half up, in their order. Anything else that is known later makes another version.",
            OWN,
            None,
            ("chalicelib.reporting.rows._Counter._share", "chalicelib.reporting.model.combine"),
        ),
        Statement(
            "Gaps",
            "gap = max(0, GPU time by proofs of life - time covered by readings);  at most P_limit * gap",
            "A gap adds nothing to the energy and is told beside it, with the most that it can hide by the "
            "power limit of the board.",
            OWN,
            None,
            ("chalicelib.reporting.rolling.expect",),
        ),
        Statement(
            "What it is like",
            "km = O / 248.548 g;  homes = E / (10,791 kWh / 365)",
            "For people; no other figure is made from it.",
            "US EPA-420-F-23-014: 400 g a mile; US EIA: average residential customer of 2022",
            "2023",
            ("chalicelib.reporting.comparisons.compare",),
        ),
    )
    return Section("reports", "Reports", statements)


def _describe_embodied() -> Section:
    statement = Statement(
        "Share of making the hardware",
        "M = TE * (TiR / EL) * (RR / ToR)",
        "TE by GPU model as below, TiR the proven seconds of the rental, EL the life, RR / ToR one GPU of "
        "one. The low bound is rounded down, the value half up, the high bound up. A GPU that the table "
        "lacks has no share: nothing is guessed.",
        _SPECIFICATION,
        _SPECIFICATION_VERSION,
        name_code(embodied.amortise, service.compute_footprint, metering.extend),
        (*embodied.CONSTANTS, *metering.CONSTANTS),
    )
    rows = [
        (
            each.model,
            each.scope,
            each.total.low_mg,
            each.total.value_mg,
            each.total.high_mg,
            each.source,
            each.version,
        )
        for each in embodied.list_embodied()
    ]
    table = Table(
        "Embodied emissions by GPU",
        (
            Column("Model"),
            Column("Scope"),
            Column("Low", _MASS),
            Column("Value", _MASS),
            Column("High", _MASS),
            Column("Source"),
            Column("Version"),
        ),
        tuple(rows),
        "boaviztapi",
        "2.5.0",
        "server: one GPU's part of a whole server; board: the board alone. A smaller scope is no smaller "
        "footprint. A row stands for every GPU whose name begins so.",
    )
    return Section("embodied", "Embodied emissions", (statement,), (table,))


def _describe_sci() -> Section:
    statement = Statement(
        "Software carbon intensity",
        "SCI = (O + M) / R",
        "O is the location-based average with the site's overhead, M the embodied share with its interval, "
        "R the GPU-hours. Offsets, removals, certificates and contracts for power may not lower it: nothing "
        "here takes any.",
        _SPECIFICATION,
        _SPECIFICATION_VERSION,
        (*name_code(sci.compute_sci), "chalicelib.carbon.sci.Sci"),
        sci.CONSTANTS,
    )
    return Section("sci", "SCI score", (statement,))


def _describe_planning() -> Section:
    source = "Wiesner et al., Let's Wait Awhile, Middleware '21"
    statements = (
        Statement(
            "The best start",
            "the start s that has the least sum of I_f(t) dt from s to s + duration",
            "By the forecast as it is known, from the earliest start to the deadline, in each region that "
            "is allowed; equal choices go to the earliest, then the price. Work that may pause runs in the "
            "lowest slots, or below a bound.",
            source,
            "2021",
            name_code(
                starts.find_best_starts,
                policies.plan_window,
                policies.plan_interrupting,
                policies.plan_threshold,
            ),
        ),
        Statement(
            "What it saves",
            "saving = (I_immediate - I_planned) * E",
            "Mean intensities while it runs, against a start at once at home; it may be negative.",
            source,
            "2021",
            (*name_code(starts.measure_saving), "chalicelib.carbon.starts.Saving"),
        ),
    )
    return Section("planning", "Choice of time and place", statements)
