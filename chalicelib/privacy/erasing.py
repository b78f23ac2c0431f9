"""Erasure: an account is closed, what is plain is taken out item by item, keys of persons are destroyed.

Every write may come again and changes nothing then. The request keeps how many kinds of items are done with,
so whoever goes on after a crash begins with the kind that was under way. Books and audit trail stay as they
are: they know the account by its opaque id only.
"""

from dataclasses import replace

from chalicelib.privacy.exporting import ACTOR, export
from chalicelib.privacy.fields import ERASED, Row
from chalicelib.privacy.inventory import list_owned
from chalicelib.privacy.requests import (
    PrivacyRequest,
    Record,
    name_carbon_documents,
    name_exports,
)
from chalicelib.privacy.service import PrivacyPorts, add_audit

KEYS_PER_PAGE = 50


def erase(ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int) -> PrivacyRequest:
    """Go on with an erasure as far as time allows; return the request as it stands then."""
    if request.state == "queued":
        request = _begin(ports, request)
    if request.state == "queued":
        return request
    if request.is_of_account:
        revoke_keys(ports, request)
        # Something may have begun before the last key ended.
        reasons = ports.records.list_reasons(request.account_id, ports.clock.now_ms())
        if reasons != request.reasons:
            request = _change(ports, request, replace(request, reasons=reasons))
        if reasons:
            return request
        request = _erase_records(ports, request, deadline_ms)
        if request.step < len(list_steps()):
            return request
    return _finish(ports, request)


def list_steps() -> list[Row]:
    """Kinds of items with something to take out; who may sign in is last to be forgotten."""
    return [row for row in list_owned() if row.on_erasure != "keep"]


def revoke_keys(ports: PrivacyPorts, request: PrivacyRequest) -> int:
    """Revoke every key of the account; return how many were live."""
    now_ms, start, revoked = ports.clock.now_ms(), None, 0
    while True:
        page = ports.accounts.list_keys(request.account_id, KEYS_PER_PAGE, start)
        for key in page.items:
            if key.revoked_at_ms is None:
                tx = ports.transactions()
                ports.accounts.revoke_key(tx, key.key_id, now_ms)
                add_audit(ports, tx, request, ACTOR, "privacy.key_revoked")
                tx.commit()
                revoked += 1
        if page.next_key is None:
            return revoked
        start = page.next_key


def erase_record(ports: PrivacyPorts, row: Row, record: Record) -> bool:
    """Take out what is personal; ``False``: nothing was left to take."""
    if row.on_erasure == "delete":
        ports.records.delete(record)
        return True
    left = [name for name in row.list_plain() if record.values.get(name) not in (None, ERASED)]
    if left:
        ports.records.clear(record, left)
    return bool(left)


def _begin(ports: PrivacyPorts, request: PrivacyRequest) -> PrivacyRequest:
    reasons = (
        ports.records.list_reasons(request.account_id, ports.clock.now_ms()) if request.is_of_account else ()
    )
    if reasons:
        if reasons == request.reasons:
            return request
        return _change(ports, request, replace(request, reasons=reasons))
    begun = replace(request, state="running", reasons=(), started_at_ms=ports.clock.now_ms())
    return _change(ports, request, begun, "privacy.erasure_begun")


def _erase_records(ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int) -> PrivacyRequest:
    steps = list_steps()
    while request.step < len(steps):
        row = steps[request.step]
        for record in ports.records.list_records(request.account_id, row.item):
            # What was done with before is only read again, which is quick: each run gets further.
            if erase_record(ports, row, record) and ports.clock.now_ms() >= deadline_ms:
                return request
        request = _change(ports, request, replace(request, step=request.step + 1))
    return request


def _finish(ports: PrivacyPorts, request: PrivacyRequest) -> PrivacyRequest:
    people = (
        list(ports.people.list_account_users(request.account_id))
        if request.is_of_account
        else [request.subject_id]
    )
    for user_id in people:
        ports.archive.remove_all(name_exports(user_id))
        ports.vault.destroy_key(user_id)
    if request.is_of_account:
        ports.archive.remove_all(name_carbon_documents(request.account_id))
    ports.archive.remove_all(name_exports(request.subject_id))
    done = replace(request, state="completed", completed_at_ms=ports.clock.now_ms())
    tx = ports.transactions()
    for user_id in people:
        ports.people.mark_erased(tx, user_id)
    ports.store.replace_request(tx, request, done)
    add_audit(ports, tx, request, ACTOR, "privacy.erased")
    tx.commit()
    return replace(done, version=done.version + 1)


def _change(
    ports: PrivacyPorts, old: PrivacyRequest, new: PrivacyRequest, action: str | None = None
) -> PrivacyRequest:
    tx = ports.transactions()
    ports.store.replace_request(tx, old, new)
    if action is not None:
        add_audit(ports, tx, old, ACTOR, action)
    tx.commit()
    return replace(new, version=new.version + 1)


def run_request(ports: PrivacyPorts, account_id: str, request_id: str, deadline_ms: int) -> str:
    """Do what one request asks, as far as it can be done now; return its state."""
    request = ports.store.get_request(account_id, request_id)
    if request is None or not request.is_open:
        return "done"
    if request.kind == "export":
        return export(ports, request).state
    return erase(ports, request, deadline_ms).state
