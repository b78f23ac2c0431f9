"""The routes of webhooks, as a renter and nobody else sees them."""

import json

import pytest
import stripe

from chalicelib.webhooks import functions
from chalicelib.webhooks.model import EVENT_TYPES, SIGNATURE_HEADER
from tests.factories import add_renter
from tests.fakes.events import TICK
from tests.fakes.metrics import read_metrics
from tests.fakes.wiring import rewire
from tests.unit.platform import Platform

ENDPOINTS = "/v1/webhook-endpoints"
ONE = f"{ENDPOINTS}/{{endpoint_id}}"
URL = "https://hooks.example.com/in"


class Renting(Platform):
    """Asks as the renter; ``stream`` is what the events' table tells of its rows now."""

    def ask(self, route, body=None, *, role="renter", **given):
        return super().ask(route, body, role=role, **given)

    def add(self, **body):
        status, made = self.ask(f"POST {ENDPOINTS}", {"url": URL, **body})
        assert status == 201, made
        return made

    def stream(self):
        records = [
            {
                "eventName": "INSERT",
                "eventSourceARN": "arn",
                "dynamodb": {
                    "SequenceNumber": "1",
                    "NewImage": {
                        "pk": {"S": f"ACCOUNT#{event.account_id}"},
                        "sk": {"S": f"EVENT#{event.event_id}"},
                        **({} if event.due_at_ms is None else {"due_at_ms": {"N": str(event.due_at_ms)}}),
                    },
                },
            }
            for event in self.cloud.webhook_store.events
        ]
        removed = {"eventName": "REMOVE", "dynamodb": {"SequenceNumber": "2"}}
        endpoints = {"pk": {"S": "ACCOUNT#a"}, "sk": {"S": "ENDPOINTS"}, "version": {"N": "1"}}
        changed = {"eventName": "MODIFY", "dynamodb": {"SequenceNumber": "3", "NewImage": endpoints}}
        return functions.on_event_recorded({"Records": [*records, removed, changed]}, None)


@pytest.fixture
def platform(monkeypatch):
    renting = Renting(monkeypatch)
    # Of the credit that everybody begins with.
    renting.cloud.db.table("events").clear()
    return renting


def test_the_life_of_an_endpoint(platform):
    made = platform.add(event_types=["rental.failed"], description="pager")
    endpoint_id = made["endpoint_id"]
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert platform.ask(f"GET {ENDPOINTS}") == (200, {"items": [shown]})
    assert platform.ask(f"GET {ONE}", endpoint_id=endpoint_id) == (200, shown)
    status, changed = platform.ask(
        f"PATCH {ONE}", {"event_types": [], "enabled": False}, endpoint_id=endpoint_id
    )
    assert (status, changed) == (200, shown | {"event_types": [], "enabled": False})
    status, rotated = platform.ask(f"POST {ONE}/rotate-secret", endpoint_id=endpoint_id)
    assert (status, rotated["secret"] != made["secret"]) == (200, True)
    assert platform.ask(f"DELETE {ONE}", endpoint_id=endpoint_id)[0] == 204
    assert platform.ask(f"GET {ONE}", endpoint_id=endpoint_id)[0] == 404
    assert [entry.action for entry in platform.cloud.audit.entries][-4:] == [
        "webhook_endpoint.created",
        "webhook_endpoint.changed",
        "webhook_endpoint.secret_rotated",
        "webhook_endpoint.removed",
    ]


def test_a_test_event_arrives_signed_and_is_shown_with_its_attempt(platform):
    made = platform.add()
    status, sent = platform.ask(f"POST {ONE}/test", endpoint_id=made["endpoint_id"])
    assert (status, sent["type"], sent["deliveries"]) == (202, "test", None)
    assert platform.stream() == {"batchItemFailures": []}
    ((url, body, headers),) = platform.cloud.sender.posted
    assert url == URL
    assert stripe.WebhookSignature.verify_header(body.decode(), headers[SIGNATURE_HEADER], made["secret"])
    assert json.loads(body)["id"] == sent["event_id"]
    path = "/v1/webhook-events/{event_id}"
    status, seen = platform.ask(f"GET {path}", event_id=sent["event_id"])
    (delivery,) = seen["deliveries"]
    assert (status, delivery["state"], delivery["attempts"][0]["status"]) == (200, "delivered", 200)
    status, again = platform.ask(f"POST {path}/replay", event_id=sent["event_id"])
    assert (status, again["deliveries"][0]["state"]) == (202, "pending")
    platform.stream()
    assert len(platform.cloud.sender.posted) == 2


def test_events_are_listed_newest_first_page_by_page(platform):
    endpoint_id = platform.add()["endpoint_id"]
    sent = []
    for _ in range(5):
        platform.cloud.clock.advance_seconds(1)
        sent.append(platform.ask(f"POST {ONE}/test", endpoint_id=endpoint_id)[1]["event_id"])
    platform.stream()
    platform.cloud.clock.advance_seconds(1)
    platform.ask("POST /v1/webhook-events/{event_id}/replay", event_id=sent[-1])
    platform.stream()
    newest = platform.ask("GET /v1/webhook-events", query={"limit": "1"})[1]["items"][0]
    assert [each["number"] for each in newest["deliveries"][0]["attempts"]] == [2]
    found, query = [], {"limit": "2"}
    while True:
        status, page = platform.ask("GET /v1/webhook-events", query=query)
        assert status == 200
        found += [each["event_id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == sent[::-1]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": URL, "event_types": ["rental.nothing"]},
        {"url": URL, "event_types": ["test"] * (len(EVENT_TYPES) + 1)},
        {"url": URL, "generation": 2},
        {"url": "http://hooks.example.com"},
        {"url": "https://169.254.169.254/latest/meta-data/"},
        {"url": 7},
        {"url": URL, "description": "x" * 201},
    ],
)
def test_what_cannot_be_an_endpoint_is_refused(platform, body):
    assert platform.ask(f"POST {ENDPOINTS}", body)[0] == 400
    assert platform.cloud.webhook_store.get_endpoints(platform.seeded.renter.account_id).items == ()


def test_another_accounts_endpoints_and_events_are_not_there(platform):
    endpoint_id = platform.add()["endpoint_id"]
    event_id = platform.ask(f"POST {ONE}/test", endpoint_id=endpoint_id)[1]["event_id"]
    platform.principals["other"] = add_renter(platform.seeded, name="other", credit_micros=0)
    for route, given in (
        (f"GET {ONE}", {"endpoint_id": endpoint_id}),
        (f"DELETE {ONE}", {"endpoint_id": endpoint_id}),
        (f"POST {ONE}/test", {"endpoint_id": endpoint_id}),
        (f"POST {ONE}/rotate-secret", {"endpoint_id": endpoint_id}),
        ("GET /v1/webhook-events/{event_id}", {"event_id": event_id}),
        ("POST /v1/webhook-events/{event_id}/replay", {"event_id": event_id}),
    ):
        assert platform.ask(route, role="other", **given)[0] == 404, route
    assert platform.ask("GET /v1/webhook-events", role="other")[1]["items"] == []
    assert platform.ask(f"GET {ENDPOINTS}", role="operator")[0] == 403


def test_the_minutes_sweep_delivers_what_the_stream_has_lost_and_says_how_late_it_is(
    platform, monkeypatch, capsys
):
    class Settings:
        stage = "unit"

    rewire(monkeypatch, settings=Settings)
    endpoint_id = platform.add()["endpoint_id"]
    platform.ask(f"POST {ONE}/test", endpoint_id=endpoint_id)
    platform.cloud.clock.advance_seconds(90)
    functions.deliver_due_events(TICK, None)
    assert len(platform.cloud.sender.posted) == 1
    assert read_metrics(capsys) == {"oldest_webhook_overdue_seconds": 0}
