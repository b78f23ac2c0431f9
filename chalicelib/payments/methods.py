"""Use cases of saved payment methods: pages of Stripe on which they are kept, and the list of them.

No card touches us: we know what Stripe tells of it, and ask anew each time.
"""

from chalicelib.core.errors import NotFound
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.principal import Principal
from chalicelib.payments.orders import PaymentMethod
from chalicelib.payments.ports import PaymentPorts, Payments


def ensure_customer(ports: PaymentPorts, payments: Payments, account_id: str) -> str:
    """Return the account's customer at Stripe; there is one from its first page on."""
    known = ports.store.get_customer(account_id)
    if known is not None:
        return known
    customer_id = payments.ensure_customer(account_id)
    ports.store.keep_customer(account_id, customer_id)
    return customer_id


def open_method_page(ports: PaymentPorts, principal: Principal, return_url: str, key: str) -> str:
    """Return the address of a page on which a method is saved; repeated with its key, the same page.

    Raises:
        PaymentsNotConfigured: this stage takes no payments.
        Unavailable: Stripe did not answer; repeat with the same key.
    """
    payments = ports.connect()
    customer_id = ensure_customer(ports, payments, principal.account_id)
    currency = ports.billing.rentals.currency
    # Another address under the same key is another page: nothing is paid on either.
    stripe_key = f"setup:{compute_fingerprint(f'{principal.account_id}:{key}', return_url.encode())}"
    return payments.open_setup(customer_id, currency, return_url, stripe_key)


def open_portal(ports: PaymentPorts, principal: Principal, return_url: str) -> str:
    """Return the address of Stripe's own page for the account's methods and receipts. Raises as above."""
    payments = ports.connect()
    return payments.open_portal(ensure_customer(ports, payments, principal.account_id), return_url)


def list_methods(ports: PaymentPorts, account_id: str) -> list[PaymentMethod]:
    """Return what the account has saved, the newest first. Raises as above."""
    payments, customer_id = ports.connect(), ports.store.get_customer(account_id)
    return [] if customer_id is None else payments.list_methods(customer_id)


def find_method(ports: PaymentPorts, account_id: str, method_id: str) -> PaymentMethod:
    """Raises NotFound: the account has not saved it; others as above."""
    for method in list_methods(ports, account_id):
        if method.method_id == method_id:
            return method
    raise NotFound("There is no such payment method.")


def add_audit(
    ports: PaymentPorts, tx: Transaction, principal: Principal, action: str, subject: str, **details: object
) -> None:
    rentals = ports.billing.rentals
    entry = AuditEntry(
        rentals.ids.new_id("aud"),
        principal.account_id,
        principal.actor_id,
        action,
        subject,
        rentals.clock.now_ms(),
        details,
    )
    rentals.audit.add_entry(tx, entry)
