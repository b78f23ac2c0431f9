"""People in DynamoDB. Access: everything by its key; the sessions of a person by the ``by_user`` index."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

from pynamodb.exceptions import DeleteError, PutError, PynamoDBException, UpdateError

from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.identity.model import Method, Person, Purpose, Session, Token, UserStatus
from chalicelib.identity.throttling import Tries
from chalicelib.storage import people_keys as keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.people import EmailItem, PersonItem, SessionItem, TokenItem, TriesItem
from chalicelib.storage.transaction import dynamo, unexpected


def _taken(_old: Any) -> DomainError:
    return Conflict("This address belongs to an account already.", code="email_taken")


def _used(_old: Any) -> DomainError:
    return Conflict("This was used already. Begin again.", code="link_used")


class DynamoPeople:
    """Persons and their addresses, sessions, tokens and counters; the rest is in `factor_store`."""

    def get_person(self, user_id: str) -> Person | None:
        try:
            item = PersonItem.get(keys.person(user_id), keys.PERSON, consistent_read=True)
        except PersonItem.DoesNotExist:
            return None
        return Person(
            user_id,
            item.email_key,
            item.sealed_email,
            item.sealed_name,
            cast("UserStatus", item.status),
            item.epoch,
            item.created_at_ms,
            item.email_verified_at_ms,
            item.password_digest,
            item.password_is_long == 1,
            item.version,
        )

    def find_user_id(self, email_key: str) -> str | None:
        try:
            return EmailItem.get(keys.email(email_key), keys.EMAIL, consistent_read=True).user_id
        except EmailItem.DoesNotExist:
            return None

    def add_person(self, tx: Transaction, person: Person) -> None:
        # An id is of one sign-up: who is there already came by another link of it.
        dynamo(tx).put(_write(person), PersonItem.pk.does_not_exist(), _taken)
        assert person.email_key is not None
        self._add_email(tx, person.email_key, person.user_id)

    def replace_person(self, tx: Transaction, before: Person, after: Person) -> None:
        dynamo(tx).put(_write(after), PersonItem.version == before.version, unexpected("The person"))
        if before.email_key != after.email_key:
            if before.email_key is not None:
                key = (keys.email(before.email_key), keys.EMAIL)
                dynamo(tx).delete(EmailItem, key, None, unexpected("The address"))
            if after.email_key is not None:
                self._add_email(tx, after.email_key, after.user_id)

    def rehash(self, person: Person, digest: str) -> None:
        with suppress(PynamoDBException):
            PersonItem(keys.person(person.user_id), keys.PERSON).update(
                [PersonItem.password_digest.set(digest)],
                (PersonItem.version == person.version)
                & (PersonItem.password_digest == person.password_digest),
            )

    def get_session(self, session_id: str) -> Session | None:
        try:
            item = SessionItem.get(keys.session(session_id), keys.SESSION, consistent_read=True)
        except SessionItem.DoesNotExist:
            return None
        return _read_session(item)

    def list_sessions(self, user_id: str) -> Sequence[Session]:
        found = SessionItem.by_user.query(user_id, scan_index_forward=False, limit=MAX_SESSIONS)
        return [_read_session(item) for item in found]

    def find_sessions(self, user_id: str) -> Iterator[Session]:
        for item in SessionItem.by_user.query(user_id):
            yield _read_session(item)

    def remove_session(self, session_id: str) -> None:
        try:
            SessionItem(keys.session(session_id), keys.SESSION).delete()
        except DeleteError as error:
            raise Unavailable("The session could not be taken away; try again.") from error

    def add_session(self, tx: Transaction, session: Session) -> None:
        item = SessionItem(
            keys.session(session.session_id),
            keys.SESSION,
            session_user_id=session.user_id,
            epoch=session.epoch,
            created_at_ms=session.created_at_ms,
            authenticated_at_ms=session.authenticated_at_ms,
            methods=set(session.methods),
            expires_at_ms=session.expires_at_ms,
            seen_at_ms=session.seen_at_ms,
            digest=session.digest,
            label=session.label,
            expires_at=session.expires_at_ms // 1000,
        )
        dynamo(tx).put(item, SessionItem.pk.does_not_exist(), unexpected("The session"))

    def end_session(self, tx: Transaction, session_id: str, at_ms: int) -> None:
        dynamo(tx).update(
            SessionItem,
            (keys.session(session_id), keys.SESSION),
            [SessionItem.ended_at_ms.set(at_ms)],
            SessionItem.pk.exists(),
            unexpected("The session"),
        )

    def note_seen(self, session: Session, now_ms: int) -> None:
        with suppress(PynamoDBException):
            SessionItem(keys.session(session.session_id), keys.SESSION).update(
                [SessionItem.seen_at_ms.set(now_ms)],
                SessionItem.pk.exists() & (SessionItem.seen_at_ms < now_ms),
            )

    def get_token(self, digest: str) -> Token | None:
        try:
            item = TokenItem.get(keys.token(digest), keys.TOKEN, consistent_read=True)
        except TokenItem.DoesNotExist:
            return None
        return Token(
            digest,
            cast("Purpose", item.purpose),
            item.user_id,
            item.created_at_ms,
            item.expires_at_ms,
            item.data,
            item.used_at_ms,
            item.uses,
        )

    def add_token(self, tx: Transaction, token: Token) -> None:
        item = TokenItem(
            keys.token(token.digest),
            keys.TOKEN,
            purpose=token.purpose,
            user_id=token.user_id,
            created_at_ms=token.created_at_ms,
            expires_at_ms=token.expires_at_ms,
            data=dict(token.data),
            uses=token.uses,
            expires_at=token.expires_at_ms // 1000,
        )
        dynamo(tx).put(item, TokenItem.pk.does_not_exist(), unexpected("The token"))

    def use_token(self, tx: Transaction, token: Token, now_ms: int) -> None:
        dynamo(tx).update(
            TokenItem,
            (keys.token(token.digest), keys.TOKEN),
            [TokenItem.used_at_ms.set(now_ms)],
            TokenItem.pk.exists() & TokenItem.used_at_ms.does_not_exist(),
            _used,
        )

    def count_use(self, token: Token, at_most: int) -> bool:
        try:
            TokenItem(keys.token(token.digest), keys.TOKEN).update(
                [TokenItem.uses.add(1)],
                TokenItem.pk.exists() & TokenItem.used_at_ms.does_not_exist() & (TokenItem.uses < at_most),
            )
        except UpdateError as error:
            if is_condition_failure(error):
                return False
            raise
        return True

    def get_tries(self, key: str) -> Tries:
        try:
            item = TriesItem.get(keys.tries(key), keys.TRIES, consistent_read=True)
        except TriesItem.DoesNotExist:
            return Tries()
        return Tries(item.tried, item.last_at_ms, item.next_at_ms, item.version)

    def replace_tries(self, key: str, before: Tries, after: Tries, expires_at_ms: int) -> bool:
        item = TriesItem(
            keys.tries(key),
            keys.TRIES,
            tried=after.count,
            last_at_ms=after.last_at_ms,
            next_at_ms=after.next_at_ms,
            version=after.version,
            expires_at=expires_at_ms // 1000,
        )
        # Once expired, an item may be gone at any time, and its counter with it.
        fresh = TriesItem.pk.does_not_exist()
        try:
            item.save(fresh if before.version == 0 else (TriesItem.version == before.version))
        except PutError as error:
            if is_condition_failure(error):
                return False
            raise
        return True

    def _add_email(self, tx: Transaction, email_key: str, user_id: str) -> None:
        item = EmailItem(keys.email(email_key), keys.EMAIL, user_id=user_id)
        dynamo(tx).put(item, EmailItem.pk.does_not_exist(), _taken)


#: A person who has more sees the newest; ending all of them ends these too.
MAX_SESSIONS = 100


def _write(person: Person) -> PersonItem:
    return PersonItem(
        keys.person(person.user_id),
        keys.PERSON,
        email_key=person.email_key,
        sealed_email=person.sealed_email,
        sealed_name=person.sealed_name,
        status=person.status,
        epoch=person.epoch,
        created_at_ms=person.created_at_ms,
        email_verified_at_ms=person.email_verified_at_ms,
        password_digest=person.password_digest,
        password_is_long=int(person.password_is_long),
        version=person.version,
    )


def _read_session(item: SessionItem) -> Session:
    return Session(
        session_id=item.pk.removeprefix(keys.session("")),
        user_id=item.session_user_id,
        epoch=item.epoch,
        created_at_ms=item.created_at_ms,
        authenticated_at_ms=item.authenticated_at_ms,
        methods=frozenset(cast("set[Method]", item.methods)),
        expires_at_ms=item.expires_at_ms,
        ended_at_ms=item.ended_at_ms,
        seen_at_ms=item.seen_at_ms,
        digest=item.digest,
        label=item.label,
    )
