"""The authorization server's records in memory, a keeper of keys, and the standing of people and programs."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pynamodb.exceptions import GetError

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.core.errors import Unavailable
from chalicelib.core.paging import Page
from chalicelib.identity.model import Session, User
from chalicelib.oauth.keyring import KeyRing
from chalicelib.oauth.kms_gateway import raw_signature, read_point
from chalicelib.oauth.model import Client, Grant
from chalicelib.oauth.ports import OAuthPorts
from chalicelib.oauth.signing import RING, KeyCache, rotate_signing_keys
from chalicelib.oauth.store import KINDS
from chalicelib.oauth.token_gateway import JoseCodec
from chalicelib.organisations.model import Membership, ServiceAccount
from tests.fakes.database import START_MS, FakeClock, FakeIds, MemoryDatabase, MemoryStore
from tests.fakes.records import FakeAuditTrail

ISSUER = "https://api.provocative.test"
#: Bytes of a partition key, the prefix of its kind among them. Source: DynamoDB, quotas.
MAX_KEY = 2048


class FakeOAuthStore(MemoryStore):
    """Rows: oauth (kind, key). ``reads`` counts the items that were read, by kind."""

    def __init__(self, db):
        super().__init__(db)
        self.reads = Counter()

    def get(self, kind, key):
        self.reads[kind.__name__] += 1
        _check_key(key)
        return self.db.table("oauth").get((kind, key))

    def add(self, tx, record):
        key = _key(record)
        tx.put_new("oauth", key, replace(record, version=record.version + 1), Unavailable("record"))

    def replace(self, tx, record):
        key, rows = _key(record), self.db.table("oauth")

        def check():
            same = key in rows and rows[key].version == record.version
            return None if same else Unavailable("record")

        tx.add(check, lambda: rows.__setitem__(key, replace(record, version=record.version + 1)))

    def list_clients(self, account_id, limit, start):
        return self._list(Client, limit, start, lambda each: each.account_id == account_id)

    def list_grants(self, user_id, limit, start):
        return self._list(Grant, limit, start, lambda each: each.consent.user_id == user_id)

    def _list(self, kind, limit, start, is_mine):
        rows = sorted((key[1], row) for key, row in self.db.table("oauth").items() if key[0] is kind)
        mine = [(key, row) for key, row in rows if is_mine(row) and (start is None or key > start)]
        more = len(mine) > limit
        return Page([row for _, row in mine[:limit]], mine[limit - 1][0] if more else None)


def _check_key(key):
    if not 0 < len(key.encode()) <= MAX_KEY:
        raise GetError("One or more parameter values were invalid: size of hashkey")


def _key(record):
    field = KINDS[type(record)][1]
    return type(record), getattr(record, field) if field else RING


class FakeSigner:
    """Private keys in memory; ``dropped`` lists what was to be destroyed.

    ``late``: so many times the public half of a new key is refused.
    """

    def __init__(self):
        self.keys, self.dropped, self.late = {}, [], 0

    def make_key(self):
        key = ec.generate_private_key(ec.SECP256R1())
        key_ref = f"key-{len(self.keys)}"
        self.keys[key_ref] = key
        return key_ref

    def read_key(self, key_ref):
        if self.late > 0:
            self.late -= 1
            raise Unavailable("its tags are not known yet")
        public = self.keys[key_ref].public_key()
        return read_point(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def sign(self, key_ref, message):
        return raw_signature(self.keys[key_ref].sign(message, ec.ECDSA(SHA256())))

    def drop_key(self, key_ref):
        self.dropped.append(key_ref)


class FakeStanding:
    """People, sessions, members and service accounts in dicts. ``reads`` counts what was read, by kind."""

    def __init__(self):
        self.users, self.sessions, self.members, self.services = {}, {}, {}, {}
        self.secrets, self.names = {}, {}
        self.reads = Counter()

    def find_session(self, secret):
        session = self.sessions.get(self.secrets.get(secret))
        return None if session is None else (self.users[session.user_id], session)

    def get_user(self, user_id):
        self.reads["User"] += 1
        return self.users.get(user_id)

    def get_session(self, session_id):
        self.reads["Session"] += 1
        return self.sessions.get(session_id)

    def get_membership(self, account_id, user_id):
        self.reads["Membership"] += 1
        _check_key(account_id)
        return self.members.get((account_id, user_id))

    def list_memberships(self, user_id):
        return [each for each in self.members.values() if each.user_id == user_id]

    def get_service_account(self, service_account_id):
        self.reads["ServiceAccount"] += 1
        _check_key(service_account_id)
        return self.services.get(service_account_id)

    def name_account(self, account_id):
        return self.names.get(account_id, account_id)


class AuthorizationWorld:
    """All ports over one database in memory, with one person, one organisation and one service account."""

    def __init__(self, late=0):
        self.issuer = ISSUER
        self.db, self.clock, self.ids = MemoryDatabase(), FakeClock(), FakeIds()
        self.store, self.signer, self.standing = FakeOAuthStore(self.db), FakeSigner(), FakeStanding()
        self.audit = FakeAuditTrail(self.db)
        self.ports = OAuthPorts(
            store=self.store,
            standing=self.standing,
            signer=self.signer,
            codec=JoseCodec(),
            keys=KeyCache(self.read_ring, self.clock),
            audit=self.audit,
            transactions=self.db.begin,
            clock=self.clock,
            ids=self.ids,
            read_pepper=lambda: b"pepper of the tests",
            issuer=lambda: self.issuer,
            permissions=PERMISSIONS,
        )
        self.signer.late = late
        with suppress(Unavailable):
            rotate_signing_keys(self.ports)
        self.account_id, self.user_id = self.ids.new_id("acc"), self.ids.new_id("usr")
        self.service_id = self.ids.new_id("sva")
        self.standing.names[self.account_id] = "Acme Research"
        self.standing.users[self.user_id] = User(
            self.user_id, "ada@example.org", "Ada", "active", 3, START_MS
        )
        self.join(self.account_id)
        self.standing.services[self.service_id] = ServiceAccount(
            self.service_id, self.account_id, "ci", "renter", START_MS
        )
        self.cookie = "cookie-of-ada"
        self.session = Session(
            self.ids.new_id("ses"),
            self.user_id,
            3,
            START_MS,
            START_MS,
            frozenset({"pwd", "otp"}),
            START_MS * 2,
        )
        self.standing.sessions[self.session.session_id] = self.session
        self.standing.secrets[self.cookie] = self.session.session_id

    def join(self, account_id, role="renter"):
        member = Membership(account_id, self.user_id, role, START_MS)
        self.standing.members[account_id, self.user_id] = member

    def read_ring(self):
        return self.store.get(KeyRing, RING) or KeyRing()

    def change_user(self, **changes):
        self.standing.users[self.user_id] = replace(self.standing.users[self.user_id], **changes)

    def count_reads(self):
        return sum(self.store.reads.values()) + sum(self.standing.reads.values())

    def forget_reads(self):
        self.store.reads.clear()
        self.standing.reads.clear()
