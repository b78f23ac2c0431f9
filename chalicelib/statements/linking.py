"""Links to documents: of an issued statement the one that was kept, of others one as the books stand."""

from chalicelib.statements.assembling import assemble
from chalicelib.statements.issuing import keep_csv, keep_pdf, open_file
from chalicelib.statements.model import Format
from chalicelib.statements.ports import Link, StatementPorts
from chalicelib.statements.service import find_head, name_document, name_file

#: What is kept under it goes after a day.
DRAFTS = "drafts"


def link_document(ports: StatementPorts, account_id: str, month: str, form: Format) -> Link:
    """Return a link to a month's document; a draft is written for it.

    Raises:
        NotFound: nothing was posted in the month.
        InvalidInput: ``invalid_month``.
    """
    head = find_head(ports, account_id, month)
    key = name_document(head, form)
    if head.state != "issued":
        key = f"{DRAFTS}/{ports.billing.rentals.ids.new_id('doc')}.{form}"
        with open_file() as rows:
            statement = assemble(ports, head, rows if form == "csv" else None)
            if form == "csv":
                keep_csv(ports, rows, key)
            else:
                keep_pdf(ports, statement, key)
    return ports.documents.link(key, name_file(head, form))
