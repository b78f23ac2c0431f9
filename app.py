"""Composition root of the cloud side: every route and every function, and nothing else.

Chalice packages what is named here. In Lambda the API enters through `chalicelib.entrance`, each function
through its own module: neither imports what it does not serve.
"""

from chalicelib import wiring
from chalicelib.accounts import api as accounts_api
from chalicelib.accounts import functions as accounts_functions
from chalicelib.billing import api as billing_api
from chalicelib.billing import functions as billing_functions
from chalicelib.carbon import api as carbon_api
from chalicelib.carbon import functions as carbon_functions
from chalicelib.catalog import api as catalog_api
from chalicelib.catalog import functions as catalog_functions
from chalicelib.compliance import api as compliance_api
from chalicelib.compliance import functions as compliance_functions
from chalicelib.fleet import api as fleet_api
from chalicelib.fleet import functions as fleet_functions
from chalicelib.fleet import health_api as fleet_health_api
from chalicelib.identity import account_api as identity_account_api
from chalicelib.identity import api as identity_api
from chalicelib.identity import organisation_api as identity_organisation_api
from chalicelib.identity import passkey_api as identity_passkey_api
from chalicelib.identity import provider_api as identity_provider_api
from chalicelib.metering import functions as metering_functions
from chalicelib.oauth import api as oauth_api
from chalicelib.oauth import client_api as oauth_client_api
from chalicelib.oauth import functions as oauth_functions
from chalicelib.oauth import page_api as oauth_page_api
from chalicelib.organisations import api as organisations_api
from chalicelib.payments import api as payments_api
from chalicelib.payments import functions as payments_functions
from chalicelib.payments import purchase_api as payments_purchase_api
from chalicelib.privacy import api as privacy_api
from chalicelib.privacy import functions as privacy_functions
from chalicelib.removals import api as removals_api
from chalicelib.rentals import api as rentals_api
from chalicelib.rentals import functions as rentals_functions
from chalicelib.reporting import api as reporting_api
from chalicelib.reporting import functions as reporting_functions
from chalicelib.reservations import api as reservations_api
from chalicelib.reservations import functions as reservations_functions
from chalicelib.runtime import api_document, api_pages
from chalicelib.runtime.application import Application
from chalicelib.runtime.cross_origin import register_preflights
from chalicelib.runtime.cursors import SIGNER
from chalicelib.runtime.routing import build_table
from chalicelib.scaling import api as scaling_api
from chalicelib.scaling import functions as scaling_functions
from chalicelib.statements import api as statements_api
from chalicelib.statements import functions as statements_functions
from chalicelib.webhooks import api as webhooks_api
from chalicelib.webhooks import functions as webhooks_functions

APIS = (
    api_document.api,
    api_pages.api,
    accounts_api.api,
    oauth_api.api,
    oauth_client_api.api,
    oauth_page_api.api,
    organisations_api.api,
    webhooks_api.api,
    catalog_api.api,
    fleet_api.api,
    fleet_health_api.api,
    reservations_api.api,
    rentals_api.api,
    billing_api.api,
    statements_api.api,
    payments_api.api,
    payments_purchase_api.api,
    carbon_api.api,
    removals_api.api,
    reporting_api.api,
    scaling_api.api,
    privacy_api.api,
    compliance_api.api,
)
#: For people and their browsers: no part of the API's document, and each behind `identity.guard`.
PAGES = (
    identity_api.api,
    identity_account_api.api,
    identity_organisation_api.api,
    identity_passkey_api.api,
    identity_provider_api.api,
)
FUNCTIONS = (
    accounts_functions.functions,
    oauth_functions.functions,
    webhooks_functions.functions,
    catalog_functions.functions,
    fleet_functions.functions,
    reservations_functions.functions,
    rentals_functions.functions,
    metering_functions.functions,
    billing_functions.functions,
    statements_functions.functions,
    payments_functions.functions,
    carbon_functions.functions,
    reporting_functions.functions,
    scaling_functions.functions,
    compliance_functions.functions,
    privacy_functions.functions,
)

TABLE = build_table(APIS, PAGES)

app = Application(wiring.find_limiter, wiring.find_clock)
for _api in (*APIS, *PAGES):
    app.mount(_api)
register_preflights(app, TABLE.api)
SIGNER.read_secret = wiring.read_pepper
for _functions in FUNCTIONS:
    app.register_blueprint(_functions)
