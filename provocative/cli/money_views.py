"""What is shown of money, quotas and receipts."""

from provocative.cli.output import (
    format_exact_duration,
    format_known,
    format_micros,
    format_milli,
    print_facts,
)
from provocative.models import Quota, Receipt, RegionalEmissions, Wallet

_SECONDS_PER_HOUR = 3600


def show_wallet(wallet: Wallet) -> None:
    currency = wallet["currency"]
    print_facts(
        [
            ("account", wallet["account_id"]),
            ("balance", format_micros(wallet["posted_micros"], currency)),
            ("held", format_micros(wallet["held_micros"], currency)),
            ("available", format_micros(wallet["available_micros"], currency)),
        ]
    )


def show_quota(quota: Quota) -> None:
    print_facts(
        [
            ("GPUs at once", str(quota["max"])),
            ("used", str(quota["used"])),
            ("available", str(quota["available"])),
        ]
    )


def show_receipt(receipt: Receipt) -> None:
    charge, energy, emissions = receipt["charge"], receipt["energy"], receipt["emissions"]
    currency = charge["currency"]
    unproven = charge["unproven_seconds"]
    print_facts(
        [
            ("rental", receipt["rental_id"]),
            ("label", receipt["label"]),
            ("receipt", receipt["status"]),
            ("waits for", ", ".join(receipt["missing"]) or None),
            ("state", receipt["state"]),
            ("reason", receipt["reason"]),
            ("GPUs", f"{receipt['gpu_count']}x {receipt['gpu_type']} in {receipt['region']}"),
            ("running since", format_known(receipt["running_at"])),
            ("ended", format_known(receipt["terminated_at"])),
            ("billed", format_exact_duration(charge["billed_seconds"])),
            ("not billed", f"{format_exact_duration(unproven)} without proof of life" if unproven else None),
            ("price", f"{format_micros(charge['price_micros_per_gpu_hour'], currency)} per GPU-hour"),
            ("cost", format_micros(charge["charge_micros"], currency)),
            ("energy", f"{_format_energy(energy['energy_millijoules'])}, {energy['method']}"),
            (
                "emissions",
                f"{format_milli(emissions['mg_co2e'], 'g CO2e')}, {emissions['scope']} only"
                + (", estimated" if emissions["estimated"] else ""),
            ),
            *(("intensity", _describe_intensity(each)) for each in emissions["regions"]),
        ]
    )


def _describe_intensity(emitted: RegionalEmissions) -> str:
    intensity = emitted["intensity"]
    figure = f"{intensity['value']} {intensity['unit']} in {emitted['region']}"
    return f"{figure}, {intensity['source']} {intensity['version']}"


def _format_energy(millijoules: int) -> str:
    """Return exact watt-hours to the mWh: 3,600,000 mJ are ``1 Wh``."""
    return format_milli(millijoules // _SECONDS_PER_HOUR, "Wh")
