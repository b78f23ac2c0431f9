"""What is agreed to is written down for ever, and the routes say what was asked."""

import pytest

from chalicelib.privacy.erasing import run_request
from chalicelib.privacy.service import find_standing, put_consent
from tests.unit.privacy.office import FAR_MS, Office


@pytest.fixture
def office(monkeypatch):
    return Office(monkeypatch)


def test_consents_are_never_changed_and_the_newest_holds(office):
    def decide(given, version="1"):
        office.cloud.clock.advance_seconds(1)
        return put_consent(office.privacy, office.renter, "data_sale", given=given, version=version)

    first = decide(given=True)
    assert decide(given=True) == first
    decide(given=False)
    last = decide(given=False, version="2")
    history = office.privacy.consents.list_consents(office.account_id)
    assert [(each.given, each.version) for each in history] == [(True, "1"), (False, "1"), (False, "2")]
    assert find_standing(history) == {"data_sale": last}
    actions = [entry.action for entry in office.cloud.audit.entries if "consent" in entry.action]
    assert actions == ["privacy.consent_given"] + 2 * ["privacy.consent_withdrawn"]


def test_the_routes_answer(office):
    status, made = office.ask("POST /v1/privacy/requests", {"kind": "export"}, role="renter")
    assert (status, made["state"]) == (201, "queued")
    run_request(office.privacy, office.account_id, made["request_id"], FAR_MS)
    status, found = office.ask(
        "GET /v1/privacy/requests/{request_id}", role="renter", request_id=made["request_id"]
    )
    assert (status, found["state"]) == (200, "completed")
    assert found["url"].endswith(".zip")
    _, listed = office.ask("GET /v1/privacy/requests", role="renter")
    assert [each["request_id"] for each in listed["items"]] == [made["request_id"]]
    consent = {"purpose": "data_sale", "given": False, "version": "2026-11"}
    assert office.ask("PUT /v1/privacy/consents", consent, role="renter")[0] == 200
    _, consents = office.ask("GET /v1/privacy/consents", role="renter")
    assert consents["standing"] == consents["history"]
    assert office.ask("PUT /v1/privacy/consents", consent | {"version": "my name is Ana"})[0] == 400
