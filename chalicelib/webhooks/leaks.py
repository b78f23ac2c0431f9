"""Reports of leaked keys: a key that somebody else can read is revoked at once, and its owner is told.

Whoever reports one holds it and needs no other. The answer says nothing of the key: not whether it is ours,
nor whether it was valid. Invariant: the revocation, the event and the audit entry are one transaction, once.
"""

from dataclasses import dataclass

from chalicelib.accounts.service import AccountPorts, add_audit, find_valid_key
from chalicelib.core.errors import Conflict, Unauthenticated
from chalicelib.webhooks.model import Event
from chalicelib.webhooks.service import Outbox

LEAK_ACTOR = "leak-report"


@dataclass(frozen=True, slots=True)
class LeakPorts:
    accounts: AccountPorts
    outbox: Outbox


def report_leak(ports: LeakPorts, token: str, url: str | None) -> None:
    """Revoke the key whose text this is, if there is one; what is malformed costs no read.

    ``url`` is where it was found. The operator's key and a host's are revoked like any other: the bootstrap
    command and an enrolment give new ones.
    """
    accounts = ports.accounts
    now_ms = accounts.clock.now_ms()
    try:
        key = find_valid_key(accounts, token, now_ms)
    except Unauthenticated:
        return
    told: dict[str, object] = {"key_id": key.key_id}
    if url is not None:
        told["url"] = url
    tx = accounts.transactions()
    accounts.store.revoke_leaked_key(tx, key.key_id, now_ms)
    if key.issued_by is not None:
        accounts.store.forget_issued(tx, key)
    event = Event(accounts.ids.new_id("evt"), key.account_id, "key.leaked", now_ms, told)
    ports.outbox.add_event(tx, event)
    add_audit(accounts, tx, key.account_id, LEAK_ACTOR, "key.leaked", key.key_id)
    try:
        tx.commit()
    except Conflict:
        # Revoked since it was read: by another report, which told its owner, or by the owner.
        return
