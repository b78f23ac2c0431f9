"""The import table of docs/architecture.md as an import-linter contract: which file may import what.

Only direct imports count: what a slice's service imports is that service's own business.
"""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output

#: Bottom to top; a slice may use the models and services of those before it.
SLICES = (
    "accounts",
    "organisations",
    "identity",
    "oauth",
    "webhooks",
    "catalog",
    "fleet",
    "reservations",
    "rentals",
    "metering",
    "billing",
    "statements",
    "payments",
    "carbon",
    "removals",
    "reporting",
    "scaling",
    "privacy",
    "compliance",
)
#: Package that is no slice -> packages that it may use.
BOUNDED = {
    "core": {"core"},
    "wire": {"wire"},
    "storage": {"storage", "core"},
    "runtime": {"runtime", "core"},
    # It finds a slice by its name in the table of routes, when one is asked for.
    "entrance": {"wiring", "runtime"},
}

#: File of a slice -> files of its own slice, shared packages, and whether it may use lower slices.
RULES: dict[str, tuple[frozenset[str], frozenset[str], bool]] = {
    "model": (frozenset(), frozenset({"core"}), False),
    "service": (frozenset({"model"}), frozenset({"core"}), True),
    "store": (frozenset({"model", "service"}), frozenset({"core", "storage"}), False),
    "schemas": (frozenset({"model", "service"}), frozenset({"core", "runtime"}), False),
    "api": (
        frozenset({"model", "service", "schemas"}),
        frozenset({"core", "wire", "runtime", "wiring"}),
        False,
    ),
    "functions": (
        frozenset({"model", "service", "schemas"}),
        frozenset({"core", "wire", "runtime", "wiring"}),
        False,
    ),
}
#: Further models, services and stores of a slice, by file: what outgrew the first.
KINDS = {
    "health": "model",
    "placement": "model",
    "health_store": "store",
    "candidates": "service",
    "capacity": "service",
    "candidate_store": "store",
    "incidents": "service",
    "failover": "service",
    "activity": "service",
    "parts": "service",
    "meter_rows": "store",
    "wallet_rows": "store",
    "stripe_gateway": "gateway",
    "stripe_errors": "gateway",
    "rules": "model",
    "messages": "model",
    "timing": "model",
    "retention": "model",
    "volumes": "model",
    "rendering": "schemas",
    "planner": "model",
    "queue": "model",
    "policies": "model",
    "preemption": "model",
    "ports": "service",
    "reconcile": "service",
    "demands": "service",
    "fleet_hosts": "service",
    "placing": "service",
    "life": "service",
    "dispatch": "service",
    "due": "service",
    "flexibility": "model",
    "flexible": "service",
    "flexible_schemas": "schemas",
    "reserving": "service",
    "scheduling_store": "store",
    "quota_store": "store",
    "spot": "model",
    "offers": "service",
    "ordering": "service",
    "agreements": "service",
    "templates": "service",
    "template_store": "store",
    "detector": "model",
    "incident": "model",
    "reliability": "model",
    "windows": "model",
    "maintenance": "service",
    "operations": "service",
    "scores": "service",
    "watch": "service",
    "maintenance_store": "store",
    "watch_store": "store",
    "health_schemas": "schemas",
    "health_api": "api",
    "calendars": "model",
    "hosts": "service",
    "reservable_store": "store",
    "upkeep": "service",
    "keeping": "service",
    "rating": "model",
    "usage": "service",
    "signatures": "model",
    "settling": "service",
    "orders": "model",
    "methods": "service",
    "refilling": "service",
    "reconciling": "service",
    "purchases": "model",
    "purchasing": "service",
    "following": "service",
    "purchase_store": "store",
    "purchase_schemas": "schemas",
    "purchase_api": "api",
    "budget": "model",
    "posting": "service",
    "charging": "service",
    "crediting": "service",
    "slowdowns": "service",
    "promise": "model",
    "deposits": "service",
    "budget_store": "store",
    "seals": "model",
    "sealing": "service",
    "tampering": "service",
    "seal_store": "store",
    "wallet_store": "store",
    "usage_store": "store",
    "month_store": "store",
    "assembling": "service",
    "issuing": "service",
    "linking": "service",
    "addresses": "model",
    "starts": "model",
    "reproduce.series": "model",
    "reproduce.published": "model",
    "reproduce.scenarios": "service",
    "reproduce.report": "service",
    "reproduce.__main__": "functions",
    "intensity": "model",
    "fetching": "service",
    "figures": "service",
    "intensity_schemas": "schemas",
    "energy_schemas": "schemas",
    "planning": "service",
    "planning_schemas": "schemas",
    "shifting": "service",
    "savings": "service",
    "saving_schemas": "schemas",
    "embodied": "model",
    "sci": "model",
    "accounting": "model",
    "allocation": "model",
    "plausibility": "model",
    "measuring": "model",
    "certificates": "model",
    "retiring": "service",
    "certificate_store": "store",
    "certificate_page": "schemas",
    "hardware": "model",
    "rows": "service",
    "rolling": "service",
    "building": "service",
    "comparisons": "model",
    "residuals": "service",
    "pages": "schemas",
    "methodology": "service",
    "limits": "model",
    "ramp": "model",
    "allowances": "service",
    "rotating": "service",
    "standing": "service",
    "inviting": "service",
    "leaving": "service",
    "projects": "service",
    "service_accounts": "service",
    "leaks": "service",
    "methodology_schemas": "schemas",
    "methodology_page": "schemas",
    "anchors": "service",
    "anchoring": "service",
    "verifying": "service",
    "exporting": "service",
    "chain_store": "store",
    "vault": "service",
    "key_store": "store",
    "fields": "model",
    "customer_rows": "model",
    "machine_rows": "model",
    "people_rows": "model",
    "inventory": "model",
    "requests": "model",
    "erasing": "service",
    "enforcing": "service",
    "record_store": "store",
    "people": "service",
    "keyring": "model",
    "admission": "service",
    "asking": "service",
    "devices": "service",
    "granting": "service",
    "signing": "service",
    "client_api": "api",
    "page_api": "api",
    "grant_gateway": "gateway",
    "server_gateway": "gateway",
    "passwords": "model",  # pragma: allowlist secret (a file)
    "throttling": "model",
    "guessing": "service",
    "signing_up": "service",
    "signing_in": "service",
    "resetting": "service",
    "telling": "service",
    "enrolling": "service",
    "passkeys": "service",
    "federating": "service",
    "factor_store": "store",
    "guard": "api",
    "views": "api",
    "account_api": "api",
    "organisation_api": "api",
    "joining": "service",
    "passkey_api": "api",
    "provider_api": "api",
}
#: Of services, who may know what both sides of the wire measure by: to publish it.
READS_WIRE = frozenset({"carbon.methodology"})
#: Tools of a slice that are run by hand and are not in the archives: a package that nothing else imports.
TOOLS = frozenset({"carbon.reproduce"})
#: Gateways, and data modules of a slice such as a table of factors, follow the store's and the model's rule.
GATEWAY_RULE = (frozenset({"model", "service"}), frozenset({"core", "runtime"}), False)


class SliceContract(Contract):
    """Checks every direct import inside ``chalicelib`` against the table above."""

    type_name = "slices"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001, ARG002
        broken = [
            (importer, imported)
            for importer in sorted(graph.find_descendants("chalicelib"))
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if imported.startswith("chalicelib.") and not is_allowed(importer, imported)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} may not import {imported}", bold=False)


def is_allowed(importer: str, imported: str) -> bool:
    """Say whether one module of ``chalicelib`` may import another.

    >>> is_allowed("chalicelib.rentals.service", "chalicelib.fleet.model")
    True
    >>> is_allowed("chalicelib.fleet.service", "chalicelib.rentals.model")
    False
    """
    package, _, file = importer.removeprefix("chalicelib.").partition(".")
    other_package, _, other_file = imported.removeprefix("chalicelib.").partition(".")
    if any(_is_inside(imported, tool) and not _is_inside(importer, tool) for tool in TOOLS):
        return False
    reads_wire = f"{package}.{file}" in READS_WIRE
    further = file in KINDS or other_file in KINDS
    file, other_file = KINDS.get(file, file), KINDS.get(other_file, other_file)
    if package == "wiring":
        return True
    if package in BOUNDED:
        return other_package in BOUNDED[package]
    own, shared, lower = RULES.get(file, GATEWAY_RULE)
    if other_package == package:
        same_kind = other_file == file and further
        return other_file in own or same_kind or (other_file not in RULES and file == "service")
    if other_package in SLICES:
        below = SLICES.index(other_package) < SLICES.index(package)
        return lower and below and other_file in {"model", "service"}
    return other_package in shared or (reads_wire and other_package == "wire")


def _is_inside(module: str, tool: str) -> bool:
    return f"{module}.".startswith(f"chalicelib.{tool}.")
