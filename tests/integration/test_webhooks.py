"""Webhooks on the embedded cloud: deployed stream, functions, rights and store, to a receiver on loopback."""

import json
import socket
from collections.abc import Iterator

import pytest
import stripe

from chalicelib import wiring
from chalicelib.webhooks.dispatch import deliver
from chalicelib.webhooks.model import EVENT_TYPES, Event
from chalicelib.webhooks.service import (
    EndpointChange,
    EndpointRequest,
    change_endpoint,
    create_endpoint,
    get_event,
    remove_endpoint,
    replay_event,
    rotate_secret,
    send_test,
)
from infra.local.cloud import EmbeddedCloud
from tests.integration.fleet_setup import add_renter, become_operator
from tests.integration.in_process import wire_to
from tests.integration.test_incidents import build_machine, start
from tests.integration.waiting import wait_for
from tests.unit.webhooks.receivers import Receiver, receive

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def read_posts(receiver: Receiver) -> list[tuple[dict[str, str], str]]:
    """Return headers and body of each request."""
    posts = []
    for request in list(receiver.requests):
        head, _, body = request.decode().partition("\r\n\r\n")
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:])
        posts.append((dict(lines), body))
    return posts


def ask_for(url: str, key: str) -> EndpointRequest:
    # Not of money: the credit that a renter begins with may be told of just now.
    wanted = frozenset(each for each in EVENT_TYPES if each.startswith(("rental.", "test")))
    return EndpointRequest(
        url, wanted, "", key, key, lambda endpoint: endpoint.endpoint_id, lambda body: body
    )


def test_a_rentals_event_arrives_signed_by_the_stream_and_is_written_down(
    cloud: EmbeddedCloud, wired: None
) -> None:
    operator = become_operator()
    machine = build_machine(cloud, operator, "hooked", 1)
    renter = add_renter(operator)
    ports = wiring.webhook_ports()
    with receive(OK) as receiver:
        created = create_endpoint(ports, renter, ask_for(receiver.url(), "endpoint"))
        assert create_endpoint(ports, renter, ask_for(receiver.url(), "endpoint")).replayed
        # Its heartbeat comes twice, to the deployed function, which may put events and do no more with them.
        rental = start(machine, renter, "hooked", "rental")
        ((headers, body),) = wait_for(lambda: read_posts(receiver), bool)
        told = json.loads(body)
        assert (told["type"], told["data"]["rental_id"]) == ("rental.running", rental.rental_id)
        assert headers["Provocative-Event-Id"] == told["id"]
        signature = headers["Provocative-Signature"]
        assert stripe.WebhookSignature.verify_header(body, signature, created.secret, tolerance=300)

        def read() -> Event:
            return get_event(ports, renter, told["id"])

        settled = wait_for(read, lambda event: event.due_at_ms is None)
        ((delivery,), found) = (
            settled.deliveries or (),
            ports.store.list_events(renter.account_id, 10, None),
        )
        assert (delivery.state, [each.status for each in delivery.attempts]) == ("delivered", [200])
        assert [each.event_id for each in found.items if each.type != "credit.posted"] == [told["id"]]
        # Both secrets sign what is sent after a rotation; a replay goes out by the stream too.
        rotated = rotate_secret(ports, renter, created.body)
        replay_event(ports, renter, told["id"])
        again = wait_for(lambda: read_posts(receiver), lambda posts: len(posts) == 2)[1]
        assert (again[1], again[0]["Provocative-Event-Id"]) == (body, told["id"])
        for secret in (created.secret, rotated.secret):
            assert stripe.WebhookSignature.verify_header(body, again[0]["Provocative-Signature"], secret)


def test_what_fails_waits_in_the_index_and_is_delivered_when_it_is_due(wired: None) -> None:
    renter = add_renter(become_operator())
    ports, dispatch = wiring.webhook_ports(), wiring.dispatch_ports()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    created = create_endpoint(ports, renter, ask_for(f"http://127.0.0.1:{port}/in", "one"))
    event = send_test(ports, renter, created.body)

    def read() -> Event:
        return get_event(ports, renter, event.event_id)

    failed = wait_for(read, lambda found: bool(found.deliveries) and found.deliveries[0].attempts[-1].error)
    assert failed.deliveries is not None
    assert failed.deliveries[0].attempts[-1].error == "connection_refused"
    due_ms = failed.due_at_ms
    assert due_ms is not None
    later = due_ms + 86_400_000
    waiting = [each for shard in range(8) for each in dispatch.store.list_due(shard, later, 100)]
    assert (renter.account_id, event.event_id) in waiting
    # It is asked for too early.
    assert deliver(dispatch, [(renter.account_id, event.event_id)]).events == 0
    endpoint = wait_for(
        lambda: ports.store.get_endpoints(renter.account_id).find(created.body),
        lambda found: found is not None and found.failing_since_ms is not None,
    )
    assert endpoint is not None
    with receive(OK) as receiver:
        change_endpoint(ports, renter, created.body, EndpointChange(url=receiver.url()))
        replay_event(ports, renter, event.event_id)
        done = wait_for(read, lambda found: found.due_at_ms is None)
    assert done.deliveries is not None
    assert done.deliveries[0].state == "delivered"
    waiting = [each for shard in range(8) for each in dispatch.store.list_due(shard, later, 100)]
    assert (renter.account_id, event.event_id) not in waiting
    # Page by page, newest first, and nothing but events.
    sent = [event.event_id, *(send_test(ports, renter, created.body).event_id for _ in range(4))]
    listed, start = [], None
    while True:
        page = ports.store.list_events(renter.account_id, 2, start)
        listed += [each.event_id for each in page.items]
        if (start := page.next_key) is None:
            break
    # The oldest is of the credit that a renter begins with.
    assert listed[:-1] == sent[::-1]
    remove_endpoint(ports, renter, created.body)
    assert ports.store.get_endpoints(renter.account_id).items == ()
