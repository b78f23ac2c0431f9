"""How carbon reports look on a terminal."""

from provocative.carbon_models import GpuHours
from provocative.cli.output import Column, format_instant, print_facts, print_line, print_table
from provocative.report_models import CarbonReport, ReportHead, ReportSum

_MG_PER_KG = 1_000_000
_MILLIJOULES_PER_KWH = 3_600_000_000
_MS_PER_HOUR = 3_600_000


def show_heads(heads: list[ReportHead]) -> None:
    columns = [
        Column("PERIOD"),
        Column("VERSION", right=True),
        Column("MADE"),
        Column("ENERGY", right=True),
        Column("CO2E BY LOCATION", right=True),
        Column("ESTIMATED"),
    ]
    rows = [
        [
            each["period"],
            str(each["version"]),
            format_instant(each["created_at"]),
            _energy(each["energy_millijoules"]),
            _mass(each["operational_mg_co2e"]),
            "yes" if each["estimated"] else "no",
        ]
        for each in heads
    ]
    print_table(columns, rows, empty="No day is over since the first rental.")


def show_report(found: CarbonReport) -> None:
    head, total, embodied = found["report"], found["total"], found["total"]["embodied"]
    print_facts(
        [
            ("report", f"{head['period']} (UTC), version {head['version']}"),
            ("of", found["owner"].replace(":", " ")),
            ("estimated", "yes, in part" if head["estimated"] else "no"),
            ("energy of the GPUs", _energy(total["energy_millijoules"])),
            ("GPU-hours", f"{total['covered_gpu_ms'] / _MS_PER_HOUR:,.2f}"),
            ("without a reading", _gap(total)),
            ("1. by location", _mass(head["operational_mg_co2e"])),
            ("   GPUs", _mass(total["location_average_mg_co2e"])),
            ("   servers (model)", _known(total["node_mg_co2e"], total["node_unknown_gpu_ms"])),
            ("   overhead (PUE)", _known(total["overhead_mg_co2e"], total["overhead_unknown_millijoules"])),
            ("   making (not in it)", _known(embodied["mg_co2e"], total["embodied_unknown_gpu_ms"])),
            ("   at least, at most", f"{_mass(embodied['low_mg_co2e'])}, {_mass(embodied['high_mg_co2e'])}"),
            ("2. by market", _mass(total["market_mg_co2e"])),
            ("   marginal", _mass(total["location_marginal_mg_co2e"])),
            ("3. removals", None if found["removals"] else "none"),
            *((f"   {each['state']}", _mass(each["mass_mg_co2e"])) for each in found["removals"]),
        ]
    )
    columns = [
        Column("LABEL"),
        Column("GPU"),
        Column("REGION"),
        Column("ENERGY", right=True),
        Column("CO2E OF GPUS", right=True),
    ]
    rows = [
        [
            each["label"] or each["user"] or "-",
            each["gpu_type"],
            each["region"],
            _energy(each["total"]["energy_millijoules"]),
            _mass(each["total"]["location_average_mg_co2e"]),
        ]
        for each in found["groups"]
    ]
    print_table(columns, rows, empty="Nothing ran.")
    print_line("The three are never netted; only what is final is verified.")


def show_gpu_hours(found: GpuHours) -> None:
    columns = [
        Column("HOUR"),
        Column("GPU"),
        Column("ENERGY", right=True),
        Column("ESTIMATED", right=True),
        Column("INTERVALS", right=True),
    ]
    rows = [
        [
            each["hour"][11:],
            each["gpu_uuid"],
            _energy(each["energy_millijoules"]),
            _energy(each["estimated_millijoules"]),
            str(each["intervals"]),
        ]
        for each in found["items"]
    ]
    print_table(columns, rows, empty=f"No energy has come of {found['day']}.")


def _mass(mass_mg: int | None) -> str:
    return "-" if mass_mg is None else f"{mass_mg / _MG_PER_KG:,.3f} kg"


def _known(mass_mg: int, unknown: int) -> str:
    return f"{_mass(mass_mg)}, not stated for all of it" if unknown else _mass(mass_mg)


def _energy(millijoules: int) -> str:
    return f"{millijoules / _MILLIJOULES_PER_KWH:,.3f} kWh"


def _gap(total: ReportSum) -> str | None:
    if not total["gap_gpu_ms"]:
        return None
    most = total["gap_at_most_millijoules"]
    hidden = "unknown energy" if most is None else f"at most {_energy(most)}"
    return f"{total['gap_gpu_ms'] / _MS_PER_HOUR:,.2f} GPU-hours, {hidden}"
