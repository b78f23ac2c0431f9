"""Clients, their secrets, and what they may learn and end."""

import base64
import logging

import pytest

from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from chalicelib.core.principal import Principal
from chalicelib.oauth.admission import authenticate_token
from chalicelib.oauth.model import Client
from chalicelib.oauth.service import (
    RegisterClient,
    create_secret,
    delete_client,
    end_own_grant,
    list_clients,
    list_grants,
    register_client,
    revoke_secret,
)
from chalicelib.organisations.model import ServiceAccount
from tests.unit.oauth.flows import Flow

WEB = "https://app.example.org/callback"


@pytest.fixture
def flow(world):
    return Flow(world)


def admin(world, account_id=None):
    granted = world.ports.permissions["renter"]
    return Principal(account_id or world.account_id, "renter", world.user_id, granted, user_id=world.user_id)


def basic(client_id, secret):
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def give_secret(world, owner_id=None):
    return create_secret(world.ports, admin(world), owner_id or world.service_id)


def get_token(flow, issued, **more):
    header = basic(flow.world.service_id, issued.text)
    return flow.post("token", header, grant_type="client_credentials", **more)


def test_two_secrets_work_while_a_program_changes_from_one_to_the_other(flow):
    first, second = give_secret(flow.world), give_secret(flow.world)
    assert get_token(flow, first)[0] == get_token(flow, second)[0] == 200
    with pytest.raises(Conflict) as told:
        give_secret(flow.world)
    assert told.value.code == "two_secrets_live"
    revoke_secret(flow.world.ports, admin(flow.world), flow.world.service_id, first.secret.secret_id)
    assert get_token(flow, first) == (
        401,
        {
            "error": "invalid_client",
            "error_description": "The client cannot authenticate with methods: "
            "['client_secret_basic', 'client_secret_post']",
        },
    )
    assert get_token(flow, second)[0] == 200
    give_secret(flow.world)
    assert first.text not in repr(flow.world.db.tables)


def test_a_disabled_program_gets_no_tokens(flow):
    issued, services = give_secret(flow.world), flow.world.standing.services
    old = services[flow.world.service_id]
    services[old.service_account_id] = ServiceAccount(
        old.service_account_id, old.account_id, old.name, old.role, old.created_at_ms, disabled_at_ms=1
    )
    assert get_token(flow, issued)[1]["error"] == "invalid_client"


@pytest.mark.parametrize(
    "client_id",
    ["x" * 8000, "sva_" + "0" * 8000, "oac_" + "0" * 27, "oac_" + "U" * 26, "sva_", "CLI", "ogr_" + "0" * 26],
)
def test_what_has_not_the_form_of_a_clients_id_is_an_unknown_client_and_looked_up_nowhere(flow, client_id):
    issued = "pcs_" + "x" * 32
    flow.world.forget_reads()
    for header, fields in (
        ("", {"client_id": client_id}),
        ("", {"client_id": client_id, "client_secret": issued}),
        (basic(client_id, issued), {}),
    ):
        status, body = flow.post("token", header, grant_type="refresh_token", refresh_token="x", **fields)
        assert (status in {400, 401}, body["error"]) == (True, "invalid_client")
        assert flow.post("device", header, **fields)[1]["error"] == "invalid_client"
    asked = flow.authorize(client=Client(client_id, None, "", "public", (), 0))
    assert (asked.status, asked.body["error"]) == (400, "invalid_client")
    assert flow.world.count_reads() == 0


def test_a_program_cannot_use_the_flows_of_people_nor_people_the_programs(flow):
    issued = give_secret(flow.world)
    header = basic(flow.world.service_id, issued.text)
    for grant in ("authorization_code", "refresh_token"):
        status, body = flow.post("token", header, grant_type=grant, code="x", refresh_token="x")
        assert (status, body["error"]) == (400, "unauthorized_client")
    status, body = flow.post("token", grant_type="client_credentials", client_id="cli")
    assert (status, body["error"]) == (401, "invalid_client")


def test_nobody_makes_a_secret_of_a_program_that_may_do_more(flow):
    world, weak = (
        flow.world,
        Principal(flow.world.account_id, "renter", flow.world.user_id, frozenset({"service-accounts:write"})),
    )
    with pytest.raises(Forbidden) as told:
        create_secret(world.ports, weak, world.service_id)
    assert told.value.code == "secret_exceeds_issuer"


def test_two_ways_of_authenticating_at_once_are_refused(flow):
    issued = give_secret(flow.world)
    assert get_token(flow, issued, client_secret=issued.text)[1]["error"] == "invalid_request"


def test_a_client_is_of_its_organisation_alone(flow):
    mine, issued = register_client(
        flow.world.ports, admin(flow.world), RegisterClient("Web", "confidential", (WEB,))
    )
    stranger = admin(flow.world, flow.world.ids.new_id("acc"))
    for act in (
        lambda: delete_client(flow.world.ports, stranger, mine.client_id),
        lambda: create_secret(flow.world.ports, stranger, mine.client_id),
        lambda: revoke_secret(flow.world.ports, stranger, mine.client_id, issued.secret.secret_id),
        lambda: create_secret(flow.world.ports, stranger, flow.world.service_id),
        lambda: delete_client(flow.world.ports, stranger, "oac_" + "0" * 26),
    ):
        with pytest.raises(NotFound):
            act()
    assert list_clients(flow.world.ports, stranger, 10, None).items == []
    assert [each.client_id for each in list_clients(flow.world.ports, admin(flow.world), 10, None).items] == [
        mine.client_id
    ]


def test_a_deleted_client_gets_nothing_any_more(flow):
    client, _ = register_client(flow.world.ports, admin(flow.world), RegisterClient("Web", "public", (WEB,)))
    code = flow.get_code(client=client, redirect=WEB, scope="rentals:read")
    delete_client(flow.world.ports, admin(flow.world), client.client_id)
    status, body = flow.redeem(code, client_id=client.client_id, redirect_uri=WEB)
    assert (status, body["error"]) == (400, "invalid_client")
    with pytest.raises(NotFound):
        delete_client(flow.world.ports, admin(flow.world), client.client_id)


def test_a_public_client_has_no_secret(flow):
    client, issued = register_client(
        flow.world.ports, admin(flow.world), RegisterClient("App", "public", (WEB,))
    )
    assert issued is None
    with pytest.raises(Conflict):
        create_secret(flow.world.ports, admin(flow.world), client.client_id)


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example.org/callback",
        "http://localhost/callback",
        "https://app.example.org/callback#x",
        "https://user@app.example.org/",
        "https:///callback",
        "app:/callback",
        "javascript:alert(1)",
        "https://*.example.org/callback",
        "https://app.example.org/a b",
        "https://app.example.org:x/",
        "",
    ],
)
def test_a_redirect_address_is_https_or_loopback(world, uri):
    with pytest.raises(InvalidInput) as told:
        register_client(world.ports, admin(world), RegisterClient("Web", "public", (uri,)))
    assert told.value.code == "invalid_redirect_uri"


def test_a_revoked_token_is_refused_at_once_with_all_of_its_grant(flow):
    for held in ("access_token", "refresh_token"):
        token = flow.sign_in()
        assert flow.post("revocation", client_id="cli", token=token[held]) == (200, {})
        with pytest.raises(Unauthenticated):
            authenticate_token(flow.world.ports, token["access_token"])
        assert flow.refresh(token["refresh_token"])[1]["error"] == "invalid_grant"
    assert flow.post("revocation", client_id="cli", token="nothing of ours")[0] == 200


def test_a_programs_token_is_revoked_alone(flow):
    issued = give_secret(flow.world)
    first, second = get_token(flow, issued)[1], get_token(flow, issued)[1]
    header = basic(flow.world.service_id, issued.text)
    assert flow.post("revocation", header, token=first["access_token"])[0] == 200
    with pytest.raises(Unauthenticated):
        authenticate_token(flow.world.ports, first["access_token"])
    authenticate_token(flow.world.ports, second["access_token"])


def test_a_client_revokes_its_own_tokens_alone(flow):
    issued, token = give_secret(flow.world), flow.sign_in()
    status, body = flow.post(
        "revocation", basic(flow.world.service_id, issued.text), token=token["access_token"]
    )
    assert (status, body["error"]) == (400, "invalid_grant")
    authenticate_token(flow.world.ports, token["access_token"])


def test_introspection_tells_what_a_token_is_worth_to_its_own_organisation(flow):
    issued, token = give_secret(flow.world), flow.sign_in()
    header = basic(flow.world.service_id, issued.text)
    _, told = flow.post("introspection", header, token=token["access_token"])
    assert (told["active"], told["sub"], told["client_id"]) == (True, flow.world.user_id, "cli")
    assert (told["iss"], told["aud"], told["token_type"]) == (flow.world.issuer, flow.world.issuer, "Bearer")
    _, told = flow.post("introspection", header, token=token["refresh_token"])
    assert (told["active"], told["scope"]) == (True, "all")
    flow.post("revocation", client_id="cli", token=token["refresh_token"])
    for held in token["access_token"], token["refresh_token"], "nothing of ours":
        assert flow.post("introspection", header, token=held) == (200, {"active": False})


def test_introspection_tells_others_nothing(flow):
    token = flow.sign_in()
    world, other = flow.world, flow.world.ids.new_id("sva")
    stranger = world.ids.new_id("acc")
    world.standing.services[other] = ServiceAccount(other, stranger, "spy", "renter", 0)
    issued = create_secret(world.ports, admin(world, stranger), other)
    asked = flow.post("introspection", basic(other, issued.text), token=token["access_token"])
    assert asked == (200, {"active": False})
    assert flow.post("introspection", client_id="cli", token=token["access_token"])[0] == 401


def test_a_person_sees_and_ends_what_they_granted(flow):
    token, world = flow.sign_in(), flow.world
    (grant,) = list_grants(world.ports, admin(world), 10, None).items
    other = Principal(world.account_id, "renter", "usr_x", frozenset(), user_id="usr_x")
    with pytest.raises(NotFound):
        end_own_grant(world.ports, other, grant.grant_id)
    end_own_grant(world.ports, admin(world), grant.grant_id)
    with pytest.raises(Unauthenticated):
        authenticate_token(world.ports, token["access_token"])


def test_each_act_leaves_one_entry(flow):
    acts = flow.world.audit
    before = len(acts.entries)
    token = flow.sign_in()
    flow.refresh(token["refresh_token"])
    flow.post("revocation", client_id="cli", token=token["refresh_token"])
    issued = give_secret(flow.world)
    get_token(flow, issued)
    revoke_secret(flow.world.ports, admin(flow.world), flow.world.service_id, issued.secret.secret_id)
    assert [each.action for each in acts.entries[before:]] == [
        "oauth.consented",
        "oauth.granted",
        "oauth.ended.revoked",
        "oauth_secret.created",
        "oauth_secret.revoked",
    ]


def test_no_token_is_logged_even_where_all_is(flow, caplog):
    caplog.set_level(logging.DEBUG)
    token = flow.sign_in()
    flow.refresh(token["refresh_token"])
    assert token["access_token"] not in caplog.text
    assert token["refresh_token"] not in caplog.text


def test_every_advertised_value_is_exercised_somewhere_here(flow):
    """By name: a value that is added to the metadata fails here until a test shows it."""
    metadata = flow.server.build_metadata()
    assert metadata["grant_types_supported"] == [
        "authorization_code",  # test_codes, test_clients_of_others
        "refresh_token",  # test_refresh
        "client_credentials",  # here
        "urn:ietf:params:oauth:grant-type:device_code",  # test_devices
    ]
    assert metadata["token_endpoint_auth_methods_supported"] == [
        "client_secret_basic",  # here
        "client_secret_post",  # test_clients_of_others
        "none",  # test_codes
    ]
    assert metadata["revocation_endpoint_auth_methods_supported"] == [
        "client_secret_basic",
        "client_secret_post",
        "none",
    ]
    assert metadata["introspection_endpoint_auth_methods_supported"] == [
        "client_secret_basic",
        "client_secret_post",
    ]
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["response_modes_supported"] == ["query"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    issued, token = give_secret(flow.world), flow.sign_in()
    post = {"client_id": flow.world.service_id, "client_secret": issued.text}
    assert flow.post("introspection", token=token["access_token"], **post)[1]["active"]
    assert flow.post("revocation", token="x", **post)[0] == 200
    for scope in metadata["scopes_supported"]:
        assert get_token(flow, issued, scope=scope)[1]["scope"] == scope
