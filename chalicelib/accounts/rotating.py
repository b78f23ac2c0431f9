"""Rotation: a key gets a successor of the same kind and ends itself, in one transaction, once."""

from collections.abc import Callable
from dataclasses import dataclass, field

from chalicelib.accounts.limits import renew_limits
from chalicelib.accounts.model import (
    DAY_MS,
    MAX_LIVE_KEYS_IN_OVERLAP,
    ApiKey,
    build_token,
    compute_digest,
    derive_secret,
)
from chalicelib.accounts.service import (
    AccountPorts,
    IssuedKey,
    add_audit,
    add_issued_key,
    find_issuer,
    find_key,
)
from chalicelib.core.errors import Conflict
from chalicelib.core.idempotency import (
    LIFETIME_MS,
    AlreadyAnswered,
    IdempotencyRecord,
    IdempotencyStore,
    check_replay,
)
from chalicelib.core.principal import Principal

MAX_OVERLAP_MS = 7 * DAY_MS
DEFAULT_OVERLAP_MS = DAY_MS
HTTP_CREATED = 201


@dataclass(frozen=True, slots=True)
class RotationPorts:
    accounts: AccountPorts
    idempotency: IdempotencyStore


@dataclass(frozen=True, slots=True)
class RotateKey:
    """``bearer`` is the text of the key that asks. ``render`` makes the answer's body, without a secret."""

    key_id: str
    overlap_ms: int
    bearer: str = field(repr=False)
    idempotency_key: str
    fingerprint: str
    render: Callable[[ApiKey], str]
    read_id: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class RotatedKey:
    """``token`` is the successor's text; a repeat of the request shows it again, and nothing else does."""

    body: str
    token: str = field(repr=False)
    replayed: bool


def rotate_key(ports: RotationPorts, principal: Principal, command: RotateKey) -> RotatedKey:
    """Issue a successor; the key itself expires after the overlap, or when it would have anyway.

    Raises:
        NotFound: no such key, or not the caller's.
        Conflict: ``already_rotated``, ``key_not_live``: it is revoked or expired, ``operator_key``,
            ``host_key``: a host gets another by enrolling again, ``predecessor_live``: two keys of a line
            work already, ``too_many_live_keys``: rotate without an overlap.
        Forbidden: ``key_exceeds_issuer``: the key, or its successor, may do more than the caller;
            ``key_of_another``.
        IdempotencyMismatch: the Idempotency-Key was used for another request, or by another key.
    """
    accounts = ports.accounts
    now_ms = accounts.clock.now_ms()
    secret = derive_secret(command.bearer, command.key_id, command.idempotency_key, accounts.read_pepper())
    answered = ports.idempotency.find(principal.account_id, command.idempotency_key, now_ms)
    if answered is not None:
        return _repeat(command, answered, secret)
    key = find_key(accounts, principal, command.key_id)
    _check_live(key, now_ms)
    _check_alone(accounts, key, now_ms)
    issued = _build_successor(accounts, principal, key, secret)
    body = command.render(issued.key)
    record = IdempotencyRecord(
        principal.account_id,
        command.idempotency_key,
        command.fingerprint,
        HTTP_CREATED,
        body,
        now_ms + LIFETIME_MS,
    )
    tx = accounts.transactions()
    ports.idempotency.add(tx, record, now_ms)
    ends_at_ms = _choose_end(key, now_ms + command.overlap_ms)
    ended = key if ends_at_ms <= now_ms else None
    add_issued_key(accounts, tx, issued.key, at_most=MAX_LIVE_KEYS_IN_OVERLAP, ended=ended)
    accounts.store.retire_key(tx, key.key_id, issued.key.key_id, ends_at_ms)
    add_audit(accounts, tx, key.account_id, principal.actor_id, "key.rotated", key.key_id)
    try:
        tx.commit()
    except AlreadyAnswered as error:
        return _repeat(command, error.record, secret)
    return RotatedKey(body, issued.token, replayed=False)


def _build_successor(accounts: AccountPorts, issuer: Principal, key: ApiKey, secret: str) -> IssuedKey:
    now_ms = accounts.clock.now_ms()
    limits = renew_limits(issuer, key, now_ms)
    key_id = accounts.ids.new_id("key")
    token = build_token("live", key_id, secret)
    digest = compute_digest(token, accounts.read_pepper())
    successor = ApiKey(
        key_id,
        key.account_id,
        key.role,
        key.label,
        digest,
        now_ms,
        limits=limits,
        predecessor_id=key.key_id,
        # Whoever asked has seen its text; an operator hands it on.
        issued_by=key.issued_by if issuer.is_operator else find_issuer(accounts, issuer),
    )
    return IssuedKey(successor, token)


def _repeat(command: RotateKey, record: IdempotencyRecord, secret: str) -> RotatedKey:
    body = check_replay(record, command.fingerprint).body
    return RotatedKey(body, build_token("live", command.read_id(body), secret), replayed=True)


def _check_live(key: ApiKey, now_ms: int) -> None:
    if key.role == "host":
        raise Conflict("A host gets another key by enrolling again.", code="host_key")
    if key.successor_id is not None:
        raise Conflict(
            "The key has a successor already.",
            code="already_rotated",
            extra={"successor_id": key.successor_id},
        )
    if key.revoked_at_ms is not None or key.is_expired(now_ms):
        raise Conflict("The key is no longer valid; issue another.", code="key_not_live")


def _check_alone(accounts: AccountPorts, key: ApiKey, now_ms: int) -> None:
    before = None if key.predecessor_id is None else accounts.store.get_key(key.predecessor_id)
    if before is not None and before.revoked_at_ms is None and not before.is_expired(now_ms):
        raise Conflict(
            "The key before this one still works; revoke it, or wait for its end.",
            code="predecessor_live",
            extra={"predecessor_id": before.key_id},
        )


def _choose_end(key: ApiKey, ends_at_ms: int) -> int:
    own = key.limits.expires_at_ms
    return ends_at_ms if own is None else min(own, ends_at_ms)
