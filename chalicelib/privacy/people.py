"""Where there are no persons yet: accounts have keys only."""

from collections.abc import Iterator

from chalicelib.core.ports import Transaction
from chalicelib.privacy.requests import Record


class NoPeople:
    """`privacy.service.People` without any."""

    def list_records(self, user_id: str) -> Iterator[Record]:  # noqa: ARG002
        return iter(())

    def list_account_users(self, account_id: str) -> Iterator[str]:  # noqa: ARG002
        return iter(())

    def mark_erased(self, tx: Transaction, user_id: str) -> None:
        """There is nobody to mark."""
