"""The authorization server: its records, its keys in KMS, and who has which standing."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.core.principal import Principal
from chalicelib.wiring.accounts import account_ports, authenticate_key, standings
from chalicelib.wiring.identity import identity_ports
from chalicelib.wiring.organisations import organisation_ports
from chalicelib.wiring.system import (
    aws_client,
    bind_tables,
    clock,
    ids,
    public_url,
    read_pepper,
    settings,
    start_transaction,
)

if TYPE_CHECKING:
    from chalicelib.identity.model import Session, User
    from chalicelib.oauth.ports import OAuthPorts, Protocol20
    from chalicelib.organisations.model import Membership, ServiceAccount

#: What every API key begins with; a JSON Web Token begins otherwise.
KEY_PREFIX = "pc_"


class SliceStanding:
    """`chalicelib.oauth.ports.Standing` over the slices of people and organisations, each once it is used."""

    def find_session(self, secret: str) -> "tuple[User, Session] | None":
        from chalicelib.identity.service import find_session

        return find_session(identity_ports(), secret)

    def get_user(self, user_id: str) -> "User | None":
        from chalicelib.identity.model import User

        # Not opened: name and address are sealed, and nothing here asks for them.
        person = identity_ports().store.get_person(user_id)
        if person is None:
            return None
        return User(user_id, None, None, person.status, person.epoch, person.created_at_ms)

    def get_session(self, session_id: str) -> "Session | None":
        return identity_ports().store.get_session(session_id)

    def get_membership(self, account_id: str, user_id: str) -> "Membership | None":
        return organisation_ports().store.get_membership(account_id, user_id)

    def list_memberships(self, user_id: str) -> "Sequence[Membership]":
        return organisation_ports().store.list_memberships_of(user_id)

    def get_service_account(self, service_account_id: str) -> "ServiceAccount | None":
        return organisation_ports().store.get_service_account(service_account_id)

    def name_account(self, account_id: str) -> str:
        account = account_ports().store.get_account(account_id)
        return account_id if account is None else account.name


@cache
def oauth_ports() -> "OAuthPorts":
    from chalicelib.accounts.model import PERMISSIONS
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.oauth.keyring import KeyRing
    from chalicelib.oauth.kms_gateway import KmsSigner
    from chalicelib.oauth.ports import OAuthPorts
    from chalicelib.oauth.signing import RING, KeyCache
    from chalicelib.oauth.store import DynamoOAuthStore
    from chalicelib.oauth.token_gateway import JoseCodec

    bind_tables()
    store = DynamoOAuthStore()
    return OAuthPorts(
        store=store,
        standing=SliceStanding(),
        signer=KmsSigner(lambda: aws_client("kms"), settings().stage),
        codec=JoseCodec(),
        keys=KeyCache(lambda: store.get(KeyRing, RING) or KeyRing(), clock()),
        audit=DynamoAuditTrail(),
        transactions=start_transaction,
        clock=clock(),
        ids=ids(),
        read_pepper=read_pepper,
        issuer=public_url,
        permissions=PERMISSIONS,
    )


@cache
def oauth_server() -> "Protocol20":
    from chalicelib.oauth.server_gateway import AuthlibServer

    return AuthlibServer(oauth_ports())


def authenticate(token: str) -> Principal:
    """Return who holds a key or an access token. Raises Unauthenticated."""
    if token.startswith(KEY_PREFIX):
        return authenticate_key(token)
    from chalicelib.accounts.standing import hold_to_standing
    from chalicelib.oauth.admission import authenticate_token

    return hold_to_standing(standings(), authenticate_token(oauth_ports(), token))
