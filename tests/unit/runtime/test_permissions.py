"""Who may do what: every route, every role, written out."""

import pytest

import app
from chalicelib.accounts.model import PERMISSIONS
from chalicelib.privacy.service import CLOSE_ACCOUNT

OPERATORS = {"operator", "fleet_operator", "finance_operator", "support_operator"}
SUPPORT = {"operator", "support_operator"}
FINANCE = {"operator", "finance_operator"}
FLEET = {"operator", "fleet_operator"}
FLEET_READS = FLEET | {"support_operator"}
READERS = {"owner", "admin", "billing", "developer", "viewer", "auditor", "renter"}
BUILDERS = {"owner", "admin", "developer", "renter"}
PAYERS = {"owner", "admin", "billing", "renter"}
AUDITORS = {"operator", "support_operator", "owner", "admin", "auditor"}
CONSENTS = {"operator", "owner", "admin", "renter"}
#: What a person does for themselves.
PEOPLE = OPERATORS | READERS - {"renter"}
#: Of themselves, or of the account: which one, the service decides.
PRIVACY = PEOPLE | {"renter"}
#: Permissions that stand in the table and open nothing yet.
AWAITED: set[str] = set()
#: Route -> roles that may call it. A new route fails here until somebody has decided.
ROUTES = {
    "GET /openapi.json": "public",
    "GET /docs": "public",
    "GET /redoc": "public",
    "GET /assets/{name}": "public",
    "POST /v1/accounts": {"operator"},
    "POST /v1/accounts/{account_id}/actions": {"operator"},
    "GET /v1/me": OPERATORS | READERS,
    "GET /v1/me/memberships": PEOPLE,
    "DELETE /v1/me/memberships/{account_id}": PEOPLE,
    "POST /v1/organisations": PEOPLE,
    "GET /v1/organisations/{account_id}": SUPPORT | READERS,
    "PATCH /v1/organisations/{account_id}": {"owner", "admin"},
    "POST /v1/organisations/{account_id}/actions": {"owner"},
    "POST /v1/organisations/{account_id}/ownership": {"owner"},
    "GET /v1/organisations/{account_id}/members": SUPPORT | READERS,
    "PUT /v1/organisations/{account_id}/members/{user_id}": {"operator", "owner", "admin"},
    "DELETE /v1/organisations/{account_id}/members/{user_id}": {"operator", "owner", "admin"},
    "POST /v1/organisations/{account_id}/invitations": {"operator", "owner", "admin"},
    "GET /v1/organisations/{account_id}/invitations": SUPPORT | READERS,
    "DELETE /v1/organisations/{account_id}/invitations/{invitation_id}": {"operator", "owner", "admin"},
    "POST /v1/invitations/accept": PEOPLE,
    "POST /v1/organisations/{account_id}/projects": {"owner", "admin"},
    "GET /v1/organisations/{account_id}/projects": SUPPORT | READERS,
    "GET /v1/organisations/{account_id}/projects/{project_id}": SUPPORT | READERS,
    "PATCH /v1/organisations/{account_id}/projects/{project_id}": {"owner", "admin"},
    "POST /v1/organisations/{account_id}/service-accounts": {"owner", "admin"},
    "GET /v1/organisations/{account_id}/service-accounts": SUPPORT | READERS,
    "GET /v1/organisations/{account_id}/service-accounts/{service_account_id}": SUPPORT | READERS,
    "POST /v1/organisations/{account_id}/service-accounts/{service_account_id}/actions": {"owner", "admin"},
    "POST /v1/accounts/{account_id}/api-keys": {"operator"} | BUILDERS,
    "POST /v1/api-keys/{key_id}/rotate": {"operator"} | BUILDERS,
    "POST /v1/accounts/{account_id}/charges": FINANCE,
    "POST /v1/accounts/{account_id}/credits": FINANCE,
    "GET /v1/api-keys": {"operator", "support_operator"} | READERS,
    "DELETE /v1/api-keys/{key_id}": {"operator"} | BUILDERS,
    "PUT /v1/gpu-types/{gpu_type}": FINANCE,
    "PUT /v1/gpu-types/{gpu_type}/prices/{region}": FINANCE,
    "PUT /v1/volume-prices/{region}": FINANCE,
    "GET /v1/volume-prices": OPERATORS | READERS,
    "GET /v1/agreement": OPERATORS | READERS,
    "GET /v1/accounts/{account_id}/agreement": FINANCE,
    "PUT /v1/accounts/{account_id}/agreement": FINANCE,
    "GET /v1/offers": OPERATORS | READERS,
    "GET /v1/prices/history": OPERATORS | READERS,
    "GET /v1/rentals/{rental_id}/carbon-saving": READERS,
    "GET /v1/carbon/intensity": OPERATORS | READERS,
    "GET /v1/carbon/reports": READERS,
    "GET /v1/carbon/reports/{period}": READERS,
    "GET /v1/carbon/reports/{period}/csv": READERS,
    "GET /v1/carbon/reports/{period}/pdf": READERS,
    "GET /v1/carbon/sites/{region}/reports": FLEET_READS,
    "GET /v1/carbon/sites/{region}/reports/{period}": FLEET_READS,
    "GET /v1/carbon/sites/{region}/reports/{period}/csv": FLEET_READS,
    "GET /v1/carbon/sites/{region}/reports/{period}/pdf": FLEET_READS,
    "GET /v1/carbon/best-starts": OPERATORS | READERS,
    "GET /v1/carbon/forecast": OPERATORS | READERS,
    "POST /v1/templates": {"operator"} | BUILDERS,
    "GET /v1/templates": OPERATORS | READERS,
    "GET /v1/templates/{template_id}": OPERATORS | READERS,
    "PUT /v1/templates/{template_id}": {"operator"} | BUILDERS,
    "DELETE /v1/templates/{template_id}": {"operator"} | BUILDERS,
    "PUT /v1/removals/{host_id}/{unit_id}/{day}": FINANCE,
    "GET /v1/removals/{host_id}/{unit_id}/{day}": FINANCE,
    "GET /v1/removals/{host_id}/{unit_id}": FINANCE,
    "POST /v1/removals/{host_id}/{unit_id}/{day}/actions": FINANCE,
    "GET /v1/removal-shares": READERS,
    "POST /v1/credit-batches/{serial}/sales": FINANCE,
    "POST /v1/credit-batches/{serial}/allocation": FINANCE,
    "POST /v1/certificates/{serial}/actions": FINANCE,
    "GET /v1/certificates/{serial}": "public",
    "GET /v1/certificates/{serial}/page": "public",
    "GET /v1/carbon/methodology": "public",
    "GET /v1/carbon/methodology/page": "public",
    "POST /v1/enrolments": FLEET,
    "POST /v1/hosts": "public",
    "POST /v1/hosts/{host_id}/credentials": {"host"},
    "GET /v1/hosts": FLEET_READS,
    "GET /v1/hosts/{host_id}": FLEET_READS,
    "POST /v1/hosts/{host_id}/actions": FLEET,
    "GET /v1/incidents": FLEET_READS,
    "POST /v1/maintenance-windows": FLEET,
    "GET /v1/maintenance-windows": FLEET_READS,
    "GET /v1/maintenance-windows/{window_id}": FLEET_READS,
    "POST /v1/maintenance-windows/{window_id}/actions": FLEET,
    "POST /v1/rentals": BUILDERS,
    "GET /v1/rentals": READERS,
    "GET /v1/rentals/{rental_id}": READERS,
    "PATCH /v1/rentals/{rental_id}": BUILDERS,
    "GET /v1/quotas": READERS,
    "PUT /v1/accounts/{account_id}/quotas": {"operator"},
    "POST /v1/rentals/{rental_id}/actions": BUILDERS,
    "POST /v1/rentals/{rental_id}/logs": BUILDERS,
    "GET /v1/rentals/{rental_id}/logs": READERS,
    "GET /v1/rentals/{rental_id}/receipt": READERS,
    "GET /v1/rentals/{rental_id}/energy": READERS,
    "POST /v1/reservations": BUILDERS,
    "GET /v1/reservations": READERS,
    "GET /v1/reservations/availability": READERS,
    "GET /v1/reservations/quota": READERS,
    "PUT /v1/accounts/{account_id}/reservation-quota": {"operator"},
    "GET /v1/reservations/{reservation_id}": READERS,
    "POST /v1/reservations/{reservation_id}/actions": BUILDERS,
    "GET /v1/wallet": READERS,
    "PUT /v1/wallet/spend-limit": PAYERS,
    "GET /v1/ledger-entries": READERS,
    "GET /v1/ledger-entries/proofs/{day}": READERS,
    "GET /v1/usage": READERS,
    "GET /v1/statements": READERS,
    "GET /v1/statements/{month}": READERS,
    "GET /v1/statements/{month}/csv": READERS,
    "GET /v1/statements/{month}/pdf": READERS,
    "GET /v1/billing-details": READERS,
    "POST /v1/payment-methods": PAYERS,
    "GET /v1/payment-methods": READERS,
    "DELETE /v1/payment-methods/{payment_method_id}": PAYERS,
    "POST /v1/billing-portal": PAYERS,
    "GET /v1/auto-top-up": READERS,
    "PUT /v1/auto-top-up": PAYERS,
    "DELETE /v1/auto-top-up": PAYERS,
    "PUT /v1/billing-details": PAYERS,
    "GET /v1/removal-purchases/settings": READERS,
    "PUT /v1/removal-purchases/settings": PAYERS,
    "GET /v1/removal-purchases": READERS,
    "GET /v1/removal-purchases/{month}": READERS,
    "POST /v1/budgets": PAYERS,
    "GET /v1/budgets": READERS,
    "GET /v1/budgets/{budget_id}": READERS,
    "PATCH /v1/budgets/{budget_id}": PAYERS,
    "DELETE /v1/budgets/{budget_id}": PAYERS,
    "POST /v1/reversals": FINANCE,
    "POST /v1/top-ups": PAYERS,
    "GET /v1/top-ups": READERS,
    "GET /v1/top-ups/{top_up_id}": READERS,
    "POST /v1/top-ups/{top_up_id}/refunds": FINANCE,
    "POST /v1/stripe/events": "public",
    "POST /v1/leaked-keys": "public",
    "GET /.well-known/oauth-authorization-server": "public",
    "GET /.well-known/jwks.json": "public",
    "POST /oauth/token": "public",
    "POST /oauth/device_authorization": "public",
    "POST /oauth/revoke": "public",
    "POST /oauth/introspect": "public",
    "GET /oauth/authorize": "public",
    "POST /oauth/authorize": "public",
    "GET /device": "public",
    "POST /device": "public",
    "POST /v1/oauth-clients": BUILDERS,
    "GET /v1/oauth-clients": READERS,
    "DELETE /v1/oauth-clients/{client_id}": BUILDERS,
    "POST /v1/oauth-clients/{client_id}/secrets": BUILDERS,
    "DELETE /v1/oauth-clients/{client_id}/secrets/{secret_id}": BUILDERS,
    "POST /v1/service-accounts/{service_account_id}/secrets": {"owner", "admin"},
    "DELETE /v1/service-accounts/{service_account_id}/secrets/{secret_id}": {"owner", "admin"},
    "GET /v1/oauth-grants": PEOPLE,
    "DELETE /v1/oauth-grants/{grant_id}": PEOPLE,
    "POST /v1/privacy/requests": PRIVACY,
    "GET /v1/privacy/requests": PRIVACY,
    "GET /v1/privacy/requests/{request_id}": PRIVACY,
    "GET /v1/privacy/consents": CONSENTS,
    "PUT /v1/privacy/consents": CONSENTS,
    "POST /v1/webhook-endpoints": BUILDERS,
    "GET /v1/webhook-endpoints": READERS,
    "GET /v1/webhook-endpoints/{endpoint_id}": READERS,
    "PATCH /v1/webhook-endpoints/{endpoint_id}": BUILDERS,
    "DELETE /v1/webhook-endpoints/{endpoint_id}": BUILDERS,
    "POST /v1/webhook-endpoints/{endpoint_id}/rotate-secret": BUILDERS,
    "POST /v1/webhook-endpoints/{endpoint_id}/test": BUILDERS,
    "GET /v1/webhook-events": READERS,
    "GET /v1/webhook-events/{event_id}": READERS,
    "POST /v1/webhook-events/{event_id}/replay": BUILDERS,
    "GET /v1/pools": FLEET_READS,
    "GET /v1/pools/{gpu_type}/{region}": FLEET_READS,
    "PUT /v1/pools/{gpu_type}/{region}": FLEET,
    "GET /v1/scaling/plan": FLEET_READS,
    "GET /v1/audit": AUDITORS,
    "GET /v1/audit/proof": AUDITORS,
    "GET /v1/audit/export": AUDITORS,
}
OPERATIONS = {
    f"{operation.method} {operation.path}": operation for api in app.APIS for operation in api.operations
}


def test_every_route_is_decided():
    assert set(OPERATIONS) == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_is_open_to_these_roles_and_no_other(route):
    permission = OPERATIONS[route].permission
    roles = {role for role, granted in PERMISSIONS.items() if permission in granted}
    assert ("public" if permission is None else roles) == ROUTES[route]


def test_every_permission_opens_something():
    # Closing an account is asked for by a body, and its permission by the service.
    used = {operation.permission for operation in OPERATIONS.values()} | {CLOSE_ACCOUNT}
    assert set().union(*PERMISSIONS.values()) - AWAITED <= used


def test_every_operation_has_a_name_of_its_own():
    names = [operation.name for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
