"""The demonstration's outcome: checked, written as JSON, printed for people."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chalicelib.core.money import compute_charge_micros, format_micros
from infra.local.journey import Evidence

#: The issue's bound between measured and simulated energy.
ENERGY_TOLERANCE = 0.01
#: A renter sees "running" up to a poll and a call later than the cloud.
BILLED_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    held: bool
    seen: str


def build_receipt(evidence: Evidence) -> dict[str, Any]:
    """Return the flat receipt of `make demo`."""
    receipt = evidence.receipt
    charge = receipt["charge"]
    (region,) = receipt["emissions"]["regions"]
    return {
        "rental_id": receipt["rental_id"],
        "gpu_type": receipt["gpu_type"],
        "gpu_count": receipt["gpu_count"],
        "billed_seconds": charge["billed_seconds"],
        "price_micros_per_gpu_hour": charge["price_micros_per_gpu_hour"],
        "charge_micros": charge["charge_micros"],
        "ledger_sum_micros": evidence.ledger_sum_micros,
        "wallet_before_micros": evidence.wallet_before["posted_micros"],
        "wallet_after_micros": evidence.wallet_after["posted_micros"],
        "energy_millijoules": receipt["energy"]["energy_millijoules"],
        "simulated_energy_millijoules": round(evidence.simulated_energy_millijoules),
        "emissions_mg_co2e": receipt["emissions"]["mg_co2e"],
        "intensity": {**region["intensity"], "value": float(region["intensity"]["value"])},
        "telemetry": receipt["telemetry"],
        "timings_ms": evidence.timings_ms,
    }


def check_receipt(receipt: dict[str, Any], evidence: Evidence) -> list[Check]:
    """Return everything that the demonstration promises, and whether it held."""
    expected = compute_charge_micros(
        price_micros_per_gpu_hour=receipt["price_micros_per_gpu_hour"],
        gpu_count=receipt["gpu_count"],
        seconds=receipt["billed_seconds"],
    )
    measured, simulated = receipt["energy_millijoules"], receipt["simulated_energy_millijoules"]
    difference = abs(measured - simulated) / max(simulated, 1)
    spent = receipt["wallet_before_micros"] - receipt["wallet_after_micros"]
    telemetry = receipt["telemetry"]
    grams = measured / 3.6e9 * receipt["intensity"]["value"]
    stored = sum(each.energy_millijoules for each in evidence.intervals)
    held = evidence.wallet_after["held_micros"]
    return [
        Check(
            "the charge is floor(seconds x GPUs x price / 3600)",
            receipt["charge_micros"] == expected,
            f"{expected}",
        ),
        Check(
            "billed is the time that the renter saw it run",
            abs(receipt["billed_seconds"] - evidence.observed_seconds) <= BILLED_TOLERANCE_SECONDS,
            f"{receipt['billed_seconds']} s billed, {evidence.observed_seconds:.1f} s seen",
        ),
        Check(
            "the ledger sums to zero",
            receipt["ledger_sum_micros"] == 0 and evidence.receipt["charge"]["ledger_sum_micros"] == 0,
            f"{receipt['ledger_sum_micros']}",
        ),
        Check("the wallet paid exactly the charge", spent == receipt["charge_micros"], f"{spent}"),
        Check("the hold is released", held == 0, f"{held}"),
        Check(
            "no telemetry is lost, none counted twice",
            telemetry["lost"] == 0 and telemetry["stored"] == telemetry["sent"] > 0,
            f"{telemetry}",
        ),
        Check("the receipt's energy is that of the stored records", stored == measured, f"{stored} mJ"),
        Check(
            "measured energy is within 1 % of the device's truth",
            measured > 0 and difference <= ENERGY_TOLERANCE,
            f"{difference:.3%}",
        ),
        Check(
            "emissions are energy times intensity",
            abs(receipt["emissions_mg_co2e"] - grams * 1000) <= 1,
            f"{grams * 1000:.1f} mg",
        ),
    ]


def write_receipt(receipt: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(receipt, indent=2) + "\n")


def print_receipt(receipt: dict[str, Any], evidence: Evidence, checks: list[Check]) -> None:
    console = Console()
    currency = evidence.receipt["charge"]["currency"]
    table = Table(title=f"Receipt of {receipt['rental_id']}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    intensity, telemetry = receipt["intensity"], receipt["telemetry"]
    kwh = receipt["energy_millijoules"] / 3.6e9
    rows = {
        "GPUs": f"{receipt['gpu_count']} x {receipt['gpu_type']} in {evidence.receipt['region']}",
        "Time": f"{receipt['billed_seconds']} s from {evidence.receipt['running_at']}",
        "Price": f"{format_micros(receipt['price_micros_per_gpu_hour'], currency)} per GPU-hour",
        "Charge": format_micros(receipt["charge_micros"], currency),
        "Wallet": f"{format_micros(receipt['wallet_before_micros'], currency)} -> "
        f"{format_micros(receipt['wallet_after_micros'], currency)}",
        "Energy": f"{receipt['energy_millijoules'] / 1000:.3f} J ({kwh:.6f} kWh), GPUs only",
        "Emissions": f"{receipt['emissions_mg_co2e']} mg CO2e, estimated",
        "Intensity": f"{intensity['value']} {intensity['unit']}, {intensity['method']}\n"
        f"{intensity['source']}, {intensity['version']}",
        "Telemetry": f"{telemetry['stored']} of {telemetry['sent']} energy intervals stored, "
        f"{telemetry['lost']} lost, {telemetry['duplicates_dropped']} duplicates dropped",
        "Timings": ", ".join(f"{name} {value} ms" for name, value in receipt["timings_ms"].items()),
    }
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table)
    for check in checks:
        mark = "[green]held  [/green]" if check.held else "[red]BROKEN[/red]"
        console.print(f"  {mark} {check.what} [dim]({check.seen})[/dim]", highlight=False)
