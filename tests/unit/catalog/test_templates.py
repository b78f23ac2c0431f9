"""Templates: whose they are, who sees them, and what a request takes from one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.catalog.schemas import ReplaceTemplateRequest, TemplateRequest, render_template
from chalicelib.catalog.templates import (
    CreateTemplate,
    TemplateContent,
    apply_template,
    create_template,
    read_template,
    remove_template,
    replace_template,
)
from chalicelib.core.errors import Conflict, Forbidden, IdempotencyMismatch, InvalidInput, NotFound
from chalicelib.core.workloads import Port, Volume, Workload
from chalicelib.rentals.rendering import read_request
from chalicelib.rentals.schemas import CreateRentalRequest
from chalicelib.runtime.bodies import parse_body
from tests.factories import GPU_TYPE, add_renter, seed_cloud
from tests.fakes import Crash

KEY_LINE = f"ssh-ed25519 {'A' * 68}"
WORKLOAD = Workload(
    command=("python", "train.py"),
    env={"EPOCHS": "3", "SEED": "1"},
    image="ghcr.io/acme/train:1",
    ports=(Port(8080),),
    volume=Volume(100 * 1024, "/data"),
)
CONTENT = TemplateContent("train", public=False, workload=WORKLOAD, gpu_type=GPU_TYPE, gpu_count=4)
PUBLIC = replace(CONTENT, public=True)


@pytest.fixture
def seeded():
    seeded = seed_cloud(hosts=0)
    seeded.other = add_renter(seeded, name="other")
    return seeded


def create(seeded, content=CONTENT, *, principal=None, key="k", fingerprint="f"):
    command = CreateTemplate(content, key, fingerprint, lambda template: template.template_id)
    return create_template(seeded.cloud.templates, principal or seeded.renter, command)


def read(seeded, template_id, principal=None):
    return read_template(seeded.cloud.templates, principal or seeded.renter, template_id)


def list_ids(seeded, principal, limit=50):
    found, start = [], None
    while True:
        page = seeded.cloud.templates.store.list_visible(principal.account_id, limit, start)
        assert len(page.items) <= limit
        found += [template.template_id for template in page.items]
        start = page.next_key
        if start is None:
            return found


def test_a_template_is_kept_once_per_key_and_leaves_an_entry(seeded):
    first, again = create(seeded), create(seeded)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.body == again.body
    assert list_ids(seeded, seeded.renter) == [first.body]
    actions = [entry.action for entry in seeded.cloud.audit.entries]
    assert actions.count("template.created") == 1
    with pytest.raises(IdempotencyMismatch):
        create(seeded, fingerprint="another")


def test_a_lost_answer_is_repeated_and_a_lost_write_is_done(seeded):
    db = seeded.cloud.db
    for moment in ("crash_before", "crash_after"):
        setattr(db, moment, db.commits)
        with pytest.raises(Crash):
            create(seeded, key=moment)
        assert create(seeded, key=moment).replayed == (moment == "crash_after")
    assert len(list_ids(seeded, seeded.renter)) == 2


def test_a_private_one_is_missing_to_everybody_else(seeded):
    template_id = create(seeded).body
    assert read(seeded, template_id).workload == WORKLOAD
    for act in (
        lambda: read(seeded, template_id, seeded.other),
        lambda: read(seeded, "tpl_00000000000000000000000000", seeded.other),
        lambda: replace_template(seeded.cloud.templates, seeded.other, template_id, CONTENT, version=1),
        lambda: remove_template(seeded.cloud.templates, seeded.other, template_id),
    ):
        with pytest.raises(NotFound) as caught:
            act()
        assert (caught.value.code, caught.value.detail) == ("not_found", "There is no such template.")


def test_a_public_one_is_read_by_all_and_changed_by_its_owner_only(seeded):
    template_id = create(seeded, PUBLIC).body
    assert read(seeded, template_id, seeded.other) == read(seeded, template_id)
    for act in (
        lambda: replace_template(seeded.cloud.templates, seeded.other, template_id, PUBLIC, version=1),
        lambda: remove_template(seeded.cloud.templates, seeded.other, template_id),
    ):
        with pytest.raises(Forbidden) as caught:
            act()
        assert caught.value.code == "not_owner"
    assert read(seeded, template_id).version == 1


def test_a_change_needs_the_version_that_was_read(seeded):
    template_id = create(seeded).body
    ports = seeded.cloud.templates
    seeded.cloud.clock.advance_seconds(5)
    changed = replace_template(ports, seeded.renter, template_id, PUBLIC, version=1)
    assert (changed.version, changed.public) == (2, True)
    assert changed.updated_at_ms == changed.created_at_ms + 5000
    with pytest.raises(Conflict) as caught:
        replace_template(ports, seeded.renter, template_id, CONTENT, version=1)
    assert caught.value.code == "version_mismatch"
    assert read(seeded, template_id).public


def test_two_changes_of_one_version_end_in_one(seeded, monkeypatch):
    template_id = create(seeded).body
    ports = seeded.cloud.templates
    stale = read(seeded, template_id)
    replace_template(ports, seeded.renter, template_id, PUBLIC, version=1)
    monkeypatch.setattr(ports.store, "get_template", lambda _template_id: stale)
    with pytest.raises(Conflict) as caught:
        replace_template(ports, seeded.renter, template_id, CONTENT, version=1)
    assert caught.value.code == "version_mismatch"
    with pytest.raises(Conflict):
        remove_template(ports, seeded.renter, template_id)


def test_a_removed_one_is_gone(seeded):
    template_id = create(seeded, PUBLIC).body
    remove_template(seeded.cloud.templates, seeded.renter, template_id)
    for principal in (seeded.renter, seeded.other):
        assert list_ids(seeded, principal) == []
        with pytest.raises(NotFound):
            read(seeded, template_id, principal)
    with pytest.raises(NotFound):
        remove_template(seeded.cloud.templates, seeded.renter, template_id)
    assert seeded.cloud.audit.entries[-1].action == "template.removed"


def test_a_listing_has_the_own_and_the_public_ones_newest_first_page_by_page(seeded):
    made = []
    for number in range(6):
        seeded.cloud.clock.advance_seconds(1)
        content = PUBLIC if number % 2 else CONTENT
        owner = seeded.renter if number < 4 else seeded.other
        made.append(create(seeded, content, principal=owner, key=f"k{number}").body)
    newest = list(reversed(made))
    for limit in (1, 2, 50):
        assert list_ids(seeded, seeded.renter, limit) == [newest[0], *newest[2:]]
        assert list_ids(seeded, seeded.other, limit) == [newest[0], newest[1], newest[2], newest[4]]


def test_a_public_template_lets_nobody_into_the_rentals_of_others(seeded):
    with_key = replace(CONTENT, workload=replace(WORKLOAD, ssh_public_keys=(KEY_LINE,)))
    template_id = create(seeded, with_key).body
    for act in (
        lambda: create(seeded, replace(with_key, public=True), key="public"),
        lambda: replace_template(
            seeded.cloud.templates, seeded.renter, template_id, replace(with_key, public=True), version=1
        ),
    ):
        with pytest.raises(InvalidInput) as caught:
            act()
        assert caught.value.code == "public_template_keys"


def test_an_unknown_gpu_type_is_refused(seeded):
    with pytest.raises(InvalidInput) as caught:
        create(seeded, replace(CONTENT, gpu_type="none"))
    assert caught.value.code == "unknown_gpu_type"


def build_template(seeded, content=CONTENT):
    return read(seeded, create(seeded, content).body)


def test_what_the_request_says_wins_and_the_rest_comes_from_the_template(seeded):
    template = build_template(seeded)
    given = {"gpu_count": 1, "image": "other", "env": {"SEED": "2", "MORE": "x"}, "label": "mine"}
    assert apply_template(template, given) == {
        "gpu_type": GPU_TYPE,
        "gpu_count": 1,
        "image": "other",
        "command": ["python", "train.py"],
        "env": {"EPOCHS": "3", "SEED": "2", "MORE": "x"},
        "ports": [{"container_port": 8080, "protocol": "tcp"}],
        "volume": {"size_gib": 100, "mount_path": "/data"},
        "label": "mine",
    }


def test_null_in_a_request_is_said_too(seeded):
    merged = apply_template(build_template(seeded), {"volume": None, "ports": []})
    assert merged["volume"] is None
    assert merged["ports"] == []


def test_an_empty_template_adds_nothing(seeded):
    template = build_template(seeded, TemplateContent("empty", False, Workload(), None, None))
    assert apply_template(template, {"gpu_type": "A"}) == {"gpu_type": "A"}


def test_a_rental_from_a_template_is_what_the_template_says(seeded):
    given = CreateRentalRequest(gpu_type=GPU_TYPE, command=["true"], label="x").model_dump(exclude_unset=True)
    assert given == {"gpu_type": GPU_TYPE, "command": ["true"], "label": "x"}
    merged = CreateRentalRequest.model_validate(apply_template(build_template(seeded), given))
    request = read_request(merged)
    assert request.workload == replace(WORKLOAD, command=("true",))
    assert (request.gpu_count, request.label) == (4, "x")


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "gpu_type": st.sampled_from(["A", "B"]),
        "gpu_count": st.integers(1, 8),
        "image": st.sampled_from(["x", None]),
        "command": st.lists(st.sampled_from(["a", "b"]), max_size=2),
        "env": st.dictionaries(st.sampled_from(["EPOCHS", "OTHER"]), st.text(max_size=2), max_size=2),
        "region": st.just("any"),
    },
)


@given(MEMBERS)
def test_no_member_of_a_request_is_ever_lost(given_members):
    template = build_template(seed_cloud(hosts=0))
    merged = apply_template(template, given_members)
    for name, value in given_members.items():
        if name == "env":
            assert merged["env"].items() >= value.items()
        else:
            assert merged[name] == value
    assert apply_template(template, merged) == merged


def test_a_body_is_kept_and_shown_as_it_was_sent(seeded):
    raw = (
        b'{"name": "n", "image": "a/b:1", "env": {"A": "1"}, "ports": [{"container_port": 80}],'
        b'"command": ["x"],'
        b'"volume": {"size_gib": 3, "mount_path": "/v"}, "gpu_count": 2, "ssh_public_keys": ["'
        + KEY_LINE.encode()
        + b'"]}'
    )
    body = parse_body(raw, TemplateRequest)
    shown = render_template(build_template(seeded, body.read_content())).model_dump()
    sent = body.model_dump()
    assert {name: shown[name] for name in sent} == sent
    assert (shown["visibility"], shown["version"], shown["gpu_type"]) == ("private", 1, None)


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"name": ""}',
        b'{"name": "n", "visibility": "everybody"}',
        b'{"name": "n", "image": "-bad"}',
        b'{"name": "n", "gpu_count": 17}',
        b'{"name": "n", "ports": [{"container_port": 1}, {"container_port": 1}]}',
        b'{"name": "n", "env": {"A": "'
        + b"x" * 8192
        + b'"}, "command": ['
        + b",".join([b'"' + b"y" * 8192 + b'"'] * 4)
        + b"]}",
        b'{"name": "n", "version": 1}',
    ],
)
def test_a_body_that_no_rental_could_have_is_refused(wrong):
    with pytest.raises(InvalidInput):
        parse_body(wrong, TemplateRequest)


def test_a_change_says_its_version():
    with pytest.raises(InvalidInput):
        parse_body(b'{"name": "n"}', ReplaceTemplateRequest)
    assert parse_body(b'{"name": "n", "version": 3}', ReplaceTemplateRequest).version == 3
