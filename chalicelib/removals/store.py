"""Statements of capture, and what of them is whose, in DynamoDB.

Access: the revisions of a unit's day, the newest first; an account's shares by day.
"""

from dataclasses import asdict
from typing import Any, cast

from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.removals.accounting import Component, CountedEnergy, Removal
from chalicelib.removals.model import Content, Share, ShareState, State, Statement, Window
from chalicelib.removals.plausibility import Finding
from chalicelib.storage import carbon_keys, keys
from chalicelib.storage.tables.removals import RemovalItem, ShareItem
from chalicelib.storage.transaction import dynamo, unexpected


class DynamoRemovalStore:
    def get_latest(self, window: Window) -> Statement | None:
        found = RemovalItem.query(
            carbon_keys.removal(window.host_id, window.unit_id),
            RemovalItem.sk.startswith(f"{window.day}#"),
            scan_index_forward=False,
            consistent_read=True,
            limit=1,
        )
        return next((_read(window.host_id, window.unit_id, item) for item in found), None)

    def get_revision(self, window: Window, revision: int) -> Statement | None:
        key = carbon_keys.removal(window.host_id, window.unit_id), carbon_keys.revision(window.day, revision)
        try:
            item = RemovalItem.get(*key, consistent_read=True)
        except RemovalItem.DoesNotExist:
            return None
        return _read(window.host_id, window.unit_id, item)

    def list_statements(self, host_id: str, unit_id: str, limit: int, start: str | None) -> Page[Statement]:
        items, last = _query(RemovalItem, carbon_keys.removal(host_id, unit_id), limit, start)
        return Page([_read(host_id, unit_id, item) for item in items], last)

    def add_statement(self, tx: Transaction, statement: Statement) -> None:
        dynamo(tx).put(_write(statement), RemovalItem.pk.does_not_exist(), unexpected("The statement"))

    def replace_statement(self, tx: Transaction, old: Statement, new: Statement) -> None:
        dynamo(tx).put(_write(new), RemovalItem.version == old.version, unexpected("The statement"))

    def put_share(self, tx: Transaction, share: Share) -> None:
        window = share.window
        item = ShareItem(
            keys.account(share.account_id),
            carbon_keys.share(window.day, window.host_id, window.unit_id, share.revision),
            mass_mg=share.mass_mg,
            state=share.state,
            serial=share.serial,
        )
        dynamo(tx).put(item, None, unexpected("The share"))

    def list_shares(self, account_id: str, limit: int, start: str | None) -> Page[Share]:
        items, last = _query(ShareItem, keys.account(account_id), limit, start)
        return Page([_read_share(account_id, item) for item in items], last)

    def list_day_shares(self, account_id: str, day: str) -> list[Share]:
        # Who reads makes the report again when another comes.
        items = ShareItem.query(keys.account(account_id), ShareItem.sk.startswith(f"{day}#"))
        return [_read_share(account_id, item) for item in items]


def _query(model: Any, pk: str, limit: int, start: str | None) -> tuple[list[Any], str | None]:
    found = model.query(
        pk,
        None if start is None else model.sk < start,
        scan_index_forward=False,
        consistent_read=True,
        limit=limit,
    )
    items = list(found)
    last = found.last_evaluated_key
    return items, None if last is None else last["sk"]["S"]


def _write(statement: Statement) -> RemovalItem:
    window, content = statement.window, statement.content
    return RemovalItem(
        carbon_keys.removal(window.host_id, window.unit_id),
        carbon_keys.revision(window.day, statement.revision),
        state=statement.state,
        version=statement.version,
        content=asdict(content),
        created_at_ms=statement.created_at_ms,
        issued_before_mg=statement.issued_before_mg,
        issued_mg=statement.issued_mg,
        evidence=statement.evidence,
        decided_by=statement.decided_by,
        decided_at_ms=statement.decided_at_ms,
        superseded_by=statement.superseded_by,
        serial=statement.serial,
    )


def _read(host_id: str, unit_id: str, item: RemovalItem) -> Statement:
    day, _, number = item.sk.rpartition("#")
    told = item.content
    content = Content(
        tuple(_read_component(each) for each in told["components"]),
        Removal(**told["removal"]),
        tuple(Finding(**each) for each in told["findings"]),
        tuple((tenant, energy) for tenant, energy in told["energies"]),
    )
    return Statement(
        Window(host_id, unit_id, day),
        int(number),
        content,
        item.created_at_ms,
        item.issued_before_mg,
        cast("State", item.state),
        item.version,
        item.evidence,
        item.decided_by,
        item.decided_at_ms,
        item.superseded_by,
        item.serial,
        item.issued_mg,
    )


def _read_component(told: dict[str, Any]) -> Component:
    """What was written before electricity was counted by the hour has no figures beside it."""
    counted = tuple(CountedEnergy(**each) for each in told.get("counted", ()))
    return Component(**{**told, "counted": counted})


def _read_share(account_id: str, item: ShareItem) -> Share:
    day, host_id, unit_id, revision = carbon_keys.read_share(item.sk)
    state = cast("ShareState", item.state)
    return Share(account_id, Window(host_id, unit_id, day), revision, item.mass_mg, state, item.serial)
