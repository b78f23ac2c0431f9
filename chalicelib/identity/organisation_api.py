"""Pages of a person's organisations, and of invitations to one."""

from chalicelib import wiring
from chalicelib.core.errors import DomainError
from chalicelib.identity import joining
from chalicelib.identity.guard import Visit, page
from chalicelib.runtime.http import Answer, Api, Html

api = Api(__name__)
_NOTICES = {
    "created": "The organisation is there, and you are its owner.",
    "joined": "You are a member now.",
}


@page(api, "GET", "/account/organisations", who="signed_in", query=frozenset({"notice"}))
def show_organisations(visit: Visit) -> Answer[Html]:
    """Show the person's organisations, and the form for a new one."""
    return _show(visit)


@page(api, "POST", "/account/organisations", who="signed_in", lead="/account/organisations")
def create_own_organisation(visit: Visit) -> Answer[Html]:
    """Make an organisation of which the person is the owner."""
    ports, currency = wiring.organisation_ports(), wiring.settings().currency
    try:
        joining.create_organisation(
            ports, visit.user, visit.session, visit.read("name"), currency, visit.read("once")
        )
    except DomainError as error:
        return _show(visit, error)
    return visit.go("/account/organisations", notice="created")


@page(api, "GET", "/invitations/{token}", who="signed_in")
def show_invitation(visit: Visit, token: str) -> Answer[Html]:
    """Show the button that takes an invitation: opening a link changes nothing."""
    return visit.show("identity_invitation.html", "Join an organisation", token=token)


@page(api, "POST", "/invitations", who="signed_in", lead="/account/organisations")
def take_invitation(visit: Visit) -> Answer[Html]:
    """Join the organisation that invited the person."""
    joining.accept_invitation(wiring.organisation_ports(), visit.user, visit.session, visit.read("token"))
    return visit.go("/account/organisations", notice="joined")


def _show(visit: Visit, error: DomainError | None = None) -> Answer[Html]:
    return visit.show(
        "identity_organisations.html",
        "Your organisations",
        error,
        wide=True,
        notice=_NOTICES.get(visit.call.query.get("notice", ""), ""),
        organisations=joining.list_joined(wiring.organisation_ports(), visit.user),
        # Of one showing of the form: sent twice, it makes one organisation.
        once=visit.nonce,
        longest=joining.MAX_NAME,
    )
