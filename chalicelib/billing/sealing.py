"""Seals the ledger day by day, and proves that a head is in a seal.

Nothing is sealed that does not follow from the seal before. The first document of a name stands for ever, and
all else is computed from those: who comes again writes the same bytes, or goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from chalicelib.billing.seals import (
    GRACE_MS,
    PARTS,
    SEALS_START,
    ChainHead,
    HeadsDocument,
    Proof,
    Seal,
    SealMismatch,
    build_path,
    choose_part,
    count_days,
    hash_leaf,
    move_day,
    name_day,
    name_heads,
    name_seal,
    read_heads,
    render_heads,
    render_seal,
)
from chalicelib.core.errors import Conflict, InvalidInput, NotFound
from chalicelib.core.ports import Clock, Transaction, Transactions

#: Of accounts or documents that are named in an error.
NAMED = 20


class AlreadySealed(Conflict):
    """Another run has sealed the day."""

    code = "already_sealed"


class SealStore(Protocol):
    def get_last_seal(self) -> Seal | None: ...
    def get_seal(self, day: str) -> Seal | None: ...
    def add_seal(self, tx: Transaction, seal: Seal) -> None:
        """Fails with AlreadySealed."""

    def list_wallets(self, part: int) -> list[str]:
        """The accounts of a part that have books. An index: one that is new may be missing."""
        ...

    def list_heads(self, account_ids: Sequence[str]) -> list[ChainHead]:
        """The heads as the wallets have them, of those that there are."""
        ...

    def list_stored(self, heads: Sequence[ChainHead]) -> list[ChainHead]:
        """The legs of these versions as the ledger has them, of those that there are."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """The first document of a name. ``covered``: somebody put another over it, or marked it as deleted."""

    body: bytes
    covered: bool = False


class Vault(Protocol):
    """Documents that nobody can change or remove."""

    def read(self, name: str) -> Kept | None:
        """Return the first of that name, whatever came after. Raises Unavailable."""
        ...

    def keep(self, name: str, body: bytes) -> bytes:
        """Keep ``body`` unless there is something of that name; return what stands there.

        Raises:
            Unavailable: try again.
        """
        ...


@dataclass(frozen=True, slots=True)
class SealPorts:
    store: SealStore
    vault: Vault
    transactions: Transactions
    clock: Clock


def seal_ledger(ports: SealPorts, deadline_ms: int) -> list[Seal]:
    """Seal each day that is over and not sealed, in order, until ``deadline_ms``; return the new seals.

    The first seal waits for the first wallet.

    Raises:
        SealMismatch: a wallet or the ledger contradicts what was sealed; nothing is sealed.
        Unavailable: try again.
    """
    done: list[Seal] = []
    last = ports.store.get_last_seal()
    today = name_day(ports.clock.now_ms() - GRACE_MS)
    day = move_day(today, -1) if last is None else move_day(last.day, 1)
    if last is None and not any(ports.store.list_wallets(part) for part in range(PARTS)):
        return done
    while day < today:
        last = _seal_day(ports, day, last, deadline_ms)
        if last is None:
            break
        done.append(last)
        day = move_day(day, 1)
    return done


def count_unsealed(ports: SealPorts) -> int:
    """Return how many days are over and not sealed; 0 before the first seal."""
    last = ports.store.get_last_seal()
    today = name_day(ports.clock.now_ms() - GRACE_MS)
    return 0 if last is None else max(0, count_days(last.day, today) - 1)


def find_covered(ports: SealPorts) -> list[str]:
    """Return the documents of the last seal over which somebody has put something.

    No reason to stop: what was first is read, and what is locked over it can be taken away by nobody.
    """
    last = ports.store.get_last_seal()
    return [] if last is None else _list_covered(ports, last.day)


def prove_head(ports: SealPorts, account_id: str, day: str) -> Proof:
    """Prove which head the account's chain had when ``day`` was sealed.

    Raises:
        InvalidInput: ``invalid_day``.
        NotFound: the day is not sealed, or had no wallet of this account.
    """
    _check_day(day)
    seal = ports.store.get_seal(day)
    if seal is None:
        raise NotFound("The day is not sealed.")
    number = choose_part(account_id)
    heads = _read_part(ports, seal, number)
    for index, head in enumerate(heads):
        if head.account_id == account_id:
            path = build_path([hash_leaf(each) for each in heads], index)
            return Proof(seal, number, index, head, path)
    raise NotFound("The account had no wallet when the day was sealed.")


def verify_seals(ports: SealPorts, first_day: str, last_day: str) -> str:
    """Compare each day's seal with what is kept, the seal before and the ledger now; return the last root.

    Raises:
        InvalidInput: ``invalid_day``.
        NotFound: a day is not sealed.
        SealMismatch: with the accounts that it is about; or something was put over what is kept.
    """
    _check_day(first_day)
    _check_day(last_day)
    previous = ports.store.get_seal(move_day(first_day, -1))
    root = SEALS_START if previous is None else previous.root
    covered: list[str] = []
    for days in range(count_days(first_day, last_day) + 1):
        root = _verify_seal(ports, move_day(first_day, days), root)
        covered += _list_covered(ports, move_day(first_day, days))
    if covered:
        raise SealMismatch(
            f"Something was put over {', '.join(covered[:NAMED])}; what was first agrees with the ledger."
        )
    return root


def _verify_seal(ports: SealPorts, day: str, previous_root: str) -> str:
    seal = ports.store.get_seal(day)
    if seal is None:
        raise NotFound(f"{day} is not sealed.")
    if seal.previous_root != previous_root:
        raise SealMismatch(f"The seal of {day} does not follow the one before.")
    _check_document(ports, seal)
    for number in range(PARTS):
        _check_stored(ports, _read_part(ports, seal, number))
    return seal.root


def _check_day(day: str) -> None:
    try:
        known = date.fromisoformat(day).isoformat() == day
    except ValueError:
        known = False
    if not known:
        raise InvalidInput("A day is written as 2026-11-29.", code="invalid_day")


def _seal_day(ports: SealPorts, day: str, last: Seal | None, deadline_ms: int) -> Seal | None:
    """``None``: time ran out; the parts that were read stand."""
    if last is not None:
        _check_document(ports, last)
    documents: list[HeadsDocument] = []
    for number in range(PARTS):
        if ports.clock.now_ms() >= deadline_ms:
            return None
        name = name_heads(day, number)
        kept = ports.vault.read(name)
        if kept is None:
            body = ports.vault.keep(name, render_heads(_take_heads(ports, number, last)))
        else:
            body = kept.body
        documents.append(read_heads(body))
    seal = Seal(
        day,
        SEALS_START if last is None else last.root,
        max(each.read_at_ms for each in documents),
        tuple(each.part for each in documents),
    )
    if ports.vault.keep(name_seal(day), render_seal(seal)) != render_seal(seal):
        raise SealMismatch(f"Another seal of {day} is kept.")
    tx = ports.transactions()
    ports.store.add_seal(tx, seal)
    try:
        tx.commit()
    except AlreadySealed:
        if ports.store.get_seal(day) != seal:
            raise SealMismatch(f"Another seal of {day} is recorded.") from None
    return seal


def _take_heads(ports: SealPorts, number: int, last: Seal | None) -> HeadsDocument:
    """Read the part's heads as they are: those of the last seal, and of the wallets that are new."""
    before = [] if last is None else _read_part(ports, last, number)
    _check_stored(ports, before)
    at_ms = ports.clock.now_ms()
    wanted = {head.account_id for head in before} | set(ports.store.list_wallets(number))
    heads = {head.account_id: head for head in ports.store.list_heads(sorted(wanted))}
    # No wallet ends, and no chain gets shorter.
    wrong = sorted(wanted - heads.keys())
    for old in before:
        new = heads.get(old.account_id, old)
        if new.version < old.version or (new.version == old.version and new != old):
            wrong.append(old.account_id)
    _refuse(wrong, "The wallets contradict the last seal")
    return HeadsDocument(at_ms, tuple(heads[account_id] for account_id in sorted(heads)))


def _read_part(ports: SealPorts, seal: Seal, number: int) -> list[ChainHead]:
    kept = ports.vault.read(name_heads(seal.day, number))
    document = None if kept is None else read_heads(kept.body)
    if document is None or document.part != seal.parts[number]:
        raise SealMismatch(f"Heads of {seal.day} are not those that were sealed.")
    return list(document.heads)


def _list_covered(ports: SealPorts, day: str) -> list[str]:
    names = [name_seal(day), *(name_heads(day, number) for number in range(PARTS))]
    read = {name: ports.vault.read(name) for name in names}
    return [name for name, kept in read.items() if kept is not None and kept.covered]


def _check_document(ports: SealPorts, seal: Seal) -> None:
    kept = ports.vault.read(name_seal(seal.day))
    if kept is None or kept.body != render_seal(seal):
        raise SealMismatch(f"The seal of {seal.day} is not the one that is kept.")


def _check_stored(ports: SealPorts, heads: Sequence[ChainHead]) -> None:
    """Compare sealed heads with the legs in the ledger."""
    wanted = {head for head in heads if head.version}
    found = set(ports.store.list_stored(sorted(wanted, key=lambda head: head.account_id)))
    _refuse(sorted(head.account_id for head in wanted - found), "The ledger contradicts what was sealed")


def _refuse(accounts: Sequence[str], what: str) -> None:
    if accounts:
        raise SealMismatch(f"{what}: {', '.join(accounts[:NAMED])}.", extra={"wallets": len(accounts)})
