"""Use cases of reports: list them, read one, link its documents."""

from chalicelib.core.errors import NotFound
from chalicelib.core.paging import Page
from chalicelib.reporting.model import Content, Kind, Owner, Report, read_period
from chalicelib.reporting.ports import ReportPorts
from chalicelib.statements.ports import Link


def list_reports(ports: ReportPorts, owner: Owner, kind: Kind, limit: int, start: str | None) -> Page[Report]:
    return ports.store.list_reports(owner, kind, limit, start)


def find_report(ports: ReportPorts, owner: Owner, period: str, version: int | None) -> Report:
    """Return a version, or the last. Raises NotFound; InvalidInput: ``invalid_period``."""
    report = ports.store.find_report(owner, read_period(period), version)
    if report is None:
        raise NotFound("There is no such report; one is made when its day or month is over.")
    return report


def read_report(ports: ReportPorts, owner: Owner, period: str, version: int | None) -> tuple[Report, Content]:
    """Raises as `find_report`."""
    report = find_report(ports, owner, period, version)
    with ports.files.read(report.name_document("json")) as file:
        return report, ports.codec.decode(file.read())


def link_document(ports: ReportPorts, owner: Owner, period: str, version: int | None, form: str) -> Link:
    """Return a link to a document. Raises as `find_report`."""
    report = find_report(ports, owner, period, version)
    return ports.files.link(report.name_document(form), report.name_file(form))
