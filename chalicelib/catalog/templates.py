"""Use cases of templates: defaults of a rental under a name, private or for everybody."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from chalicelib.catalog.model import Template
from chalicelib.catalog.service import CatalogStore, VersionMismatch
from chalicelib.core.errors import Forbidden, InvalidInput, NotFound
from chalicelib.core.idempotency import (
    LIFETIME_MS,
    AlreadyAnswered,
    IdempotencyRecord,
    IdempotencyStore,
    check_replay,
)
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.core.workloads import Workload

HTTP_CREATED = 201
_MIB_PER_GIB = 1024


class TemplateStore(Protocol):
    def get_template(self, template_id: str) -> Template | None: ...
    def list_visible(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Template]:
        """The account's own and everybody's public ones, newest first."""
        ...

    def add_template(self, tx: Transaction, template: Template) -> None: ...
    def replace_template(self, tx: Transaction, old: Template, new: Template) -> None:
        """Fails with VersionMismatch when ``old.version`` is no longer the stored one."""

    def remove_template(self, tx: Transaction, template: Template, at_ms: int) -> None:
        """Leave nothing of its content. Fails with VersionMismatch as `replace_template` does."""


@dataclass(frozen=True, slots=True)
class TemplatePorts:
    store: TemplateStore
    catalog: CatalogStore
    idempotency: IdempotencyStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids


@dataclass(frozen=True, slots=True)
class TemplateContent:
    """What its owner says of a template."""

    name: str
    public: bool
    workload: Workload
    gpu_type: str | None
    gpu_count: int | None


@dataclass(frozen=True, slots=True)
class CreateTemplate:
    """A template as it was asked for. ``render`` gives the answer's bytes, stored for replays."""

    content: TemplateContent
    idempotency_key: str
    fingerprint: str
    render: Callable[[Template], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreatedTemplate:
    status: int
    body: str
    replayed: bool


def create_template(ports: TemplatePorts, principal: Principal, command: CreateTemplate) -> CreatedTemplate:
    """Keep a template, once per key.

    Raises:
        InvalidInput: ``unknown_gpu_type``, or ``public_template_keys``.
        IdempotencyMismatch: the key was used for another request.
    """
    _check_content(ports, command.content)
    now_ms = ports.clock.now_ms()
    content = command.content
    template = Template(
        template_id=ports.ids.new_id("tpl"),
        account_id=principal.account_id,
        name=content.name,
        public=content.public,
        workload=content.workload,
        gpu_type=content.gpu_type,
        gpu_count=content.gpu_count,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    body = command.render(template)
    record = IdempotencyRecord(
        principal.account_id,
        command.idempotency_key,
        command.fingerprint,
        HTTP_CREATED,
        body,
        now_ms + LIFETIME_MS,
    )
    tx = ports.transactions()
    ports.idempotency.add(tx, record, now_ms)
    ports.store.add_template(tx, template)
    _add_audit(ports, tx, principal, "template.created", template)
    try:
        tx.commit()
    except AlreadyAnswered as answered:
        found = check_replay(answered.record, command.fingerprint)
        return CreatedTemplate(found.status, found.body, replayed=True)
    return CreatedTemplate(HTTP_CREATED, body, replayed=False)


def read_template(ports: TemplatePorts, principal: Principal, template_id: str) -> Template:
    """Raises NotFound: there is no such template, or it is another account's and private."""
    template = ports.store.get_template(template_id)
    if template is None or not (template.public or template.account_id == principal.account_id):
        raise NotFound("There is no such template.")
    return template


def replace_template(
    ports: TemplatePorts,
    principal: Principal,
    template_id: str,
    content: TemplateContent,
    *,
    version: int,
    check: Check[Template] = accept_any,
) -> Template:
    """Put new content in the place of ``version``.

    Raises:
        NotFound: as `read_template`.
        Forbidden: it is public and another account's.
        InvalidInput: as `create_template`.
        VersionMismatch: it has been changed since.
        PreconditionFailed: as ``check`` raises it.
    """
    current = _read_own(ports, principal, template_id)
    check(current)
    if current.version != version:
        raise VersionMismatch(
            f"The template is at version {current.version}; read it again and repeat your change."
        )
    _check_content(ports, content)
    changed = replace(
        current,
        name=content.name,
        public=content.public,
        workload=content.workload,
        gpu_type=content.gpu_type,
        gpu_count=content.gpu_count,
        updated_at_ms=ports.clock.now_ms(),
        version=version + 1,
    )
    tx = ports.transactions()
    ports.store.replace_template(tx, current, changed)
    _add_audit(ports, tx, principal, "template.changed", changed)
    _commit(ports, tx, principal, template_id, check)
    return changed


def remove_template(
    ports: TemplatePorts, principal: Principal, template_id: str, check: Check[Template] = accept_any
) -> None:
    """Remove a template; rentals that were started with it keep what they took from it.

    Raises:
        NotFound: as `read_template`, also when it was removed before.
        Forbidden: it is public and another account's.
        VersionMismatch: it was changed at the same time.
        PreconditionFailed: as ``check`` raises it.
    """
    current = _read_own(ports, principal, template_id)
    check(current)
    tx = ports.transactions()
    ports.store.remove_template(tx, current, ports.clock.now_ms())
    _add_audit(ports, tx, principal, "template.removed", current)
    _commit(ports, tx, principal, template_id, check)


def _commit(
    ports: TemplatePorts, tx: Transaction, principal: Principal, template_id: str, check: Check[Template]
) -> None:
    try:
        tx.commit()
    except VersionMismatch:
        # Who named what it was is told that it no longer is.
        check(_read_own(ports, principal, template_id))
        raise


def apply_template(template: Template, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a rental's request with the template's in place of those that were not given.

    ``given`` are the members that the request has, as JSON names and values; one that is null is given too.
    ``env`` is merged name by name, everything else is taken whole.
    """
    defaults = describe_defaults(template)
    merged = {**defaults, **given}
    if "env" in defaults and isinstance(given.get("env"), Mapping):
        merged["env"] = {**defaults["env"], **given["env"]}
    return merged


def describe_defaults(template: Template) -> dict[str, Any]:
    """Return what the template says, by the names that a rental's request has for it."""
    workload = template.workload
    members: dict[str, Any] = {
        "gpu_type": template.gpu_type,
        "gpu_count": template.gpu_count,
        "image": workload.image,
        "command": list(workload.command),
        "env": dict(workload.env),
        "ports": [
            {"container_port": port.container_port, "protocol": port.protocol} for port in workload.ports
        ],
        "ssh_public_keys": list(workload.ssh_public_keys),
        "volume": None
        if workload.volume is None
        else {
            "size_gib": workload.volume.size_mib // _MIB_PER_GIB,
            "mount_path": workload.volume.mount_path,
        },
    }
    return {name: value for name, value in members.items() if value}


def _read_own(ports: TemplatePorts, principal: Principal, template_id: str) -> Template:
    template = read_template(ports, principal, template_id)
    if template.account_id != principal.account_id:
        raise Forbidden("Only its owner may change a template; create your own.", code="not_owner")
    return template


def _check_content(ports: TemplatePorts, content: TemplateContent) -> None:
    if content.public and content.workload.ssh_public_keys:
        # Whoever used it would let the template's owner into the rental.
        raise InvalidInput("A public template may not have ssh_public_keys.", code="public_template_keys")
    if content.gpu_type is not None and content.gpu_type not in ports.catalog.read_catalog().gpu_types:
        raise InvalidInput("There is no such GPU type.", code="unknown_gpu_type")


def _add_audit(
    ports: TemplatePorts, tx: Transaction, principal: Principal, action: str, template: Template
) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        principal.account_id,
        principal.actor_id,
        action,
        template.template_id,
        ports.clock.now_ms(),
        {"version": template.version, "public": template.public},
    )
    ports.audit.add_entry(tx, entry)
