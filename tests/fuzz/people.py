"""People on the embedded cloud, made and signed in through the functions' own wiring."""

import uuid

from chalicelib import wiring
from chalicelib.core.principal import STEP_UP_MS
from chalicelib.identity.model import Person
from chalicelib.oauth.granting import open_grant, sign_for_person
from chalicelib.oauth.model import Consent
from chalicelib.oauth.ports import OAuthPorts
from chalicelib.oauth.signing import rotate_signing_keys
from chalicelib.organisations.model import Membership
from tests.fuzz.seeding import SignedIn

_EPOCH = 1


def sign_in(account_id: str) -> SignedIn:
    """Make an owner of an organisation, who is signed in, and a member. `wire_to` must hold."""
    ports, organisations = wiring.oauth_ports(), wiring.organisation_ports()
    rotate_signing_keys(ports)
    owner_id, member_id = (make_person() for _ in range(2))
    tx, now_ms = ports.transactions(), ports.clock.now_ms()
    organisations.store.add_membership(tx, Membership(account_id, owner_id, "owner", now_ms))
    organisations.store.count_owner(tx, account_id, 1)
    organisations.store.add_membership(tx, Membership(account_id, member_id, "viewer", now_ms))
    tx.commit()
    signed: dict[str, tuple[int, str]] = {}

    def read_token(account_id: str) -> str:
        at_ms = ports.clock.now_ms()
        signed_at_ms, token = signed.get(account_id, (0, ""))
        if at_ms - signed_at_ms > STEP_UP_MS // 2:
            token = sign_token(ports, owner_id, account_id)
            signed[account_id] = at_ms, token
        return token

    return SignedIn(owner_id, member_id, read_token)


def sign_token(ports: OAuthPorts, user_id: str, account_id: str) -> str:
    """Return an access token as that of a person who consented just now."""
    session_id = ports.ids.new_id("ses")
    consent = Consent(user_id, account_id, "all", _EPOCH, ports.clock.now_ms(), ("otp", "pwd"), session_id)
    grant, _ = open_grant(ports, ports.ids.new_id("ogr"), "cli", consent)
    tx = ports.transactions()
    ports.store.add(tx, grant)
    tx.commit()
    return sign_for_person(ports, grant, "all")


def make_person() -> str:
    ports = wiring.identity_ports()
    user_id, now_ms = ports.ids.new_id("usr"), ports.clock.now_ms()
    person = Person(user_id, uuid.uuid4().hex, None, None, "active", _EPOCH, now_ms, now_ms, None, True)
    tx = ports.transactions()
    ports.store.add_person(tx, person)
    tx.commit()
    return user_id
