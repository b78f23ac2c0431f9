"""Invitations: a token by mail, for the person whose verified address it was sent to, once.

Mails go from our domain to whomever an organisation names, so they are few: one an hour to an address, twenty
at once of an organisation and of an inviter, and twenty more in a day.
"""

import hmac
from dataclasses import dataclass, field, replace

from chalicelib.accounts.model import PERMISSIONS
from chalicelib.core.errors import Conflict, Forbidden, NotFound, RateLimited
from chalicelib.core.paging import Page
from chalicelib.core.ports import Mail, Transaction
from chalicelib.core.principal import Principal, Role
from chalicelib.core.throttling import Grant, RateQuota, measure_wait_us
from chalicelib.organisations.model import (
    INVITATION_LIFETIME_MS,
    Invitation,
    Membership,
    blind_fingerprint,
    derive_invitation_id,
    derive_invitation_token,
    digest_invitation_token,
    normalise_address,
    read_invitation_token,
)
from chalicelib.organisations.ports import (
    Created,
    Once,
    OrganisationPorts,
    add_audit,
    commit_once,
    find_organisation,
    find_replay,
    require_actor,
    require_fitting,
    require_grantable,
)
from chalicelib.organisations.service import require_person

PATH = "/invitations/"
#: Mails of an organisation to one address.
ADDRESS_QUOTA = RateQuota(1, 3_600)
#: Mails of an organisation, and of an inviter in all of them.
DAY_QUOTA = RateQuota(20, 86_400)


@dataclass(frozen=True, slots=True)
class Invite:
    account_id: str
    address: str = field(repr=False)
    role: Role


def invite_member(ports: OrganisationPorts, principal: Principal, command: Invite, once: Once) -> Created:
    """Invite whoever owns an address; another invitation to it takes the place of the first.

    The mail is sent after the commit, and again by a repeat of the request if it was not taken. Within an
    hour of a mail to the address none is sent: the link in it is good for the newer invitation then.

    Raises:
        NotFound: no such organisation.
        InvalidInput: ``invalid_email``, ``role_not_of_account``.
        Forbidden: ``role_exceeds_own``, ``membership_changed``.
        IdempotencyMismatch: the key was used for another request.
        RateLimited: ``too_many_invitations``.
        Unavailable: the mail was not taken; send the request again.
    """
    accounts, account_id = ports.accounts, command.account_id
    organisation = find_organisation(ports, principal, account_id)
    pepper, now_ms = accounts.read_pepper(), accounts.clock.now_ms()
    address = normalise_address(command.address)
    invitation_id = derive_invitation_id(account_id, address, pepper)
    token = derive_invitation_token(
        account_id, invitation_id, f"{principal.account_id}:{once.idempotency_key}", pepper
    )
    once = Once(once.idempotency_key, blind_fingerprint(once.fingerprint, pepper), once.render)
    created = find_replay(ports, principal.account_id, once)
    if created is None:
        require_fitting(ports, account_id, command.role)
        require_grantable(principal, command.role)
        invitation = Invitation(
            invitation_id,
            account_id,
            command.role,
            digest_invitation_token(token, pepper),
            principal.user_id or principal.actor_id,
            now_ms,
            now_ms + INVITATION_LIFETIME_MS,
        )
        invitation = _pass_gates(ports, principal, invitation)
        tx = accounts.transactions()
        require_actor(ports, tx, principal, account_id)
        ports.store.put_invitation(tx, invitation)
        add_audit(ports, tx, principal, account_id, "member.invited", account_id, {"role": command.role})
        created = commit_once(ports, tx, principal.account_id, once, invitation)
    _send(ports, organisation.name, address, token, invitation_id)
    return created


def _pass_gates(ports: OrganisationPorts, principal: Principal, invitation: Invitation) -> Invitation:
    """Return the invitation as it may be kept: to be mailed, or with the link of one that was mailed of late.

    Raises:
        RateLimited: ``too_many_invitations``.
    """
    account_id, now_ms = invitation.account_id, ports.accounts.clock.now_ms()
    grant = _take(ports, f"invitation#{invitation.invitation_id}", ADDRESS_QUOTA)
    if not grant.tokens:
        before = ports.store.get_invitation(account_id, invitation.invitation_id)
        if before is None or before.expires_at_ms <= now_ms:
            # It was accepted or revoked since the mail, whose link is worth nothing any more.
            raise _refuse(grant, ADDRESS_QUOTA, now_ms)
        if before.mailed_at_ms is not None:
            return replace(invitation, token_digest=before.token_digest, mailed_at_ms=before.mailed_at_ms)
    inviters = [f"invitations#{account_id}"]
    if not principal.is_operator:
        inviters.append(f"invitations#{invitation.invited_by}")
    for bucket in inviters:
        grant = _take(ports, bucket, DAY_QUOTA)
        if not grant.tokens:
            raise _refuse(grant, DAY_QUOTA, now_ms)
    return invitation


def _take(ports: OrganisationPorts, bucket: str, quota: RateQuota) -> Grant:
    return ports.buckets.take(bucket, quota, 1, ports.accounts.clock.now_ms() * 1_000, 0)


def _refuse(grant: Grant, quota: RateQuota, now_ms: int) -> RateLimited:
    wait_us = measure_wait_us(quota, grant.full_at_us, now_ms * 1_000, 1)
    return RateLimited(
        "Too many invitations were sent of late; try again later.",
        code="too_many_invitations",
        extra={
            "policy": "invitations",
            "quota": quota.tokens,
            "window_seconds": quota.window_seconds,
            "retry_after_seconds": max(1, -(-wait_us // 1_000_000)),
        },
    )


def list_invitations(
    ports: OrganisationPorts, principal: Principal, account_id: str, limit: int, start: str | None
) -> Page[Invitation]:
    """Return those that can still be accepted; a page may have fewer than it could. Raises NotFound."""
    find_organisation(ports, principal, account_id)
    page, now_ms = ports.store.list_invitations(account_id, limit, start), ports.accounts.clock.now_ms()
    return Page([each for each in page.items if each.expires_at_ms > now_ms], page.next_key)


def revoke_invitation(
    ports: OrganisationPorts, principal: Principal, account_id: str, invitation_id: str
) -> None:
    """Raises NotFound: no such organisation, or no such invitation that could still be accepted."""
    find_organisation(ports, principal, account_id)
    invitation = _find_open(ports, account_id, invitation_id)
    tx = ports.accounts.transactions()
    ports.store.remove_invitation(tx, invitation)
    add_audit(ports, tx, principal, account_id, "invitation.revoked", account_id, {"role": invitation.role})
    tx.commit()


def accept_invitation(ports: OrganisationPorts, principal: Principal, token: str, once: Once) -> Created:
    """Make the person who asks a member, if the invitation was sent to them.

    The answer is the same for a token that is wrong, used, revoked, expired, or meant for somebody else.

    Raises:
        Forbidden: ``person_needed``, ``address_not_verified``.
        NotFound: there is no such invitation, for this person.
        Conflict: ``already_member``.
        IdempotencyMismatch: the key was used for another request.
    """
    user_id = require_person(principal)
    replay = find_replay(ports, user_id, once)
    if replay is not None:
        return replay
    address = ports.find_verified_address(user_id)
    if address is None:
        raise Forbidden("Verify your e-mail address first.", code="address_not_verified")
    accounts = ports.accounts
    pepper = accounts.read_pepper()
    account_id, invitation_id = read_invitation_token(token)
    invitation = _find_open(ports, account_id, invitation_id)
    right = hmac.compare_digest(invitation.token_digest, digest_invitation_token(token, pepper))
    if not right or derive_invitation_id(account_id, address, pepper) != invitation_id:
        raise NotFound("There is no such invitation.")
    if ports.store.get_membership(account_id, user_id) is not None:
        raise Conflict("You are a member already.", code="already_member")
    membership = Membership(account_id, user_id, invitation.role, accounts.clock.now_ms())
    tx = accounts.transactions()
    _require_inviter(ports, tx, invitation)
    ports.store.remove_invitation(tx, invitation)
    ports.store.add_membership(tx, membership)
    if membership.role == "owner":
        ports.store.count_owner(tx, account_id, 1)
    add_audit(ports, tx, principal, account_id, "member.joined", user_id, {"role": invitation.role})
    return commit_once(ports, tx, user_id, once, membership)


def _require_inviter(ports: OrganisationPorts, tx: Transaction, invitation: Invitation) -> None:
    """What somebody who is gone, or less by now, has promised does not hold."""
    by, account_id = invitation.invited_by, invitation.account_id
    if by.startswith("usr_"):
        member = ports.store.get_membership(account_id, by)
        operator = None if member is not None else _find_operator(ports, by)
        role = member.role if member is not None else operator
        if role is None or not (role == "operator" or PERMISSIONS[invitation.role] <= PERMISSIONS[role]):
            raise NotFound("There is no such invitation.")
        if member is not None:
            ports.store.require_membership(tx, account_id, by, member.role)
    elif by.startswith("sva_"):
        program = ports.store.get_service_account(by)
        if program is None or program.disabled_at_ms is not None:
            raise NotFound("There is no such invitation.")


def _find_operator(ports: OrganisationPorts, user_id: str) -> Role | None:
    installation = ports.accounts.store.get_installation()
    if installation is None:
        return None
    member = ports.store.get_membership(installation.account_id, user_id)
    return None if member is None else member.role


def _find_open(ports: OrganisationPorts, account_id: str, invitation_id: str) -> Invitation:
    invitation = ports.store.get_invitation(account_id, invitation_id)
    # TTL deletes days late.
    if invitation is None or invitation.expires_at_ms <= ports.accounts.clock.now_ms():
        raise NotFound("There is no such invitation.")
    return invitation


def _send(ports: OrganisationPorts, organisation: str, address: str, token: str, invitation_id: str) -> None:
    account_id, _ = read_invitation_token(token)
    stored = ports.store.get_invitation(account_id, invitation_id)
    digest = digest_invitation_token(token, ports.accounts.read_pepper())
    if stored is None or stored.token_digest != digest or stored.mailed_at_ms is not None:
        return
    # A stranger's words: a name from before `check_name` may still have a link or a line in it.
    name = " ".join(organisation.replace("://", " ").replace('"', "'").split())
    text = (
        f'You are invited to an organisation that calls itself "{name}", as {stored.role}.\n\n'
        f"Sign in with this address and accept within seven days:\n{ports.public_url()}{PATH}{token}\n\n"
        "If you do not know them, do nothing: the invitation then ends by itself.\n"
    )
    ports.mailer.send(Mail(address, "Invitation to an organisation", text))
    ports.store.note_mailed(stored, ports.accounts.clock.now_ms())
