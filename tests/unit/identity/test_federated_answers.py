"""A provider's answer is taken once, for us, now, and signed by its own key."""

import http.server
import threading

import pytest

from chalicelib.core.errors import Unavailable
from chalicelib.identity.oidc_gateway import MAX_BYTES, JsonSender
from tests.unit.identity.provider import ISSUER, other_key, public_text, rsa_key
from tests.unit.identity.test_federating import Federation, code_of


@pytest.fixture
def world():
    return Federation()


def test_an_answer_is_taken_once_in_time_and_from_the_browser_that_asked(world):
    leaving = world.leave()
    assert code_of(world.come_back, leaving, kept=None) == "link_expired"
    assert code_of(world.come_back, leaving, kept="another") == "link_expired"
    assert code_of(world.come_back, leaving, state="another") == "link_expired"
    world.come_back(leaving)
    assert code_of(world.come_back, leaving) == "link_expired"
    late = world.leave()
    world.people.clock.advance_seconds(600)
    assert code_of(world.come_back, late) == "link_expired"


def test_an_answer_of_another_issuer_is_refused(world):
    assert code_of(world.come_back, world.leave(), issuer="https://evil.example") == "provider_refused"
    world.come_back(world.leave(), issuer=ISSUER)


def test_a_code_is_worth_nothing_with_another_states_proof(world):
    stolen, _ = world.idp.authorize(world.leave().url)
    assert code_of(world.come_back, world.leave(), code=stolen) == "provider_refused"


@pytest.mark.parametrize(
    "said",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"aud": ["client", "another"]},
        {"azp": "another client"},
        {"exp": 1},
        {"iat": 4_000_000_000},
        {"nonce": "another"},
        {"sub": ""},
        {"sub": 7},
        {"at_hash": "wrong"},
    ],
)
def test_an_id_token_that_is_not_for_us_now_is_refused(world, said):
    world.idp.claims = said
    assert code_of(world.sign_in) == "provider_refused"


@pytest.mark.parametrize("missing", ["iss", "sub", "aud", "exp", "iat", "nonce"])
def test_an_id_token_that_says_less_is_refused(world, missing):
    world.idp.drop = (missing,)
    assert code_of(world.sign_in) == "provider_refused"


def test_a_signature_of_another_key_or_by_another_algorithm_is_refused(world):
    world.idp.key = other_key()
    assert code_of(world.sign_in) == "provider_refused"
    world.idp.key, world.idp.header = rsa_key(), {"alg": "RS256"}
    assert code_of(world.sign_in) == "provider_refused"
    world.idp.key, world.idp.header = public_text(world.idp.keys), {"alg": "HS256"}
    assert code_of(world.sign_in) == "provider_refused"
    world.idp.key = b"its secret"
    assert code_of(world.sign_in) == "provider_refused"
    world.idp.key, world.idp.header = None, {"alg": "none"}
    assert code_of(world.sign_in) == "provider_refused"


def test_metadata_and_keys_are_kept_and_keys_read_again_when_they_turned(world):
    world.sign_in()
    world.sign_in()
    assert [url for _, url in world.idp.requests].count(f"{ISSUER}/keys") == 1
    world.idp.turn_keys()
    world.sign_in()
    assert [url for _, url in world.idp.requests].count(f"{ISSUER}/keys") == 2


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://idp.example/token"},
        {"jwks_uri": "http://idp.example/keys"},
        {"authorization_endpoint": None},
    ],
)
def test_metadata_of_another_issuer_or_without_tls_is_refused(world, change):
    world.idp.metadata |= change
    with pytest.raises(Unavailable):
        world.leave()


class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path != "/moved" else 302)
        self.send_header("Location", "/")
        self.end_headers()
        self.wfile.write(b"x" * (MAX_BYTES + 1 if self.path == "/large" else 2))

    def log_message(self, *arguments):
        pass


def test_http_is_bounded_follows_nothing_and_goes_without_tls_to_this_machine_alone():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, send = f"http://127.0.0.1:{server.server_port}", JsonSender(loopback=True)
    try:
        assert send("GET", f"{url}/", {}, None) == b"xx"
        for path in ("/large", "/moved"):
            with pytest.raises(Unavailable):
                send("GET", url + path, {}, None)
        with pytest.raises(Unavailable):
            JsonSender()("GET", f"{url}/", {}, None)
        with pytest.raises(Unavailable):
            send("GET", "http://localhost/", {}, None)
        times = iter([0.0, 100.0])
        with pytest.raises(Unavailable):
            JsonSender(loopback=True, now=lambda: next(times))("GET", f"{url}/", {}, None)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(Unavailable):
        send("GET", f"{url}/", {}, None)
