"""Projects: names under which rentals are budgeted and summed."""

from dataclasses import replace
from typing import Protocol

from chalicelib.core.errors import Conflict, NotFound
from chalicelib.core.paging import Page
from chalicelib.core.principal import Principal
from chalicelib.organisations.model import PROJECT_PREFIX, Project
from chalicelib.organisations.ports import (
    Created,
    Once,
    OrganisationPorts,
    add_audit,
    commit_once,
    find_organisation,
    find_replay,
)


class ProjectReader(Protocol):
    def get_project(self, account_id: str, project_id: str) -> Project | None: ...


def require_project(reader: ProjectReader, account_id: str, label: str | None) -> None:
    """Hold a label that names a project to one that is there. Other labels are free, and cost no read.

    Raises:
        NotFound: ``project_not_found``.
        Conflict: ``project_archived``.
    """
    if label is None or not label.startswith(PROJECT_PREFIX):
        return
    project = reader.get_project(account_id, label)
    if project is None:
        raise NotFound("There is no such project.", code="project_not_found")
    if project.archived_at_ms is not None:
        raise Conflict("The project is archived; nothing new starts in it.", code="project_archived")


def create_project(
    ports: OrganisationPorts, principal: Principal, account_id: str, name: str, once: Once
) -> Created:
    """Raises NotFound: no such organisation. IdempotencyMismatch: the key was used for another request."""
    find_organisation(ports, principal, account_id)
    replay = find_replay(ports, principal.account_id, once)
    if replay is not None:
        return replay
    accounts = ports.accounts
    project = Project(accounts.ids.new_id("prj"), account_id, name, accounts.clock.now_ms())
    tx = accounts.transactions()
    ports.store.add_project(tx, project)
    add_audit(ports, tx, principal, account_id, "project.created", project.project_id)
    return commit_once(ports, tx, principal.account_id, once, project)


def list_projects(
    ports: OrganisationPorts, principal: Principal, account_id: str, limit: int, start: str | None
) -> Page[Project]:
    """Raises NotFound."""
    find_organisation(ports, principal, account_id)
    return ports.store.list_projects(account_id, limit, start)


def find_project(ports: OrganisationPorts, principal: Principal, account_id: str, project_id: str) -> Project:
    """Raises NotFound."""
    find_organisation(ports, principal, account_id)
    project = ports.store.get_project(account_id, project_id)
    if project is None:
        raise NotFound("There is no such project.")
    return project


def change_project(
    ports: OrganisationPorts,
    principal: Principal,
    account_id: str,
    project_id: str,
    *,
    name: str | None,
    archived: bool | None,
) -> Project:
    """Rename, archive or take out again; what runs in it goes on. ``None`` leaves as it is.

    Raises:
        NotFound: no such organisation or project.
        Unavailable: it changed at the same time; try again.
    """
    old = find_project(ports, principal, account_id, project_id)
    new = old if name is None else replace(old, name=name)
    if archived is not None and archived != (old.archived_at_ms is not None):
        new = replace(new, archived_at_ms=ports.accounts.clock.now_ms() if archived else None)
    if new == old:
        return old
    tx = ports.accounts.transactions()
    ports.store.replace_project(tx, old, new)
    details: dict[str, object] = {"archived": new.archived_at_ms is not None}
    add_audit(ports, tx, principal, account_id, "project.changed", project_id, details)
    tx.commit()
    return new
