"""Verbs of webhooks: endpoints, their secrets, and events with their deliveries."""

from collections.abc import Sequence
from typing import Annotated, cast

import typer

from provocative.cli import options
from provocative.cli.output import (
    Column,
    format_instant,
    format_known,
    or_dash,
    print_facts,
    print_line,
    print_table,
)
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import given
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.webhook_models import (
    EventType,
    NewWebhookEndpoint,
    WebhookAttempt,
    WebhookEndpoint,
    WebhookEndpointChange,
    WebhookEndpointRequest,
    WebhookEvent,
)

_Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="As webhooks shows it, whe_….")]
_Event = Annotated[str, typer.Argument(metavar="EVENT", help="As webhooks events shows it, evt_….")]
_Url = Annotated[str, typer.Argument(metavar="URL", help="https://…, in the public internet.")]
_NewUrl = Annotated[str | None, typer.Option("--url", metavar="URL", help="Send them there instead.")]
_Types = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="TYPE", help="Such as rental.failed; without it all. Repeatable."),
]
_Description = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="A note of yours.")]
_Enable = Annotated[bool | None, typer.Option("--enable/--disable", help="Switch it on or off.")]


def register(app: typer.Typer) -> None:
    nested = group(app, "webhooks", "Events to a URL of yours: endpoints, secrets, deliveries.", webhooks)
    for function in (create, show, change, remove, rotate_secret, send_test, events, event, replay):
        verb(nested, "test" if function is send_test else None)(function)


def webhooks(session: Session) -> None:
    """List the endpoints of this account."""
    session.show(session.client.webhooks.list_endpoints(), lambda body: _show_endpoints(body["items"]))


def create(
    session: Session,
    url: _Url,
    *,
    event: _Types = None,
    description: _Description = None,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Send events to a URL. The secret that signs them is shown once."""
    request: WebhookEndpointRequest = given(
        url=url, event_types=cast("list[EventType] | None", event), description=description
    )
    made = session.client.webhooks.create_endpoint(request, idempotency_key=idempotency_key)
    session.show(made, lambda body: _show_secret(session, body))


def show(session: Session, endpoint_id: _Endpoint) -> None:
    """Show one endpoint."""
    session.show(session.client.webhooks.read_endpoint(endpoint_id), _show_endpoint)


def change(
    session: Session,
    endpoint_id: _Endpoint,
    *,
    url: _NewUrl = None,
    event: _Types = None,
    description: _Description = None,
    enabled: _Enable = None,
) -> None:
    """Change an endpoint; what is not given stays."""
    wanted: WebhookEndpointChange = given(
        url=url, event_types=cast("list[EventType] | None", event), description=description, enabled=enabled
    )
    session.show(session.client.webhooks.change_endpoint(endpoint_id, wanted), _show_endpoint)


def remove(session: Session, endpoint_id: _Endpoint, *, yes: options.Yes = False) -> None:
    """Remove an endpoint; what waits for it is not sent."""
    session.confirm(f"Remove {endpoint_id}?", yes=yes)
    session.client.webhooks.remove_endpoint(endpoint_id)
    session.show(
        {"endpoint_id": endpoint_id, "removed": True}, lambda _: print_line(f"{endpoint_id} is gone.")
    )


def rotate_secret(session: Session, endpoint_id: _Endpoint, *, yes: options.Yes = False) -> None:
    """Make a new secret, shown once; the one before signs too for 24 hours."""
    session.confirm(f"Make a new secret for {endpoint_id}?", yes=yes)
    rotated = session.client.webhooks.rotate_secret(endpoint_id)
    session.show(rotated, lambda body: _show_secret(session, body))


def send_test(session: Session, endpoint_id: _Endpoint) -> None:
    """Send an event of type test, whatever the endpoint subscribes to."""
    session.show(session.client.webhooks.send_test(endpoint_id), _show_event)


def events(
    session: Session,
    *,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List the events of the last 30 days, newest first."""
    page = fetch_page(session.client.webhooks.list_events, limit=limit, cursor=cursor, everything=everything)
    show_page(session, page, _show_events)


def event(session: Session, event_id: _Event) -> None:
    """Show an event and every attempt to deliver it."""
    session.show(session.client.webhooks.read_event(event_id), _show_event)


def replay(session: Session, event_id: _Event) -> None:
    """Deliver an event again, under its own id."""
    session.show(session.client.webhooks.replay_event(event_id), _show_event)


def _show_secret(session: Session, body: NewWebhookEndpoint) -> None:
    session.say(f"{body['endpoint_id']} to {body['url']}. Its secret is shown once:")
    print_line(body["secret"])


def _show_endpoints(endpoints: Sequence[WebhookEndpoint]) -> None:
    columns = [
        Column("ENDPOINT"),
        Column("URL", folds=True),
        Column("STATE"),
        Column("EVENTS", rank=1, folds=True),
    ]
    rows = [
        [each["endpoint_id"], each["url"], _describe_state(each), ", ".join(each["event_types"]) or "all"]
        for each in endpoints
    ]
    print_table(columns, rows, empty="No endpoints. Add one: provocative webhooks create https://…")


def _describe_state(endpoint: WebhookEndpoint) -> str:
    if not endpoint["enabled"]:
        return "off"
    return "failing" if endpoint["failing_since"] is not None else "active"


def _show_endpoint(endpoint: WebhookEndpoint) -> None:
    print_facts(
        [
            ("endpoint", endpoint["endpoint_id"]),
            ("URL", endpoint["url"]),
            ("state", _describe_state(endpoint)),
            ("events", ", ".join(endpoint["event_types"]) or "all"),
            ("note", endpoint["description"] or None),
            ("made", format_instant(endpoint["created_at"])),
            ("new secret", format_known(endpoint["secret_rotated_at"])),
            ("failing since", format_known(endpoint["failing_since"])),
            ("switched off", format_known(endpoint["disabled_at"])),
        ]
    )


def _show_events(found: Sequence[WebhookEvent]) -> None:
    columns = [Column("EVENT"), Column("TYPE"), Column("DELIVERED"), Column("AT", rank=1)]
    rows = [
        [each["event_id"], each["type"], _count(each), format_instant(each["created_at"])] for each in found
    ]
    print_table(columns, rows, empty="No events in the last 30 days.")


def _count(found: WebhookEvent) -> str:
    deliveries = found["deliveries"]
    if deliveries is None:
        return "waiting"
    done = sum(each["state"] == "delivered" for each in deliveries)
    return f"{done} of {len(deliveries)}" if deliveries else "-"


def _show_event(found: WebhookEvent) -> None:
    facts: list[tuple[str, str | None]] = [
        ("event", found["event_id"]),
        ("type", found["type"]),
        ("at", format_instant(found["created_at"])),
        *((name, or_dash(value)) for name, value in sorted(found["data"].items())),
    ]
    for each in found["deliveries"] or ():
        facts.append((each["endpoint_id"], each["state"]))
        facts += [(f"  attempt {attempt['number']}", _describe(attempt)) for attempt in each["attempts"]]
        facts.append(("  next attempt", format_known(each["next_attempt_at"])))
        facts.append(("  ended because", each["reason"]))
    print_facts(facts)


def _describe(attempt: WebhookAttempt) -> str:
    began = format_instant(attempt["started_at"])
    if attempt["duration_ms"] is None:
        return f"{began}, its end is not known"
    told = [str(each) for each in (attempt["status"], attempt["error"]) if each is not None]
    return f"{began}, {' '.join(told)}, {attempt['duration_ms']} ms"
