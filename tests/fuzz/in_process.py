"""The whole API in this process, over fakes in memory, with keys of each role."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

import app
from chalicelib.accounts.model import PERMISSIONS
from chalicelib.accounts.service import authenticate, bootstrap_installation
from chalicelib.accounts.standing import Standings, hold_to_standing
from chalicelib.core.principal import Principal
from chalicelib.oauth.keyring import KeyRing
from chalicelib.oauth.ports import OAuthPorts
from chalicelib.oauth.server_gateway import AuthlibServer
from chalicelib.oauth.signing import RING, KeyCache, rotate_signing_keys
from chalicelib.oauth.token_gateway import JoseCodec
from chalicelib.runtime.settings import Settings, parse_settings
from tests.factories import add_person
from tests.fakes.doors import open_doors
from tests.fakes.oauth import FakeOAuthStore, FakeSigner, FakeStanding
from tests.fakes.wiring import rewire
from tests.fuzz.seeding import SignedIn
from tests.unit.platform import Platform

#: Names of what is nowhere: nothing of it is reached.
SETTINGS = parse_settings(
    {name: f"memory-{name}" for name, each in Settings.model_fields.items() if each.is_required()}
)
PUBLIC_URL = "https://api.example/stage"


class InProcess:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        open_doors(monkeypatch)
        self.platform = Platform(monkeypatch)
        accounts = self.platform.cloud.accounts
        self.standings = Standings(accounts.store, accounts.clock.now_ms)
        oauth = self.build_oauth()
        rewire(
            monkeypatch,
            settings=SETTINGS,
            standings=self.standings,
            oauth_ports=oauth,
            oauth_server=AuthlibServer(oauth),
            public_url=PUBLIC_URL,
        )
        self.people: dict[str, Principal] = {}
        for routes in app.APIS:
            monkeypatch.setattr(routes, "_authenticate", self.authenticate)
        key = bootstrap_installation(accounts, currency="USD", rotate=True).operator_key
        assert key is not None
        self.operator_key = key
        self.today = datetime.fromtimestamp(self.platform.cloud.clock.now_ms() / 1000, UTC).date()

    def authenticate(self, token: str) -> Principal:
        found = self.people.get(token) or authenticate(self.platform.cloud.accounts, token)
        return hold_to_standing(self.standings, found)

    def sign_in(self, account_id: str) -> SignedIn:
        """Make an owner of an organisation, who is signed in, and a member."""
        owner, member = (
            add_person(self.platform.seeded, role, account_id=account_id) for role in ("owner", "viewer")
        )
        assert owner.user_id is not None
        assert member.user_id is not None

        def read_token(account_id: str) -> str:
            token = f"token-of-{owner.user_id}-in-{account_id}"
            self.people[token] = replace(owner, account_id=account_id)
            return token

        return SignedIn(owner.user_id, member.user_id, read_token)

    def build_oauth(self) -> OAuthPorts:
        cloud = self.platform.cloud
        store = FakeOAuthStore(cloud.db)
        ports = OAuthPorts(
            store=store,
            standing=FakeStanding(),
            signer=FakeSigner(),
            codec=JoseCodec(),
            keys=KeyCache(lambda: store.get(KeyRing, RING) or KeyRing(), cloud.clock),
            audit=cloud.audit,
            transactions=cloud.db.begin,
            clock=cloud.clock,
            ids=cloud.ids,
            read_pepper=lambda: cloud.pepper,
            issuer=lambda: PUBLIC_URL,
            permissions=PERMISSIONS,
        )
        rotate_signing_keys(ports)
        return ports
