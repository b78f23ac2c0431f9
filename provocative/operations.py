"""Every operation of the API that the client knows: method, path, and whether it may be sent twice."""

from dataclasses import dataclass
from typing import Literal

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Operation:
    """``keyed``: the API honours an Idempotency-Key. ``repeatable``: asking again answers the same."""

    method: Method
    path: str
    keyed: bool = False
    repeatable: bool = True


CREATE_ACCOUNT = Operation("POST", "/v1/accounts", repeatable=False)
ACT_ON_ACCOUNT = Operation("POST", "/v1/accounts/{account_id}/actions")
CREATE_KEY = Operation("POST", "/v1/accounts/{account_id}/api-keys", repeatable=False)
LIST_KEYS = Operation("GET", "/v1/api-keys")
ROTATE_KEY = Operation("POST", "/v1/api-keys/{key_id}/rotate", keyed=True)
REPORT_LEAKED_KEY = Operation("POST", "/v1/leaked-keys")
REVOKE_KEY = Operation("DELETE", "/v1/api-keys/{key_id}")

READ_CALLER = Operation("GET", "/v1/me")
LIST_OWN_MEMBERSHIPS = Operation("GET", "/v1/me/memberships")
LEAVE_ORGANISATION = Operation("DELETE", "/v1/me/memberships/{account_id}")
CREATE_ORGANISATION = Operation("POST", "/v1/organisations", keyed=True)
READ_ORGANISATION = Operation("GET", "/v1/organisations/{account_id}")
RENAME_ORGANISATION = Operation("PATCH", "/v1/organisations/{account_id}")
ACT_ON_ORGANISATION = Operation("POST", "/v1/organisations/{account_id}/actions")
HAND_OVER_OWNERSHIP = Operation("POST", "/v1/organisations/{account_id}/ownership", repeatable=False)
LIST_MEMBERS = Operation("GET", "/v1/organisations/{account_id}/members")
CHANGE_ROLE = Operation("PUT", "/v1/organisations/{account_id}/members/{user_id}")
REMOVE_MEMBER = Operation("DELETE", "/v1/organisations/{account_id}/members/{user_id}")
INVITE_MEMBER = Operation("POST", "/v1/organisations/{account_id}/invitations", keyed=True)
LIST_INVITATIONS = Operation("GET", "/v1/organisations/{account_id}/invitations")
REVOKE_INVITATION = Operation("DELETE", "/v1/organisations/{account_id}/invitations/{invitation_id}")
ACCEPT_INVITATION = Operation("POST", "/v1/invitations/accept", keyed=True)
CREATE_PROJECT = Operation("POST", "/v1/organisations/{account_id}/projects", keyed=True)
LIST_PROJECTS = Operation("GET", "/v1/organisations/{account_id}/projects")
READ_PROJECT = Operation("GET", "/v1/organisations/{account_id}/projects/{project_id}")
CHANGE_PROJECT = Operation("PATCH", "/v1/organisations/{account_id}/projects/{project_id}")
CREATE_SERVICE_ACCOUNT = Operation("POST", "/v1/organisations/{account_id}/service-accounts", keyed=True)
LIST_SERVICE_ACCOUNTS = Operation("GET", "/v1/organisations/{account_id}/service-accounts")
READ_SERVICE_ACCOUNT = Operation(
    "GET", "/v1/organisations/{account_id}/service-accounts/{service_account_id}"
)
ACT_ON_SERVICE_ACCOUNT = Operation(
    "POST", "/v1/organisations/{account_id}/service-accounts/{service_account_id}/actions"
)

READ_WALLET = Operation("GET", "/v1/wallet")
CHARGE_ACCOUNT = Operation("POST", "/v1/accounts/{account_id}/charges", keyed=True)
GRANT_CREDIT = Operation("POST", "/v1/accounts/{account_id}/credits", keyed=True)
REVERSE_POSTING = Operation("POST", "/v1/reversals")
PUT_SPEND_LIMIT = Operation("PUT", "/v1/wallet/spend-limit")
LIST_ENTRIES = Operation("GET", "/v1/ledger-entries")
PROVE_LEDGER = Operation("GET", "/v1/ledger-entries/proofs/{day}")
READ_USAGE = Operation("GET", "/v1/usage")
CREATE_BUDGET = Operation("POST", "/v1/budgets", keyed=True)
LIST_BUDGETS = Operation("GET", "/v1/budgets")
READ_BUDGET = Operation("GET", "/v1/budgets/{budget_id}")
CHANGE_BUDGET = Operation("PATCH", "/v1/budgets/{budget_id}")
REMOVE_BUDGET = Operation("DELETE", "/v1/budgets/{budget_id}")
CREATE_TOP_UP = Operation("POST", "/v1/top-ups", keyed=True)
LIST_TOP_UPS = Operation("GET", "/v1/top-ups")
READ_TOP_UP = Operation("GET", "/v1/top-ups/{top_up_id}")
REFUND_TOP_UP = Operation("POST", "/v1/top-ups/{top_up_id}/refunds", keyed=True)
# Another page is opened, and nothing is saved on either by itself.
OPEN_PORTAL = Operation("POST", "/v1/billing-portal")
SAVE_PAYMENT_METHOD = Operation("POST", "/v1/payment-methods", keyed=True)
LIST_PAYMENT_METHODS = Operation("GET", "/v1/payment-methods")
REMOVE_PAYMENT_METHOD = Operation("DELETE", "/v1/payment-methods/{payment_method_id}")
READ_AUTO_TOP_UP = Operation("GET", "/v1/auto-top-up")
PUT_AUTO_TOP_UP = Operation("PUT", "/v1/auto-top-up")
REMOVE_AUTO_TOP_UP = Operation("DELETE", "/v1/auto-top-up")
READ_REMOVAL_SETTINGS = Operation("GET", "/v1/removal-purchases/settings")
PUT_REMOVAL_SETTINGS = Operation("PUT", "/v1/removal-purchases/settings")
LIST_REMOVAL_PURCHASES = Operation("GET", "/v1/removal-purchases")
READ_REMOVAL_PURCHASE = Operation("GET", "/v1/removal-purchases/{month}")
LIST_STATEMENTS = Operation("GET", "/v1/statements")
READ_STATEMENT = Operation("GET", "/v1/statements/{month}")
LINK_STATEMENT_CSV = Operation("GET", "/v1/statements/{month}/csv")
LINK_STATEMENT_PDF = Operation("GET", "/v1/statements/{month}/pdf")
READ_BILLING_DETAILS = Operation("GET", "/v1/billing-details")
PUT_BILLING_DETAILS = Operation("PUT", "/v1/billing-details")
LIST_GPU_HOURS = Operation("GET", "/v1/rentals/{rental_id}/energy")
READ_RECEIPT = Operation("GET", "/v1/rentals/{rental_id}/receipt")
READ_CARBON_SAVING = Operation("GET", "/v1/rentals/{rental_id}/carbon-saving")
READ_QUOTA = Operation("GET", "/v1/quotas")
PUT_QUOTA = Operation("PUT", "/v1/accounts/{account_id}/quotas")

LIST_OFFERS = Operation("GET", "/v1/offers")
LIST_PRICE_HISTORY = Operation("GET", "/v1/prices/history")
LIST_INTENSITY = Operation("GET", "/v1/carbon/intensity")
LIST_CARBON_REPORTS = Operation("GET", "/v1/carbon/reports")
READ_CARBON_REPORT = Operation("GET", "/v1/carbon/reports/{period}")
LINK_CARBON_REPORT_CSV = Operation("GET", "/v1/carbon/reports/{period}/csv")
LINK_CARBON_REPORT_PDF = Operation("GET", "/v1/carbon/reports/{period}/pdf")
LIST_SITE_REPORTS = Operation("GET", "/v1/carbon/sites/{region}/reports")
READ_SITE_REPORT = Operation("GET", "/v1/carbon/sites/{region}/reports/{period}")
LINK_SITE_REPORT_CSV = Operation("GET", "/v1/carbon/sites/{region}/reports/{period}/csv")
LINK_SITE_REPORT_PDF = Operation("GET", "/v1/carbon/sites/{region}/reports/{period}/pdf")
LIST_BEST_STARTS = Operation("GET", "/v1/carbon/best-starts")
LIST_FORECASTS = Operation("GET", "/v1/carbon/forecast")
READ_METHODOLOGY = Operation("GET", "/v1/carbon/methodology")
PUT_GPU_TYPE = Operation("PUT", "/v1/gpu-types/{gpu_type}")
# Each call is an entry of the history.
READ_AGREEMENT = Operation("GET", "/v1/agreement")
READ_ACCOUNT_AGREEMENT = Operation("GET", "/v1/accounts/{account_id}/agreement")
PUT_AGREEMENT = Operation("PUT", "/v1/accounts/{account_id}/agreement", repeatable=False)
PUT_VOLUME_PRICE = Operation("PUT", "/v1/volume-prices/{region}")
LIST_VOLUME_PRICES = Operation("GET", "/v1/volume-prices")
PUT_PRICE = Operation("PUT", "/v1/gpu-types/{gpu_type}/prices/{region}", repeatable=False)
CREATE_TEMPLATE = Operation("POST", "/v1/templates", keyed=True)
LIST_TEMPLATES = Operation("GET", "/v1/templates")
READ_TEMPLATE = Operation("GET", "/v1/templates/{template_id}")
# The version that it replaces is gone after the first.
REPLACE_TEMPLATE = Operation("PUT", "/v1/templates/{template_id}", repeatable=False)
REMOVE_TEMPLATE = Operation("DELETE", "/v1/templates/{template_id}")

CREATE_WEBHOOK_ENDPOINT = Operation("POST", "/v1/webhook-endpoints", keyed=True)
LIST_WEBHOOK_ENDPOINTS = Operation("GET", "/v1/webhook-endpoints")
READ_WEBHOOK_ENDPOINT = Operation("GET", "/v1/webhook-endpoints/{endpoint_id}")
CHANGE_WEBHOOK_ENDPOINT = Operation("PATCH", "/v1/webhook-endpoints/{endpoint_id}")
REMOVE_WEBHOOK_ENDPOINT = Operation("DELETE", "/v1/webhook-endpoints/{endpoint_id}")
# A second rotation ends the secret that was in use before the first.
ROTATE_WEBHOOK_SECRET = Operation(
    "POST", "/v1/webhook-endpoints/{endpoint_id}/rotate-secret", repeatable=False
)
TEST_WEBHOOK_ENDPOINT = Operation("POST", "/v1/webhook-endpoints/{endpoint_id}/test", repeatable=False)
LIST_WEBHOOK_EVENTS = Operation("GET", "/v1/webhook-events")
READ_WEBHOOK_EVENT = Operation("GET", "/v1/webhook-events/{event_id}")
REPLAY_WEBHOOK_EVENT = Operation("POST", "/v1/webhook-events/{event_id}/replay", repeatable=False)

CREATE_RENTAL = Operation("POST", "/v1/rentals", keyed=True)
LIST_RENTALS = Operation("GET", "/v1/rentals")
READ_RENTAL = Operation("GET", "/v1/rentals/{rental_id}")
CHANGE_RENTAL = Operation("PATCH", "/v1/rentals/{rental_id}")
ACT_ON_RENTAL = Operation("POST", "/v1/rentals/{rental_id}/actions")
RESTART_RENTAL = Operation("POST", "/v1/rentals/{rental_id}/actions", repeatable=False)
REQUEST_LOG = Operation("POST", "/v1/rentals/{rental_id}/logs")
READ_LOG = Operation("GET", "/v1/rentals/{rental_id}/logs")

CREATE_RESERVATION = Operation("POST", "/v1/reservations", keyed=True)
LIST_RESERVATIONS = Operation("GET", "/v1/reservations")
READ_RESERVATION = Operation("GET", "/v1/reservations/{reservation_id}")
PREVIEW_AVAILABILITY = Operation("GET", "/v1/reservations/availability")
# A second cancel is refused, and the refusal would hide that the first one worked.
ACT_ON_RESERVATION = Operation("POST", "/v1/reservations/{reservation_id}/actions", repeatable=False)
READ_RESERVED_QUOTA = Operation("GET", "/v1/reservations/quota")
PUT_RESERVED_QUOTA = Operation("PUT", "/v1/accounts/{account_id}/reservation-quota")

CREATE_ENROLMENT = Operation("POST", "/v1/enrolments", repeatable=False)
LIST_HOSTS = Operation("GET", "/v1/hosts")
READ_HOST = Operation("GET", "/v1/hosts/{host_id}")
ACT_ON_HOST = Operation("POST", "/v1/hosts/{host_id}/actions", repeatable=False)
LIST_INCIDENTS = Operation("GET", "/v1/incidents")
PLAN_WINDOW = Operation("POST", "/v1/maintenance-windows", keyed=True)
LIST_WINDOWS = Operation("GET", "/v1/maintenance-windows")
READ_WINDOW = Operation("GET", "/v1/maintenance-windows/{window_id}")
ACT_ON_WINDOW = Operation("POST", "/v1/maintenance-windows/{window_id}/actions", repeatable=False)

MAKE_PRIVACY_REQUEST = Operation("POST", "/v1/privacy/requests", keyed=True)
LIST_PRIVACY_REQUESTS = Operation("GET", "/v1/privacy/requests")
READ_PRIVACY_REQUEST = Operation("GET", "/v1/privacy/requests/{request_id}")
LIST_CONSENTS = Operation("GET", "/v1/privacy/consents")
PUT_CONSENT = Operation("PUT", "/v1/privacy/consents")

LIST_POOLS = Operation("GET", "/v1/pools")
READ_POOL = Operation("GET", "/v1/pools/{gpu_type}/{region}")
PUT_POOL = Operation("PUT", "/v1/pools/{gpu_type}/{region}")
SHOW_PLAN = Operation("GET", "/v1/scaling/plan")

DRAW_REMOVAL = Operation("PUT", "/v1/removals/{host_id}/{unit_id}/{day}")
READ_REMOVAL = Operation("GET", "/v1/removals/{host_id}/{unit_id}/{day}")
LIST_REMOVALS = Operation("GET", "/v1/removals/{host_id}/{unit_id}")
ACT_ON_REMOVAL = Operation("POST", "/v1/removals/{host_id}/{unit_id}/{day}/actions")
LIST_REMOVAL_SHARES = Operation("GET", "/v1/removal-shares")
SELL_CREDITS = Operation("POST", "/v1/credit-batches/{serial}/sales", keyed=True)
ALLOCATE_CREDITS = Operation("POST", "/v1/credit-batches/{serial}/allocation")
ACT_ON_CERTIFICATE = Operation("POST", "/v1/certificates/{serial}/actions")
VERIFY_CERTIFICATE = Operation("GET", "/v1/certificates/{serial}")

REGISTER_OAUTH_CLIENT = Operation("POST", "/v1/oauth-clients", repeatable=False)
LIST_OAUTH_CLIENTS = Operation("GET", "/v1/oauth-clients")
DELETE_OAUTH_CLIENT = Operation("DELETE", "/v1/oauth-clients/{client_id}")
CREATE_CLIENT_SECRET = Operation("POST", "/v1/oauth-clients/{client_id}/secrets", repeatable=False)
REVOKE_CLIENT_SECRET = Operation("DELETE", "/v1/oauth-clients/{client_id}/secrets/{secret_id}")
CREATE_SERVICE_ACCOUNT_SECRET = Operation(
    "POST", "/v1/service-accounts/{service_account_id}/secrets", repeatable=False
)
REVOKE_SERVICE_ACCOUNT_SECRET = Operation(
    "DELETE", "/v1/service-accounts/{service_account_id}/secrets/{secret_id}"
)
LIST_OAUTH_GRANTS = Operation("GET", "/v1/oauth-grants")
END_OAUTH_GRANT = Operation("DELETE", "/v1/oauth-grants/{grant_id}")

LIST_AUDIT = Operation("GET", "/v1/audit")
PROVE_AUDIT = Operation("GET", "/v1/audit/proof")
EXPORT_AUDIT = Operation("GET", "/v1/audit/export")

OPERATIONS: tuple[Operation, ...] = tuple(
    value for value in globals().copy().values() if isinstance(value, Operation)
)
