"""Maintenance windows in DynamoDB.

Access: window by key; a host's windows by ``by_host``, newest first; those to come by ``by_open``.
"""

from typing import Any, cast

from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.fleet.windows import MaintenanceCategory, MaintenanceWindow, WindowState
from chalicelib.storage import keys
from chalicelib.storage.tables.records import WindowItem
from chalicelib.storage.transaction import dynamo, unexpected


class DynamoMaintenanceStore:
    def get_window(self, window_id: str) -> MaintenanceWindow | None:
        try:
            return _read(WindowItem.get(keys.window(window_id), keys.WINDOW, consistent_read=True))
        except WindowItem.DoesNotExist:
            return None

    def list_host_windows(
        self, host_id: str, limit: int, start: str | None = None
    ) -> Page[MaintenanceWindow]:
        before: Any = None if start is None else WindowItem.window_id < start
        rows = list(WindowItem.by_host.query(host_id, before, scan_index_forward=False, limit=limit + 1))
        items = [_read(row) for row in rows[:limit]]
        return Page(items, items[-1].window_id if len(rows) > limit else None)

    def list_scheduled(self, host_id: str, limit: int) -> list[MaintenanceWindow]:
        rows = WindowItem.by_host.query(
            host_id, filter_condition=WindowItem.state == "scheduled", limit=limit
        )
        return [_read(row) for row in rows]

    def list_open_windows(self, limit: int, start: str | None = None) -> Page[MaintenanceWindow]:
        last = None if start is None else keys.read_open_window(start)
        rows = list(WindowItem.by_open.query(keys.OPEN_WINDOWS, limit=limit + 1, last_evaluated_key=last))
        items = [_read(row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(items, keys.created(rows[limit - 1].due_at_ms, items[-1].window_id) if more else None)

    def list_due_windows(self, now_ms: int, limit: int) -> list[MaintenanceWindow]:
        due = WindowItem.due_at_ms <= now_ms
        return [_read(item) for item in WindowItem.by_open.query(keys.OPEN_WINDOWS, due, limit=limit)]

    def add_window(self, tx: Transaction, window: MaintenanceWindow, due_at_ms: int) -> None:
        item = WindowItem(
            keys.window(window.window_id),
            keys.WINDOW,
            window_id=window.window_id,
            host_id=window.host_id,
            category=window.category,
            reason=window.reason,
            starts_at_ms=window.starts_at_ms,
            ends_at_ms=window.ends_at_ms,
            lead_ms=window.lead_ms,
            created_at_ms=window.created_at_ms,
            state=window.state,
            open_key=keys.OPEN_WINDOWS,
            due_at_ms=due_at_ms,
        )
        dynamo(tx).put(item, WindowItem.pk.does_not_exist(), unexpected("The window"))

    def replace_window(
        self, tx: Transaction, old: MaintenanceWindow, new: MaintenanceWindow, due_at_ms: int
    ) -> None:
        actions: list[Any] = [WindowItem.state.set(new.state)]
        if new.state == "scheduled":
            actions.append(WindowItem.due_at_ms.set(due_at_ms))
        else:
            opened: Any = WindowItem.open_key
            due: Any = WindowItem.due_at_ms
            actions += [opened.remove(), due.remove()]
        key = (keys.window(new.window_id), keys.WINDOW)
        dynamo(tx).update(WindowItem, key, actions, WindowItem.state == old.state, unexpected("The window"))


def _read(item: WindowItem) -> MaintenanceWindow:
    return MaintenanceWindow(
        item.window_id,
        item.host_id,
        cast("MaintenanceCategory", item.category),
        item.reason,
        item.starts_at_ms,
        item.ends_at_ms,
        item.lead_ms,
        item.created_at_ms,
        cast("WindowState", item.state),
    )
