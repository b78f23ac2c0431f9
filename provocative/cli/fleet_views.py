"""What operators are shown: hosts, incidents, maintenance, pools, keys."""

import json
from collections.abc import Sequence
from datetime import datetime

from provocative.cli.output import (
    Column,
    format_age,
    format_duration,
    format_instant,
    format_memory,
    format_micros,
    format_share,
    or_dash,
    print_facts,
    print_line,
    print_table,
)
from provocative.fleet_models import AuditEntry, Host, HostGpu, Incident, Plan, Pool, Window
from provocative.models import Key


def show_hosts(hosts: Sequence[Host], now: datetime) -> None:
    columns = [
        Column("HOST"),
        Column("STATE"),
        Column("FREE", right=True),
        Column("GPU TYPE"),
        Column("SEEN", rank=2, right=True),
        Column("REGION", rank=3),
        Column("CLOSED BY", rank=1, folds=True),
        Column("RELIABLE", rank=4, right=True),
        Column("FAULTS", rank=5, right=True),
        Column("AGENT", rank=6),
    ]
    rows = [
        [
            host["host_id"],
            host["state"],
            f"{host['free_gpus']}/{host['gpu_count']}",
            host["gpu_type"],
            format_age(host["last_seen_at"], now),
            host["region"],
            or_dash(_explain_closed(host)),
            format_share(host["reliability_ppm"]),
            str(host["lemon_score"]),
            host["agent_version"],
        ]
        for host in hosts
    ]
    print_table(columns, rows, empty="No hosts. Let one in: provocative enrol-token --help")


def _explain_closed(host: Host) -> str | None:
    """Return why nothing new is placed on it, or ``None``."""
    window, notice = host["maintenance"], host["notice"]
    if host["lost"] is not None:
        return f"lost: {host['lost']['reason']}"
    if host["cordoned_reason"] is not None:
        return f"cordoned: {host['cordoned_reason']}"
    if window is not None and window["closed"]:
        return f"maintenance: {window['category']}"
    if notice is not None:
        return f"provider: {notice['action']}"
    return "draining" if host["draining"] else None


def show_host(host: Host, now: datetime) -> None:
    window, notice, lost = host["maintenance"], host["notice"], host["lost"]
    seen = host["last_seen_at"]
    print_facts(
        [
            ("host", host["host_id"]),
            ("state", host["state"]),
            ("GPUs", f"{host['free_gpus']} of {host['gpu_count']} {host['gpu_type']} free"),
            ("region", host["region"]),
            ("last seen", None if seen is None else f"{format_instant(seen)} ({format_age(seen, now)} ago)"),
            ("kept for", "reservations" if host["reservable"] else None),
            ("fabric", host["fabric_id"]),
            ("cordoned", host["cordoned_reason"]),
            ("draining", "yes" if host["draining"] else None),
            ("lost", None if lost is None else f"{format_instant(lost['at'])}, {lost['reason']}"),
            (
                "maintenance",
                None
                if window is None
                else f"{window['category']}, {format_instant(window['starts_at'])} to "
                f"{format_instant(window['ends_at'])}, {window['window_id']}",
            ),
            (
                "provider",
                None
                if notice is None
                else f"{notice['kind']}: {notice['action']}, ends {format_instant(notice['ends_at'])}",
            ),
            ("reliability", f"{format_share(host['reliability_ppm'])} of 30 days"),
            ("faults", f"{host['lemon_score']} of the hardware in 30 days; at 3 it is cordoned"),
            ("incidents", None if host.get("incident_count") is None else str(host["incident_count"])),
            ("agent", host["agent_version"]),
        ]
    )
    gpus = host.get("gpus")
    if gpus:
        print_line("")
        _show_gpus(gpus)


def _show_gpus(gpus: Sequence[HostGpu]) -> None:
    columns = [
        Column("GPU"),
        Column("LEASE"),
        Column("EPOCH", rank=2, right=True),
        Column("RENTAL", rank=1),
        Column("MEMORY", rank=4, right=True),
        Column("FAULT", rank=3, folds=True),
    ]
    rows = [
        [
            gpu["gpu_uuid"],
            gpu["lease_state"],
            str(gpu["epoch"]),
            or_dash(gpu["rental_id"]),
            format_memory(gpu["memory_mib"]),
            or_dash(_describe_fault(gpu)),
        ]
        for gpu in gpus
    ]
    print_table(columns, rows, empty="")


def _describe_fault(gpu: HostGpu) -> str:
    fault = gpu["fault"]
    found = [] if fault is None else [f"Xid {fault['xid']} ({fault['xid_class']})"]
    return ", ".join([*found, *gpu["conditions"]])


def show_incidents(incidents: Sequence[Incident]) -> None:
    columns = [
        Column("AT"),
        Column("KIND"),
        Column("HOST", rank=1),
        Column("REGION", rank=3),
        Column("DETAILS", rank=2, folds=True),
        Column("INCIDENT", rank=4),
    ]
    rows = [
        [
            format_instant(each["at"]),
            each["kind"],
            or_dash(each["host_id"]),
            each["region"],
            ", ".join(f"{name}={_name(value)}" for name, value in each["details"].items()),
            each["incident_id"],
        ]
        for each in incidents
    ]
    print_table(columns, rows, empty="No incidents.")


def show_audit(entries: Sequence[AuditEntry]) -> None:
    columns = [
        Column("AT"),
        Column("ACTION"),
        Column("TARGET", rank=2),
        Column("BY", rank=1),
        Column("DETAILS", rank=3, folds=True),
        Column("ENTRY", rank=4),
    ]
    rows = [
        [
            format_instant(each["at"]),
            each["action"],
            each["target"],
            each["actor"],
            ", ".join(f"{name}={_name(value)}" for name, value in each["details"].items()),
            each["audit_id"],
        ]
        for each in entries
    ]
    print_table(columns, rows, empty="Nothing was done there, or by that key.")


def _name(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def show_windows(windows: Sequence[Window]) -> None:
    columns = [
        Column("WINDOW"),
        Column("STATE"),
        Column("STARTS"),
        Column("ENDS", rank=2),
        Column("HOST", rank=1),
        Column("CATEGORY", rank=3),
        Column("REASON", rank=4, folds=True),
    ]
    rows = [
        [
            each["window_id"],
            each["state"],
            format_instant(each["starts_at"]),
            format_instant(each["ends_at"]),
            each["host_id"],
            each["category"],
            each["reason"],
        ]
        for each in windows
    ]
    print_table(columns, rows, empty="No maintenance is announced.")


def show_window(window: Window) -> None:
    print_facts(
        [
            ("window", window["window_id"]),
            ("state", window["state"]),
            ("host", window["host_id"]),
            ("category", window["category"]),
            ("reason", window["reason"]),
            ("closes", format_instant(window["closes_at"])),
            ("starts", format_instant(window["starts_at"])),
            ("ends", format_instant(window["ends_at"])),
        ]
    )


def show_pools(pools: Sequence[Pool]) -> None:
    columns = [
        Column("GPU TYPE"),
        Column("REGION"),
        Column("HOSTS", right=True),
        Column("WARM GPUS", right=True),
        Column("IDLE FOR", rank=2, right=True),
        Column("LAUNCHES", rank=1, right=True),
        Column("MAY BUY", rank=3, folds=True),
    ]
    rows = [
        [
            pool["gpu_type"],
            pool["region"],
            f"{pool['min_hosts']}-{pool['max_hosts']}",
            str(pool["warm_gpus"]),
            format_duration(pool["scale_in_after_seconds"]),
            str(len(pool["launches"])),
            ", ".join(option["name"] for option in pool["options"]),
        ]
        for pool in pools
    ]
    print_table(columns, rows, empty="No pool scales by itself. Set one: provocative pools set --help")


def show_pool(pool: Pool) -> None:
    print_facts(
        [
            ("pool", f"{pool['gpu_type']} in {pool['region']}"),
            ("hosts", f"{pool['min_hosts']} to {pool['max_hosts']}"),
            ("warm GPUs", str(pool["warm_gpus"])),
            ("given up after", f"{format_duration(pool['scale_in_after_seconds'])} without work"),
            ("version", str(pool["version"])),
        ]
    )
    columns = [
        Column("OPTION"),
        Column("INSTANCE"),
        Column("GPUS", right=True),
        Column("ZONE"),
        Column("BOUGHT AS"),
        Column("PER HOUR", rank=1, right=True),
    ]
    options = [
        [
            option["name"],
            option["instance_type"],
            str(option["gpus_per_host"]),
            option["availability_zone"],
            option["purchase"],
            format_micros(option["list_price_micros_per_hour"]),
        ]
        for option in pool["options"]
    ]
    print_line("")
    print_table(columns, options, empty="It may buy nothing.")
    if pool["launches"]:
        print_line("")
        _show_launches(pool)


def _show_launches(pool: Pool) -> None:
    columns = [
        Column("LAUNCH"),
        Column("STATE"),
        Column("OPTION"),
        Column("INSTANCE", rank=1),
        Column("TRIES", rank=2, right=True),
        Column("LAST ERROR", rank=3, folds=True),
    ]
    rows = [
        [
            each["launch_id"],
            each["state"],
            each["option"],
            or_dash(each["instance_id"]),
            str(each["attempts"]),
            or_dash(each["last_error"]),
        ]
        for each in pool["launches"]
    ]
    print_table(columns, rows, empty="")


def show_plans(plans: Sequence[Plan]) -> None:
    columns = [
        Column("GPU TYPE"),
        Column("REGION"),
        Column("NEXT"),
        Column("WHY", folds=True),
        Column("SHORT OF", rank=1, right=True),
        Column("FREE", rank=2, right=True),
        Column("WAITING", rank=3, right=True),
        Column("HOSTS", rank=4, right=True),
    ]
    rows = [
        [
            plan["gpu_type"],
            plan["region"],
            _describe_decision(plan),
            plan["reason"],
            str(plan["shortage_gpus"]),
            str(plan["free_gpus"]),
            str(plan["waiting_tickets"]),
            str(plan["hosts"]),
        ]
        for plan in plans
    ]
    print_table(columns, rows, empty="No pool scales by itself.")


def _describe_decision(plan: Plan) -> str:
    decision = plan["decision"]
    if decision is None:
        return "nothing"
    what = decision.get("option") or decision.get("host_id") or ""
    return f"{decision['kind']} {what}".strip()


def show_keys(keys: Sequence[Key]) -> None:
    columns = [
        Column("KEY"),
        Column("LABEL", folds=True),
        Column("ROLE"),
        Column("CREATED", rank=2),
        Column("PERMISSIONS", rank=5, folds=True),
        Column("NETWORKS", rank=6, folds=True),
        Column("USED", rank=4),
        Column("EXPIRES", rank=3),
        Column("REVOKED", rank=1),
    ]
    rows = [
        [
            key["key_id"],
            key["label"],
            key["role"],
            format_instant(key["created_at"]),
            "all" if key["permissions"] is None else " ".join(key["permissions"]),
            " ".join(key["allowed_networks"]) or "-",
            format_instant(key["last_used_at"]),
            format_instant(key["expires_at"]),
            format_instant(key["revoked_at"]),
        ]
        for key in keys
    ]
    print_table(columns, rows, empty="No keys.")
