"""Who may do what: every route, every role, written out."""

import pytest

import app
from chalicelib.accounts.model import PERMISSIONS
from chalicelib.privacy.service import CLOSE_ACCOUNT

#: Route -> roles that may call it. A new route fails here until somebody has decided.
ROUTES = {
    "GET /openapi.json": "public",
    "POST /v1/accounts": {"operator"},
    "POST /v1/accounts/{account_id}/api-keys": {"operator", "renter"},
    "POST /v1/api-keys/{key_id}/rotate": {"operator", "renter"},
    "POST /v1/accounts/{account_id}/charges": {"operator"},
    "POST /v1/accounts/{account_id}/credits": {"operator"},
    "GET /v1/api-keys": {"operator", "renter"},
    "DELETE /v1/api-keys/{key_id}": {"operator", "renter"},
    "PUT /v1/gpu-types/{gpu_type}": {"operator"},
    "PUT /v1/gpu-types/{gpu_type}/prices/{region}": {"operator"},
    "PUT /v1/volume-prices/{region}": {"operator"},
    "GET /v1/volume-prices": {"operator", "renter"},
    "GET /v1/agreement": {"operator", "renter"},
    "GET /v1/accounts/{account_id}/agreement": {"operator"},
    "PUT /v1/accounts/{account_id}/agreement": {"operator"},
    "GET /v1/offers": {"operator", "renter"},
    "GET /v1/prices/history": {"operator", "renter"},
    "GET /v1/rentals/{rental_id}/carbon-saving": {"renter"},
    "GET /v1/carbon/intensity": {"operator", "renter"},
    "GET /v1/carbon/reports": {"renter"},
    "GET /v1/carbon/reports/{period}": {"renter"},
    "GET /v1/carbon/reports/{period}/csv": {"renter"},
    "GET /v1/carbon/reports/{period}/pdf": {"renter"},
    "GET /v1/carbon/sites/{region}/reports": {"operator"},
    "GET /v1/carbon/sites/{region}/reports/{period}": {"operator"},
    "GET /v1/carbon/sites/{region}/reports/{period}/csv": {"operator"},
    "GET /v1/carbon/sites/{region}/reports/{period}/pdf": {"operator"},
    "GET /v1/carbon/best-starts": {"operator", "renter"},
    "GET /v1/carbon/forecast": {"operator", "renter"},
    "POST /v1/templates": {"operator", "renter"},
    "GET /v1/templates": {"operator", "renter"},
    "GET /v1/templates/{template_id}": {"operator", "renter"},
    "PUT /v1/templates/{template_id}": {"operator", "renter"},
    "DELETE /v1/templates/{template_id}": {"operator", "renter"},
    "PUT /v1/removals/{host_id}/{unit_id}/{day}": {"operator"},
    "GET /v1/removals/{host_id}/{unit_id}/{day}": {"operator"},
    "GET /v1/removals/{host_id}/{unit_id}": {"operator"},
    "POST /v1/removals/{host_id}/{unit_id}/{day}/actions": {"operator"},
    "GET /v1/removal-shares": {"renter"},
    "POST /v1/credit-batches/{serial}/sales": {"operator"},
    "POST /v1/credit-batches/{serial}/allocation": {"operator"},
    "POST /v1/certificates/{serial}/actions": {"operator"},
    "GET /v1/certificates/{serial}": "public",
    "GET /v1/certificates/{serial}/page": "public",
    "GET /v1/carbon/methodology": "public",
    "GET /v1/carbon/methodology/page": "public",
    "POST /v1/enrolments": {"operator"},
    "POST /v1/hosts": "public",
    "POST /v1/hosts/{host_id}/credentials": {"host"},
    "GET /v1/hosts": {"operator"},
    "GET /v1/hosts/{host_id}": {"operator"},
    "POST /v1/hosts/{host_id}/actions": {"operator"},
    "GET /v1/incidents": {"operator"},
    "POST /v1/maintenance-windows": {"operator"},
    "GET /v1/maintenance-windows": {"operator"},
    "GET /v1/maintenance-windows/{window_id}": {"operator"},
    "POST /v1/maintenance-windows/{window_id}/actions": {"operator"},
    "POST /v1/rentals": {"renter"},
    "GET /v1/rentals": {"renter"},
    "GET /v1/rentals/{rental_id}": {"renter"},
    "PATCH /v1/rentals/{rental_id}": {"renter"},
    "GET /v1/quotas": {"renter"},
    "PUT /v1/accounts/{account_id}/quotas": {"operator"},
    "POST /v1/rentals/{rental_id}/actions": {"renter"},
    "POST /v1/rentals/{rental_id}/logs": {"renter"},
    "GET /v1/rentals/{rental_id}/logs": {"renter"},
    "GET /v1/rentals/{rental_id}/receipt": {"renter"},
    "GET /v1/rentals/{rental_id}/energy": {"renter"},
    "POST /v1/reservations": {"renter"},
    "GET /v1/reservations": {"renter"},
    "GET /v1/reservations/availability": {"renter"},
    "GET /v1/reservations/quota": {"renter"},
    "PUT /v1/accounts/{account_id}/reservation-quota": {"operator"},
    "GET /v1/reservations/{reservation_id}": {"renter"},
    "POST /v1/reservations/{reservation_id}/actions": {"renter"},
    "GET /v1/wallet": {"renter"},
    "PUT /v1/wallet/spend-limit": {"renter"},
    "GET /v1/ledger-entries": {"renter"},
    "GET /v1/ledger-entries/proofs/{day}": {"renter"},
    "GET /v1/usage": {"renter"},
    "GET /v1/statements": {"renter"},
    "GET /v1/statements/{month}": {"renter"},
    "GET /v1/statements/{month}/csv": {"renter"},
    "GET /v1/statements/{month}/pdf": {"renter"},
    "GET /v1/billing-details": {"renter"},
    "POST /v1/payment-methods": {"renter"},
    "GET /v1/payment-methods": {"renter"},
    "DELETE /v1/payment-methods/{payment_method_id}": {"renter"},
    "POST /v1/billing-portal": {"renter"},
    "GET /v1/auto-top-up": {"renter"},
    "PUT /v1/auto-top-up": {"renter"},
    "DELETE /v1/auto-top-up": {"renter"},
    "PUT /v1/billing-details": {"renter"},
    "GET /v1/removal-purchases/settings": {"renter"},
    "PUT /v1/removal-purchases/settings": {"renter"},
    "GET /v1/removal-purchases": {"renter"},
    "GET /v1/removal-purchases/{month}": {"renter"},
    "POST /v1/budgets": {"renter"},
    "GET /v1/budgets": {"renter"},
    "GET /v1/budgets/{budget_id}": {"renter"},
    "PATCH /v1/budgets/{budget_id}": {"renter"},
    "DELETE /v1/budgets/{budget_id}": {"renter"},
    "POST /v1/reversals": {"operator"},
    "POST /v1/top-ups": {"renter"},
    "GET /v1/top-ups": {"renter"},
    "GET /v1/top-ups/{top_up_id}": {"renter"},
    "POST /v1/top-ups/{top_up_id}/refunds": {"operator"},
    "POST /v1/stripe/events": "public",
    "POST /v1/leaked-keys": "public",
    "POST /v1/privacy/requests": {"operator", "renter"},
    "GET /v1/privacy/requests": {"operator", "renter"},
    "GET /v1/privacy/requests/{request_id}": {"operator", "renter"},
    "GET /v1/privacy/consents": {"operator", "renter"},
    "PUT /v1/privacy/consents": {"operator", "renter"},
    "POST /v1/webhook-endpoints": {"renter"},
    "GET /v1/webhook-endpoints": {"renter"},
    "GET /v1/webhook-endpoints/{endpoint_id}": {"renter"},
    "PATCH /v1/webhook-endpoints/{endpoint_id}": {"renter"},
    "DELETE /v1/webhook-endpoints/{endpoint_id}": {"renter"},
    "POST /v1/webhook-endpoints/{endpoint_id}/rotate-secret": {"renter"},
    "POST /v1/webhook-endpoints/{endpoint_id}/test": {"renter"},
    "GET /v1/webhook-events": {"renter"},
    "GET /v1/webhook-events/{event_id}": {"renter"},
    "POST /v1/webhook-events/{event_id}/replay": {"renter"},
    "GET /v1/pools": {"operator"},
    "GET /v1/pools/{gpu_type}/{region}": {"operator"},
    "PUT /v1/pools/{gpu_type}/{region}": {"operator"},
    "GET /v1/scaling/plan": {"operator"},
    "GET /v1/audit": {"operator"},
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
    assert set().union(*PERMISSIONS.values()) <= used


def test_every_operation_has_a_name_of_its_own():
    names = [operation.name for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
