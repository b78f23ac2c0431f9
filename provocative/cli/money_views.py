"""What is shown of money, quotas and receipts."""

from provocative.carbon_models import Embodied, MassInterval, RegionalEmissions, Sci
from provocative.cli.output import (
    Column,
    format_duration,
    format_exact_duration,
    format_instant,
    format_known,
    format_micros,
    format_milli,
    print_facts,
    print_table,
)
from provocative.models import Listing, Quota, Receipt
from provocative.money_models import Budget, Grant, LedgerEntry, LedgerProof, TopUp, Usage, Wallet

_SECONDS_PER_HOUR = 3600


def show_wallet(wallet: Wallet) -> None:
    currency, burn, left = wallet["currency"], wallet["burn_micros_per_hour"], wallet["seconds_left"]
    limit = wallet["spend_limit_micros_per_hour"]
    print_facts(
        [
            ("account", wallet["account_id"]),
            ("balance", format_micros(wallet["posted_micros"], currency)),
            ("held", format_micros(wallet["held_micros"], currency)),
            ("available", format_micros(wallet["available_micros"], currency)),
            *(("promotional", _describe_grant(each, currency)) for each in wallet["grants"]),
            ("burn", f"{format_micros(burn, currency)} an hour" if burn else None),
            ("lasts", None if left is None else format_duration(left)),
            ("alert", None if wallet["alert"] == "none" else wallet["alert"]),
            ("state", wallet["state"]),
            ("data kept until", format_known(wallet["data_kept_until"])),
            ("spend limit", None if limit is None else f"{format_micros(limit, currency)} an hour"),
        ]
    )


def show_proof(proof: LedgerProof) -> None:
    seal = proof["seal"]
    print_facts(
        [
            ("day", f"{seal['day']} (UTC)"),
            ("entry", f"{proof['version']}, {proof['hash']}"),
            ("wallets", f"{sum(part['size'] for part in seal['parts']):,}"),
            ("root", seal["root"]),
            ("root before", seal["previous_root"]),
            ("ledger", "leads to what was sealed"),
        ]
    )


def _describe_grant(grant: Grant, currency: str) -> str:
    until = "" if grant["expires_at"] is None else f" until {format_instant(grant['expires_at'])}"
    return f"{format_micros(grant['remaining_micros'], currency)}{until}"


def show_entries(entries: list[LedgerEntry]) -> None:
    columns = [
        Column("#", rank=2, right=True),
        Column("POSTED"),
        Column("KIND"),
        Column("AMOUNT", right=True),
        Column("BALANCE", rank=1, right=True),
        Column("FOR"),
    ]
    rows = [
        [
            str(each["version"]),
            format_instant(each["posted_at"]),
            each["kind"],
            format_micros(each["amount_micros"]),
            format_micros(each["balance_after_micros"]),
            str(each["details"].get("rental_id") or each["details"].get("reason") or each["journal_key"]),
        ]
        for each in entries
    ]
    print_table(columns, rows, empty="Nothing was posted yet.")


def show_usage(usage: Usage) -> None:
    grouped = usage["group_by"] != "none"
    columns = [
        Column(usage["bucket"].upper()),
        *([Column(usage["group_by"].upper())] if grouped else []),
        Column("GPU-TIME", right=True),
        Column("COST", right=True),
    ]
    rows = [
        [
            each["start"],
            *([each["group"] or "-"] if grouped else []),
            format_exact_duration(each["gpu_seconds"]),
            format_micros(each["charge_micros"], usage["currency"]),
        ]
        for each in usage["items"]
    ]
    total = format_micros(usage["total_charge_micros"], usage["currency"])
    rows.append(
        ["in all", *([""] if grouped else []), format_exact_duration(usage["total_gpu_seconds"]), total]
    )
    print_table(columns, rows, empty="Nothing was used.")


def show_top_up(top_up: TopUp) -> None:
    currency = top_up["currency"]
    print_facts(
        [
            ("top-up", top_up["top_up_id"]),
            ("amount", format_micros(top_up["amount_micros"], currency)),
            ("state", top_up["state"]),
            ("declined", top_up["failure_code"]),
            ("tax", format_micros(top_up["tax_micros"], currency) if top_up["tax_micros"] else None),
            ("refunded", format_micros(top_up["refunded_micros"]) if top_up["refunded_micros"] else None),
            ("disputed", format_micros(top_up["disputed_micros"]) if top_up["disputed_micros"] else None),
            ("pay at", top_up["checkout_url"] if top_up["state"] == "created" else None),
            ("receipt", top_up["receipt_url"]),
        ]
    )


def show_top_ups(top_ups: list[TopUp]) -> None:
    columns = [Column("TOP-UP"), Column("CREATED"), Column("AMOUNT", right=True), Column("STATE")]
    rows = [
        [
            each["top_up_id"],
            format_instant(each["created_at"]),
            format_micros(each["amount_micros"], each["currency"]),
            each["state"],
        ]
        for each in top_ups
    ]
    print_table(columns, rows, empty="Nothing was paid yet.")


def show_budget(budget: Budget) -> None:
    of = budget["scope"] if budget["scope"] == "account" else f"{budget['scope']} {budget['scope_value']}"
    print_facts(
        [
            ("budget", budget["budget_id"]),
            ("name", budget["name"]),
            ("of", of),
            ("period", budget["period_key"]),
            ("limit", format_micros(budget["limit_micros"])),
            ("spent", format_micros(budget["spent_micros"])),
            ("set aside", format_micros(budget["held_micros"])),
            ("left", format_micros(budget["remaining_micros"])),
            ("when spent", "stops its rentals" if budget["hard_stop"] else "tells only"),
            ("alerts at", ", ".join(f"{each}%" for each in budget["alert_percents"]) or None),
        ]
    )


def show_budgets(listing: Listing[Budget]) -> None:
    columns = [
        Column("BUDGET"),
        Column("NAME"),
        Column("OF"),
        Column("PERIOD"),
        Column("SPENT", right=True),
        Column("LIMIT", right=True),
        Column("STOPS"),
    ]
    rows = [
        [
            each["budget_id"],
            each["name"],
            each["scope_value"] or each["scope"],
            each["period_key"],
            format_micros(each["spent_micros"]),
            format_micros(each["limit_micros"]),
            "yes" if each["hard_stop"] else "no",
        ]
        for each in listing["items"]
    ]
    print_table(columns, rows, empty="There are no budgets.")


def show_quota(quota: Quota) -> None:
    print_facts(
        [
            ("GPUs at once", str(quota["max"])),
            ("used", str(quota["used"])),
            ("available", str(quota["available"])),
        ]
    )


def _format_embodied(embodied: Embodied | None) -> str | None:
    return None if embodied is None else f"{_format_interval(embodied['mg_co2e'])}, of {embodied['scope']}"


def _format_sci(sci: Sci | None) -> str | None:
    return None if sci is None else f"{_format_interval(sci['mg_co2e_per_gpu_hour'])} per GPU-hour"


def _format_interval(mass: MassInterval) -> str:
    low, value, high = (format_milli(mass[name], "g CO2e") for name in ("low_mg", "value_mg", "high_mg"))
    return f"{value} [{low} to {high}]"


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
            ("hardware", _format_embodied(emissions["embodied"])),
            ("SCI", _format_sci(emissions["sci"])),
            *(("intensity", _describe_intensity(each)) for each in emissions["regions"]),
        ]
    )


def _describe_intensity(emitted: RegionalEmissions) -> str:
    intensity = emitted["intensity"]
    figure = f"{intensity['value']} {intensity['unit']} in {emitted['region']}"
    told = ", estimated" if emitted["estimated"] else ""
    return f"{figure}{told}, {intensity['source']} {intensity['version']}"


def _format_energy(millijoules: int) -> str:
    """Return exact watt-hours to the mWh: 3,600,000 mJ are ``1 Wh``."""
    return format_milli(millijoules // _SECONDS_PER_HOUR, "Wh")
