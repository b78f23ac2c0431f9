"""Bodies of the routes of organisations."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.core.principal import Principal
from chalicelib.organisations.model import (
    MAX_ADDRESS,
    Invitation,
    Membership,
    Organisation,
    Project,
    ServiceAccount,
)
from chalicelib.runtime.bodies import RequestBody, ResponseBody

Name = Annotated[str, Field(min_length=1, max_length=100)]
MemberRole = Literal[
    "owner",
    "admin",
    "billing",
    "developer",
    "viewer",
    "auditor",
    "operator",
    "fleet_operator",
    "finance_operator",
    "support_operator",
]
ServiceRole = Literal["admin", "billing", "developer", "viewer", "auditor"]


class OrganisationRequest(RequestBody):
    name: Name


class OrganisationActionRequest(RequestBody):
    action: Literal["close"]


class OrganisationBody(ResponseBody):
    account_id: str
    name: str
    currency: str
    created_at: str
    #: While it is set, the organisation can be read and paid for, and nothing else.
    suspended_at: str | None
    closed_at: str | None


class RoleRequest(RequestBody):
    role: MemberRole


class MemberBody(ResponseBody):
    account_id: str
    user_id: str
    role: str
    created_at: str


class MemberListBody(ResponseBody):
    items: list[MemberBody]
    next_cursor: str | None


class MembershipsBody(ResponseBody):
    items: list[MemberBody]


class OwnershipRequest(RequestBody):
    user_id: Annotated[str, Field(min_length=1, max_length=64)]


class InvitationRequest(RequestBody):
    email: Annotated[str, Field(min_length=3, max_length=MAX_ADDRESS)]
    role: MemberRole


class AcceptanceRequest(RequestBody):
    #: The end of the link in the mail.
    token: Annotated[str, Field(min_length=1, max_length=200)]


class InvitationBody(ResponseBody):
    """Whom it is for is in the mail alone."""

    invitation_id: str
    account_id: str
    role: str
    invited_by: str
    created_at: str
    expires_at: str


class InvitationListBody(ResponseBody):
    items: list[InvitationBody]
    next_cursor: str | None


class ProjectRequest(RequestBody):
    name: Name


class ProjectChange(RequestBody):
    name: Name | None = None
    archived: bool | None = None


class ProjectBody(ResponseBody):
    #: What rentals carry as their label, and budgets as their scope's value.
    project_id: str
    account_id: str
    name: str
    created_at: str
    archived_at: str | None


class ProjectListBody(ResponseBody):
    items: list[ProjectBody]
    next_cursor: str | None


class ServiceAccountRequest(RequestBody):
    name: Name
    role: ServiceRole


class ServiceAccountActionRequest(RequestBody):
    action: Literal["disable"]


class ServiceAccountBody(ResponseBody):
    service_account_id: str
    account_id: str
    name: str
    role: str
    created_at: str
    disabled_at: str | None


class ServiceAccountListBody(ResponseBody):
    items: list[ServiceAccountBody]
    next_cursor: str | None


class CallerBody(ResponseBody):
    account_id: str
    #: A key, a person or a service account, as the audit trail names it.
    actor_id: str
    role: str
    #: ``null``: no person.
    user_id: str | None
    #: What may be done now.
    permissions: list[str]
    #: What could be done beside if the account were not suspended.
    withheld: list[str]
    #: Empty: from anywhere.
    allowed_networks: list[str]
    expires_at: str | None


def render_organisation(account: Organisation) -> OrganisationBody:
    return OrganisationBody(
        account_id=account.account_id,
        name=account.name,
        currency=account.currency,
        created_at=format_instant(account.created_at_ms),
        suspended_at=_render_instant(account.suspended_at_ms),
        closed_at=_render_instant(account.closed_at_ms),
    )


def render_member(member: Membership) -> MemberBody:
    return MemberBody(
        account_id=member.account_id,
        user_id=member.user_id,
        role=member.role,
        created_at=format_instant(member.created_at_ms),
    )


def render_invitation(invitation: Invitation) -> InvitationBody:
    return InvitationBody(
        invitation_id=invitation.invitation_id,
        account_id=invitation.account_id,
        role=invitation.role,
        invited_by=invitation.invited_by,
        created_at=format_instant(invitation.created_at_ms),
        expires_at=format_instant(invitation.expires_at_ms),
    )


def render_project(project: Project) -> ProjectBody:
    return ProjectBody(
        project_id=project.project_id,
        account_id=project.account_id,
        name=project.name,
        created_at=format_instant(project.created_at_ms),
        archived_at=_render_instant(project.archived_at_ms),
    )


def render_service_account(account: ServiceAccount) -> ServiceAccountBody:
    return ServiceAccountBody(
        service_account_id=account.service_account_id,
        account_id=account.account_id,
        name=account.name,
        role=account.role,
        created_at=format_instant(account.created_at_ms),
        disabled_at=_render_instant(account.disabled_at_ms),
    )


def render_caller(principal: Principal) -> CallerBody:
    return CallerBody(
        account_id=principal.account_id,
        actor_id=principal.actor_id,
        role=principal.role,
        user_id=principal.user_id,
        permissions=sorted(principal.permissions),
        withheld=sorted(principal.withheld),
        allowed_networks=list(principal.limits.networks),
        expires_at=_render_instant(principal.limits.expires_at_ms),
    )


def _render_instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_instant(at_ms)
