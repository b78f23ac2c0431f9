"""Projects are labels that are checked; service accounts have no more than whoever made them."""

import pytest

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.accounts.service import authenticate, create_key
from chalicelib.billing.charging import charge_rental
from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from chalicelib.core.principal import MEMBER_ROLES, Principal
from chalicelib.organisations import projects, service_accounts
from chalicelib.organisations.ports import Once
from tests.factories import GPU_TYPE, REGION, add_person, seed_cloud
from tests.unit.platform import Platform

PROJECTS = "/v1/organisations/{account_id}/projects"


@pytest.fixture
def desk(monkeypatch):
    platform = Platform(monkeypatch)
    platform.principals["owner"] = add_person(platform.seeded, "owner")
    platform.account_id = platform.seeded.renter.account_id
    return platform


def make_project(desk, name="Training"):
    status, made = desk.ask(f"POST {PROJECTS}", {"name": name}, role="owner", account_id=desk.account_id)
    assert status == 201
    return made["project_id"]


def rent(desk, label):
    body = {"gpu_type": GPU_TYPE, "region": REGION, "gpu_count": 1, "command": ["true"], "label": label}
    return desk.ask("POST /v1/rentals", body, role="renter")


def archive(desk, project_id, *, archived=True):
    return desk.ask(
        f"PATCH {PROJECTS}/{{project_id}}",
        {"archived": archived},
        role="owner",
        account_id=desk.account_id,
        project_id=project_id,
    )


def test_a_rental_a_budget_and_the_usage_go_by_a_project(desk):
    project_id = make_project(desk)
    status, rental = rent(desk, project_id)
    assert (status, rental["label"]) == (201, project_id)
    budget = {"name": "Training", "scope": "label", "scope_value": project_id, "limit_micros": 5_000_000}
    status, made = desk.ask("POST /v1/budgets", budget, role="renter")
    assert (status, made["scope_value"]) == (201, project_id)
    rental_id = rental["rental_id"]
    for _ in range(3):
        desk.cloud.clock.advance_seconds(50)
        desk.seeded.report(desk.seeded.rental(rental_id), "running")
    charge_rental(desk.cloud.billing, rental_id)
    _, usage = desk.ask("GET /v1/usage", query={"group_by": "label"}, role="renter")
    assert [(each["group"], each["seconds"]) for each in usage["items"]] == [(project_id, 100)]
    _, spent = desk.ask("GET /v1/budgets/{budget_id}", role="renter", budget_id=made["budget_id"])
    assert spent["spent_micros"] == sum(each["charge_micros"] for each in usage["items"]) > 0


def test_an_unknown_an_archived_and_a_foreign_project_are_refused(desk):
    project_id = make_project(desk)
    assert rent(desk, "prj_missing")[1]["code"] == "project_not_found"
    archive(desk, project_id)
    status, answer = rent(desk, project_id)
    assert (status, answer["code"]) == (409, "project_archived")
    budget = {"name": "x", "scope": "label", "scope_value": project_id, "limit_micros": 1_000_000}
    assert desk.ask("POST /v1/budgets", budget, role="renter")[1]["code"] == "project_archived"
    archive(desk, project_id, archived=False)
    assert rent(desk, project_id)[0] == 201
    foreign = add_person(desk.seeded, "owner", account_id=desk.seeded.operator.account_id)
    once = Once("k", "f", lambda made: made.project_id)
    made = projects.create_project(desk.cloud.organisations, foreign, foreign.account_id, "theirs", once)
    assert rent(desk, made.body)[1]["code"] == "project_not_found"


def test_a_rental_is_moved_to_a_project_that_is_there_alone(desk):
    project_id = make_project(desk)
    _, rental = rent(desk, "free text")
    for label, status in (("prj_none", 404), (project_id, 200), ("other", 200)):
        told, _ = desk.ask(
            "PATCH /v1/rentals/{rental_id}", {"label": label}, role="renter", rental_id=rental["rental_id"]
        )
        assert told == status


def test_other_labels_cost_no_read(monkeypatch, desk):
    monkeypatch.setattr(type(desk.cloud.organisation_store), "get_project", lambda *_: 1 / 0)
    assert rent(desk, "training")[0] == 201


def test_projects_are_listed_renamed_and_told_of_once(desk):
    ids = [make_project(desk, "one")]
    before = len(desk.cloud.audit.entries)
    path = f"PATCH {PROJECTS}/{{project_id}}"
    named = {"account_id": desk.account_id, "project_id": ids[0]}
    for _ in range(2):
        status, renamed = desk.ask(path, {"name": "two"}, role="owner", **named)
        assert (status, renamed["name"]) == (200, "two")
    assert len(desk.cloud.audit.entries) == before + 1
    _, listed = desk.ask(f"GET {PROJECTS}", role="owner", account_id=desk.account_id)
    assert [each["name"] for each in listed["items"]] == ["two"]


def create(seeded, by, role, key="once"):
    ports = seeded.cloud.organisations
    once = Once(key, "f", lambda made: made.service_account_id)
    made = service_accounts.create_service_account(ports, by, seeded.renter.account_id, "ci", role, once)
    return made.body


@pytest.mark.parametrize("by", ["owner", "admin"])
@pytest.mark.parametrize("role", sorted(MEMBER_ROLES))
def test_a_program_has_no_more_than_whoever_made_it_and_owns_nothing(by, role):
    seeded = seed_cloud()
    person = add_person(seeded, by)
    if role == "owner":
        with pytest.raises(InvalidInput):
            create(seeded, person, role)
    else:
        assert create(seeded, person, role)
    narrowed = Principal(
        person.account_id,
        by,
        person.actor_id,
        frozenset({"service-accounts:write"}),
        user_id=person.user_id,
    )
    if role != "owner":
        with pytest.raises(Forbidden):
            create(seeded, narrowed, role, "narrow")


def test_a_disabled_program_has_no_keys_and_issues_none():
    seeded = seed_cloud()
    owner, ports = add_person(seeded, "owner"), seeded.cloud.organisations
    program_id = create(seeded, owner, "developer")
    program = Principal(owner.account_id, "developer", program_id, PERMISSIONS["developer"])
    issued = create_key(seeded.cloud.accounts, program, owner.account_id, label="ci")
    assert issued.key.issued_by == program_id
    for _ in range(2):
        ended = service_accounts.disable_service_account(ports, owner, owner.account_id, program_id)
        assert ended.disabled_at_ms is not None
    with pytest.raises(Unauthenticated):
        authenticate(seeded.cloud.accounts, issued.token)
    with pytest.raises(Forbidden):
        create_key(seeded.cloud.accounts, program, owner.account_id, label="ci")
    acts = [entry.action for entry in seeded.cloud.audit.entries]
    assert acts.count("service_account.disabled") == 1


def test_a_program_of_another_organisation_is_not_there():
    seeded = seed_cloud()
    owner, ports = add_person(seeded, "owner"), seeded.cloud.organisations
    program_id = create(seeded, owner, "viewer")
    stranger = add_person(seeded, "owner", account_id=seeded.operator.account_id)
    with pytest.raises(NotFound):
        service_accounts.find_service_account(ports, stranger, stranger.account_id, program_id)
    with pytest.raises(NotFound):
        service_accounts.disable_service_account(ports, stranger, owner.account_id, program_id)


def test_an_archived_project_keeps_its_name():
    seeded = seed_cloud()
    owner, ports = add_person(seeded, "owner"), seeded.cloud.organisations
    once = Once("k", "f", lambda made: made.project_id)
    made = projects.create_project(ports, owner, owner.account_id, "Training", once)
    archived = projects.change_project(ports, owner, owner.account_id, made.body, name=None, archived=True)
    assert (archived.name, archived.archived_at_ms is None) == ("Training", False)
    with pytest.raises(Conflict):
        projects.require_project(ports.store, owner.account_id, made.body)
