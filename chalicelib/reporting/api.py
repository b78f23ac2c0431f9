"""Routes of carbon reports: an account's own, and a site's for operators."""

from typing import get_args

from chalicelib import wiring
from chalicelib.core.paging import decode_cursor
from chalicelib.reporting import service
from chalicelib.reporting.model import Kind, Owner
from chalicelib.reporting.schemas import (
    CarbonReportBody,
    ReportHeadsBody,
    ReportLinkBody,
    render_heads,
    render_link,
    render_report,
)
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_choice, read_integer, read_limit

api = Api(__name__, wiring.authenticate)

LIST_QUERY = PAGING | {"kind"}
VERSION_QUERY = frozenset({"version"})
MAX_VERSION = 999_999
_KINDS: tuple[Kind, ...] = get_args(Kind)


@api.route("GET", "/v1/carbon/reports", permission="rentals:read", query=LIST_QUERY)
def list_carbon_reports(call: Call) -> Answer[ReportHeadsBody]:
    """List the account's reports by month, or by day, newest first; each restatement is another version."""
    return _list(call, _read_account(call))


@api.route("GET", "/v1/carbon/reports/{period}", permission="rentals:read", query=VERSION_QUERY)
def read_carbon_report(call: Call, period: str) -> Answer[CarbonReportBody]:
    """Show energy, emissions and removals of a day or month."""
    return _show(call, _read_account(call), period)


@api.route(
    "GET", "/v1/carbon/reports/{period}/csv", cost="expensive", permission="rentals:read", query=VERSION_QUERY
)
def link_carbon_report_csv(call: Call, period: str) -> Answer[ReportLinkBody]:
    """Link the report's rows: one a rental and hour, with day, rental and stay of its line of the bill."""
    return _link(call, _read_account(call), period, "csv.gz")


@api.route(
    "GET", "/v1/carbon/reports/{period}/pdf", cost="expensive", permission="rentals:read", query=VERSION_QUERY
)
def link_carbon_report_pdf(call: Call, period: str) -> Answer[ReportLinkBody]:
    """Link the report as PDF."""
    return _link(call, _read_account(call), period, "pdf")


@api.route("GET", "/v1/carbon/sites/{region}/reports", permission="hosts:read", query=LIST_QUERY)
def list_site_reports(call: Call, region: str) -> Answer[ReportHeadsBody]:
    """List a site's reports by month, or by day, newest first."""
    return _list(call, Owner("site", region))


@api.route("GET", "/v1/carbon/sites/{region}/reports/{period}", permission="hosts:read", query=VERSION_QUERY)
def read_site_report(call: Call, region: str, period: str) -> Answer[CarbonReportBody]:
    """Show what a site's GPUs used in rentals and for the platform."""
    return _show(call, Owner("site", region), period)


@api.route(
    "GET",
    "/v1/carbon/sites/{region}/reports/{period}/csv",
    cost="expensive",
    permission="hosts:read",
    query=VERSION_QUERY,
)
def link_site_report_csv(call: Call, region: str, period: str) -> Answer[ReportLinkBody]:
    """Link the report's rows: two a host and hour, rented and platform."""
    return _link(call, Owner("site", region), period, "csv.gz")


@api.route(
    "GET",
    "/v1/carbon/sites/{region}/reports/{period}/pdf",
    cost="expensive",
    permission="hosts:read",
    query=VERSION_QUERY,
)
def link_site_report_pdf(call: Call, region: str, period: str) -> Answer[ReportLinkBody]:
    """Link the report as PDF."""
    return _link(call, Owner("site", region), period, "pdf")


def _read_account(call: Call) -> Owner:
    return Owner("account", call.principal.account_id)


def _list(call: Call, owner: Owner) -> Answer[ReportHeadsBody]:
    page = service.list_reports(
        wiring.report_ports(),
        owner,
        read_choice(call.query, "kind", _KINDS) or "month",
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
    )
    return Answer(render_heads(page))


def _show(call: Call, owner: Owner, period: str) -> Answer[CarbonReportBody]:
    return Answer(render_report(*service.read_report(wiring.report_ports(), owner, period, _version(call))))


def _link(call: Call, owner: Owner, period: str, form: str) -> Answer[ReportLinkBody]:
    link = service.link_document(wiring.report_ports(), owner, period, _version(call), form)
    return Answer(render_link(link.url, link.expires_at_ms))


def _version(call: Call) -> int | None:
    return read_integer(call.query, "version", minimum=1, maximum=MAX_VERSION)
