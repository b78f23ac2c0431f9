"""Routes of removals that an account buys for its residual emissions."""

from functools import partial

from chalicelib import wiring
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.payments import purchasing
from chalicelib.payments.purchase_schemas import (
    RemovalPurchaseBody,
    RemovalPurchaseListBody,
    RemovalSettingsBody,
    RemovalSettingsRequest,
    render_purchase,
    render_settings,
)
from chalicelib.payments.purchases import RemovalSettings
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("GET", "/v1/removal-purchases/settings", permission="wallet:read", tagged=True)
def get_removal_settings(call: Call) -> Answer[RemovalSettingsBody]:
    """Show whether the account buys removals, and for how much a month at most."""
    settings = purchasing.get_settings(wiring.payment_ports(), call.principal.account_id)
    return Answer(render_settings(settings, wiring.settings().currency))


@api.route(
    "PUT",
    "/v1/removal-purchases/settings",
    permission="wallet:write",
    body=RemovalSettingsRequest,
    conditional=True,
)
def put_removal_settings(call: Call) -> Answer[RemovalSettingsBody]:
    """Buy removals for each month's residual emissions from now on, or no more."""
    body: RemovalSettingsRequest = call.read_body(RemovalSettingsRequest)
    wanted = RemovalSettings(
        call.principal.account_id, body.enabled, body.max_micros_per_month, body.beneficiary_name
    )
    currency = wiring.settings().currency
    check = call.match(partial(render_settings, currency=currency))
    settings = purchasing.put_settings(wiring.payment_ports(), call.principal, wanted, check)
    return Answer(render_settings(settings, currency))


@api.route("GET", "/v1/removal-purchases", permission="wallet:read", query=PAGING)
def list_removal_purchases(call: Call) -> Answer[RemovalPurchaseListBody]:
    """List what was bought month by month, newest first."""
    page = purchasing.list_purchases(
        wiring.payment_ports(),
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
    )
    items = [render_purchase(each) for each in page.items]
    return Answer(RemovalPurchaseListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/removal-purchases/{month}", permission="wallet:read")
def get_removal_purchase(call: Call, month: str) -> Answer[RemovalPurchaseBody]:
    """Show what was bought for one month, and how far it is."""
    found = purchasing.get_purchase(wiring.payment_ports(), call.principal.account_id, month)
    return Answer(render_purchase(found))
