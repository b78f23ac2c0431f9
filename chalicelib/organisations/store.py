"""Organisations in DynamoDB.

Access: by account; a person's memberships by ``by_user``; service accounts by id, and by ``by_account``.
"""

from typing import Any, TypeVar, cast

from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition

from chalicelib.core.errors import Conflict, DomainError, Forbidden, NotFound, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.core.principal import Role
from chalicelib.organisations.model import Invitation, Membership, Project, ServiceAccount
from chalicelib.storage import organisation_keys as keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.base import Table
from chalicelib.storage.tables.organisations import (
    InvitationItem,
    MembershipItem,
    OrganisationItem,
    ProjectItem,
    ServiceAccountItem,
)
from chalicelib.storage.transaction import dynamo, unexpected

I = TypeVar("I", bound=Table)  # noqa: E741


def _already_member(_old: Any) -> DomainError:
    return Conflict("They are a member already.", code="already_member")


def _changed(_old: Any) -> DomainError:
    return Forbidden("Your role has changed meanwhile.", code="membership_changed")


def _last_owner(_old: Any) -> DomainError:
    return Conflict("An organisation keeps an owner; name another first.", code="last_owner")


def _not_counted(old: Any) -> DomainError:
    if old is not None and getattr(old, "disabled_at_ms", None) is None:
        return Unavailable("Another key was issued at the same time; try again.")
    return Forbidden("Who issues this key no longer belongs to the account.", code="issuer_gone")


def _invitation_gone(_old: Any) -> DomainError:
    return NotFound("There is no such invitation.")


class DynamoOrganisationStore:
    def get_membership(self, account_id: str, user_id: str) -> Membership | None:
        item = _get(MembershipItem, keys.organisation(account_id), keys.member(user_id))
        return None if item is None else _read_membership(item)

    def list_members(self, account_id: str, limit: int, start: str | None) -> Page[Membership]:
        rows = _list(MembershipItem, account_id, keys.MEMBER_PREFIX, limit, start)
        return _page([_read_membership(item) for item in rows], limit, "user_id")

    def list_memberships_of(self, user_id: str) -> list[Membership]:
        return [_read_membership(item) for item in MembershipItem.by_user.query(user_id)]

    def add_membership(self, tx: Transaction, membership: Membership) -> None:
        item = _build_membership(membership)
        dynamo(tx).put(item, MembershipItem.pk.does_not_exist(), _already_member)

    def replace_membership(self, tx: Transaction, old: Membership, new: Membership) -> None:
        key = (keys.organisation(old.account_id), keys.member(old.user_id))
        actions = [MembershipItem.role.set(new.role)]
        dynamo(tx).update(MembershipItem, key, actions, _same_member(old), unexpected("The member"))

    def remove_membership(self, tx: Transaction, old: Membership) -> None:
        key = (keys.organisation(old.account_id), keys.member(old.user_id))
        dynamo(tx).delete(MembershipItem, key, _same_member(old), unexpected("The member"))

    def require_membership(self, tx: Transaction, account_id: str, user_id: str, role: Role) -> None:
        key = (keys.organisation(account_id), keys.member(user_id))
        dynamo(tx).check(MembershipItem, *key, MembershipItem.role == role, _changed)

    def count_owner(
        self, tx: Transaction, account_id: str, change: int, *, may_be_none: bool = False
    ) -> None:
        key = (keys.organisation(account_id), keys.HEAD)
        others = OrganisationItem.owners > 1 if change < 0 and not may_be_none else None
        dynamo(tx).update(OrganisationItem, key, [OrganisationItem.owners.add(change)], others, _last_owner)

    def read_issued_count(self, account_id: str, issuer_id: str) -> int:
        if keys.is_service_account(issuer_id):
            program = self.get_service_account(issuer_id)
            return 0 if program is None else program.issued_keys
        member = self.get_membership(account_id, issuer_id)
        return 0 if member is None else member.issued_keys

    def count_issued_key(self, tx: Transaction, account_id: str, issuer_id: str, issued: int) -> None:
        if keys.is_service_account(issuer_id):
            key = keys.service_account(issuer_id)
            live = (
                (ServiceAccountItem.account_id == account_id)
                & ServiceAccountItem.disabled_at_ms.does_not_exist()
                & (ServiceAccountItem.issued_keys == issued)
            )
            one = [ServiceAccountItem.issued_keys.add(1)]
            dynamo(tx).update(ServiceAccountItem, (key, key), one, live, _not_counted)
            return
        member = (keys.organisation(account_id), keys.member(issuer_id))
        one = [MembershipItem.issued_keys.add(1)]
        dynamo(tx).update(MembershipItem, member, one, MembershipItem.issued_keys == issued, _not_counted)

    def get_invitation(self, account_id: str, invitation_id: str) -> Invitation | None:
        item = _get(InvitationItem, keys.organisation(account_id), keys.invitation(invitation_id))
        return None if item is None else _read_invitation(item)

    def list_invitations(self, account_id: str, limit: int, start: str | None) -> Page[Invitation]:
        rows = _list(InvitationItem, account_id, keys.INVITATION_PREFIX, limit, start)
        return _page([_read_invitation(item) for item in rows], limit, "invitation_id")

    def put_invitation(self, tx: Transaction, invitation: Invitation) -> None:
        item = InvitationItem(
            keys.organisation(invitation.account_id),
            keys.invitation(invitation.invitation_id),
            role=invitation.role,
            token_digest=invitation.token_digest,
            invited_by=invitation.invited_by,
            created_at_ms=invitation.created_at_ms,
            expires_at_ms=invitation.expires_at_ms,
            mailed_at_ms=invitation.mailed_at_ms,
            expires_at=invitation.expires_at_ms // 1000,
        )
        dynamo(tx).put(item, None, unexpected("The invitation"))

    def remove_invitation(self, tx: Transaction, invitation: Invitation) -> None:
        key = (keys.organisation(invitation.account_id), keys.invitation(invitation.invitation_id))
        same = InvitationItem.token_digest == invitation.token_digest
        dynamo(tx).delete(InvitationItem, key, same, _invitation_gone)

    def note_mailed(self, invitation: Invitation, at_ms: int) -> None:
        item = InvitationItem(
            keys.organisation(invitation.account_id), keys.invitation(invitation.invitation_id)
        )
        try:
            item.update(
                [InvitationItem.mailed_at_ms.set(at_ms)],
                InvitationItem.token_digest == invitation.token_digest,
            )
        except UpdateError as error:
            if not is_condition_failure(error):
                raise Unavailable("It could not be written down that the mail was sent.") from error

    def get_project(self, account_id: str, project_id: str) -> Project | None:
        item = _get(ProjectItem, keys.organisation(account_id), keys.project(project_id))
        return None if item is None else _read_project(item)

    def list_projects(self, account_id: str, limit: int, start: str | None) -> Page[Project]:
        rows = _list(ProjectItem, account_id, keys.PROJECT_PREFIX, limit, start)
        return _page([_read_project(item) for item in rows], limit, "project_id")

    def add_project(self, tx: Transaction, project: Project) -> None:
        dynamo(tx).put(_build_project(project), ProjectItem.pk.does_not_exist(), unexpected("The project"))

    def replace_project(self, tx: Transaction, old: Project, new: Project) -> None:
        archived = ProjectItem.archived_at_ms
        since = archived.does_not_exist() if old.archived_at_ms is None else archived == old.archived_at_ms
        same = (ProjectItem.name == old.name) & since
        dynamo(tx).put(_build_project(new), same, unexpected("The project"))

    def get_service_account(self, service_account_id: str) -> ServiceAccount | None:
        key = keys.service_account(service_account_id)
        item = _get(ServiceAccountItem, key, key)
        return None if item is None else _read_service_account(item)

    def list_service_accounts(self, account_id: str, limit: int, start: str | None) -> Page[ServiceAccount]:
        after = None if start is None else ServiceAccountItem.sk > keys.service_account(start)
        rows = ServiceAccountItem.by_account.query(account_id, after, limit=limit + 1, page_size=limit + 1)
        return _page([_read_service_account(item) for item in rows], limit, "service_account_id")

    def add_service_account(self, tx: Transaction, account: ServiceAccount) -> None:
        key = keys.service_account(account.service_account_id)
        item = ServiceAccountItem(
            key,
            key,
            account_id=account.account_id,
            name=account.name,
            role=account.role,
            created_at_ms=account.created_at_ms,
            disabled_at_ms=account.disabled_at_ms,
            issued_keys=account.issued_keys,
        )
        dynamo(tx).put(item, ServiceAccountItem.pk.does_not_exist(), unexpected("The service account"))

    def replace_service_account(self, tx: Transaction, old: ServiceAccount, new: ServiceAccount) -> None:
        key = keys.service_account(old.service_account_id)
        same = (ServiceAccountItem.issued_keys == old.issued_keys) & (
            ServiceAccountItem.disabled_at_ms.does_not_exist()
        )
        assert new.disabled_at_ms is not None, "nothing else of it ever changes"
        actions = [ServiceAccountItem.disabled_at_ms.set(new.disabled_at_ms)]
        dynamo(tx).update(ServiceAccountItem, (key, key), actions, same, unexpected("The service account"))


def _get(model: type[I], pk: str, sk: str) -> I | None:
    try:
        return model.get(pk, sk, consistent_read=True)
    except model.DoesNotExist:
        return None


def _list(model: type[I], account_id: str, prefix: str, limit: int, start: str | None) -> list[I]:
    # "~" sorts after every character of an id. The condition takes its start in: it is dropped below.
    condition = model.sk.between(prefix if start is None else f"{prefix}{start}", f"{prefix}~")
    rows = model.query(
        keys.organisation(account_id),
        condition,
        consistent_read=True,
        limit=limit + 2,
        page_size=limit + 2,
    )
    return [item for item in rows if start is None or item.sk != f"{prefix}{start}"][: limit + 1]


def _page(rows: list[Any], limit: int, name: str) -> Page[Any]:
    return Page(rows[:limit], getattr(rows[limit - 1], name) if len(rows) > limit else None)


def _same_member(old: Membership) -> Condition:
    same: Condition = (MembershipItem.role == old.role) & (MembershipItem.issued_keys == old.issued_keys)
    return same


def _build_membership(membership: Membership) -> MembershipItem:
    return MembershipItem(
        keys.organisation(membership.account_id),
        keys.member(membership.user_id),
        user_id=membership.user_id,
        role=membership.role,
        created_at_ms=membership.created_at_ms,
        issued_keys=membership.issued_keys,
    )


def _read_membership(item: MembershipItem) -> Membership:
    return Membership(
        keys.read_organisation(item.pk),
        item.user_id,
        cast("Role", item.role),
        item.created_at_ms,
        item.issued_keys,
    )


def _read_invitation(item: InvitationItem) -> Invitation:
    return Invitation(
        invitation_id=keys.read_invitation(item.sk),
        account_id=keys.read_organisation(item.pk),
        role=cast("Role", item.role),
        token_digest=item.token_digest,
        invited_by=item.invited_by,
        created_at_ms=item.created_at_ms,
        expires_at_ms=item.expires_at_ms,
        mailed_at_ms=item.mailed_at_ms,
    )


def _build_project(project: Project) -> ProjectItem:
    return ProjectItem(
        keys.organisation(project.account_id),
        keys.project(project.project_id),
        name=project.name,
        created_at_ms=project.created_at_ms,
        archived_at_ms=project.archived_at_ms,
    )


def _read_project(item: ProjectItem) -> Project:
    return Project(
        keys.read_project(item.sk),
        keys.read_organisation(item.pk),
        item.name,
        item.created_at_ms,
        item.archived_at_ms,
    )


def _read_service_account(item: ServiceAccountItem) -> ServiceAccount:
    return ServiceAccount(
        keys.read_service_account(item.pk),
        item.account_id,
        item.name,
        cast("Role", item.role),
        item.created_at_ms,
        item.disabled_at_ms,
        item.issued_keys,
    )
