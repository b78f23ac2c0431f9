"""The API's operations for statements."""

from collections.abc import Iterator
from typing import Literal, cast

from provocative import operations as op
from provocative.models import Page
from provocative.money_models import BillingDetails, Link, Statement, StatementHead
from provocative.transport import Transport

Format = Literal["csv", "pdf"]


class Statements:
    """Months of the wallet's books. The current one is open, and shown as it stands."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[StatementHead]:
        query = {"limit": limit, "cursor": cursor}
        return cast("Page[StatementHead]", self._transport.send(op.LIST_STATEMENTS, query=query))

    def read(self, month: str) -> Statement:
        return cast("Statement", self._transport.send(op.READ_STATEMENT, {"month": month}))

    def link_csv(self, month: str) -> Link:
        """Where the month can be fetched as CSV, without a key, for five minutes."""
        return cast("Link", self._transport.send(op.LINK_STATEMENT_CSV, {"month": month}))

    def link_pdf(self, month: str) -> Link:
        return cast("Link", self._transport.send(op.LINK_STATEMENT_PDF, {"month": month}))

    def download(self, month: str, form: Format) -> Iterator[bytes]:
        """Yield a month's document piece by piece.

        Raises:
            ApiError: one of its kinds.
        """
        link = self.link_csv(month) if form == "csv" else self.link_pdf(month)
        return self._transport.download(link["url"])

    def read_billing_details(self) -> BillingDetails:
        return cast("BillingDetails", self._transport.send(op.READ_BILLING_DETAILS))

    def put_billing_details(self, details: BillingDetails) -> BillingDetails:
        """Whom statements are made out to from now on."""
        return cast("BillingDetails", self._transport.send(op.PUT_BILLING_DETAILS, body=details))
