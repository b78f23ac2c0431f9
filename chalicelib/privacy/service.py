"""Use cases of requests for privacy: they are written down here, and done by a function.

Of a subject one request is open at a time. An erasure takes the place of an open export, which is then
refused; an export after an erasure is refused: so an export has all of a subject, or is not made.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from chalicelib.accounts.service import AccountStore
from chalicelib.core.errors import Conflict, Forbidden, NotFound
from chalicelib.core.idempotency import (
    LIFETIME_MS,
    AlreadyAnswered,
    IdempotencyRecord,
    IdempotencyStore,
    check_replay,
)
from chalicelib.core.paging import Page
from chalicelib.core.ports import (
    AuditEntry,
    AuditTrail,
    Clock,
    Ids,
    PersonVault,
    Transaction,
    Transactions,
)
from chalicelib.core.principal import Principal, require_fresh
from chalicelib.privacy.requests import (
    EXPORT_LIFETIME_MS,
    Consent,
    PrivacyRequest,
    Purpose,
    Reason,
    Record,
    RequestKind,
    name_export,
)

HTTP_CREATED = 201
#: Of a role: may close its account.
CLOSE_ACCOUNT = "accounts:close"


class RequestStore(Protocol):
    def get_request(self, account_id: str, request_id: str) -> PrivacyRequest | None: ...
    def list_requests(self, account_id: str, limit: int, start: str | None) -> Page[PrivacyRequest]:
        """Newest first."""
        ...

    def list_open(self) -> Iterator[tuple[str, str]]:
        """Yield (account, request), first who was tried longest ago, or never. An index: a hint."""
        ...

    def find_latest(self, subject_id: str) -> tuple[str, RequestKind] | None:
        """The request that a subject's lock names, and its kind."""

    def add_request(
        self, tx: Transaction, request: PrivacyRequest, before: tuple[str, RequestKind] | None
    ) -> None:
        """Write it and the subject's lock. Fails with Unavailable when the lock is not ``before``."""

    def replace_request(self, tx: Transaction, old: PrivacyRequest, new: PrivacyRequest) -> None:
        """Fails with Unavailable when it changed since."""

    def check_lock(self, tx: Transaction, request: PrivacyRequest) -> None:
        """Fails with Unavailable when the subject's lock names another."""


class ConsentStore(Protocol):
    def add_consent(self, tx: Transaction, consent: Consent) -> None: ...
    def list_consents(self, account_id: str) -> list[Consent]:
        """Of each purpose the oldest first."""


class Records(Protocol):
    """Whatever is stored of an account, by `privacy.inventory`."""

    def list_records(self, account_id: str, item: str) -> Iterator[Record]: ...
    def clear(self, record: Record, names: list[str]) -> None:
        """Take attributes out; a text that must be there says that it was erased."""

    def delete(self, record: Record) -> None: ...
    def list_reasons(self, account_id: str, now_ms: int) -> tuple[Reason, ...]:
        """Why the account cannot be erased now. From consistent reads where money is decided."""


class People(Protocol):
    """Who a person is, for a request about the person and not an account (`identity`, `organisations`)."""

    def list_records(self, user_id: str) -> Iterator[Record]:
        """All that is kept of the person, opened."""

    def list_account_users(self, account_id: str) -> Iterator[str]:
        """Who belongs to the account and to no other: they go with it."""

    def list_reasons(self, user_id: str) -> tuple[Reason, ...]:
        """Why the person cannot be erased now."""
        ...

    def prepare(self, user_id: str) -> None:
        """End keys and ownerships of which there are more than a transaction takes.

        Raises Conflict ``last_owner``.
        """

    def mark_erased(self, tx: Transaction, user_id: str) -> None:
        """Nobody signs in any more, and what they owned has other owners. A repeat changes nothing.

        Fails with Conflict ``last_owner``: an organisation that is not closed would have no owner.
        """

    def forget(self, user_id: str, deadline_ms: int) -> bool:
        """Take away what is left of who is marked: memberships with their keys, passkeys, links, sessions.

        Part by part, one at least; ``False``: time ran out. A repeat changes nothing.
        """
        ...

    def end_memberships(self, account_id: str, deadline_ms: int) -> bool:
        """Remove every member of an account that is erased, one at least; ``False``: time ran out."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    expires_at_ms: int


class Archive(Protocol):
    """Documents of exports, and what else is kept as files of a subject."""

    def keep(self, key: str, file: BinaryIO) -> None: ...
    def fetch(self, key: str, file: BinaryIO) -> None:
        """Write what is kept into ``file``: nothing, when its day is over."""

    def link(self, key: str, file_name: str) -> Link: ...
    def remove_all(self, prefix: str) -> int:
        """Remove every version of every document whose name begins so; return how many there were."""


@dataclass(frozen=True, slots=True)
class PrivacyPorts:
    store: RequestStore
    consents: ConsentStore
    records: Records
    people: People
    vault: PersonVault
    archive: Archive
    accounts: AccountStore
    idempotency: IdempotencyStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids


@dataclass(frozen=True, slots=True)
class MakeRequest:
    """``of_account``: about all of the account, not only the person who asks."""

    kind: RequestKind
    of_account: bool
    idempotency_key: str
    fingerprint: str
    render: Callable[[PrivacyRequest], str]


@dataclass(frozen=True, slots=True)
class Made:
    status: int
    body: str
    replayed: bool


def make_request(ports: PrivacyPorts, principal: Principal, command: MakeRequest) -> Made:
    """Write a request down: the account's, or the person's own wherever they ask.

    Raises:
        Forbidden: ``forbidden``: the caller may not close the account, or is no person; ``step_up_needed``:
            an erasure is asked for by who signed in more than five minutes ago.
        Conflict: ``request_open``: one of the kind is open; ``erasure_requested``: nothing is exported any
            more; ``operator_account``: the installation's own account cannot be erased.
        IdempotencyMismatch: the key was used for another request.
    """
    now_ms = ports.clock.now_ms()
    subject_id = _choose_subject(principal, command)
    answered = ports.idempotency.find(subject_id, command.idempotency_key, now_ms)
    if answered is not None:
        return _repeat(command, answered)
    _check_asker(ports, principal, command, now_ms)
    request = PrivacyRequest(
        request_id=ports.ids.new_id("prv"),
        account_id=subject_id,
        subject_id=subject_id,
        requested_by=principal.actor_id,
        kind=command.kind,
        created_at_ms=now_ms,
    )
    before = ports.store.find_latest(request.subject_id)
    overtaken = find_overtaken(ports, request, before)
    body = command.render(request)
    record = IdempotencyRecord(
        subject_id,
        command.idempotency_key,
        command.fingerprint,
        HTTP_CREATED,
        body,
        now_ms + LIFETIME_MS,
    )
    tx = ports.transactions()
    ports.idempotency.add(tx, record, now_ms)
    add_request(ports, tx, request, before, overtaken)
    add_audit(ports, tx, request, principal.actor_id, f"privacy.{command.kind}_requested")
    try:
        tx.commit()
    except AlreadyAnswered as error:
        return _repeat(command, error.record)
    return Made(HTTP_CREATED, body, replayed=False)


def find_request(ports: PrivacyPorts, principal: Principal, request_id: str) -> PrivacyRequest:
    """Raises NotFound: no such request, another account's, or another person's."""
    for owner_id in _list_owners(principal):
        found = ports.store.get_request(owner_id, request_id)
        if found is not None and may_see(principal, found):
            return found
    raise NotFound("There is no such request.")


def list_requests(
    ports: PrivacyPorts, principal: Principal, limit: int, start: str | None
) -> Page[PrivacyRequest]:
    """Return the account's and the person's own, as far as the caller may see them, newest first."""
    pages = [ports.store.list_requests(owner_id, limit, start) for owner_id in _list_owners(principal)]
    found = [each for page in pages for each in page.items if may_see(principal, each)]
    newest = sorted(found, key=lambda each: each.request_id, reverse=True)
    more = len(newest) > limit or any(page.next_key is not None for page in pages)
    return Page(newest[:limit], newest[limit - 1].request_id if more and len(newest) >= limit else None)


def link_export(ports: PrivacyPorts, request: PrivacyRequest) -> Link | None:
    """Return a link to an export's document; ``None``: there is none, or its day is over."""
    if request.document_key is None or request.export_expires_at_ms is None:
        return None
    if ports.clock.now_ms() >= request.export_expires_at_ms:
        return None
    return ports.archive.link(request.document_key, f"export-{request.request_id}.zip")


def may_see(principal: Principal, request: PrivacyRequest) -> bool:
    """A person sees their own; who may close the account, be it by a key, what is about all of it."""
    if not request.is_of_account:
        return principal.user_id == request.subject_id
    may_close = CLOSE_ACCOUNT in principal.permissions | principal.withheld
    return request.account_id == principal.account_id and may_close


def add_audit(ports: PrivacyPorts, tx: Transaction, request: PrivacyRequest, actor: str, action: str) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        request.account_id,
        actor,
        action,
        request.request_id,
        ports.clock.now_ms(),
        {"subject": request.subject_id},
    )
    ports.audit.add_entry(tx, entry)


def add_request(
    ports: PrivacyPorts,
    tx: Transaction,
    request: PrivacyRequest,
    before: tuple[str, RequestKind] | None,
    overtaken: PrivacyRequest | None,
) -> None:
    """Write it, in the place of the export that it overtakes."""
    if overtaken is not None:
        refused = replace(overtaken, state="refused", completed_at_ms=request.created_at_ms)
        ports.store.replace_request(tx, overtaken, refused)
    ports.store.add_request(tx, request, before)


def finish_export(
    ports: PrivacyPorts, tx: Transaction, request: PrivacyRequest, now_ms: int
) -> PrivacyRequest:
    """Add to ``tx`` that the document is there; fails when an erasure has overtaken it."""
    done = replace(
        request,
        state="completed",
        completed_at_ms=now_ms,
        document_key=name_export(request.subject_id, request.request_id),
        export_expires_at_ms=now_ms + EXPORT_LIFETIME_MS,
    )
    ports.store.check_lock(tx, request)
    ports.store.replace_request(tx, request, done)
    return done


def put_consent(
    ports: PrivacyPorts, principal: Principal, purpose: Purpose, *, given: bool, version: str
) -> Consent:
    """Write a decision down; what was decided before stays. The same again changes nothing."""
    standing = find_standing(ports.consents.list_consents(principal.account_id)).get(purpose)
    if standing is not None and (standing.given, standing.version) == (given, version):
        return standing
    now_ms = ports.clock.now_ms()
    consent = Consent(
        ports.ids.new_id("cns"), principal.account_id, principal.actor_id, purpose, given, version, now_ms
    )
    tx = ports.transactions()
    ports.consents.add_consent(tx, consent)
    ports.audit.add_entry(
        tx,
        AuditEntry(
            ports.ids.new_id("aud"),
            principal.account_id,
            principal.actor_id,
            "privacy.consent_given" if given else "privacy.consent_withdrawn",
            consent.consent_id,
            now_ms,
            {"purpose": purpose, "version": version},
        ),
    )
    tx.commit()
    return consent


def find_standing(consents: list[Consent]) -> dict[Purpose, Consent]:
    """Return what holds of each purpose: the newest."""
    return {each.purpose: each for each in sorted(consents, key=lambda each: (each.at_ms, each.consent_id))}


def _list_owners(principal: Principal) -> list[str]:
    """Return whose requests the caller may look among."""
    return [each for each in (principal.account_id, principal.user_id) if each is not None]


def _choose_subject(principal: Principal, command: MakeRequest) -> str:
    if command.of_account:
        return principal.account_id
    if principal.user_id is None:
        raise Forbidden("A key is no person: ask about the account.")
    return principal.user_id


def _check_asker(ports: PrivacyPorts, principal: Principal, command: MakeRequest, now_ms: int) -> None:
    if command.of_account:
        _check_account(ports, principal, command)
    if command.kind == "erasure":
        require_fresh(principal, now_ms)


def _check_account(ports: PrivacyPorts, principal: Principal, command: MakeRequest) -> None:
    if CLOSE_ACCOUNT not in principal.permissions and not _may_erase_closed(ports, principal):
        raise Forbidden(f"This needs the permission {CLOSE_ACCOUNT}.")
    installation = ports.accounts.get_installation()
    ours = installation is not None and installation.account_id == principal.account_id
    if ours and command.kind == "erasure":
        raise Conflict("The installation's own account cannot be erased.", code="operator_account")


def _may_erase_closed(ports: PrivacyPorts, principal: Principal) -> bool:
    """Say whether the permission is withheld only because its owner closed the account."""
    if CLOSE_ACCOUNT not in principal.withheld:
        return False
    account = ports.accounts.get_account(principal.account_id)
    return account is not None and account.closed_at_ms is not None and account.suspended_at_ms is None


def find_overtaken(
    ports: PrivacyPorts, request: PrivacyRequest, before: tuple[str, RequestKind] | None
) -> PrivacyRequest | None:
    """Return the open export that an erasure overtakes.

    Raises:
        Conflict: ``request_open``, ``erasure_requested``.
    """
    if before is None:
        return None
    request_id, kind = before
    if kind == "erasure":
        raise Conflict("An erasure was asked for; nothing else is done any more.", code="erasure_requested")
    standing = ports.store.get_request(request.account_id, request_id)
    if standing is None or not standing.is_open:
        return None
    if request.kind == "export":
        raise Conflict("An export is being made.", code="request_open", extra={"request_id": request_id})
    return standing


def _repeat(command: MakeRequest, record: IdempotencyRecord) -> Made:
    stored = check_replay(record, command.fingerprint)
    return Made(stored.status, stored.body, replayed=True)
