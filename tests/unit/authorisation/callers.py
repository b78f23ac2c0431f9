"""Everybody who may ask, with what they show: keys, people's access tokens, programs', and tokens gone bad.

Tokens are signed as the authorization server signs them, and admitted by `wiring.authenticate` over the
slices of people and organisations; only the tables are in memory.
"""

from dataclasses import replace

from chalicelib import wiring
from chalicelib.accounts.model import PERMISSIONS, ApiKey, build_token, compute_digest
from chalicelib.accounts.standing import Standings, suspend_account
from chalicelib.core.principal import NO_LIMITS, KeyLimits
from chalicelib.identity.model import Person
from chalicelib.oauth.granting import (
    end_grant,
    open_grant,
    revoke_service_token,
    sign_for_person,
    sign_for_service,
)
from chalicelib.oauth.keyring import KeyRing
from chalicelib.oauth.model import CLI_CLIENT_ID, Consent
from chalicelib.oauth.ports import OAuthPorts
from chalicelib.oauth.server_gateway import AuthlibServer
from chalicelib.oauth.service import find_client
from chalicelib.oauth.signing import RING, KeyCache, rotate_signing_keys
from chalicelib.oauth.token_gateway import JoseCodec
from chalicelib.organisations.model import SERVICE_ROLES, ServiceAccount
from chalicelib.organisations.service import remove_member
from chalicelib.organisations.service_accounts import disable_service_account
from chalicelib.wiring.oauth import SliceStanding
from tests.factories import add_person, add_renter
from tests.fakes.identity import FakePeople
from tests.fakes.oauth import ISSUER, FakeOAuthStore, FakeSigner
from tests.fakes.wiring import rewire
from tests.unit.identity.visitor import FakeProviders
from tests.unit.oauth.tokens import Forge

EPOCH = 3
#: A minute more than a sign-in counts as fresh.
STALE_SECONDS = 360
GONE_SECONDS = 700


class Callers:
    """``text`` gives what a caller shows. ``people``: name -> principal, who gets a token when they ask.

    ``keys``: name -> text of a key. ``programs``: name -> service account. A name that is none of them is
    the text itself.
    """

    def __init__(self, monkeypatch, seeded, host_id):
        self.seeded, self.cloud, self.host_id = seeded, seeded.cloud, host_id
        cloud = self.cloud
        self.people, self.programs, self.keys, self.odd = {}, {}, {}, {}
        self.grants, self.signed = {}, {}
        self.signer, self.oauth_store = FakeSigner(), FakeOAuthStore(cloud.db)
        self.ports = OAuthPorts(
            store=self.oauth_store,
            standing=SliceStanding(),
            signer=self.signer,
            codec=JoseCodec(),
            keys=KeyCache(self.read_ring, cloud.clock),
            audit=cloud.audit,
            transactions=cloud.db.begin,
            clock=cloud.clock,
            ids=cloud.ids,
            read_pepper=lambda: cloud.pepper,
            issuer=lambda: ISSUER,
            permissions=PERMISSIONS,
        )
        rotate_signing_keys(self.ports)
        self.site = FakePeople(cloud.db, cloud.clock)
        self.site.public_url = ISSUER
        self.site.ports = replace(self.site.ports, ids=cloud.ids, audit=cloud.audit)
        self.standings = Standings(cloud.accounts.store, cloud.clock.now_ms)
        rewire(
            monkeypatch,
            standings=self.standings,
            oauth_ports=self.ports,
            oauth_server=AuthlibServer(self.ports),
            identity_ports=self.site.ports,
            provider_ports=FakeProviders(self.site, "Example").ports,
            public_url=ISSUER,
        )

    def read_ring(self):
        return self.oauth_store.get(KeyRing, RING) or KeyRing()

    def text(self, name):
        if name in self.keys:
            return self.keys[name]
        if name in self.people:
            return self.sign(self.people[name])
        if name in self.programs:
            return self.sign_program(self.programs[name])
        return self.odd[name]() if name in self.odd else name

    def admit(self, name):
        """Return who the API takes a caller for; raises Unauthenticated."""
        return wiring.authenticate(self.text(name))

    def give_grant(self, principal):
        """A grant of a person for the command line, in the organisation in which they ask."""
        user_id, now_ms = principal.user_id, self.cloud.clock.now_ms()
        address = f"{user_id}@lab.example"
        self.cloud.db.table("people").setdefault(
            user_id, Person(user_id, address, None, None, "active", EPOCH, now_ms, now_ms, None, True)
        )
        consent = Consent(user_id, principal.account_id, "all", EPOCH, now_ms, ("otp", "pwd"), "ses_1")
        grant, _ = open_grant(self.ports, self.cloud.ids.new_id("ogr"), CLI_CLIENT_ID, consent)
        tx = self.cloud.db.begin()
        self.oauth_store.add(tx, grant)
        tx.commit()
        return grant

    def sign(self, principal, scope="all", signed_in_seconds_ago=0):
        """Return a token of now; each person has one grant in an organisation."""
        who, now_ms = (principal.user_id, principal.account_id), self.cloud.clock.now_ms()
        if who not in self.grants:
            self.grants[who] = self.give_grant(principal)
        key = (*who, scope, signed_in_seconds_ago, now_ms)
        if key not in self.signed:
            at_ms = now_ms - signed_in_seconds_ago * 1000
            grant = self.grants[who]
            grant = replace(grant, consent=replace(grant.consent, authenticated_at_ms=at_ms))
            self.signed[key] = sign_for_person(self.ports, grant, scope)
        return self.signed[key]

    def sign_program(self, service_account_id, scope="all"):
        key = (service_account_id, scope, self.cloud.clock.now_ms())
        if key not in self.signed:
            client = find_client(self.ports, service_account_id)
            self.signed[key] = sign_for_service(self.ports, client, scope)
        return self.signed[key]

    def add_program(self, role, account_id):
        made = ServiceAccount(self.cloud.ids.new_id("sva"), account_id, role, role, self.cloud.clock.now_ms())
        tx = self.cloud.db.begin()
        self.cloud.organisation_store.add_service_account(tx, made)
        tx.commit()
        return made.service_account_id

    def add_key(self, role="renter", account_id=None, limits=NO_LIMITS, **more):
        """Return the text of a key, of tenant A unless another account is given."""
        accounts = self.cloud.accounts
        key_id = accounts.ids.new_id("key")
        token = build_token("live", key_id, accounts.ids.new_secret())
        digest, account_id = compute_digest(token, accounts.read_pepper()), account_id or self.a
        key = ApiKey(key_id, account_id, role, "x", digest, accounts.clock.now_ms(), limits=limits, **more)
        tx = self.cloud.db.begin()
        accounts.store.add_key(tx, key)
        tx.commit()
        return token

    @property
    def a(self):
        return self.seeded.renter.account_id

    def enter_all(self):
        """Let everybody in whom the matrix knows."""
        seeded, now_ms = self.seeded, self.cloud.clock.now_ms()
        operators = seeded.operator.account_id
        #: Who stays an owner whatever happens to the others.
        add_person(seeded, "owner")
        for role in PERMISSIONS:
            if role not in {"renter", "host"}:
                at = operators if role.endswith("operator") else self.a
                self.people[role] = add_person(seeded, role, account_id=at)
        self.keys["renter"] = self.add_key()
        self.keys["host"] = self.add_key("host", operators, host_id=self.host_id)
        self.keys["expired key"] = self.add_key(limits=KeyLimits(expires_at_ms=now_ms - 1))
        self.keys["revoked key"] = self.add_key(revoked_at_ms=now_ms)
        for role in sorted(SERVICE_ROLES):
            self.programs[f"program {role}"] = self.add_program(role, self.a)
        self.b = add_renter(seeded, name="neighbour").account_id
        self.people["neighbour"] = add_person(seeded, "owner", account_id=self.b)
        self.keys["neighbour key"] = self.add_key(account_id=self.b)
        self._suspend()
        self._spoil_people()
        self._spoil_programs()
        self._forge()

    def _suspend(self):
        account_id = add_renter(self.seeded, name="suspended", credit_micros=0).account_id
        self.people["suspended account"] = add_person(self.seeded, "owner", account_id=account_id)
        self.keys["suspended account key"] = self.add_key(account_id=account_id)
        self.programs["suspended account program"] = self.add_program("admin", account_id)
        suspend_account(self.cloud.accounts, self.seeded.operator, account_id, "unpaid")

    def _spoil_people(self):
        owner, rows = self.people["owner"], self.cloud.db.table("people")
        for name in ("suspended person", "erased person", "older epoch", "removed member", "ended grant"):
            person = self.people[name] = add_person(self.seeded, "owner")
            self.sign(person)
        for name, change in (
            ("suspended person", {"status": "suspended"}),
            ("erased person", {"status": "erased"}),
            ("older epoch", {"epoch": EPOCH + 1}),
        ):
            user_id = self.people[name].user_id
            rows[user_id] = replace(rows[user_id], **change)
        user_id = self.people["removed member"].user_id
        remove_member(self.cloud.organisations, owner, self.a, user_id)
        ended = self.people["ended grant"]
        grant = self.grants[ended.user_id, ended.account_id]
        end_grant(self.ports, grant.grant_id, ended.user_id, "revoked")

    def _spoil_programs(self):
        gone = self.add_program("admin", self.a)
        self.keys["disabled program"] = self.sign_program(gone)
        disable_service_account(self.cloud.organisations, self.people["owner"], self.a, gone)
        token = self.keys["revoked program token"] = self.sign_program(self.add_program("admin", self.a))
        revoke_service_token(self.ports, self.a, Forge(self, token).claims["jti"], self.cloud.clock.now_ms())

    def _forge(self):
        def forge(**claims):
            return lambda: Forge(self, self.text("owner")).with_claims(**claims)

        def expire():
            made = Forge(self, self.text("owner"))
            iat = made.claims["iat"] - GONE_SECONDS
            return made.with_claims(iat=iat, exp=iat + 600)

        self.odd |= {
            "expired token": expire,
            "wrong audience": forge(aud="https://other.example"),
            "wrong issuer": forge(iss="https://other.example"),
            "id token": forge(aud="cli", nonce="n", scope=None, client_id=None),
            "another organisation": forge(org=self.b),
            "unsigned token": lambda: Forge(self, self.text("owner")).unsigned("none"),
            "stale": lambda: self.sign(self.people["owner"], signed_in_seconds_ago=STALE_SECONDS),
        }
