"""Use cases of statements: show them, link their documents, keep whom they are made out to."""

from chalicelib.core.errors import NotFound
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.statements.assembling import assemble
from chalicelib.statements.model import Format, Head, Party, Statement, check_month, check_party
from chalicelib.statements.ports import StatementPorts


def list_statements(ports: StatementPorts, account_id: str, limit: int, start: str | None) -> Page[Head]:
    """Return the account's months, newest first; the first of them is open."""
    return ports.store.list_heads(account_id, limit, start)


def find_head(ports: StatementPorts, account_id: str, month: str) -> Head:
    """Raises NotFound: nothing was posted in the month; InvalidInput: it is no month."""
    head = ports.store.get_head(account_id, check_month(month))
    if head is None or head.state == "empty":
        raise NotFound("Nothing was posted to the wallet in this month.")
    return head


def read_statement(ports: StatementPorts, account_id: str, month: str) -> Statement:
    """Return a month's statement; of the current month, as it stands. Raises as `find_head`."""
    return assemble(ports, find_head(ports, account_id, month))


def name_document(head: Head, form: Format) -> str:
    """Return where an issued document is kept."""
    return f"statements/{head.account_id}/{head.month}.{form}"


def name_file(head: Head, form: Format) -> str:
    """Return what a document is called on a renter's disk."""
    return f"{head.number or f'draft-{head.month}'}.{form}"


def read_details(ports: StatementPorts, account_id: str) -> Party:
    """Return whom the account's statements are made out to; empty at first."""
    return ports.store.get_details(account_id) or Party()


def put_details(
    ports: StatementPorts, principal: Principal, details: Party, check: Check[Party] = accept_any
) -> Party:
    """Say whom statements are made out to from now on; what has its number keeps what it says.

    Raises:
        PreconditionFailed: as ``check`` raises it of what `read_details` gives.
        Unavailable: they changed meanwhile, and there is something to check; try again.
        InvalidInput: ``not_printable``.
    """
    check_party(details)
    old = None
    if check is not accept_any:
        old = read_details(ports, principal.account_id)
        check(old)
    rentals = ports.billing.rentals
    tx = rentals.transactions()
    ports.store.put_details(tx, principal.account_id, details, old)
    entry = AuditEntry(
        rentals.ids.new_id("aud"),
        principal.account_id,
        principal.actor_id,
        "billing_details.changed",
        principal.account_id,
        rentals.clock.now_ms(),
        # Whom it names is personal: only that it was changed.
        {},
    )
    rentals.audit.add_entry(tx, entry)
    tx.commit()
    return details
