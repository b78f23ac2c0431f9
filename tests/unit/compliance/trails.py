"""A trail of an account, linked and anchored, and what an attacker with every right may do to it."""

import hashlib
from dataclasses import replace

from chalicelib.compliance.anchoring import anchor_heads
from chalicelib.compliance.linking import link_entries
from chalicelib.compliance.ports import ChainPorts
from chalicelib.core.ids import build_id
from chalicelib.core.ports import AuditEntry
from tests.fakes.chains import FakeChainStore
from tests.fakes.database import FakeClock, FakeIds, MemoryDatabase
from tests.fakes.seals import FakeVault
from tests.fakes.statements import FakeDocuments

ACCOUNT = "acc_mine"
LATER = 10**15


class Trail:
    """``entries`` of one account after the first ``write``; ``others`` stand beside it in the same tables."""

    def __init__(self, account_id=ACCOUNT):
        self.db, self.clock, self.vault = MemoryDatabase(), FakeClock(), FakeVault()
        self.account_id = account_id
        self.documents = FakeDocuments()
        self.ports = ChainPorts(
            FakeChainStore(self.db), self.vault, self.documents, self.db.begin, self.clock, FakeIds()
        )

    @property
    def links(self):
        return self.db.table("links")

    @property
    def entries(self):
        return self.db.table("audit")

    def act(self, count, account_id=None):
        """Write so many entries, a second apart; nothing links them yet."""
        made = []
        for _ in range(count):
            made.append(build_entry(len(self.entries), account_id or self.account_id, self.clock.now_ms()))
            self.entries[made[-1].audit_id] = made[-1]
            self.clock.advance_seconds(1)
        return made

    def link(self, entries):
        """As the stream tells it, a hundred at a time."""
        for at in range(0, len(entries), 100):
            part = entries[at : at + 100]
            for account_id in sorted({entry.account_id for entry in part}):
                link_entries(self.ports, account_id, [each for each in part if each.account_id == account_id])

    def write(self, count, account_id=None):
        made = self.act(count, account_id)
        self.link(made)
        return made

    def anchor(self):
        return anchor_heads(self.ports, LATER)

    def list_chain(self, account_id=None):
        owner = account_id or self.account_id
        return list(self.ports.store.list_links(owner, 1))


def build_entry(number, account_id, at_ms):
    random = hashlib.sha256(str(number).encode()).digest()[:10]
    return AuditEntry(
        build_id("aud", now_ms=at_ms, randomness=random),
        account_id,
        f"key_{number % 7}",
        ("rental.created", "rental.ended", "key.issued")[number % 3],
        f"rnt_{number}",
        at_ms,
        {"reason": f"no. {number}", "gpus": number % 8, "nested": {"b": [1, "é"], "a": None}},
    )


def flip_bit(text, at, bit):
    """Flip one bit of one byte of a text, whatever text comes out."""
    raw = bytearray(text.encode("latin-1", "replace"))
    raw[at % len(raw)] ^= 1 << bit
    return raw.decode("latin-1")


def flip_number(value, bit):
    return value ^ (1 << bit)


#: Field of an entry -> the same entry with one bit of that field the other way; ``at`` says which byte.
ENTRY_FIELDS = {
    "audit_id": lambda entry, at, bit: replace(entry, audit_id=flip_bit(entry.audit_id, at, bit)),
    "account_id": lambda entry, at, bit: replace(entry, account_id=flip_bit(entry.account_id, at, bit)),
    "actor": lambda entry, at, bit: replace(entry, actor=flip_bit(entry.actor, at, bit)),
    "action": lambda entry, at, bit: replace(entry, action=flip_bit(entry.action, at, bit)),
    "subject": lambda entry, at, bit: replace(entry, subject=flip_bit(entry.subject, at, bit)),
    "at_ms": lambda entry, at, bit: replace(entry, at_ms=flip_number(entry.at_ms, at % 5 * 8 + bit)),
    "details": lambda entry, at, bit: replace(
        entry, details=entry.details | {"reason": flip_bit(str(entry.details["reason"]), at, bit)}
    ),
    "detail_number": lambda entry, at, bit: replace(
        entry,
        details=entry.details | {"gpus": flip_number(int(str(entry.details["gpus"])), at % 4 * 8 + bit)},
    ),
}
LINK_FIELDS = {
    "audit_id": lambda link, at, bit: replace(link, audit_id=flip_bit(link.audit_id, at, bit)),
    "account_id": lambda link, at, bit: replace(link, account_id=flip_bit(link.account_id, at, bit)),
    "sequence": lambda link, at, bit: replace(link, sequence=flip_number(link.sequence, at % 4 * 8 + bit)),
    "at_ms": lambda link, at, bit: replace(link, at_ms=flip_number(link.at_ms, at % 5 * 8 + bit)),
    "linked_at_ms": lambda link, at, bit: replace(
        link, linked_at_ms=flip_number(link.linked_at_ms, at % 5 * 8 + bit)
    ),
    "digest": lambda link, at, bit: replace(link, digest=flip_bit(link.digest, at, bit)),
    "previous_hash": lambda link, at, bit: replace(link, previous_hash=flip_bit(link.previous_hash, at, bit)),
    "hash": lambda link, at, bit: replace(link, hash=flip_bit(link.hash, at, bit)),
}
