"""A renter of whom there is a record of each kind, and who asks for it."""

import itertools
from dataclasses import replace

from chalicelib.privacy.enforcing import Run, run_requests
from chalicelib.privacy.erasing import run_request
from chalicelib.privacy.inventory import list_owned
from chalicelib.privacy.service import MakeRequest, make_request
from tests.unit.platform import Platform

FAR_MS = 10**15
ANA = "usr_ana"
CANARIES = 20


class Office(Platform):
    """A renter with records of each kind, every text of which is a canary, and a person who belongs to it."""

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        self.renter = self.seeded.renter
        self.account_id = self.renter.account_id
        self.store, self.records = self.privacy.store, self.privacy.records
        self.archive, self.vault, self.people = (
            self.privacy.archive,
            self.privacy.vault,
            self.privacy.people,
        )
        self.vault.ensure_key(ANA)
        self.people.members[ANA] = self.account_id
        self.people.sealed[ANA] = {
            f"field-{number}": self.vault.seal(ANA, f"field-{number}", f"canary-person-{number}")
            for number in range(CANARIES)
        }
        for row in list_owned():
            for number in range(2):
                values = {name: f"canary-{row.item}-{name}-{number}" for name in row.list_plain()}
                kept = {name: f"kept-{name}" for name in row.fields if name not in values}
                self.records.rows[self.account_id, row.item, str(number)] = kept | values
        self.archive.documents["carbon/account/" + self.account_id + "/2026/v1.csv"] = b"canary-label"
        self.archive.documents["carbon/account/acc_other/2026/v1.csv"] = b"of another"
        self.asked = itertools.count()

    def make(self, kind="erasure", principal=None, key=None, *, of_account=True, fingerprint="f"):
        command = MakeRequest(
            kind, of_account, key or f"key-{next(self.asked)}", fingerprint, lambda made: made.request_id
        )
        return make_request(self.privacy, principal or self.renter, command)

    def sign_in(self, user_id=ANA, *names):
        """Whoever signed in just now, with no permission but these and those of everybody."""
        return replace(
            self.renter,
            user_id=user_id,
            actor_id=user_id,
            permissions=frozenset({"privacy:read", "privacy:write", *names}),
            authenticated_at_ms=self.cloud.clock.now_ms(),
        )

    def run(self, made):
        return run_request(self.privacy, self.read(made).account_id, made.body, FAR_MS)

    def run_all(self, deadline_ms=FAR_MS):
        """As the schedule does."""
        run, self.told = Run(), []
        run_requests(self.privacy, deadline_ms, run, self.told.append)
        return run

    def read(self, made):
        """Return a request, whoever's it is."""
        rows = self.cloud.db.table("privacy requests")
        return next(row for (_, request_id), row in rows.items() if request_id == made.body)

    def dump(self):
        opened = [list(self.people.list_records(user)) for user in self.people.sealed]
        return repr((self.records.rows, self.archive.documents, opened))
