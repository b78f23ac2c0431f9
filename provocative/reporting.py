"""The API's operations for carbon reports."""

from collections.abc import Iterator
from typing import Literal, cast

from provocative import operations as op
from provocative.models import Page
from provocative.money_models import Link
from provocative.report_models import CarbonReport, ReportHead
from provocative.transport import Transport

Kind = Literal["day", "month"]
Format = Literal["csv.gz", "pdf"]


class CarbonReports:
    """Days and months that are over: the account's, or with ``site`` (a region) those of a site."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        kind: Kind | None = None,
        site: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[ReportHead]:
        """By month, newest first, without ``kind``."""
        query = {"kind": kind, "limit": limit, "cursor": cursor}
        operation = op.LIST_CARBON_REPORTS if site is None else op.LIST_SITE_REPORTS
        return cast("Page[ReportHead]", self._transport.send(operation, _name(site), query=query))

    def read(self, period: str, *, version: int | None = None, site: str | None = None) -> CarbonReport:
        """``period``: 2026-11-30 or 2026-11; the last version without one."""
        operation = op.READ_CARBON_REPORT if site is None else op.READ_SITE_REPORT
        path, query = _name(site, period), {"version": version}
        return cast("CarbonReport", self._transport.send(operation, path, query=query))

    def link_csv(self, period: str, *, version: int | None = None, site: str | None = None) -> Link:
        """Where its rows can be fetched as packed CSV, without a key, for five minutes."""
        operation = op.LINK_CARBON_REPORT_CSV if site is None else op.LINK_SITE_REPORT_CSV
        path, query = _name(site, period), {"version": version}
        return cast("Link", self._transport.send(operation, path, query=query))

    def link_pdf(self, period: str, *, version: int | None = None, site: str | None = None) -> Link:
        operation = op.LINK_CARBON_REPORT_PDF if site is None else op.LINK_SITE_REPORT_PDF
        path, query = _name(site, period), {"version": version}
        return cast("Link", self._transport.send(operation, path, query=query))

    def download(
        self, period: str, form: Format, *, version: int | None = None, site: str | None = None
    ) -> Iterator[bytes]:
        """Yield a document piece by piece.

        Raises:
            ApiError: one of its kinds.
        """
        link = self.link_pdf if form == "pdf" else self.link_csv
        return self._transport.download(link(period, version=version, site=site)["url"])


def _name(site: str | None, period: str | None = None) -> dict[str, str]:
    named = {} if site is None else {"region": site}
    return named if period is None else {**named, "period": period}
