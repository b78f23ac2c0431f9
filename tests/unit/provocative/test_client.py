"""The client: nothing is done twice, every failure is one of its errors, and it is the API's mirror."""

import json
from pathlib import Path
from typing import get_args, is_typeddict

import httpx
import pytest

import app
from chalicelib.accounts import schemas as accounts_schemas
from chalicelib.billing import schemas as billing_schemas
from chalicelib.carbon import energy_schemas, intensity_schemas, planning_schemas, saving_schemas
from chalicelib.carbon import schemas as carbon_schemas
from chalicelib.catalog import schemas as catalog_schemas
from chalicelib.compliance import schemas as compliance_schemas
from chalicelib.fleet import health_schemas
from chalicelib.fleet import schemas as fleet_schemas
from chalicelib.oauth import schemas as oauth_schemas
from chalicelib.organisations import schemas as organisations_schemas
from chalicelib.payments import purchase_schemas
from chalicelib.payments import schemas as payments_schemas
from chalicelib.privacy import schemas as privacy_schemas
from chalicelib.removals import methodology_schemas
from chalicelib.removals import schemas as removals_schemas
from chalicelib.rentals import flexible_schemas
from chalicelib.rentals import schemas as rentals_schemas
from chalicelib.reporting import schemas as reporting_schemas
from chalicelib.reservations import schemas as reservations_schemas
from chalicelib.scaling import schemas as scaling_schemas
from chalicelib.statements import schemas as statements_schemas
from chalicelib.webhooks import schemas as webhooks_schemas
from chalicelib.webhooks.model import EVENT_TYPES
from provocative import (
    carbon_models,
    errors,
    fleet_models,
    models,
    money_models,
    oauth_models,
    organisation_models,
    privacy_models,
    removal_models,
    report_models,
    webhook_models,
)
from provocative.client import Client, list_all
from provocative.operations import OPERATIONS
from provocative.transport import RetryPolicy
from tests.factories import GPU_TYPE
from tests.unit.provocative.terminal import URL

#: What the host agent calls, and nobody else.
#: Hosts and Stripe call these, people do not.
MACHINES = {
    ("POST", "/v1/hosts"),
    ("POST", "/v1/hosts/{host_id}/credentials"),
    ("POST", "/v1/stripe/events"),
    # For tools.
    ("GET", "/openapi.json"),
    # For clients of OAuth 2.0, and for the browsers that they send to us.
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/jwks.json"),
    ("POST", "/oauth/token"),
    ("POST", "/oauth/device_authorization"),
    ("POST", "/oauth/revoke"),
    ("POST", "/oauth/introspect"),
    ("GET", "/oauth/authorize"),
    ("POST", "/oauth/authorize"),
    ("GET", "/device"),
    ("POST", "/device"),
    # For browsers.
    ("GET", "/docs"),
    ("GET", "/redoc"),
    ("GET", "/assets/{name}"),
    ("GET", "/v1/certificates/{serial}/page"),
    ("GET", "/v1/carbon/methodology/page"),
}
REQUEST = {"gpu_type": GPU_TYPE, "gpu_count": 1, "command": ["true"]}


def open_client(terminal, role="renter"):
    return Client(
        URL, terminal.keys[role], sleep=terminal.slept.append, draw=lambda: 0.5, transport=terminal.gateway
    )


def test_every_route_has_its_operation_and_every_operation_its_route():
    routes = {(each.method, each.path) for api in app.APIS for each in api.operations}
    assert {(each.method, each.path) for each in OPERATIONS} == routes - MACHINES


def test_what_may_be_keyed_is_what_the_api_keys():
    keyed = {(each.method, each.path) for each in OPERATIONS if each.keyed}
    source = {
        path.read_text()
        for folder in (
            "accounts",
            "billing",
            "catalog",
            "fleet",
            "organisations",
            "payments",
            "privacy",
            "removals",
            "rentals",
            "reservations",
            "scaling",
            "webhooks",
        )
        for path in Path(app.__file__).parent.glob(f"chalicelib/{folder}/*api.py")
    }
    wanted = {
        (method, route)
        for text in source
        for method, route, body in split_routes(text)
        if "idempotency_key" in body
    }
    assert keyed == wanted


def split_routes(text):
    for part in text.split("@api.route(")[1:]:
        method, route = (each.strip().strip('"') for each in part.split(",")[:2])
        yield method, route, part


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (models.Account, accounts_schemas.AccountBody),
        (models.Key, accounts_schemas.KeyBody),
        (models.IssuedKey, accounts_schemas.IssuedKeyBody),
        (organisation_models.Caller, organisations_schemas.CallerBody),
        (organisation_models.Organisation, organisations_schemas.OrganisationBody),
        (organisation_models.Member, organisations_schemas.MemberBody),
        (organisation_models.Invitation, organisations_schemas.InvitationBody),
        (organisation_models.Project, organisations_schemas.ProjectBody),
        (organisation_models.ServiceAccount, organisations_schemas.ServiceAccountBody),
        (money_models.Wallet, billing_schemas.WalletBody),
        (money_models.LedgerEntry, billing_schemas.EntryBody),
        (money_models.Budget, billing_schemas.BudgetBody),
        (money_models.Usage, billing_schemas.UsageBody),
        (money_models.UsageSum, billing_schemas.UsageSumBody),
        (money_models.TopUp, payments_schemas.TopUpBody),
        (money_models.WebPage, payments_schemas.PageBody),
        (money_models.PaymentMethod, payments_schemas.PaymentMethodBody),
        (money_models.PaymentMethods, payments_schemas.PaymentMethodListBody),
        (money_models.AutoTopUp, payments_schemas.AutoTopUpBody),
        (money_models.RemovalSettings, purchase_schemas.RemovalSettingsBody),
        (money_models.RemovalDelivery, purchase_schemas.DeliveryBody),
        (money_models.RemovalPurchase, purchase_schemas.RemovalPurchaseBody),
        (money_models.StatementHead, statements_schemas.HeadBody),
        (money_models.Statement, statements_schemas.StatementBody),
        (money_models.StatementStay, statements_schemas.StayBody),
        (money_models.StatementMovement, statements_schemas.MovementBody),
        (money_models.StatementTotal, statements_schemas.TotalBody),
        (money_models.StatementCharges, statements_schemas.ChargesBody),
        (money_models.StatementBalance, statements_schemas.BalanceBody),
        (money_models.BillingDetails, statements_schemas.PartyBody),
        (money_models.Link, statements_schemas.LinkBody),
        (models.Quota, rentals_schemas.QuotaBody),
        (models.Offer, catalog_schemas.OfferBody),
        (models.Template, catalog_schemas.TemplateBody),
        (models.Rental, rentals_schemas.RentalBody),
        (models.Receipt, carbon_schemas.ReceiptBody),
        (models.Charge, carbon_schemas.ChargeBody),
        (carbon_models.Emissions, carbon_schemas.EmissionsBody),
        (carbon_models.RegionalEmissions, carbon_schemas.RegionalEmissionsBody),
        (carbon_models.SourceShare, carbon_schemas.SourceShareBody),
        (carbon_models.MassInterval, carbon_schemas.MassIntervalBody),
        (carbon_models.Embodied, carbon_schemas.EmbodiedBody),
        (carbon_models.Sci, carbon_schemas.SciBody),
        (carbon_models.BestStart, planning_schemas.BestStartBody),
        (carbon_models.BestStarts, planning_schemas.BestStartsBody),
        (carbon_models.CarbonSaving, saving_schemas.CarbonSavingBody),
        (carbon_models.StartPlan, flexible_schemas.StartPlanBody),
        (carbon_models.UsedForecast, flexible_schemas.UsedForecastBody),
        (carbon_models.Replan, flexible_schemas.ReplanBody),
        (carbon_models.WhyThen, flexible_schemas.WhyBody),
        (carbon_models.Accounted, carbon_schemas.AccountedBody),
        (carbon_models.Overhead, carbon_schemas.OverheadBody),
        (carbon_models.GpuHour, energy_schemas.GpuHourBody),
        (carbon_models.GpuHours, energy_schemas.GpuHoursBody),
        (carbon_models.IntensityPoint, intensity_schemas.PointBody),
        (carbon_models.RegionalIntensity, intensity_schemas.RegionalIntensityBody),
        (carbon_models.IntensityForecast, intensity_schemas.ForecastBody),
        (carbon_models.IntensityForecasts, intensity_schemas.ForecastListBody),
        (carbon_models.Methodology, methodology_schemas.MethodologyBody),
        (carbon_models.MethodSection, methodology_schemas.SectionBody),
        (carbon_models.MethodStatement, methodology_schemas.MethodStatementBody),
        (carbon_models.MethodTable, methodology_schemas.TableBody),
        (carbon_models.MethodColumn, methodology_schemas.ColumnBody),
        (carbon_models.Constant, methodology_schemas.ConstantBody),
        (models.Reservation, reservations_schemas.ReservationBody),
        (report_models.ReportHead, reporting_schemas.ReportHeadBody),
        (report_models.CarbonReport, reporting_schemas.CarbonReportBody),
        (report_models.ReportSum, reporting_schemas.SumBody),
        (report_models.ReportSpan, reporting_schemas.SpanBody),
        (report_models.ReportGroup, reporting_schemas.GroupBody),
        (report_models.ReportStep, reporting_schemas.StepBody),
        (report_models.ReportSource, reporting_schemas.SourceBody),
        (report_models.ReportRemoved, reporting_schemas.RemovedBody),
        (report_models.ReportComparison, reporting_schemas.ComparisonBody),
        (money_models.Link, reporting_schemas.ReportLinkBody),
        (removal_models.Removal, removals_schemas.RemovalBody),
        (removal_models.Component, removals_schemas.ComponentBody),
        (removal_models.CountedEnergy, removals_schemas.CountedEnergyBody),
        (removal_models.RemovalShare, removals_schemas.ShareBody),
        (removal_models.CreditBatch, removals_schemas.BatchBody),
        (removal_models.Certificate, removals_schemas.CertificateBody),
        (removal_models.Proof, removals_schemas.ProofBody),
        (removal_models.RegisterEntry, removals_schemas.EntryBody),
        (fleet_models.Host, fleet_schemas.HostBody),
        (fleet_models.HostGpu, fleet_schemas.HostGpuBody),
        (fleet_models.Enrolment, fleet_schemas.EnrolmentBody),
        (fleet_models.Incident, health_schemas.IncidentBody),
        (fleet_models.Window, health_schemas.WindowBody),
        (fleet_models.Pool, scaling_schemas.PoolBody),
        (fleet_models.Plan, scaling_schemas.PlanBody),
        (fleet_models.AuditEntry, compliance_schemas.AuditEntryBody),
        (fleet_models.AuditAnchor, compliance_schemas.AuditAnchorBody),
        (fleet_models.AuditProblem, compliance_schemas.AuditProblemBody),
        (fleet_models.AuditProof, compliance_schemas.AuditProofBody),
        (fleet_models.AuditExport, compliance_schemas.AuditExportBody),
        (privacy_models.PrivacyRequest, privacy_schemas.PrivacyRequestBody),
        (privacy_models.Consent, privacy_schemas.ConsentBody),
        (privacy_models.Consents, privacy_schemas.ConsentsBody),
        (oauth_models.OAuthClient, oauth_schemas.OAuthClientBody),
        (oauth_models.IssuedOAuthClient, oauth_schemas.IssuedOAuthClientBody),
        (oauth_models.OAuthSecret, oauth_schemas.OAuthSecretBody),
        (oauth_models.OAuthGrant, oauth_schemas.OAuthGrantBody),
        (webhook_models.WebhookEndpoint, webhooks_schemas.EndpointBody),
        (webhook_models.NewWebhookEndpoint, webhooks_schemas.SecretEndpointBody),
        (webhook_models.WebhookAttempt, webhooks_schemas.AttemptBody),
        (webhook_models.WebhookDelivery, webhooks_schemas.DeliveryBody),
        (webhook_models.WebhookEvent, webhooks_schemas.EventBody),
    ],
    ids=lambda each: each.__name__ if is_typeddict(each) else "",
)
def test_a_model_has_the_members_that_the_api_sends(model, body):
    assert set(model.__annotations__) | set().union(
        *(
            base.__annotations__
            for base in getattr(model, "__orig_bases__", ())
            if hasattr(base, "__annotations__")
        )
    ) == set(body.model_fields)


def test_the_client_knows_every_type_of_event():
    assert get_args(webhook_models.EventType) == EVENT_TYPES


def test_a_create_whose_answer_was_lost_is_repeated_with_its_key_and_done_once(terminal):
    terminal.gateway.faults = ["lost", "lost"]
    with open_client(terminal) as client:
        rental = client.rentals.create(REQUEST)
        assert [each["rental_id"] for each in client.rentals.list()["items"]] == [rental["rental_id"]]
    sent = [each.headers.get("idempotency-key") for each in terminal.gateway.requests[:3]]
    assert len(set(sent)) == 1
    assert terminal.slept == [0.125, 0.25]


def test_a_create_that_was_never_answered_says_with_which_key_it_is_safe(terminal):
    terminal.gateway.faults = ["lost"] * 5
    with open_client(terminal) as client, pytest.raises(errors.Unavailable) as failed:
        client.rentals.create(REQUEST)
    key = failed.value.idempotency_key
    assert key == terminal.gateway.requests[0].headers["idempotency-key"]
    with open_client(terminal) as client:
        client.rentals.create(REQUEST, idempotency_key=key)
        assert len(client.rentals.list()["items"]) == 1


def test_what_the_api_does_twice_when_asked_twice_is_asked_once(terminal):
    terminal.gateway.faults = ["lost"]
    with open_client(terminal, "operator") as client:
        with pytest.raises(errors.Unavailable, match="not known whether it was done"):
            client.accounts.create("twice")
        assert terminal.gateway.count()["POST /v1/accounts"] == 1
        # What never left this machine is another matter.
        terminal.gateway.faults = ["unreachable", "unreachable"]
        assert client.accounts.create("once")["name"] == "once"


def test_a_removal_whose_answer_was_lost_is_no_missing_thing(terminal):
    with open_client(terminal) as client:
        template = client.catalog.create_template({"name": "mine", "command": ["true"]})
        terminal.gateway.faults = ["lost"]
        client.catalog.remove_template(template["template_id"])
        with pytest.raises(errors.NotFound):
            client.catalog.remove_template(template["template_id"])


def test_too_many_requests_are_waited_for_as_long_as_is_asked(terminal):
    busy = httpx.Response(429, headers={"Retry-After": "3"}, json={"code": "rate_limited", "detail": "Slow."})
    terminal.gateway.faults = [busy]
    with open_client(terminal) as client:
        assert client.rentals.list()["items"] == []
    assert terminal.slept == [3.125]
    terminal.gateway.faults = [
        httpx.Response(429, headers={"Retry-After": "600"}, json={"code": "rate_limited"})
    ]
    with open_client(terminal) as client, pytest.raises(errors.RateLimited) as refused:
        client.rentals.list()
    assert refused.value.retry_after_seconds == 600


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Invalid),
        (401, errors.NotAuthenticated),
        (402, errors.InsufficientFunds),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (422, errors.Invalid),
        (500, errors.Unavailable),
    ],
)
def test_a_problem_becomes_its_error(terminal, status, kind):
    problem = {"code": "c", "detail": "d", "status": status, "request_id": "r", "why": "w"}
    terminal.gateway.faults = [httpx.Response(status, json=problem)]
    with open_client(terminal) as client, pytest.raises(kind) as raised:
        client.rentals.list()
    error = raised.value
    assert (error.status, error.code, error.detail, error.request_id) == (status, "c", "d", "r")
    assert error.problem["why"] == "w"
    assert terminal.keys["renter"] not in str(error) + repr(error) + json.dumps(error.problem)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>proxy</html>"),
        httpx.Response(403, text="<html>blocked</html>"),
        httpx.Response(404, json=["no problem document"]),
    ],
    ids=["not json", "not ours", "a list"],
)
def test_an_answer_that_is_not_the_apis_asks_for_the_url(terminal, answer):
    terminal.gateway.faults = [answer]
    with open_client(terminal) as client, pytest.raises(errors.ApiError, match="is this the API's URL"):
        client.rentals.list()


def test_all_pages_are_read_each_when_it_is_reached(terminal):
    with open_client(terminal) as client:
        ids = [client.catalog.create_template({"name": f"t{n}", "command": ["true"]}) for n in range(5)]
        terminal.gateway.requests.clear()
        found = list_all(client.catalog.list_templates, limit=2)
        assert not terminal.gateway.requests
        assert {next(found)["template_id"]} <= {each["template_id"] for each in ids}
        assert len(terminal.gateway.requests) == 1
        assert len(list(found)) == 4


@pytest.mark.parametrize(
    "url", ["http://api.example", "api.example", "ftp://x", "https://u:p@api.example", "https://x/?q=1"]
)
def test_a_url_that_would_show_the_key_is_refused(url):
    with pytest.raises(ValueError, match="URL"):
        Client(url, "pc_live_a_b")


def test_a_client_does_not_show_its_key():
    client = Client("http://127.0.0.1:1", "pc_live_secret_x", retries=RetryPolicy(attempts=1))
    assert "secret" not in repr(client) + repr(client._transport)
    client.close()


def test_without_a_network_the_command_line_says_so_without_a_traceback(terminal):
    terminal.gateway.faults = ["unreachable"] * 5
    failed = terminal("ps", code=5)
    assert failed.err.startswith("error: api.example could not be reached: connection refused.")
    assert "Check the network" in failed.err
    terminal.gateway.faults = ["lost"] * 5
    unsure = terminal("rent", "-g", GPU_TYPE, "--", "true", code=5)
    key = terminal.gateway.requests[-1].headers["idempotency-key"]
    assert f"Repeat it safely with --idempotency-key {key}" in unsure.err
