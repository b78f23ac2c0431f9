"""Who may read which secret, and write to people, in the production template."""

import json

from tests.unit.infra.test_template import as_list, list_statements


def list_readers(template, secret):
    return {
        role
        for role, statement in list_statements(template)
        if "secretsmanager:GetSecretValue" in as_list(statement["Action"])
        and secret in json.dumps(statement["Resource"])
    }


def test_only_functions_that_speak_with_stripe_may_read_its_keys(template):
    assert list_readers(template, "-stripe-??????") == {
        "ApiHandlerRole",
        "OnStripeEventRole",
        "HealPaymentsRole",
        "RefillWalletsRole",
        "BuyRemovalsRole",
        "ReconcilePaymentsRole",
    }


def test_only_the_function_that_asks_the_providers_of_grid_intensity_may_read_their_keys(template):
    assert list_readers(template, "-grid-??????") == {"FetchGridIntensityRole"}


def test_only_the_api_may_read_the_secrets_of_other_identity_providers(template):
    assert list_readers(template, "-identity-providers-??????") == {"ApiHandlerRole"}


def test_only_the_api_writes_to_people_and_from_one_address_alone(template):
    sending = [
        (role, statement)
        for role, statement in list_statements(template)
        if any(action.startswith("ses:") for action in as_list(statement["Action"]))
    ]
    ((role, statement),) = sending
    assert (role, statement["Action"]) == ("ApiHandlerRole", ["ses:SendEmail"])
    assert set(statement["Condition"]) == {"StringEquals"}
    assert set(statement["Condition"]["StringEquals"]) == {"ses:FromAddress"}


def test_only_functions_that_need_the_pepper_may_read_it(template):
    assert list_readers(template, "-pepper-??????") == {
        "ApiHandlerRole",
        "BootstrapInstallationRole",
        "OnHeartbeatRole",
        "OnTelemetryRole",
        "OnCommandRecordedRole",
        "OnEventRecordedRole",
        "DeliverDueEventsRole",
        "ScalePoolsRole",
    }
