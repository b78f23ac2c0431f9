"""Endpoints are made, changed, rotated and removed; events are replayed. All by their owner alone."""

import pytest

from chalicelib.core.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound
from chalicelib.webhooks.model import MAX_ENDPOINTS, ROLL_MS, derive_secret, list_secrets
from chalicelib.webhooks.service import (
    EndpointChange,
    change_endpoint,
    get_endpoint,
    get_event,
    remove_endpoint,
    replay_event,
    rotate_secret,
    send_test,
)
from tests.fakes import START_MS, Crash
from tests.unit.webhooks.desk import OTHER, PEPPER, RENTER, URL, Desk


@pytest.fixture
def desk():
    return Desk()


def test_a_create_whose_answer_was_lost_is_repeated_and_shows_the_same_secret(desk):
    first = desk.create(key="k")
    again = desk.create(key="k")
    assert (again.body, again.secret, again.replayed) == (first.body, first.secret, True)
    assert first.secret == derive_secret(first.body, 1, PEPPER)
    assert len(desk.store.get_endpoints("acc_1").items) == 1
    assert first.secret not in repr(desk.db.tables)
    with pytest.raises(IdempotencyMismatch):
        desk.create(key="k", fingerprint="other")


@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
def test_a_create_that_crashed_is_done_once(desk, moment):
    setattr(desk.db, moment, 0)
    with pytest.raises(Crash):
        desk.create(key="k")
    desk.db.crash_before = desk.db.crash_after = None
    desk.create(key="k")
    assert len(desk.store.get_endpoints("acc_1").items) == 1
    assert [entry.action for entry in desk.audit.entries] == ["webhook_endpoint.created"]


def test_there_are_ten_at_most_and_the_tenth_may_be_repeated(desk):
    for number in range(MAX_ENDPOINTS):
        desk.create(key=f"k{number}")
    with pytest.raises(Conflict) as refused:
        desk.create(key="one more")
    assert refused.value.code == "webhook_endpoint_limit"
    assert desk.create(key=f"k{MAX_ENDPOINTS - 1}").replayed
    desk.create(key="of another", principal=OTHER)


def test_two_creates_at_once_are_both_there(desk):
    def other():
        desk.db.interlude = None
        desk.create(key="other")

    desk.db.interlude = other
    desk.create(key="mine")
    assert len(desk.store.get_endpoints("acc_1").items) == 2


def test_a_url_that_no_delivery_would_go_to_is_refused(desk):
    endpoint = desk.add()
    with pytest.raises(InvalidInput) as refused:
        desk.create("http://hooks.example.com")
    assert refused.value.code == "invalid_webhook_url"
    with pytest.raises(InvalidInput):
        change_endpoint(desk.ports, RENTER, endpoint.endpoint_id, EndpointChange(url="https://10.0.0.1/"))


def test_a_rotation_shows_a_new_secret_and_both_sign_for_a_day(desk):
    created = desk.create()
    rotated = rotate_secret(desk.ports, RENTER, created.body)
    assert rotated.secret != created.secret
    endpoint = desk.endpoint(created.body)
    assert list_secrets(endpoint, PEPPER, START_MS) == [rotated.secret, created.secret]
    assert list_secrets(endpoint, PEPPER, START_MS + ROLL_MS) == [rotated.secret]


def test_one_that_was_switched_off_is_tried_at_once_when_it_is_enabled(desk):
    endpoint = desk.add()
    desk.change(
        endpoint, enabled=False, disabled_at_ms=START_MS, failing_since_ms=1, paused_until_ms=START_MS + 99
    )
    enabled = change_endpoint(desk.ports, RENTER, endpoint.endpoint_id, EndpointChange(enabled=True))
    assert enabled == endpoint
    desk.stream(desk.happen())
    assert len(desk.sender.posted) == 1


def test_a_change_that_changes_nothing_leaves_no_audit_entry(desk):
    endpoint = desk.add()
    before = len(desk.audit.entries)
    change_endpoint(desk.ports, RENTER, endpoint.endpoint_id, EndpointChange(url=URL))
    assert len(desk.audit.entries) == before
    change_endpoint(desk.ports, RENTER, endpoint.endpoint_id, EndpointChange(description="mine"))
    assert desk.audit.entries[-1].action == "webhook_endpoint.changed"


def test_a_test_event_goes_to_its_endpoint_alone_whatever_it_subscribes_to(desk):
    quiet = desk.add("https://quiet.example.com/", types=("wallet.low",))
    desk.add()
    event = send_test(desk.ports, RENTER, quiet.endpoint_id)
    desk.stream(("acc_1", event.event_id))
    assert [url for url, _, _ in desk.sender.posted] == ["https://quiet.example.com/"]
    change_endpoint(desk.ports, RENTER, quiet.endpoint_id, EndpointChange(enabled=False))
    with pytest.raises(Conflict):
        send_test(desk.ports, RENTER, quiet.endpoint_id)


def test_an_event_is_replayed_under_its_own_id_also_to_an_endpoint_that_came_later(desk):
    reference = desk.happen()
    desk.stream(reference)
    with pytest.raises(Conflict) as refused:
        replay_event(desk.ports, RENTER, reference[1])
    assert refused.value.code == "no_webhook_endpoint"
    desk.add()
    for count in (1, 2):
        replay_event(desk.ports, RENTER, reference[1])
        desk.stream(reference)
        assert desk.sender.list_ids() == [reference[1]] * count
    assert [each.number for each in desk.read(reference).deliveries[0].attempts] == [1, 2]


def test_a_removed_endpoint_gets_nothing_more(desk):
    endpoint = desk.add()
    reference = desk.happen()
    remove_endpoint(desk.ports, RENTER, endpoint.endpoint_id)
    desk.stream(reference)
    assert desk.sender.posted == []
    with pytest.raises(NotFound):
        remove_endpoint(desk.ports, RENTER, endpoint.endpoint_id)


def test_what_is_another_accounts_is_not_there(desk):
    endpoint = desk.add()
    _, event_id = desk.happen()
    for act, subject in (
        (get_endpoint, endpoint.endpoint_id),
        (rotate_secret, endpoint.endpoint_id),
        (remove_endpoint, endpoint.endpoint_id),
        (send_test, endpoint.endpoint_id),
        (get_event, event_id),
        (replay_event, event_id),
    ):
        with pytest.raises(NotFound):
            act(desk.ports, OTHER, subject)
