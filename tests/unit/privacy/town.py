"""People over the fakes of every slice that keeps them: one who left a trace everywhere, and a neighbour."""

import itertools
import json
import re
import zipfile
from base64 import b64decode
from dataclasses import asdict, replace
from io import BytesIO

from chalicelib.accounts.service import create_key
from chalicelib.identity import service as identity_service
from chalicelib.identity.model import FederatedLink, Passkey
from chalicelib.identity.resetting import ask_new_address
from chalicelib.identity.service import Browser
from chalicelib.identity.totp_gateway import TotpCodes
from chalicelib.oauth.model import Consent, Grant
from chalicelib.organisations import inviting, service
from chalicelib.organisations.model import Membership
from chalicelib.organisations.ports import Once
from chalicelib.privacy.enforcing import Run, run_requests
from chalicelib.privacy.erasing import run_request
from chalicelib.privacy.people import KnownPeople
from chalicelib.privacy.requests import Record
from chalicelib.privacy.service import MakeRequest, PrivacyPorts, make_request
from tests.factories import seed_cloud, sign_in
from tests.fakes.oauth import FakeOAuthStore
from tests.fakes.privacy import FakeArchive, FakeConsentStore, FakeRecords, FakeRequestStore, FakeVault
from tests.fakes.records import FakeIdempotencyStore
from tests.unit.identity.people import People

FAR_MS = 10**15
EACH = 6
#: Profile (2), sessions, passkeys and subjects at providers.
CANARIES = 2 + 3 * EACH
SEALED = re.compile(r"fake\.[A-Za-z0-9+/=]+")


class SameCodes(TotpCodes):
    """So that two towns are alike."""

    def new_secret(self):
        return "JBSWY3DPEHPK3PXP" * 2  # pragma: allowlist secret (of RFC 4648's alphabet)


class StoredRecords(FakeRecords):
    """What stands under a person's own id, from the database itself."""

    def __init__(self, db):
        super().__init__()
        self.db = db

    def list_records(self, account_id, item):
        if item == "IdempotencyItem":
            for key, row in list(self.db.table("idempotency").items()):
                if key[0] == account_id:
                    yield Record(item, account_id, key[1], {"account_id": account_id, "body": row.body})
        elif item == "AuditItem":
            mine = [row for row in self.db.table("audit").values() if row.account_id == account_id]
            yield from (Record(item, account_id, row.audit_id, asdict(row)) for row in mine)
        else:
            yield from super().list_records(account_id, item)

    def delete(self, record):
        self.db.table("idempotency").pop((record.pk, record.sk), None)


class Town:
    """Ana owns a laboratory and develops in the renter's account; Ben has traces of his own."""

    def __init__(self):
        self.seeded = seed_cloud()
        self.cloud = self.seeded.cloud
        self.db, self.clock = self.cloud.db, self.cloud.clock
        self.vault, self.identity = FakeVault(), People(self.cloud.db, self.cloud.clock)
        self.identity.ports = replace(
            self.identity.ports,
            vault=self.vault,
            ids=self.cloud.ids,
            audit=self.cloud.audit,
            codes=SameCodes(),
        )
        self.oauth = FakeOAuthStore(self.db)
        self.people = KnownPeople(
            lambda: self.identity.ports, lambda: self.cloud.organisations, lambda: self.oauth
        )
        self.archive = FakeArchive(self.clock)
        self.privacy = PrivacyPorts(
            FakeRequestStore(self.db),
            FakeConsentStore(self.db),
            StoredRecords(self.db),
            self.people,
            self.vault,
            self.archive,
            self.cloud.accounts.store,
            FakeIdempotencyStore(self.db),
            self.cloud.audit,
            self.db.begin,
            self.clock,
            self.cloud.ids,
        )
        self.asked = itertools.count()
        self.renter_id = self.seeded.renter.account_id
        self.ana, self.ben = self.settle("ana"), self.settle("ben")
        once = Once("lab", "f", lambda made: made.account_id)
        ana = sign_in("acc_none", self.ana, "viewer")
        self.lab_id = service.create_organisation(
            self.cloud.organisations, ana, once, name="Lab", currency="USD"
        ).body
        self.join(self.ana, self.renter_id, "developer")
        self.key = self.issue(self.ana, self.renter_id)
        self.invite("canary-ana-invited@example.com")

    def settle(self, name):
        """Somebody signs up and leaves a trace in every place; return their id."""
        user_id = self.identity.sign_up(
            f"canary-{name}-0@example.com", name=f"canary-{name}-1"
        ).session.user_id
        ports, store = self.identity.ports, self.identity.store
        self.identity.enrol(self.start_session(store.get_person(user_id)))
        user, session = self.identity.find(self.start_session(store.get_person(user_id)))
        ask_new_address(ports, user, session, f"canary-{name}-new@example.com", Browser("192.0.2.1"))
        person, tx, now_ms = store.get_person(user_id), self.db.begin(), self.clock.now_ms()
        for number in range(EACH):
            label = f"canary-{name}-{2 + number}"
            identity_service.add_session(ports, tx, person, frozenset({"pwd"}), Browser("192.0.2.1", label))
            label = f"canary-{name}-{2 + EACH + number}"
            store.add_passkey(tx, Passkey(f"cred-{name}-{number}", user_id, "public", 0, label, now_ms))
            subject = f"canary-{name}-{2 + 2 * EACH + number}"
            store.add_link(tx, FederatedLink("https://idp.example", subject, user_id, "Example", now_ms))
        consent = Consent(user_id, "acc_any", "*", person.epoch, now_ms, ("pwd",), "ses_1")
        self.oauth.add(tx, Grant(self.cloud.ids.new_id("gnt"), "oac_1", consent, now_ms, FAR_MS))
        tx.commit()
        return user_id

    def start_session(self, person):
        tx = self.db.begin()
        home = Browser("192.0.2.1", f"{person.user_id} at home")
        started = identity_service.add_session(
            self.identity.ports, tx, person, frozenset({"pwd", "otp"}), home
        )
        tx.commit()
        return started

    def join(self, user_id, account_id, role):
        store, tx = self.cloud.organisation_store, self.db.begin()
        store.add_membership(tx, Membership(account_id, user_id, role, self.clock.now_ms()))
        if role == "owner":
            store.count_owner(tx, account_id, 1)
        tx.commit()

    def issue(self, user_id, account_id):
        role = self.cloud.organisation_store.get_membership(account_id, user_id).role
        return create_key(
            self.cloud.accounts, sign_in(account_id, user_id, role), account_id, label="ci"
        ).key.key_id

    def invite(self, address):
        ana = sign_in(self.lab_id, self.ana, "owner")
        once = Once("invited", "f", lambda made: made.invitation_id)
        command = inviting.Invite(self.lab_id, address, "viewer")
        inviting.invite_member(self.cloud.organisations, ana, command, once)

    def sign_in(self, user_id, account_id, role="viewer"):
        principal = sign_in(account_id, user_id, role)
        return replace(principal, authenticated_at_ms=self.clock.now_ms())

    def make(self, principal, kind="erasure", *, of_account=False):
        command = MakeRequest(
            kind, of_account, f"k-{next(self.asked)}", "f", lambda made: json.dumps({"id": made.request_id})
        )
        return json.loads(make_request(self.privacy, principal, command).body)["id"]

    def ask(self, kind="erasure"):
        return self.make(self.sign_in(self.ana, self.renter_id, "developer"), kind)

    def read(self, request_id):
        rows = self.db.table("privacy requests")
        return next(row for (_, each), row in rows.items() if each == request_id)

    def run(self, deadline_ms=FAR_MS):
        run = Run()
        run_requests(self.privacy, deadline_ms, run, lambda request_id: None)
        return run

    def run_one(self, request_id, deadline_ms=FAR_MS):
        return run_request(self.privacy, self.read(request_id).account_id, request_id, deadline_ms)

    def get_person(self, user_id):
        return self.identity.store.get_person(user_id)

    def read_export(self, request_id):
        with zipfile.ZipFile(BytesIO(self.archive.documents[self.read(request_id).document_key])) as archive:
            return {name: archive.read(name).decode() for name in archive.namelist()}

    def dump(self):
        """Every table and document, and whatever of it still opens."""
        texts = [repr(self.db.tables)]
        for body in self.archive.documents.values():
            with zipfile.ZipFile(BytesIO(body)) as archive:
                texts += [archive.read(name).decode() for name in archive.namelist()]
        for sealed in SEALED.findall(texts[0]):
            owner, name, _ = b64decode(sealed.removeprefix("fake.")).decode().split("\0", 2)
            texts.append(self.vault.open(owner, name, sealed) or "")
        return "\n".join(texts)

    def find_canaries(self, name):
        return sorted(set(re.findall(rf"canary-{name}-\w+", self.dump())))

    def summarise(self):
        """What must come out the same whatever happened on the way."""
        names = ("people", "emails", "factors", "sessions", "passkeys", "links", "members", "owners", "keys")
        tables = {name: dict(self.db.table(name)) for name in names}
        return repr((tables, sorted(self.vault.destroyed), sorted(self.archive.documents)))
