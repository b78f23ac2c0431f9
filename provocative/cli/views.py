"""What renters are shown: rentals, offers, templates, reservations, money."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from provocative.carbon_models import BestStarts, IntensityPoint
from provocative.cli.flexible import list_plan
from provocative.cli.output import (
    Column,
    format_age,
    format_duration,
    format_exact_duration,
    format_instant,
    format_known,
    format_memory,
    format_micros,
    format_milli,
    format_share,
    or_dash,
    print_facts,
    print_line,
    print_table,
)
from provocative.models import (
    Availability,
    Cluster,
    Offer,
    PriceHistory,
    Rental,
    Reservation,
    Template,
)


def show_offers(offers: Sequence[Offer]) -> None:
    columns = [
        Column("GPU TYPE"),
        Column("REGION"),
        Column("CLASS"),
        Column("PER GPU-HOUR", right=True),
        Column("NOW"),
        Column("FREE", rank=2, right=True),
        Column("BLOCK", rank=3, right=True),
        Column("MEMORY", rank=4, right=True),
        Column("LINK", rank=6),
        Column("RELIABLE", rank=5, right=True),
        Column("G/KWH", rank=7, right=True),
        Column("WHY NOT", rank=1),
    ]
    rows = [
        [
            offer["gpu_type"],
            offer["region"],
            offer["billing_class"],
            format_micros(offer["price_micros_per_gpu_hour"], offer["currency"]),
            offer["availability"],
            str(offer["free_gpus"]),
            str(offer["largest_block_gpus"]),
            format_memory(offer["memory_mib"]),
            offer["interconnect"],
            format_share(offer["reliability_ppm"]),
            format_milli(offer["intensity_mg_per_kwh"], "").strip(),
            ", ".join(offer["why_not"]),
        ]
        for offer in offers
    ]
    print_table(columns, rows, empty="Nothing that is sold matches.")
    for offer in offers:
        announced = offer["next_price"]
        if announced is not None:
            price = format_micros(announced["price_micros_per_gpu_hour"], offer["currency"])
            where = f"{offer['gpu_type']} in {offer['region']}, {offer['billing_class']}"
            print_line(f"Announced: {where}: {price} from {format_instant(announced['effective_from'])}")


def show_history(history: PriceHistory) -> None:
    columns = [
        Column("FROM"),
        Column("PER GPU-HOUR", right=True),
        Column("SET"),
        Column("BY"),
        Column("VERSION", rank=1, right=True),
    ]
    rows = [
        [
            format_instant(each["effective_from"]),
            format_micros(each["price_micros_per_gpu_hour"], history["currency"]),
            format_instant(each["set_at"]),
            each["origin"],
            str(each["version"]),
        ]
        for each in history["items"]
    ]
    print_table(columns, rows, empty="No price was set in that time.")


def show_starts(found: BestStarts) -> None:
    columns = [
        Column("REGION"),
        Column("START"),
        Column("END", rank=2),
        Column("G/KWH", right=True),
        Column("AT ONCE", right=True),
        Column("SAVES", right=True),
        Column("WHY", rank=1),
    ]
    rows = [
        [
            each["region"],
            format_instant(each["starts_at"]),
            format_instant(each["ends_at"]),
            each["value"],
            each["immediate_value"],
            f"{each['saved_ppm'] / 10_000:.1f} %",
            each["why"],
        ]
        for each in found["items"]
    ]
    print_table(columns, rows, empty="Nowhere: see why below.")
    for region, reason in sorted(found["excluded"].items()):
        print_line(f"not in {region}: {reason}")


def show_points(points: Sequence[IntensityPoint]) -> None:
    columns = [
        Column("FROM"),
        Column("UNTIL", rank=2),
        Column("G/KWH", right=True),
        Column("ESTIMATED"),
        Column("ZONE"),
        Column("SOURCE"),
        Column("VERSION", rank=1),
    ]
    rows = [
        [
            format_instant(each["valid_from"]),
            format_instant(each["valid_until"]),
            each["value"],
            "yes" if each["estimated"] else "no",
            each["zone"],
            each["source"],
            each["version"],
        ]
        for each in points
    ]
    print_table(columns, rows, empty="Nothing is known of that time; annual figures stand in.")


def show_rentals(rentals: Sequence[Rental], now: datetime) -> None:
    columns = [
        Column("RENTAL"),
        Column("STATE"),
        Column("GPUS"),
        Column("COST", right=True),
        Column("AGE", rank=2, right=True),
        Column("LABEL", rank=1),
        Column("WHY", rank=3),
        Column("REGION", rank=4),
        Column("CLASS", rank=5),
        Column("PER GPU-HOUR", rank=6, right=True),
    ]
    rows = [
        [
            rental["rental_id"],
            rental["state"],
            f"{rental['gpu_count']}x {rental['gpu_type']}",
            format_micros(rental["charge_micros"], rental["currency"]),
            format_age(rental["created_at"], now),
            or_dash(rental["label"]),
            _explain(rental),
            rental["region"],
            rental["billing_class"],
            format_micros(rental["price_micros_per_gpu_hour"]),
        ]
        for rental in rentals
    ]
    print_table(columns, rows, empty="No rentals. Start one: provocative rent --help")


def show_started(body: Rental | Cluster, now: datetime) -> None:
    if "items" in body:
        cluster = cast("Cluster", body)
        print_line(f"Cluster {cluster['cluster_id']}")
        show_rentals(cluster["items"], now)
    else:
        show_rental(body, now)


def show_rental(rental: Rental, now: datetime) -> None:
    currency = rental["currency"]
    price = format_micros(rental["price_micros_per_gpu_hour"], currency)
    cap = rental["max_price_micros_per_gpu_hour"]
    line = rental["line"]
    print_facts(
        [
            ("rental", rental["rental_id"]),
            ("label", rental["label"]),
            ("state", rental["state"]),
            ("reason", rental["reason"]),
            ("in line", None if line is None else describe_line(rental)),
            ("health", rental["health"]),
            ("GPUs", f"{rental['gpu_count']}x {rental['gpu_type']} ({rental['billing_class']})"),
            ("region", rental["region"]),
            ("host", rental["host_id"]),
            ("cluster", rental["cluster_id"]),
            ("reservation", rental["reservation_id"]),
            ("price", f"{price} per GPU-hour" + ("" if cap is None else f", at most {format_micros(cap)}")),
            ("billed", f"{format_exact_duration(rental['billed_seconds'])} ({rental['billing_state']})"),
            ("cost", format_micros(rental["charge_micros"], currency)),
            (
                "created",
                f"{format_instant(rental['created_at'])} ({format_age(rental['created_at'], now)} ago)",
            ),
            ("running since", format_known(rental["running_at"])),
            ("ended", format_known(rental["terminated_at"])),
            ("locked", "yes" if rental["locked"] else None),
            *_list_policies(rental),
            *list_plan(rental),
            *_list_notices(rental),
            *(("endpoint", _describe_endpoint(each)) for each in rental["endpoints"]),
            ("you may", _list_actions(rental)),
        ]
    )


def describe_line(rental: Rental) -> str:
    """Return where a rental stands: ``3rd place, about 12m, no_capacity``."""
    line = rental["line"]
    assert line is not None
    place = "" if line["position"] is None else f"place {line['position']}, "
    wait = line["estimated_wait_seconds"]
    about = "" if wait is None else f"about {format_duration(wait)} to go, "
    return f"{place}{about}{line['why']}"


def _explain(rental: Rental) -> str:
    if rental["line"] is not None:
        return rental["line"]["why"]
    return or_dash(rental["reason"])


def _describe_endpoint(endpoint: object) -> str:
    each = cast("dict[str, object]", endpoint)
    return f"{each['address']}:{each['host_port']} -> {each['container_port']}/{each['protocol']}"


def _list_policies(rental: Rental) -> list[tuple[str, str | None]]:
    policies = rental["policies"]
    idle, duration = policies["idle_policy"], policies["max_duration_seconds"]
    return [
        ("ends after", None if duration is None else format_duration(duration)),
        (
            "when idle",
            None
            if idle is None
            else f"{idle.get('action')} after {format_duration(int(idle['idle_seconds']))} "
            f"at or below {idle.get('max_utilization_percent')} %",
        ),
        ("starts at", format_known(policies["start_at"])),
        ("stops at", format_known(policies["stop_at"])),
        ("deadline", format_known(rental["deadline_at"])),
    ]


def _list_notices(rental: Rental) -> list[tuple[str, str | None]]:
    end, cut = rental["planned_end"], rental["interruption"]
    until = None if cut is None else cut["ends_at"]
    return [
        ("will end", None if end is None else f"{format_instant(end['ends_at'])}, {end['reason']}"),
        (
            "interruption",
            None if cut is None else f"{cut['reason']}; save your work before {format_instant(until)}",
        ),
        ("volume lost", format_known(rental["volume_lost_at"])),
        ("data kept until", format_known(rental["data_kept_until"])),
        *(("warning", f"{each['count']}x {each['text']}") for each in rental["warnings"]),
    ]


def _list_actions(rental: Rental) -> str:
    named = rental["actions"].items()
    return ", ".join(name for name, state in named if state["available"]) or "-"


def show_template(template: Template) -> None:
    volume = template["volume"]
    print_facts(
        [
            ("template", template["template_id"]),
            ("name", template["name"]),
            ("visibility", template["visibility"]),
            ("GPUs", f"{template['gpu_count'] or 'any number'} of {template['gpu_type'] or 'any type'}"),
            ("image", template["image"]),
            ("command", " ".join(template["command"]) or None),
            *(("env", f"{name}={value}") for name, value in template["env"].items()),
            *(("port", f"{each['container_port']}/{each['protocol']}") for each in template["ports"]),
            *(("SSH key", each) for each in template["ssh_public_keys"]),
            ("volume", None if volume is None else f"{volume['size_gib']}GiB at {volume['mount_path']}"),
            ("version", str(template["version"])),
            ("changed", format_instant(template["updated_at"])),
        ]
    )


def show_templates(templates: Sequence[Template]) -> None:
    columns = [
        Column("TEMPLATE"),
        Column("NAME", folds=True),
        Column("SEEN BY", rank=2),
        Column("IMAGE", rank=1, folds=True),
        Column("GPU TYPE", rank=3),
    ]
    rows = [
        [
            each["template_id"],
            each["name"],
            each["visibility"],
            or_dash(each["image"]),
            or_dash(each["gpu_type"]),
        ]
        for each in templates
    ]
    print_table(columns, rows, empty="No templates. Keep one: provocative templates create --help")


def show_reservation(reservation: Reservation) -> None:
    currency, nodes = reservation["currency"], reservation["node_count"]
    fee = reservation["cancel_fee_micros"]
    print_facts(
        [
            ("reservation", reservation["reservation_id"]),
            ("label", reservation["label"]),
            ("state", reservation["state"]),
            (
                "GPUs",
                f"{reservation['gpu_count']}x {reservation['gpu_type']}"
                + (f" on each of {nodes} hosts" if nodes > 1 else ""),
            ),
            ("region", reservation["region"]),
            ("from", format_instant(reservation["starts_at"])),
            ("to", format_instant(reservation["ends_at"])),
            ("price", f"{format_micros(reservation['price_micros_per_gpu_hour'], currency)} per GPU-hour"),
            *(
                ("in use", f"{each['used_gpus']} of {each['gpu_count']} on {each['host_id']}")
                for each in reservation["bookings"]
            ),
            ("cancelled", format_known(reservation["cancelled_at"])),
            ("fee", None if fee is None else format_micros(fee, currency)),
            ("deposit", format_micros(reservation["deposit_micros"], currency)),
            ("broken", format_known(reservation["broken_at"])),
        ]
    )


def show_reservations(reservations: Sequence[Reservation]) -> None:
    columns = [
        Column("RESERVATION"),
        Column("STATE"),
        Column("GPUS"),
        Column("FROM", rank=1),
        Column("TO", rank=2),
        Column("REGION", rank=3),
        Column("LABEL", rank=4),
    ]
    rows = [
        [
            each["reservation_id"],
            each["state"],
            f"{each['gpu_count'] * each['node_count']}x {each['gpu_type']}",
            format_instant(each["starts_at"]),
            format_instant(each["ends_at"]),
            each["region"],
            or_dash(each["label"]),
        ]
        for each in reservations
    ]
    print_table(columns, rows, empty="No reservations. Book one: provocative reservations create --help")


def show_availability(availability: Availability) -> None:
    columns = [Column("HOUR FROM"), Column("GPUS ON ONE HOST", right=True)]
    rows = [[format_instant(each["starts_at"]), str(each["largest_gpus"])] for each in availability["items"]]
    print_table(columns, rows, empty="No hours in that time.")
    price = format_micros(availability["price_micros_per_gpu_hour"], availability["currency"])
    fits = "It would fit now" if availability["fits"] else "It would not fit"
    print_line(f"{fits}; {price} per GPU-hour.")
