"""One factory per port: which adapter serves it in a function. Adapters are imported inside.

Only `api.py` and `functions.py` import this package, and nothing here runs at import. A module may use those
before it: system, throttling, accounts, organisations, identity, oauth, webhooks, catalog, fleet, rentals,
sealing, statements, payments, carbon, removals, reporting, upkeep, privacy, compliance.
"""

from chalicelib.wiring.accounts import (
    account_exists,
    account_ports,
    audit_reader,
    find_operator_account,
    rotation_ports,
    standings,
)
from chalicelib.wiring.carbon import grid_ports
from chalicelib.wiring.catalog import cached_catalog, catalog_ports, known_regions, list_pools, template_ports
from chalicelib.wiring.compliance import chain_ports, read_audit_image
from chalicelib.wiring.fleet import capacity_reader, fleet_ports, maintenance_ports
from chalicelib.wiring.identity import identity_ports, mailer, provider_ports
from chalicelib.wiring.oauth import authenticate, oauth_ports, oauth_server
from chalicelib.wiring.organisations import organisation_ports
from chalicelib.wiring.payments import payment_ports
from chalicelib.wiring.privacy import person_vault, privacy_ports
from chalicelib.wiring.removals import removal_ports
from chalicelib.wiring.rentals import (
    billing_ports,
    give_up_wipes,
    keep_for_reservations,
    meter_ports,
    offer_ports,
    rental_ports,
    reservation_ports,
)
from chalicelib.wiring.reporting import report_ports
from chalicelib.wiring.sealing import seal_ports, tampering_ports
from chalicelib.wiring.statements import statement_ports
from chalicelib.wiring.system import (
    aws_client,
    clock,
    dead_letters,
    find_clock,
    instances,
    public_url,
    read_pepper,
    read_signing_key,
    settings,
    sqs_client,
)
from chalicelib.wiring.throttling import find_limiter
from chalicelib.wiring.upkeep import operation_ports, scaling_ports, watch_ports
from chalicelib.wiring.webhooks import dispatch_ports, leak_ports, read_event_reference, webhook_ports

__all__ = [
    "account_exists",
    "account_ports",
    "audit_reader",
    "authenticate",
    "aws_client",
    "billing_ports",
    "cached_catalog",
    "capacity_reader",
    "catalog_ports",
    "chain_ports",
    "clock",
    "dead_letters",
    "dispatch_ports",
    "find_clock",
    "find_limiter",
    "find_operator_account",
    "fleet_ports",
    "give_up_wipes",
    "grid_ports",
    "identity_ports",
    "instances",
    "keep_for_reservations",
    "known_regions",
    "leak_ports",
    "list_pools",
    "mailer",
    "maintenance_ports",
    "meter_ports",
    "oauth_ports",
    "oauth_server",
    "offer_ports",
    "operation_ports",
    "organisation_ports",
    "payment_ports",
    "person_vault",
    "privacy_ports",
    "provider_ports",
    "public_url",
    "read_audit_image",
    "read_event_reference",
    "read_pepper",
    "read_signing_key",
    "removal_ports",
    "rental_ports",
    "report_ports",
    "reservation_ports",
    "rotation_ports",
    "scaling_ports",
    "seal_ports",
    "settings",
    "sqs_client",
    "standings",
    "statement_ports",
    "tampering_ports",
    "template_ports",
    "watch_ports",
    "webhook_ports",
]
