"""People on the embedded cloud, made and signed in through the functions' own wiring."""

import uuid

from chalicelib import wiring
from chalicelib.identity.model import Person
from chalicelib.oauth.granting import open_grant, sign_for_person
from chalicelib.oauth.model import ACCESS_TOKEN_SECONDS, SECOND_MS, Consent
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
    consent = Consent(owner_id, account_id, "all", _EPOCH, now_ms, ("otp", "pwd"), ports.ids.new_id("ses"))
    grant, _ = open_grant(ports, ports.ids.new_id("ogr"), "cli", consent)
    ports.store.add(tx, grant)
    tx.commit()
    signed = {"at_ms": 0, "token": ""}

    def read_token() -> str:
        at_ms = ports.clock.now_ms()
        if at_ms - int(signed["at_ms"]) > ACCESS_TOKEN_SECONDS * SECOND_MS // 2:
            signed.update(at_ms=at_ms, token=sign_for_person(ports, grant, "all"))
        return str(signed["token"])

    return SignedIn(owner_id, member_id, read_token)


def make_person() -> str:
    ports = wiring.identity_ports()
    user_id, now_ms = ports.ids.new_id("usr"), ports.clock.now_ms()
    person = Person(user_id, uuid.uuid4().hex, None, None, "active", _EPOCH, now_ms, now_ms, None, True)
    tx = ports.transactions()
    ports.store.add_person(tx, person)
    tx.commit()
    return user_id
