"""Erasure: an account is closed, what is plain is taken out item by item, keys of persons are destroyed.

A person ends in one transaction with the request, and with every organisation that must not be left without
an owner. Nobody signs in as who has ended, and nothing is added to them: so all else that there is of them
may take any number of transactions. Then the key goes, which nothing brings back. Members of an account that
is erased, and of no other, are erased each by a request of their own.
Every write may come again and changes nothing then. The request keeps how many kinds of items are done with,
so whoever goes on after a crash begins with the kind that was under way. Books and audit trail stay as they
are: they know the account by its opaque id only.
"""

from dataclasses import replace

from chalicelib.core.ports import Transaction
from chalicelib.privacy.exporting import export
from chalicelib.privacy.fields import ERASED, Row
from chalicelib.privacy.inventory import list_owned
from chalicelib.privacy.requests import (
    ACTOR,
    FINISH_MS,
    PrivacyRequest,
    Record,
    name_carbon_documents,
    name_exports,
)
from chalicelib.privacy.service import PrivacyPorts, add_audit, add_request, find_overtaken

KEYS_PER_PAGE = 50
#: Answers that are kept for repeats: a person's quote what they named.
ANSWERS = "IdempotencyItem"


def erase(ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int) -> PrivacyRequest:
    """Go on with an erasure as far as time allows; return the request as it stands then."""
    if request.state == "queued":
        request = _begin(ports, request)
    if request.state == "queued":
        return request
    if not request.is_of_account:
        return _finish_person(ports, request, deadline_ms)
    if not revoke_keys(ports, request, deadline_ms):
        return request
    # Something may have begun before the last key ended.
    reasons = ports.records.list_reasons(request.account_id, ports.clock.now_ms())
    if reasons != request.reasons:
        request = _change(ports, request, replace(request, reasons=reasons))
    if reasons:
        return request
    request = _erase_records(ports, request, deadline_ms)
    if request.step < len(list_steps()) or not _erase_members(ports, request, deadline_ms):
        return request
    return _finish_account(ports, request)


def list_steps() -> list[Row]:
    """Kinds of items with something to take out; who may sign in is last to be forgotten."""
    return [row for row in list_owned() if row.on_erasure != "keep"]


def revoke_keys(ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int) -> bool:
    """Revoke every key of the account; ``False``: time ran out, after one at least."""
    start = None
    while True:
        page = ports.accounts.list_keys(request.account_id, KEYS_PER_PAGE, start)
        for key in page.items:
            if key.revoked_at_ms is None:
                tx = ports.transactions()
                ports.accounts.revoke_key(tx, key.key_id, ports.clock.now_ms())
                if key.issued_by is not None:
                    ports.accounts.forget_issued(tx, key)
                add_audit(ports, tx, request, ACTOR, "privacy.key_revoked")
                tx.commit()
                if ports.clock.now_ms() >= deadline_ms:
                    return False
        if page.next_key is None:
            return True
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
    """Bar the account, or end the person, in one transaction with the request; or say why not yet."""
    if request.is_of_account:
        reasons = ports.records.list_reasons(request.account_id, ports.clock.now_ms())
    else:
        reasons = ports.people.list_reasons(request.subject_id)
    if reasons:
        if reasons == request.reasons:
            return request
        return _change(ports, request, replace(request, reasons=reasons))
    tx = ports.transactions()
    if request.is_of_account:
        _close(ports, tx, request.account_id)
    else:
        ports.people.prepare(request.subject_id)
        # Whoever became the last owner meanwhile lets it fail, and nothing of theirs is lost yet.
        ports.people.mark_erased(tx, request.subject_id)
    begun = replace(request, state="running", reasons=(), started_at_ms=ports.clock.now_ms())
    ports.store.replace_request(tx, request, begun)
    add_audit(ports, tx, request, ACTOR, "privacy.erasure_begun")
    tx.commit()
    return replace(begun, version=begun.version + 1)


def _close(ports: PrivacyPorts, tx: Transaction, account_id: str) -> None:
    """Bar members who are signed in from beginning anything."""
    account = ports.accounts.get_account(account_id)
    if account is not None and account.closed_at_ms is None:
        closed = replace(account, closed_at_ms=ports.clock.now_ms())
        ports.accounts.replace_account(tx, account, closed)


def _erase_records(ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int) -> PrivacyRequest:
    """Raises TimeoutError: all the time there was went into reading what is done with."""
    steps, first, erased = list_steps(), request.step, 0
    while request.step < len(steps):
        row = steps[request.step]
        for record in ports.records.list_records(request.account_id, row.item):
            # What was done with before is only read again, which is quick: each run gets further.
            done, now_ms = erase_record(ports, row, record), ports.clock.now_ms()
            erased += done
            if now_ms >= deadline_ms + FINISH_MS and not erased and request.step == first:
                raise TimeoutError(f"No run is long enough for all of {row.item}.")
            if now_ms >= (deadline_ms if done else deadline_ms + FINISH_MS):
                return request
        request = _change(ports, request, replace(request, step=request.step + 1))
    return request


def _erase_members(ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int) -> bool:
    """Erase who belonged to the account alone, and let the others go; ``False``: time ran out."""
    for user_id in ports.people.list_account_users(request.account_id):
        _erase_member(ports, request, user_id, deadline_ms)
        # Each run does one at least.
        if ports.clock.now_ms() >= deadline_ms:
            return False
    return ports.people.end_memberships(request.account_id, deadline_ms)


def _erase_member(ports: PrivacyPorts, request: PrivacyRequest, user_id: str, deadline_ms: int) -> None:
    """Begin a request of the person's own, so that whoever comes after a crash goes on with it."""
    before, now_ms = ports.store.find_latest(user_id), ports.clock.now_ms()
    if before is not None and before[1] == "erasure":
        own = ports.store.get_request(user_id, before[0])
        if own is not None and own.is_open:
            # It may have waited for this account, which is closed by now.
            erase(ports, own, deadline_ms)
        return
    own = PrivacyRequest(
        request_id=ports.ids.new_id("prv"),
        account_id=user_id,
        subject_id=user_id,
        requested_by=request.requested_by,
        kind="erasure",
        created_at_ms=now_ms,
        state="running",
        started_at_ms=now_ms,
    )
    ports.people.prepare(user_id)
    tx = ports.transactions()
    ports.people.mark_erased(tx, user_id)
    add_request(ports, tx, own, before, find_overtaken(ports, own, before))
    add_audit(ports, tx, own, ACTOR, "privacy.erasure_begun")
    tx.commit()
    _finish_person(ports, own, deadline_ms)


def _finish_person(ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int) -> PrivacyRequest:
    """Take away what is left of who has ended; whatever comes again is found done."""
    user_id = request.subject_id
    if not ports.people.forget(user_id, deadline_ms):
        return request
    for record in ports.records.list_records(user_id, ANSWERS):
        ports.records.delete(record)
        if ports.clock.now_ms() >= deadline_ms:
            return request
    ports.archive.remove_all(name_exports(user_id))
    ports.vault.destroy_key(user_id)
    # Again: what was joined in the very moment of the end is in the index by now.
    if not ports.people.forget(user_id, deadline_ms):
        return request
    return _complete(ports, ports.transactions(), request)


def _finish_account(ports: PrivacyPorts, request: PrivacyRequest) -> PrivacyRequest:
    ports.archive.remove_all(name_carbon_documents(request.account_id))
    ports.archive.remove_all(name_exports(request.account_id))
    return _complete(ports, ports.transactions(), request)


def _complete(ports: PrivacyPorts, tx: Transaction, request: PrivacyRequest) -> PrivacyRequest:
    done = replace(request, state="completed", completed_at_ms=ports.clock.now_ms())
    ports.store.replace_request(tx, request, done)
    add_audit(ports, tx, request, ACTOR, "privacy.erased")
    tx.commit()
    return replace(done, version=done.version + 1)


def _change(ports: PrivacyPorts, old: PrivacyRequest, new: PrivacyRequest) -> PrivacyRequest:
    tx = ports.transactions()
    ports.store.replace_request(tx, old, new)
    tx.commit()
    return replace(new, version=new.version + 1)


def run_request(ports: PrivacyPorts, account_id: str, request_id: str, deadline_ms: int) -> str:
    """Do what one request asks, as far as it can be done now; return its state."""
    request = ports.store.get_request(account_id, request_id)
    if request is None or not request.is_open:
        return "done"
    # Before anything else: a run that it ends was a try too.
    request = _change(ports, request, replace(request, tried_at_ms=ports.clock.now_ms()))
    if request.kind == "export":
        return export(ports, request, deadline_ms).state
    return erase(ports, request, deadline_ms).state
