"""Telling people what became of their account. A mail that is not taken undoes nothing."""

from collections.abc import Sequence

from chalicelib.core.clock import format_instant
from chalicelib.core.errors import Unavailable
from chalicelib.identity import messages
from chalicelib.identity.model import User
from chalicelib.identity.ports import IdentityPorts


def tell(ports: IdentityPorts, user: User, what: str, ways: Sequence[str] = ()) -> None:
    """Write to a person, after it happened, what changed; ``user`` as they were before it.

    Without this mail nobody would learn of what somebody else did in their name, so that one which is not
    taken is said to those who run the cloud. The person who acted is told by the page in any case.
    """
    if user.email is None:
        return
    base = ports.public_url()
    mail = messages.tell_change(user.email, what, f"{base}/reset", f"{base}/account", ways)
    try:
        ports.mailer.send(mail)
    except Unavailable:
        ports.note_untold(user.user_id)


def list_ways(ports: IdentityPorts, user_id: str) -> tuple[str, ...]:
    """Return what signs a person in without the password, in words that nobody but us chose."""
    passkeys = sorted(ports.store.list_passkeys(user_id), key=lambda each: each.created_at_ms)
    links = sorted(ports.store.list_links(user_id), key=lambda each: each.created_at_ms)
    return (
        *(f"a passkey that was added on {_tell_day(each.created_at_ms)}" for each in passkeys),
        *(f"{each.provider}, linked on {_tell_day(each.created_at_ms)}" for each in links),
    )


def _tell_day(at_ms: int) -> str:
    return format_instant(at_ms)[:10]
