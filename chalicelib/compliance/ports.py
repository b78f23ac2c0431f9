"""What the chain of the audit trail needs: its store, the vault of its anchors, the documents of exports."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.billing.sealing import Vault
from chalicelib.compliance.anchors import Anchor
from chalicelib.compliance.model import AccountHead, Head, Link
from chalicelib.core.errors import Conflict
from chalicelib.core.ports import AuditEntry, Clock, Ids, Transaction, Transactions
from chalicelib.statements.ports import Documents


class LinkTaken(Conflict):
    """Another consumer has written the link of this number, or has linked the entry."""

    code = "link_taken"


class AlreadyAnchored(Conflict):
    """Another run has recorded it."""

    code = "already_anchored"


@dataclass(frozen=True, slots=True)
class EntryKey:
    """Where an entry stands in the trail."""

    account_id: str
    at_ms: int
    audit_id: str


@dataclass(frozen=True, slots=True)
class AnchoredHead:
    """A head of a chain, and the anchor that holds it."""

    head: Head
    number: int


@dataclass(frozen=True, slots=True)
class Place:
    """Within an anchor: the index of a head, and the last link of its chain that was verified, if one was."""

    head: int
    link: Head | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the verification of anchors is: the newest that was seen, and where its round goes on.

    ``new_at`` and ``round_at``: how far the anchor behind each is. ``finished_at_ms``: when all that was new
    was verified last.
    """

    newest: int = 0
    round: int = 0
    new_at: Place | None = None
    round_at: Place | None = None
    finished_at_ms: int | None = None


class ChainStore(Protocol):
    """Every read of links and entries is consistent."""

    def get_head(self, account_id: str) -> Head: ...
    def find_linked(self, audit_ids: Sequence[str]) -> Mapping[str, int]:
        """Return the sequence numbers of those that are linked."""
        ...

    def add_links(self, tx: Transaction, links: Sequence[Link]) -> None:
        """Links of one account, in order, and the mark that its chain moved. Fails with LinkTaken."""

    def list_links(self, account_id: str, first: int, last: int | None = None) -> Iterator[Link]: ...
    def find_hashes(self, heads: Sequence[AccountHead]) -> Mapping[tuple[str, int], str]:
        """Return the hashes of the links of these numbers, of those that there are."""
        ...

    def find_entries(self, wanted: Sequence[EntryKey]) -> Mapping[str, AuditEntry]:
        """Return entries by id; one whose row says anything beside the entry is not among them."""
        ...

    def list_entries(self, account_id: str, from_ms: int, to_ms: int | None) -> Iterator[AuditEntry]:
        """In the order of time, from ``from_ms`` until before ``to_ms``."""
        ...

    def list_hour(self, hour: int) -> Iterator[EntryKey]:
        """Entries of an hour since the epoch, of all accounts. An index: a new one may be missing."""
        ...

    def get_swept_hour(self) -> int | None: ...
    def put_swept_hour(self, hour: int) -> None: ...

    def list_moved(self, limit: int) -> list[AccountHead]:
        """Heads that no anchor holds yet."""
        ...

    def forget_moved(self, head: AccountHead) -> None:
        """Take the mark away, unless the chain moved on."""

    def get_last_anchor(self) -> Anchor | None: ...
    def get_anchor(self, number: int) -> Anchor | None: ...
    def add_anchor(self, tx: Transaction, anchor: Anchor) -> None:
        """Fails with AlreadyAnchored."""

    def add_anchored(self, tx: Transaction, head: AccountHead, number: int) -> None:
        """Fails with AlreadyAnchored."""

    def find_anchored(self, account_id: str, *, from_sequence: int = 0) -> AnchoredHead | None:
        """Return the first anchored head of that number or a later one."""
        ...

    def find_last_anchored(self, account_id: str, below: int | None = None) -> AnchoredHead | None:
        """Return the last anchored head, of those below a number where one is given."""
        ...

    def get_progress(self) -> Progress: ...
    def put_progress(self, progress: Progress) -> None: ...


@dataclass(frozen=True, slots=True)
class ChainPorts:
    store: ChainStore
    vault: Vault
    documents: Documents
    transactions: Transactions
    clock: Clock
    ids: Ids
