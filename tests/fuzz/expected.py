"""What the API may refuse although the document's schemas let it pass: rules that a schema cannot say.

`positive_data_acceptance` takes the statuses that stand here for an operation, and `refusals_are_explained`
holds each such answer to the words that stand here: any other refusal of good data is a failure.
"""

import json
from dataclasses import dataclass
from typing import Any

import schemathesis
from schemathesis.config._checks import (
    POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES,
)

from chalicelib.runtime.api_document import DOCUMENT

_CONTRACT = json.loads(DOCUMENT.read_text())
#: Who is asked for and what state it is in is no matter of a schema: these are so by the check's own default.
USUAL = {401, 403, 404, 409, 429}


@dataclass(frozen=True, slots=True)
class Refusal:
    """``words`` is the code of the problem, or a part of what it says, for codes that say many things."""

    status: int
    words: str
    reason: str
    operations: tuple[str, ...]


_OF_THE_WHOLE = "which members go together is a rule of the whole body, which the summary says in words"
_OF_ONE_FIELD = "that members of a list differ in one field is not to be said"
_NAMED = "which regions, GPU types and permissions there are is data"
_CLOCK = "that an instant lies ahead, or an interval is no longer than so, depends on the clock"
_STATE = "what is there to pay with, to buy or to start from is a state"
_CENTS = "micros of a payment are whole cents: JSON Schema's multipleOf is said, but not of sums"


def list_operations() -> list[dict[str, Any]]:
    return [each for path in _CONTRACT["paths"].values() for each in path.values()]


def _list_paged() -> tuple[str, ...]:
    return tuple(
        each["operationId"]
        for each in list_operations()
        if any(parameter["name"] == "cursor" for parameter in each["parameters"])
    )


def _list_conditional() -> tuple[str, ...]:
    return tuple(
        each["operationId"]
        for each in list_operations()
        if any(parameter["name"] == "If-Match" for parameter in each["parameters"])
    )


_OAUTH = ("issue_oauth_token", "start_oauth_device", "revoke_oauth_token", "introspect_oauth_token")
_REPORTS = (
    "read_carbon_report",
    "link_carbon_report_csv",
    "link_carbon_report_pdf",
    "read_site_report",
    "link_site_report_csv",
    "link_site_report_pdf",
)
_PAYING = ("refund_top_up", "create_top_up", "put_auto_top_up", "put_removal_settings")
REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        400,
        "unknown_region",
        _NAMED,
        ("create_rental", "act_on_rental", "create_reservation", "preview_availability"),
    ),
    Refusal(
        400, "unknown_gpu_type", _NAMED, ("create_reservation", "preview_availability", "create_enrolment")
    ),
    Refusal(400, "duplicate_gpu", _OF_ONE_FIELD, ("enrol_host",)),
    Refusal(400, "invalid_cursor", "a cursor is opaque: only what a page before gave is one", _list_paged()),
    Refusal(400, "unknown_gpu", _NAMED, ("act_on_host",)),
    Refusal(400, "deadline_too_early", _CLOCK, ("list_best_starts", "create_rental")),
    Refusal(400, "window_too_long", _CLOCK, ("create_rental",)),
    Refusal(400, "too_many_regions", "commas in a text are not counted by a pattern", ("list_best_starts",)),
    Refusal(412, "precondition_failed", "what an entity tag names is a state", _list_conditional()),
    Refusal(
        400,
        "role_not_of_account",
        "which roles an account has depends on whose it is",
        ("change_role", "invite_member"),
    ),
    Refusal(400, "invalid_period", "that an end comes after its beginning", ("export_audit",)),
    Refusal(400, "period_too_long", "how much was written in a period is a state", ("export_audit",)),
    Refusal(400, "unknown_sequence", "how long a chain is, is a state", ("prove_audit",)),
    Refusal(400, "invalid_redirect_uri", "schemes and hosts in words", ("register_oauth_client",)),
    Refusal(
        400,
        "invalid_name",
        "that a link is nowhere in a text is not to be said by a pattern",
        ("create_organisation", "rename_organisation"),
    ),
    Refusal(400, "invalid_email", "what a mail address is takes more than a pattern", ("invite_member",)),
    Refusal(400, '"error": "', "which fields go together is the protocol's rule", _OAUTH),
    Refusal(
        400,
        "This link does not work",
        "which clients there are, and where they are, is data",
        ("ask_oauth_consent", "decide_oauth_consent"),
    ),
    Refusal(
        400,
        "A name has 1 to 64",
        "a form of the catalogue's names that no query shows",
        ("list_price_history",),
    ),
    Refusal(400, "off_grid", _CLOCK, ("create_reservation", "preview_availability")),
    Refusal(400, "invalid_period", "a pattern does not know how long a month is", _REPORTS),
    Refusal(400, "target_or_actor", "one of two parameters is needed", ("list_audit",)),
    Refusal(400, "invalid_range", _CLOCK, ("read_usage", "list_intensity", "preview_availability")),
    Refusal(
        400,
        "invalid_network",
        "a network has no bits of a host: not to be said by a pattern",
        ("create_key",),
    ),
    Refusal(400, "permission_not_of_role", _NAMED, ("create_key",)),
    Refusal(
        402,
        "insufficient_funds",
        _STATE,
        ("charge_account", "create_rental", "act_on_rental", "create_reservation", "reverse_posting"),
    ),
    Refusal(402, "budget_exhausted", _STATE, ("create_rental", "act_on_rental")),
    Refusal(402, "spend_limit_reached", _STATE, ("create_rental", "act_on_rental")),
    Refusal(400, "credit_does_not_expire", _OF_THE_WHOLE, ("grant_credit",)),
    Refusal(400, "expires_in_the_past", _CLOCK, ("grant_credit",)),
    Refusal(400, "bounds_without_rule", _OF_THE_WHOLE, ("put_price",)),
    Refusal(400, "invalid_scope", _OF_THE_WHOLE, ("create_budget",)),
    Refusal(400, "beneficiary is needed", _OF_THE_WHOLE, ("act_on_certificate",)),
    Refusal(400, "mass_mg is needed", _OF_THE_WHOLE, ("act_on_certificate",)),
    Refusal(400, "unknown_offer", _NAMED, ("create_enrolment",)),
    Refusal(400, "needs a reason", _OF_THE_WHOLE, ("act_on_host",)),
    Refusal(400, "invalid_window", _CLOCK, ("plan_window",)),
    Refusal(400, "A decision needs its evidence", _OF_THE_WHOLE, ("act_on_removal",)),
    # "field": "": what no field is to blame for alone.
    Refusal(400, '{"field": "", "message": "Value error, ', _OF_THE_WHOLE, ("create_rental",)),
    Refusal(400, '"field": "gpu_type"', _OF_THE_WHOLE, ("create_rental",)),
    Refusal(400, "window_passed", _CLOCK, ("create_reservation", "preview_availability")),
    Refusal(400, "window_length", _CLOCK, ("create_reservation", "preview_availability")),
    Refusal(400, "deadline_passed", _CLOCK, ("create_rental",)),
    Refusal(400, "needs its capacity_reservation_id", _OF_THE_WHOLE, ("put_pool",)),
    Refusal(400, "Two options have the same name", _OF_ONE_FIELD, ("put_pool",)),
    Refusal(400, "invalid_expiry", _CLOCK, ("create_key",)),
    Refusal(400, "min_hosts is above max_hosts", _OF_THE_WHOLE, ("put_pool",)),
    Refusal(400, '"field": "flexible"', _OF_THE_WHOLE, ("create_rental",)),
    Refusal(400, "a cluster of so many nodes", _OF_THE_WHOLE, ("create_rental",)),
    Refusal(400, "public_template_keys", _OF_THE_WHOLE, ("create_template", "replace_template")),
    Refusal(400, "spot_price_out_of_bounds", _OF_THE_WHOLE, ("put_price",)),
    Refusal(400, "effective_from_out_of_range", _CLOCK, ("put_price",)),
    Refusal(400, "day_not_over", _CLOCK, ("draw_removal",)),
    Refusal(400, "negative_mass", "what was measured is a state", ("draw_removal",)),
    Refusal(400, "invalid_heat_pump", "what was measured is a state", ("draw_removal",)),
    Refusal(400, "empty_part", "how much a certificate is of is a state", ("act_on_certificate",)),
    Refusal(400, "gpu_uuids are nam", _OF_THE_WHOLE, ("act_on_host",)),
    Refusal(400, "bad_signature", "a signature over the body: no schema says it", ("receive_stripe_event",)),
    Refusal(
        400, "a port is named twice", _OF_THE_WHOLE, ("create_template", "replace_template", "create_rental")
    ),
    Refusal(
        400,
        "env and ssh_public_keys may have",
        "the length of several members together",
        ("create_template", "replace_template", "create_rental"),
    ),
    Refusal(
        400,
        "unknown_gpu_type",
        _NAMED,
        ("create_template", "replace_template", "create_rental", "act_on_rental"),
    ),
    Refusal(
        400,
        "invalid_amount",
        _CENTS,
        _PAYING,
    ),
    Refusal(400, "unsupported_currency", "an account has its currency already", _PAYING),
    Refusal(
        400,
        "invalid_webhook_url",
        "an address is public",
        ("create_webhook_endpoint", "change_webhook_endpoint"),
    ),
    Refusal(
        400, "one of price_micros_per_gpu_hour and discount_ppm is given", _OF_THE_WHOLE, ("put_agreement",)
    ),
    Refusal(400, "a price is of one gpu_type", _OF_THE_WHOLE, ("put_agreement",)),
    Refusal(400, "spot_floor_ppm", _OF_THE_WHOLE, ("put_price",)),
    Refusal(400, "unknown_region", _NAMED, ("put_price", "put_volume_price", "put_pool", "put_agreement")),
    Refusal(400, "empty_term", _OF_THE_WHOLE, ("put_agreement",)),
    Refusal(400, "window_too_far", _CLOCK, ("create_reservation", "preview_availability")),
    Refusal(400, "too_many_slots", _OF_THE_WHOLE, ("create_reservation", "preview_availability")),
    Refusal(400, "incomplete_profile", _OF_THE_WHOLE, ("put_gpu_type",)),
    Refusal(400, "unknown_parent_gpu_type", _NAMED, ("put_gpu_type",)),
    Refusal(400, "parent_is_profile", "what a parent is, is data", ("put_gpu_type",)),
    Refusal(400, "profile_too_large", "what a parent has is data", ("put_gpu_type",)),
    Refusal(400, "too_many_prices", "how many are there already is a state", ("put_price",)),
)


def build_operations() -> list[dict[str, Any]]:
    """Return what the checks are told of single operations."""
    statuses: dict[str, set[str]] = {}
    for each in REFUSALS:
        for name in each.operations:
            statuses.setdefault(name, set()).add(str(each.status))
    return [
        {
            "include-operation-id": name,
            "checks": {
                "positive_data_acceptance": {
                    "expected-statuses": [*POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES, *sorted(found)]
                }
            },
        }
        for name, found in sorted(statuses.items())
    ]


@schemathesis.check
def refusals_are_explained(_context, response, case) -> bool | None:
    """Good data is refused for a reason that stands above, or not at all."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive or response.status_code < 400:
        return None
    if response.status_code in {*USUAL, 405} or response.status_code >= 500:
        return None
    name = case.operation.definition.raw["operationId"]
    known = [each for each in REFUSALS if name in each.operations and each.status == response.status_code]
    said = f"{name} refuses good data with {response.status_code}: {response.text[:300]}"
    assert any(each.words in response.text for each in known), said
    return None
