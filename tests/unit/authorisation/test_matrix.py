"""Every operation by everybody: anonymous, each role, other keys, another tenant. No cell is left out."""

from collections import Counter

import pytest

from chalicelib.accounts.model import PERMISSIONS, WHILE_SUSPENDED
from chalicelib.core.principal import KeyLimits
from tests.unit.authorisation.gate import MISSING, OPERATIONS, PARAMETER, Gate
from tests.unit.runtime.contract import CONTRACT

UNKNOWN = {"anonymous": "invalid_credentials", "expired": "key_expired", "revoked": "invalid_credentials"}
COLUMNS = ("anonymous", *PERMISSIONS, "expired", "revoked", "wrong scope", "suspended")


@pytest.fixture(scope="module")
def gate():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Gate(monkeypatch)


def find_token(gate, operation, column):
    if column == "anonymous":
        return None
    if column == "wrong scope":
        scope = "offers:read" if operation.permission != "offers:read" else "keys:read"
        if scope not in gate.keys:
            gate.keys[scope] = gate.mint(KeyLimits(frozenset({scope})))
        return gate.keys[scope]
    return gate.keys.get(column, column)


def expect(permission, column):
    """The table's word on a cell: a status and a code, or ``None`` for whatever the handler answers."""
    if permission is None:
        return None
    if column in UNKNOWN:
        return 401, UNKNOWN[column]
    role = "owner" if column == "suspended" else column
    if column == "wrong scope" or permission not in PERMISSIONS[role]:
        return 403, "forbidden"
    barred = column == "suspended" and permission not in WHILE_SUSPENDED
    return (403, "account_suspended") if barred else None


def judge(gate, operation, column):
    """Return what is wrong with a cell, or ``None``; and what was answered."""
    status, answer = gate.knock(operation, find_token(gate, operation, column))
    wanted = expect(operation.permission, column)
    if wanted is not None:
        if (status, answer.get("code")) != wanted:
            return f"{status} {answer.get('code')} instead of {wanted}", status
        if wanted == (403, "forbidden") and not answer["detail"].endswith(f"{operation.permission}."):
            return f"the refusal does not name {operation.permission}", status
        return None, status
    refused = (401, 403) if operation.permission is not None else (403,)
    if status in refused or status >= 500:
        return f"{status} {answer.get('code')} although the table allows it", status
    return None, status


def test_every_cell_is_as_the_table_says(gate, capsys):
    wrong, told, cells = {}, Counter(), 0
    for operation in OPERATIONS:
        for column in COLUMNS:
            before = len(gate.cloud.audit.entries)
            fault, status = judge(gate, operation, column)
            cells += 1
            told[status] += 1
            if fault is not None:
                wrong[f"{operation.method} {operation.path}", column] = fault
            if status in (401, 403) and len(gate.cloud.audit.entries) != before:
                wrong[f"{operation.method} {operation.path}", column] = "refused, and done all the same"
    with capsys.disabled():
        print(f"\nauthorisation: {cells} cells, {len(wrong)} wrong; {dict(sorted(told.items()))}")
    assert wrong == {}
    assert cells == len(OPERATIONS) * len(COLUMNS)
    assert len(COLUMNS) == 5 + len(PERMISSIONS)


def test_what_stands_in_no_row_of_the_table_is_denied():
    assert all(operation.permission is None or operation.permission in set().union(*PERMISSIONS.values())
               for operation in OPERATIONS)  # fmt: skip


def test_every_name_in_a_path_is_known_to_the_matrix():
    named = {name for operation in OPERATIONS for name in PARAMETER.findall(operation.path)}
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
