"""Routes of organisations: members, invitations, projects, service accounts, and who asks."""

from http import HTTPStatus
from typing import Any

from chalicelib import wiring
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.organisations import inviting, projects, service, service_accounts
from chalicelib.organisations.ports import Created, Once
from chalicelib.organisations.schemas import (
    AcceptanceRequest,
    CallerBody,
    InvitationBody,
    InvitationListBody,
    InvitationRequest,
    MemberBody,
    MemberListBody,
    MembershipsBody,
    OrganisationActionRequest,
    OrganisationBody,
    OrganisationRequest,
    OwnershipRequest,
    ProjectBody,
    ProjectChange,
    ProjectListBody,
    ProjectRequest,
    RoleRequest,
    ServiceAccountActionRequest,
    ServiceAccountBody,
    ServiceAccountListBody,
    ServiceAccountRequest,
    render_caller,
    render_invitation,
    render_member,
    render_organisation,
    render_project,
    render_service_account,
)
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("GET", "/v1/me", permission="me:read")
def get_caller(call: Call) -> Answer[CallerBody]:
    """Show who asks, and what they may do."""
    return Answer(render_caller(call.principal))


@api.route("GET", "/v1/me/memberships", permission="self:read")
def list_own_memberships(call: Call) -> Answer[MembershipsBody]:
    """List the organisations of the person who asks."""
    user_id = service.require_person(call.principal)
    found = service.list_memberships_of(wiring.organisation_ports(), user_id)
    return Answer(MembershipsBody(items=[render_member(each) for each in found]))


@api.route("DELETE", "/v1/me/memberships/{account_id}", permission="self:write")
def leave_organisation(call: Call, account_id: str) -> Answer[None]:
    """Leave an organisation; the keys that one issued there end."""
    service.leave_organisation(wiring.organisation_ports(), call.principal, account_id)
    return Answer(status=HTTPStatus.NO_CONTENT)


@api.route("POST", "/v1/organisations", permission="self:write", body=OrganisationRequest)
def create_organisation(call: Call) -> Answer[OrganisationBody]:
    """Create an organisation; whoever creates it is its owner."""
    body: OrganisationRequest = call.read_body(OrganisationRequest)
    once = _build_once(call.idempotency_key, call.raw_body, "POST /v1/organisations", render_organisation)
    currency = wiring.settings().currency
    return _answer(
        service.create_organisation(
            wiring.organisation_ports(), call.principal, once, name=body.name, currency=currency
        )
    )


@api.route("GET", "/v1/organisations/{account_id}", permission="organisation:read")
def get_organisation(call: Call, account_id: str) -> Answer[OrganisationBody]:
    """Show an organisation."""
    found = service.read_organisation(wiring.organisation_ports(), call.principal, account_id)
    return Answer(render_organisation(found))


@api.route(
    "PATCH", "/v1/organisations/{account_id}", permission="organisation:write", body=OrganisationRequest
)
def rename_organisation(call: Call, account_id: str) -> Answer[OrganisationBody]:
    """Rename an organisation."""
    body: OrganisationRequest = call.read_body(OrganisationRequest)
    renamed = service.rename_organisation(wiring.organisation_ports(), call.principal, account_id, body.name)
    return Answer(render_organisation(renamed))


@api.route(
    "POST",
    "/v1/organisations/{account_id}/actions",
    permission="organisation:close",
    body=OrganisationActionRequest,
    fresh=True,
)
def act_on_organisation(call: Call, account_id: str) -> Answer[OrganisationBody]:
    """Close an organisation that runs nothing; it stays to be read and paid for."""
    call.read_body(OrganisationActionRequest)
    closed = service.close_organisation(wiring.organisation_ports(), call.principal, account_id)
    return Answer(render_organisation(closed))


@api.route(
    "POST",
    "/v1/organisations/{account_id}/ownership",
    permission="ownership:write",
    body=OwnershipRequest,
    fresh=True,
)
def hand_over_ownership(call: Call, account_id: str) -> Answer[MemberBody]:
    """Make another member an owner in the caller's place, who is an admin from then on."""
    body: OwnershipRequest = call.read_body(OwnershipRequest)
    member = service.hand_over(wiring.organisation_ports(), call.principal, account_id, body.user_id)
    return Answer(render_member(member))


@api.route("GET", "/v1/organisations/{account_id}/members", permission="members:read", query=PAGING)
def list_members(call: Call, account_id: str) -> Answer[MemberListBody]:
    """List the members of an organisation."""
    page = service.list_members(wiring.organisation_ports(), call.principal, account_id, *_read_page(call))
    items = [render_member(each) for each in page.items]
    return Answer(MemberListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route(
    "PUT", "/v1/organisations/{account_id}/members/{user_id}", permission="members:write", body=RoleRequest
)
def change_role(call: Call, account_id: str, user_id: str) -> Answer[MemberBody]:
    """Give a member another role; their keys that may do more than it end."""
    body: RoleRequest = call.read_body(RoleRequest)
    member = service.change_role(wiring.organisation_ports(), call.principal, account_id, user_id, body.role)
    return Answer(render_member(member))


@api.route("DELETE", "/v1/organisations/{account_id}/members/{user_id}", permission="members:write")
def remove_member(call: Call, account_id: str, user_id: str) -> Answer[None]:
    """Remove a member; the keys that they issued end."""
    service.remove_member(wiring.organisation_ports(), call.principal, account_id, user_id)
    return Answer(status=HTTPStatus.NO_CONTENT)


@api.route(
    "POST", "/v1/organisations/{account_id}/invitations", permission="members:write", body=InvitationRequest
)
def invite_member(call: Call, account_id: str) -> Answer[InvitationBody]:
    """Invite somebody by mail; another invitation to the address takes the place of the first."""
    body: InvitationRequest = call.read_body(InvitationRequest)
    once = _build_once(
        call.idempotency_key,
        call.raw_body,
        f"POST /v1/organisations/{account_id}/invitations",
        render_invitation,
    )
    command = inviting.Invite(account_id, body.email, body.role)
    return _answer(inviting.invite_member(wiring.organisation_ports(), call.principal, command, once))


@api.route("GET", "/v1/organisations/{account_id}/invitations", permission="members:read", query=PAGING)
def list_invitations(call: Call, account_id: str) -> Answer[InvitationListBody]:
    """List the invitations that can still be accepted."""
    page = inviting.list_invitations(
        wiring.organisation_ports(), call.principal, account_id, *_read_page(call)
    )
    items = [render_invitation(each) for each in page.items]
    return Answer(InvitationListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("DELETE", "/v1/organisations/{account_id}/invitations/{invitation_id}", permission="members:write")
def revoke_invitation(call: Call, account_id: str, invitation_id: str) -> Answer[None]:
    """Revoke an invitation."""
    inviting.revoke_invitation(wiring.organisation_ports(), call.principal, account_id, invitation_id)
    return Answer(status=HTTPStatus.NO_CONTENT)


@api.route("POST", "/v1/invitations/accept", permission="self:write", body=AcceptanceRequest)
def accept_invitation(call: Call) -> Answer[MemberBody]:
    """Become a member; the invitation must have been sent to an address that the person has verified."""
    body: AcceptanceRequest = call.read_body(AcceptanceRequest)
    once = _build_once(call.idempotency_key, call.raw_body, "POST /v1/invitations/accept", render_member)
    return _answer(inviting.accept_invitation(wiring.organisation_ports(), call.principal, body.token, once))


@api.route(
    "POST", "/v1/organisations/{account_id}/projects", permission="projects:write", body=ProjectRequest
)
def create_project(call: Call, account_id: str) -> Answer[ProjectBody]:
    """Create a project; its id is the label of what belongs to it."""
    body: ProjectRequest = call.read_body(ProjectRequest)
    once = _build_once(
        call.idempotency_key, call.raw_body, f"POST /v1/organisations/{account_id}/projects", render_project
    )
    return _answer(
        projects.create_project(wiring.organisation_ports(), call.principal, account_id, body.name, once)
    )


@api.route("GET", "/v1/organisations/{account_id}/projects", permission="projects:read", query=PAGING)
def list_projects(call: Call, account_id: str) -> Answer[ProjectListBody]:
    """List the projects of an organisation."""
    page = projects.list_projects(wiring.organisation_ports(), call.principal, account_id, *_read_page(call))
    items = [render_project(each) for each in page.items]
    return Answer(ProjectListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/organisations/{account_id}/projects/{project_id}", permission="projects:read")
def get_project(call: Call, account_id: str, project_id: str) -> Answer[ProjectBody]:
    """Show one project."""
    found = projects.find_project(wiring.organisation_ports(), call.principal, account_id, project_id)
    return Answer(render_project(found))


@api.route(
    "PATCH",
    "/v1/organisations/{account_id}/projects/{project_id}",
    permission="projects:write",
    body=ProjectChange,
)
def change_project(call: Call, account_id: str, project_id: str) -> Answer[ProjectBody]:
    """Rename a project, archive it or take it out again; what runs in it goes on."""
    body: ProjectChange = call.read_body(ProjectChange)
    changed = projects.change_project(
        wiring.organisation_ports(),
        call.principal,
        account_id,
        project_id,
        name=body.name,
        archived=body.archived,
    )
    return Answer(render_project(changed))


@api.route(
    "POST",
    "/v1/organisations/{account_id}/service-accounts",
    permission="service-accounts:write",
    body=ServiceAccountRequest,
)
def create_service_account(call: Call, account_id: str) -> Answer[ServiceAccountBody]:
    """Create a service account, with no more than the caller's own role."""
    body: ServiceAccountRequest = call.read_body(ServiceAccountRequest)
    operation = f"POST /v1/organisations/{account_id}/service-accounts"
    once = _build_once(call.idempotency_key, call.raw_body, operation, render_service_account)
    return _answer(
        service_accounts.create_service_account(
            wiring.organisation_ports(), call.principal, account_id, body.name, body.role, once
        )
    )


@api.route(
    "GET", "/v1/organisations/{account_id}/service-accounts", permission="service-accounts:read", query=PAGING
)
def list_service_accounts(call: Call, account_id: str) -> Answer[ServiceAccountListBody]:
    """List the service accounts of an organisation; one that is new shows a moment later."""
    page = service_accounts.list_service_accounts(
        wiring.organisation_ports(), call.principal, account_id, *_read_page(call)
    )
    items = [render_service_account(each) for each in page.items]
    return Answer(ServiceAccountListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route(
    "GET",
    "/v1/organisations/{account_id}/service-accounts/{service_account_id}",
    permission="service-accounts:read",
)
def get_service_account(call: Call, account_id: str, service_account_id: str) -> Answer[ServiceAccountBody]:
    """Show one service account."""
    found = service_accounts.find_service_account(
        wiring.organisation_ports(), call.principal, account_id, service_account_id
    )
    return Answer(render_service_account(found))


@api.route(
    "POST",
    "/v1/organisations/{account_id}/service-accounts/{service_account_id}/actions",
    permission="service-accounts:write",
    body=ServiceAccountActionRequest,
)
def act_on_service_account(
    call: Call, account_id: str, service_account_id: str
) -> Answer[ServiceAccountBody]:
    """End a service account for ever, together with the keys that it issued; it stays to be read."""
    call.read_body(ServiceAccountActionRequest)
    ended = service_accounts.disable_service_account(
        wiring.organisation_ports(), call.principal, account_id, service_account_id
    )
    return Answer(render_service_account(ended))


def _build_once(key: str, raw_body: bytes, operation: str, render: Any) -> Once:
    fingerprint = compute_fingerprint(operation, raw_body)
    return Once(key, fingerprint, lambda made: render(made).model_dump_json())


def _answer(created: Created) -> Answer[Any]:
    return Answer(created.body, HTTPStatus(created.status), tell_replayed(created))


def _read_page(call: Call) -> tuple[int, str | None]:
    return read_limit(call.query), decode_cursor(call.query.get("cursor"))
