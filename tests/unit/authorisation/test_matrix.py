"""Every operation by everybody: each role, by keys and tokens, good and bad. No cell is left out."""

from collections import Counter
from dataclasses import dataclass

import pytest

from chalicelib.accounts.model import PERMISSIONS, WHILE_SUSPENDED
from chalicelib.core.principal import Role
from chalicelib.organisations.model import SERVICE_ROLES
from tests.unit.authorisation.gate import MISSING, OPERATIONS, PAGES, PARAMETER, Gate
from tests.unit.runtime.contract import CONTRACT


@dataclass(frozen=True, slots=True)
class Column:
    """Who asks: by which row of the table of permissions, and what else is true of them.

    ``refused``: the code of 401. ``narrow``: held to another permission than the one that is asked for.
    ``stale``: signed in six minutes ago. ``foreign``: asks for tenant A's account from another.
    """

    role: Role | None = None
    refused: str | None = None
    narrow: str | None = None
    is_suspended: bool = False
    is_stale: bool = False
    is_foreign: bool = False
    is_program: bool = False


UNKNOWN = Column(refused="invalid_credentials")
COLUMNS: dict[str, Column] = {
    "anonymous": UNKNOWN,
    # People by access tokens, but for `renter` and `host`, which are keys' alone.
    **{role: Column(role) for role in PERMISSIONS},
    **{f"program {role}": Column(role, is_program=True) for role in sorted(SERVICE_ROLES)},
    "narrow key": Column("renter", narrow="key"),
    "narrow token": Column("owner", narrow="token"),
    "stale": Column("owner", is_stale=True),
    "neighbour": Column("owner", is_foreign=True),
    "neighbour key": Column("renter", is_foreign=True),
    "suspended account": Column("owner", is_suspended=True),
    "suspended account key": Column("renter", is_suspended=True),
    "suspended account program": Column("admin", is_suspended=True, is_program=True),
    "expired key": Column(refused="key_expired"),
    "revoked key": UNKNOWN,
    "expired token": Column(refused="token_expired"),
    "ended grant": UNKNOWN,
    "suspended person": UNKNOWN,
    "erased person": UNKNOWN,
    "removed member": UNKNOWN,
    "older epoch": UNKNOWN,
    "disabled program": UNKNOWN,
    "revoked program token": UNKNOWN,
    "another organisation": UNKNOWN,
    "wrong audience": UNKNOWN,
    "wrong issuer": UNKNOWN,
    "id token": UNKNOWN,
    "unsigned token": UNKNOWN,
}
#: What only people have, although the role of a program names it.
PERSONS = {"person_needed", "not_a_person"}


@pytest.fixture(scope="module")
def gate():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Gate(monkeypatch)


def find_caller(gate, operation, name):
    if name == "anonymous":
        return None
    narrow = COLUMNS[name].narrow
    return gate.narrow(operation, narrow) if narrow else name


def expect(operation, column):  # noqa: PLR0911  # one a rule
    """The table's word on a cell: a status and codes, or ``None`` for whatever the handler answers."""
    permission = operation.permission
    if column.refused is not None:
        return 401, {column.refused}
    if column.narrow or permission not in PERMISSIONS[column.role]:
        return 403, {"forbidden"}
    if column.is_suspended and permission not in WHILE_SUSPENDED and not operation.ends:
        return 403, {"account_suspended"}
    if column.is_stale and operation.fresh:
        return 403, {"step_up_needed"}
    if column.is_program and permission.startswith("self:"):
        return 403, PERSONS
    if column.is_foreign and "{account_id}" in operation.path:
        return 404, {"not_found"}
    return None


def judge(gate, operation, name):
    """Return what is wrong with a cell, or ``None``; and what was answered."""
    wanted = expect(operation, COLUMNS[name])
    whole = wanted is not None and (wanted[0] == 404 or wanted[1] == PERSONS)
    named = {"account_id": gate.callers.a} if "{account_id}" in operation.path and whole else {}
    body = gate.find_example(operation) if whole else None
    status, answer = gate.knock(operation, find_caller(gate, operation, name), named, body)
    if wanted is not None:
        if status != wanted[0] or answer.get("code") not in wanted[1]:
            return f"{status} {answer.get('code')} instead of {wanted}", status
        if wanted[1] == {"forbidden"} and not answer["detail"].endswith(f"{operation.permission}."):
            return f"the refusal does not name {operation.permission}", status
        return None, status
    if status in (401, 403) or status >= 500:
        return f"{status} {answer.get('code')} although the table allows it", status
    return None, status


def test_every_cell_is_as_the_table_says(gate, capsys):
    wrong, told, cells = {}, Counter(), 0
    for operation in OPERATIONS:
        if operation.permission is None:
            continue
        for name in COLUMNS:
            before = len(gate.cloud.audit.entries)
            fault, status = judge(gate, operation, name)
            cells += 1
            told[status] += 1
            if fault is not None:
                wrong[f"{operation.method} {operation.path}", name] = fault
            if status in (401, 403, 404) and len(gate.cloud.audit.entries) != before:
                wrong[f"{operation.method} {operation.path}", name] = "refused, and done all the same"
    guarded = sum(operation.permission is not None for operation in OPERATIONS)
    counted = f"{guarded} operations by {len(COLUMNS)} columns, {cells} cells"
    with capsys.disabled():
        print(f"\nauthorisation: {counted}, {len(wrong)} wrong; {dict(sorted(told.items()))}")
    assert wrong == {}, counted
    assert cells == guarded * len(COLUMNS), counted


def test_what_is_public_answers_everybody_alike(gate, capsys):
    """Neither a good token nor a bad one opens or shuts anything there: the pages know cookies alone."""
    wrong, cells = {}, 0
    public = [operation for operation in (*OPERATIONS, *PAGES) if operation.permission is None]
    for operation in public:
        wanted = None
        for name in COLUMNS:
            before = len(gate.cloud.audit.entries)
            status, _, headers = gate.send(operation, find_caller(gate, operation, name))
            cells += 1
            told = (status, headers.get("Location"))
            wanted = wanted or told
            if told != wanted or status >= 500:
                wrong[f"{operation.method} {operation.path}", name] = f"{told} instead of {wanted}"
            if len(gate.cloud.audit.entries) != before:
                wrong[f"{operation.method} {operation.path}", name] = "something was done"
    counted = f"{len(public)} public operations by {len(COLUMNS)} columns, {cells} cells"
    with capsys.disabled():
        print(f"\nauthorisation: {counted}, {len(wrong)} wrong")
    assert wrong == {}, counted


def test_what_stands_in_no_row_of_the_table_is_denied():
    known = set().union(*PERMISSIONS.values())
    assert all(operation.permission is None or operation.permission in known for operation in OPERATIONS)


def test_every_name_in_a_path_is_known_to_the_matrix():
    named = {name for operation in (*OPERATIONS, *PAGES) for name in PARAMETER.findall(operation.path)}
    assert named == set(MISSING)


#: What somebody might try to set beside what a body has.
ASSIGNED = (
    "role",
    "tenant_id",
    "account_id",
    "price",
    "balance",
    "status",
    "epoch",
    "created_at_ms",
    "is_admin",
)
#: What is stored and told to nobody.
KEPT = {
    *("digest", "password_digest", "secret_hash", "token_digest", "issued_keys", "pepper"),
    *("stripe_customer_id", "customer_id", "suspended_reason", "email_key", "signing_key_digest"),
}
BODIED = [operation for operation in OPERATIONS if operation.body is not None]


@pytest.mark.parametrize("operation", BODIED, ids=lambda each: each.name)
def test_a_body_takes_no_field_that_it_does_not_have(gate, operation):
    able = [role for role, granted in PERMISSIONS.items() if operation.permission in granted]
    example, before = gate.find_example(operation), len(gate.cloud.audit.entries)
    for name in ASSIGNED:
        if name not in operation.body.model_fields:
            status, answer = gate.knock(operation, able[0] if able else None, None, example | {name: 1})
            assert (status, answer["code"]) == (400, "invalid_request"), name
            assert name in {fault["field"] for fault in answer["errors"]}
    assert len(gate.cloud.audit.entries) == before


def test_no_answer_has_a_field_of_what_is_kept_from_everybody():
    schemas = CONTRACT["components"]["schemas"]
    named = {(name, field) for name, each in schemas.items() for field in each.get("properties", {})}
    shown = {(name, field) for name, field in named if field in KEPT or field.startswith("stripe_")}
    assert len(named) > 500
    assert shown == set()
