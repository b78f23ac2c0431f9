"""Stripe through its own library, which takes 0.2 s to load: only who speaks with Stripe imports this."""

import itertools
from collections.abc import Iterator
from typing import Any, cast

import stripe

from chalicelib.core.errors import Conflict, NotFound
from chalicelib.payments.model import (
    MICROS_PER_CENT,
    Dispute,
    Movement,
    Payment,
    Refund,
    Session,
    TopUp,
    find_subject_id,
)
from chalicelib.payments.orders import PaymentMethod
from chalicelib.payments.ports import (
    Charged,
    Checkout,
)
from chalicelib.payments.purchases import (
    Purchase,
    RemovalOrder,
    RemovalProduct,
    format_tons,
    read_order,
    read_product,
)
from chalicelib.payments.stripe_errors import refused, translated

#: The library's own default of 80 s is longer than API Gateway waits.
TIMEOUT_SECONDS = 8
MAX_RETRIES = 2
PAGE = 100
#: Of a charge of a card and of a bank debit; a refund's are others.
CHARGE_PREFIXES = ("ch_", "py_")
#: Between Stripe's clock and ours.
CLOCK_DIFFERENCE_SECONDS = 300


def connect(api_key: str, api_base: str | None = None, *, taxed: bool = False) -> "StripePayments":
    """``api_base``: where the simulator listens; ``None`` for Stripe itself. ``taxed``: by Stripe Tax."""
    addresses: Any = {} if api_base is None else {"base_addresses": {"api": api_base}}
    http_client = stripe.RequestsClient(timeout=TIMEOUT_SECONDS)
    client = stripe.StripeClient(
        api_key, http_client=http_client, max_network_retries=MAX_RETRIES, **addresses
    )
    return StripePayments(client, taxed=taxed)


class StripePayments:
    """`ports.Payments`, `ports.Climate`. What makes something has a key of ours: a repeat makes nothing."""

    def __init__(self, client: stripe.StripeClient, *, taxed: bool) -> None:
        self._client = client.v1
        self._taxed = taxed

    def ensure_customer(self, account_id: str) -> str:
        with translated():
            made = self._client.customers.create(
                {"metadata": {"account_id": account_id}}, {"idempotency_key": f"customer:{account_id}"}
            )
        return made.id

    def open_checkout(self, top_up: TopUp, customer_id: str, return_url: str) -> Checkout:
        ours = {"account_id": top_up.account_id, "top_up_id": top_up.top_up_id}
        price: dict[str, Any] = {
            "currency": top_up.currency.lower(),
            "unit_amount": top_up.amount_micros // MICROS_PER_CENT,
            "product_data": {"name": "Account credit"},
        }
        asked: Any = {
            "mode": "payment",
            "customer": customer_id,
            "success_url": return_url,
            "cancel_url": return_url,
            "metadata": ours,
            "payment_intent_data": {"metadata": ours},
            "line_items": [{"quantity": 1, "price_data": price}],
        }
        if self._taxed:
            # On top of what the wallet gets; Stripe wants to know where the payer is, and keeps it.
            price["tax_behavior"] = "exclusive"
            asked["automatic_tax"] = {"enabled": True}
            asked["customer_update"] = {"address": "auto", "name": "auto"}
            asked["tax_id_collection"] = {"enabled": True}
        with translated():
            session = self._client.checkout.sessions.create(asked, {"idempotency_key": top_up.stripe_key})
        assert session.url is not None, "a hosted page has an address"
        payment = session.payment_intent
        return Checkout(session.id, session.url, payment if isinstance(payment, str) else None)

    def open_setup(self, customer_id: str, currency: str, return_url: str, key: str) -> str:
        with translated():
            session = self._client.checkout.sessions.create(
                {
                    "mode": "setup",
                    "customer": customer_id,
                    "currency": currency.lower(),
                    "success_url": return_url,
                    "cancel_url": return_url,
                    "billing_address_collection": "required" if self._taxed else "auto",
                },
                {"idempotency_key": key},
            )
        assert session.url is not None, "a hosted page has an address"
        return session.url

    def open_portal(self, customer_id: str, return_url: str) -> str:
        with translated():
            return self._client.billing_portal.sessions.create(
                {"customer": customer_id, "return_url": return_url}
            ).url

    def list_methods(self, customer_id: str) -> list[PaymentMethod]:
        with translated():
            found = self._client.payment_methods.list({"customer": customer_id, "limit": PAGE})
            return [_read_method(each.to_dict()) for each in found.auto_paging_iter()]

    def remove_method(self, method_id: str) -> None:
        try:
            with translated():
                self._client.payment_methods.detach(method_id)
        except (NotFound, stripe.InvalidRequestError):
            # It is no longer anybody's.
            return

    def charge(self, top_up: TopUp, customer_id: str, method_id: str) -> Charged:
        ours = {"account_id": top_up.account_id, "top_up_id": top_up.top_up_id}
        asked: dict[str, Any] = {
            "amount": top_up.amount_micros // MICROS_PER_CENT,
            "currency": top_up.currency.lower(),
            "customer": customer_id,
            "payment_method": method_id,
            "confirm": True,
            "off_session": True,
            # Else a payment that wants 3D Secure stays open for somebody who is not there.
            "error_on_requires_action": True,
            "description": "Account credit, auto top-up",
            "metadata": ours,
        }
        try:
            with translated():
                if self._taxed:
                    calculation = self._calculate_tax(top_up, customer_id, method_id)
                    ours["tax_cents"] = str(calculation.tax_amount_exclusive)
                    asked["amount"] += calculation.tax_amount_exclusive
                    # Stripe books the tax with the payment, and takes it back with a refund.
                    asked["hooks"] = {"inputs": {"tax": {"calculation": calculation.id}}}
                intent = self._client.payment_intents.create(
                    cast("Any", asked), {"idempotency_key": top_up.stripe_key}
                )
        except stripe.CardError as error:
            told = cast("dict[str, Any]", error.json_body or {})
            declined = told.get("error") or {}
            made = (declined.get("payment_intent") or {}).get("id")
            return Charged(made, declined.get("decline_code") or declined.get("code"))
        except NotFound:
            return Charged(None, "payment_method_unusable")
        except stripe.InvalidRequestError as error:
            # Such as a method that was taken away at Stripe.
            return Charged(None, error.code or "payment_method_unusable")
        return Charged(intent.id)

    def _calculate_tax(self, top_up: TopUp, customer_id: str, method_id: str) -> stripe.tax.Calculation:
        """Raises InvalidRequestError: neither the customer nor the method says where the payer is."""
        customer: dict[str, Any] = self._client.customers.retrieve(customer_id).to_dict()
        payer: Any = {"customer": customer_id}
        if not (customer.get("address") or {}).get("country"):
            method: dict[str, Any] = self._client.payment_methods.retrieve(method_id).to_dict()
            address = (method.get("billing_details") or {}).get("address") or {}
            given = {name: value for name, value in address.items() if value}
            if "country" in given:
                payer = {"customer_details": {"address": given, "address_source": "billing"}}
        item = {
            "amount": top_up.amount_micros // MICROS_PER_CENT,
            "reference": top_up.top_up_id,
            "tax_behavior": "exclusive",
        }
        asked: Any = {**payer, "currency": top_up.currency.lower(), "line_items": [item]}
        return self._client.tax.calculations.create(asked, {"idempotency_key": f"{top_up.stripe_key}:tax"})

    def find_charge(self, top_up: TopUp, customer_id: str) -> str | None:
        since = top_up.created_at_ms // 1000 - CLOCK_DIFFERENCE_SECONDS
        with translated():
            found = self._client.payment_intents.list(
                {"customer": customer_id, "created": {"gte": since}, "limit": PAGE}
            )
            for each in found.auto_paging_iter():
                whole: dict[str, Any] = each.to_dict()
                if (whole.get("metadata") or {}).get("top_up_id") == top_up.top_up_id:
                    return each.id
        return None

    def get_payment(self, payment_id: str) -> Payment:
        with translated():
            found = self._client.payment_intents.retrieve(payment_id, {"expand": ["latest_charge"]})
            intent = found.to_dict()
            charge = intent.get("latest_charge") or {}
            # Also where the charge says that nothing is: a bank may have sent all of it back.
            refunds = self._list_refunds(payment_id) if charge else ()
            disputes = self._list_disputes(payment_id) if charge.get("disputed") else ()
            ours = intent.get("metadata") or {}
            told = ours.get("tax_cents")
            tax_cents = self._find_tax(payment_id) if told is None else int(told)
        error = intent.get("last_payment_error") or {}
        return Payment(
            payment_id=payment_id,
            status=intent["status"],
            currency=intent["currency"].upper(),
            received_cents=intent.get("amount_received") or 0,
            account_id=ours.get("account_id"),
            top_up_id=ours.get("top_up_id"),
            livemode=intent["livemode"],
            tax_cents=tax_cents,
            failure_code=error.get("decline_code") or error.get("code"),
            receipt_url=charge.get("receipt_url"),
            refunds=tuple(refunds),
            disputes=tuple(disputes),
        )

    def get_session(self, session_id: str) -> Session:
        with translated():
            found = self._client.checkout.sessions.retrieve(session_id).to_dict()
        return Session(session_id, found["status"], (found.get("metadata") or {}).get("top_up_id"))

    def _list_refunds(self, payment_id: str) -> list[Refund]:
        found = self._client.refunds.list({"payment_intent": payment_id, "limit": PAGE})
        refunds = [
            Refund(each.id, each.status or "pending", each.amount) for each in found.auto_paging_iter()
        ]
        return sorted(refunds, key=lambda each: each.refund_id)

    def _list_disputes(self, payment_id: str) -> list[Dispute]:
        found = self._client.disputes.list({"payment_intent": payment_id, "limit": PAGE})
        return [
            Dispute(
                each.id,
                each.status,
                tuple((movement.id, movement.amount) for movement in each.balance_transactions),
            )
            for each in found.auto_paging_iter()
        ]

    def _find_tax(self, payment_id: str) -> int:
        """Of a payment on a hosted page."""
        found = self._client.checkout.sessions.list({"payment_intent": payment_id, "limit": 1}).data
        totals = None if not found else found[0].total_details
        return 0 if totals is None else totals.amount_tax

    def refund(self, payment_id: str, amount_cents: int, key: str) -> None:
        try:
            with translated():
                made = self._client.refunds.list({"payment_intent": payment_id, "limit": PAGE})
                # Stripe forgets a key after a day; what was made with it bears it for ever.
                if any(each.to_dict()["metadata"].get("key") == key for each in made.auto_paging_iter()):
                    return
                self._client.refunds.create(
                    {"payment_intent": payment_id, "amount": amount_cents, "metadata": {"key": key}},
                    {"idempotency_key": key},
                )
        except stripe.InvalidRequestError as error:
            raise Conflict("Not so much of the payment is left to refund.", code="not_refundable") from error

    def list_changed(self, since_ms: int) -> Iterator[tuple[str, str, str]]:
        with translated():
            found = self._client.events.list({"created": {"gte": since_ms // 1000}, "limit": PAGE})
            told = [
                (each.id, each.type, find_subject_id(each.data.object.to_dict()))
                for each in found.auto_paging_iter()
            ]
        return reversed(told)

    def get_balance(self, currency: str) -> int:
        with translated():
            found = self._client.balance.retrieve()
        whole = found.to_dict()
        rows = [*whole["available"], *whole["pending"]]
        return sum(each["amount"] for each in rows if each["currency"] == currency.lower())

    def list_movements(self, since_ms: int) -> Iterator[Movement]:
        with translated():
            found = self._client.balance_transactions.list(
                {"created": {"gte": since_ms // 1000}, "limit": PAGE}
            )
            told = [
                Movement(
                    each.id,
                    each.type,
                    each.currency.upper(),
                    each.amount,
                    each.fee,
                    each.source if isinstance(each.source, str) else "",
                )
                for each in found.auto_paging_iter()
            ]
        return reversed(told)

    def name_fact(self, movement: Movement) -> tuple[str, str]:
        source_id, kind = movement.source_id, movement.fact_kind
        with translated():
            if kind == "top_up" or (movement.is_return and source_id.startswith(CHARGE_PREFIXES)):
                payment_id = _name_payment(self._client.charges.retrieve(source_id).payment_intent)
                return f"{payment_id}:succeeded", payment_id
            if kind == "dispute":
                payment_id = _name_payment(self._client.disputes.retrieve(source_id).payment_intent)
                return f"{source_id}:{movement.movement_id}", payment_id
            payment_id = _name_payment(self._client.refunds.retrieve(source_id).payment_intent)
        if movement.is_return:
            return f"{payment_id}:succeeded", payment_id
        return f"{source_id}:{'succeeded' if kind == 'refund' else 'failed'}", payment_id

    def list_products(self, currency: str) -> list[RemovalProduct]:
        with translated():
            listed = self._client.climate.products.list({"limit": PAGE})
            found = [read_product(each.to_dict(), currency) for each in listed.auto_paging_iter()]
        return [each for each in found if each is not None]

    def place_order(self, purchase: Purchase) -> RemovalOrder:
        asked: Any = {
            "product": purchase.product_id,
            "metric_tons": format_tons(purchase.quantity_mg),
            "currency": purchase.currency.lower(),
            "metadata": {"account_id": purchase.account_id, "month": purchase.month},
        }
        if purchase.beneficiary_name is not None:
            asked["beneficiary"] = {"public_name": purchase.beneficiary_name}
        with refused():
            made = self._client.climate.orders.create(asked, {"idempotency_key": purchase.stripe_key})
        return read_order(made.to_dict())

    def find_order(self, purchase: Purchase) -> RemovalOrder | None:
        since, wanted = purchase.charged_at_ms // 1000 - CLOCK_DIFFERENCE_SECONDS, purchase.source_id
        with translated():
            listed = self._client.climate.orders.list({"limit": PAGE})
            # The newest first.
            for each in itertools.takewhile(lambda one: one.created >= since, listed.auto_paging_iter()):
                order = read_order(each.to_dict())
                if f"{order.account_id}:{order.month}" == wanted:
                    return order
        return None

    def get_order(self, order_id: str) -> RemovalOrder:
        with translated():
            return read_order(self._client.climate.orders.retrieve(order_id).to_dict())

    def cancel_order(self, order_id: str) -> None:
        with refused():
            self._client.climate.orders.cancel(order_id)


def _read_method(found: dict[str, Any]) -> PaymentMethod:
    kind = found["type"]
    facts = found.get(kind) or {}
    year, month = facts.get("exp_year"), facts.get("exp_month")
    return PaymentMethod(
        found["id"],
        kind,
        facts.get("brand") or facts.get("bank_name"),
        facts.get("last4"),
        f"{year:04d}-{month:02d}" if year and month else None,
    )


def _name_payment(found: object) -> str:
    return found if isinstance(found, str) else ""
