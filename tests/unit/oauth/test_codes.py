"""A code is good once, for a minute, for who asked for it."""

import pytest

from chalicelib.core.errors import Unauthenticated
from chalicelib.oauth.admission import authenticate_token
from chalicelib.oauth.model import Client, is_redirect_allowed
from tests.unit.oauth.flows import CHALLENGE, REDIRECT, VERIFIER, Flow, read_location

WEB = "https://app.example.org/callback"


@pytest.fixture
def flow(world):
    return Flow(world)


def add_client(world, kind="public", uri=WEB):
    client = Client(world.ids.new_id("oac"), world.account_id, "Web", kind, (uri,), 0)
    tx = world.db.begin()
    world.store.add(tx, client)
    tx.commit()
    return client


def test_the_answer_names_its_issuer_and_keeps_the_state(flow):
    answer = read_location(flow.authorize())
    assert (answer["iss"], answer["state"]) == (flow.world.issuer, "of the client")
    refused = read_location(flow.authorize(approve=False))
    assert refused == {
        "error": "access_denied",
        "error_description": "The resource owner or authorization server denied the request",
        "iss": flow.world.issuer,
        "state": "of the client",
    }


def test_a_second_use_is_refused_and_ends_what_the_first_gave(flow):
    code = flow.get_code()
    _, token = flow.redeem(code)
    authenticate_token(flow.world.ports, token["access_token"])
    assert flow.redeem(code) == (
        400,
        {"error": "invalid_grant", "error_description": "Invalid 'code' in request."},
    )
    with pytest.raises(Unauthenticated):
        authenticate_token(flow.world.ports, token["access_token"])
    assert flow.refresh(token["refresh_token"])[1]["error"] == "invalid_grant"


def test_of_two_uses_at_once_neither_keeps_anything(flow):
    code, got = flow.get_code(), []

    def come_between():
        flow.world.db.interlude = None
        got.append(flow.redeem(code))

    flow.world.db.interlude = come_between
    assert flow.redeem(code)[0] == 400
    status, token = got[0]
    assert status == 200
    with pytest.raises(Unauthenticated):
        authenticate_token(flow.world.ports, token["access_token"])


def test_a_code_lasts_a_minute(flow):
    code = flow.get_code()
    flow.world.clock.advance_seconds(60)
    assert flow.redeem(code)[1]["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": None},
        {"code_verifier": CHALLENGE},
        {"code_verifier": VERIFIER + "\n"},
        {"redirect_uri": WEB},
        {"redirect_uri": None},
        {"redirect_uri": REDIRECT.replace("53111", "53112")},
        {"client_id": "nobody"},
    ],
)
def test_a_code_is_of_no_use_to_anybody_else(flow, changes):
    status, body = flow.redeem(flow.get_code(), **changes)
    assert status == 400
    assert body["error"] in {"invalid_grant", "invalid_request", "invalid_client"}


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": "s256"},
        {"code_challenge": "short"},
    ],
)
def test_pkce_cannot_be_left_out_or_weakened(flow, changes):
    answer = read_location(flow.authorize(**changes))
    assert answer["error"] == "invalid_request"
    assert "code" not in answer


def test_pkce_is_asked_of_confidential_clients_too(flow):
    client = add_client(flow.world, "confidential")
    answer = read_location(
        flow.authorize(client=client, redirect=WEB, scope="rentals:read", code_challenge=None)
    )
    assert answer["error"] == "invalid_request"


@pytest.mark.parametrize("response_type", ["token", "code token", "id_token", "code id_token", "", None])
def test_nothing_but_codes_is_given_at_the_authorization_endpoint(flow, response_type):
    answer = flow.authorize(response_type=response_type)
    assert "access_token" not in answer.location
    assert "code=" not in answer.location


@pytest.mark.parametrize(
    "grant_type", ["password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", ""]
)
def test_no_other_grant_is_known(flow, grant_type):
    status, body = flow.post("token", grant_type=grant_type, username="ada", password="x", client_id="cli")
    assert (status, body["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    "given",
    [
        WEB + "/",
        WEB + "?a=b",
        WEB + "#fragment",
        WEB.replace("https", "http"),
        WEB.replace("app.", "APP."),
        "https://app.example.org/callback/../evil",
        "https://app.example.org:444/callback",
        "https://app.example.org@evil.example/callback",
        "https://evil.example/callback",
        "//app.example.org/callback",
        "javascript:alert(1)",
        WEB + "\\",
        'https://app.example.org/"',
        None,
    ],
)
def test_a_redirect_address_is_the_registered_one_or_the_browser_goes_nowhere(flow, given):
    client = add_client(flow.world)
    answer = flow.authorize(client=client, redirect=given, scope="rentals:read")
    assert (answer.status, answer.location) == (400, "")


def test_a_native_app_chooses_its_port_and_nothing_else():
    registered = ("http://127.0.0.1/callback", "http://[::1]/callback", WEB)
    for good in ("http://127.0.0.1:1/callback", "http://127.0.0.1/callback", "http://[::1]:65535/callback"):
        assert is_redirect_allowed(registered, good)
    for bad in (
        "http://localhost:1/callback",
        "http://127.0.0.1:1/callbac",
        "http://127.0.0.1:1/callback?x=1",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1:01x/callback",
        "http://127.0.0.1:080/callback",
        "http://127.0.0.1:1@evil.example/callback",
        "http://127.0.0.2:1/callback",
        "https://127.0.0.1:1/callback",
        "https://app.example.org:444/callback",
    ):
        assert not is_redirect_allowed(registered, bad), bad


def test_unknown_scopes_are_refused_and_registered_clients_name_theirs(flow):
    client = add_client(flow.world)
    for scope in ("everything", "rentals:read hosts:connect", None):
        answer = read_location(flow.authorize(client=client, redirect=WEB, scope=scope))
        assert answer["error"] == "invalid_scope"


def test_who_signed_out_before_the_code_was_redeemed_gives_nothing(flow):
    code = flow.get_code()
    flow.world.standing.sessions.clear()
    assert flow.redeem(code)[1]["error"] == "invalid_grant"


def test_no_text_of_a_code_or_a_token_is_stored(flow):
    code = flow.get_code()
    _, token = flow.redeem(code)
    flow.begin()
    kept = repr(flow.world.db.tables)
    assert code not in kept
    assert token["refresh_token"] not in kept
    assert token["access_token"] not in kept


def test_characters_that_the_protocol_does_not_know_are_no_errors_of_ours(flow):
    for text in ('"', "\\", "\x00", "é", "\n", "x" * 9000):
        for name in ("grant_type", "client_id", "redirect_uri", "scope", "code", "response_type", "state"):
            assert (
                flow.post("token", **{"grant_type": "authorization_code", "client_id": "cli", name: text})[0]
                == 400
            )
            assert flow.authorize(**{name: text}).status in {303, 400}
    for header in ("Basic", "Basic !!!", "Basic /w==", "Basic Og==", "Basic YTpi", "Bearer x"):
        assert flow.post("token", header, grant_type="client_credentials")[0] in {400, 401}
