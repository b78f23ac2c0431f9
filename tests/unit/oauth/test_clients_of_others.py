"""Clients that nobody here wrote speak to the server: over HTTP, by what its metadata says."""

import json
import time

import httpx
import jwt as pyjwt
import pytest
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2 import rfc8414, rfc9207
from jwcrypto import jwk as jwcrypto_jwk
from jwcrypto import jwt as jwcrypto_jwt
from oauthlib.oauth2 import BackendApplicationClient, DeviceClient
from requests_oauthlib import OAuth2Session as RequestsSession

from chalicelib.core.principal import Principal
from chalicelib.oauth.service import RegisterClient, create_secret, register_client
from tests.unit.oauth.site import read_answer

REDIRECT = "http://127.0.0.1:53111/callback"
WEB = "https://app.example.org/callback"


@pytest.fixture(autouse=True)
def plain_http(monkeypatch):
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def metadata(site):
    return httpx.get(f"{site.url}/.well-known/oauth-authorization-server").json()


def admin_of(site):
    granted = site.world.ports.permissions["renter"]
    return Principal(site.world.account_id, "renter", site.world.user_id, granted, user_id=site.world.user_id)


def register(site, kind="confidential"):
    return register_client(site.world.ports, admin_of(site), RegisterClient("Notebook", kind, (WEB,)))


def ask_api(site, token):
    answer = httpx.get(f"{site.url}/v1/oauth-clients", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


def test_authlibs_client_gets_tokens_by_code_and_pkce_and_refreshes_them(site, browser, metadata):
    verifier = generate_token(48)
    with AuthlibSession(
        "cli", redirect_uri=REDIRECT, code_challenge_method="S256", token_endpoint_auth_method="none"
    ) as session:
        link, state = session.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=verifier
        )
        back = browser.consent(link)
        assert back.startswith(REDIRECT)
        assert read_answer(back)["iss"] == metadata["issuer"] == site.url
        token = session.fetch_token(
            metadata["token_endpoint"], authorization_response=back, code_verifier=verifier, state=state
        )
        assert ask_api(site, token["access_token"]) == 200
        fresh = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert fresh["refresh_token"] != token["refresh_token"]
    assert ask_api(site, fresh["access_token"]) == 200


def test_requests_oauthlib_does_the_same_for_a_confidential_client(site, browser, metadata):
    client, issued = register(site)
    with RequestsSession(
        client.client_id, redirect_uri=WEB, scope=["oauth-clients:read"], pkce="S256"
    ) as session:
        link, _ = session.authorization_url(metadata["authorization_endpoint"])
        back = browser.consent(link)
        token = session.fetch_token(
            metadata["token_endpoint"], authorization_response=back, client_secret=issued.text
        )
        assert token["scope"] == ["oauth-clients:read"]
        assert ask_api(site, token["access_token"]) == 200
        fresh = session.refresh_token(metadata["token_endpoint"], auth=(client.client_id, issued.text))
    assert ask_api(site, fresh["access_token"]) == 200


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlibs_client_gets_a_programs_token(site, metadata, method):
    issued = create_secret(site.world.ports, admin_of(site), site.world.service_id)
    with AuthlibSession(
        site.world.service_id, issued.text, token_endpoint_auth_method=method, scope="oauth-clients:read"
    ) as session:
        token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert "refresh_token" not in token
    assert ask_api(site, token["access_token"]) == 200


def test_requests_oauthlib_gets_a_programs_token(site, metadata):
    issued = create_secret(site.world.ports, admin_of(site), site.world.service_id)
    with RequestsSession(client=BackendApplicationClient(site.world.service_id)) as session:
        token = session.fetch_token(metadata["token_endpoint"], client_secret=issued.text)
    assert ask_api(site, token["access_token"]) == 200


def test_a_device_gets_its_tokens_by_oauthlibs_device_client(site, browser, metadata):
    client = DeviceClient("cli")
    begun = httpx.post(metadata["device_authorization_endpoint"], data={"client_id": "cli"}).json()
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert begun["verification_uri"] == f"{site.url}/device"
    assert "verification_uri_complete" not in begun

    def poll():
        body = client.prepare_request_body(begun["device_code"], include_client_id=True)
        answer = httpx.post(
            metadata["token_endpoint"],
            content=body,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        return answer.status_code, answer.json()

    assert poll() == (400, {"error": "authorization_pending"})
    assert poll() == (400, {"error": "slow_down"})
    page = browser.enter(begun["user_code"]).text
    assert "203.0.113.7" in page
    assert "Provocative command line" in page
    assert "Connected" in browser.connect(begun["user_code"]).text
    site.world.clock.advance_seconds(5)
    status, token = poll()
    assert status == 200
    client.parse_request_body_response(json.dumps(token))
    assert ask_api(site, client.access_token) == 200


def test_pyjwt_and_jwcrypto_verify_our_tokens_by_the_published_keys(site, metadata):
    issued = create_secret(site.world.ports, admin_of(site), site.world.service_id)
    # They read the real clock.
    site.world.clock.value_ms = int(time.time() * 1000)
    with RequestsSession(client=BackendApplicationClient(site.world.service_id)) as session:
        token = session.fetch_token(metadata["token_endpoint"], client_secret=issued.text)["access_token"]
    with httpx.Client() as http:
        keys = http.get(metadata["jwks_uri"]).text
    found = pyjwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
    claims = pyjwt.decode(token, found.key, algorithms=["ES256"], audience=site.url, issuer=site.url)
    assert claims["sub"] == site.world.service_id
    assert pyjwt.get_unverified_header(token)["typ"] == "at+jwt"
    read = jwcrypto_jwt.JWT(algs=["ES256"], check_claims={"iss": site.url, "aud": site.url})
    read.deserialize(token, jwcrypto_jwk.JWKSet.from_json(keys))
    assert json.loads(read.claims) == claims


def test_the_metadata_is_well_formed(metadata, site):
    checked = rfc8414.AuthorizationServerMetadata({name: _secure(value) for name, value in metadata.items()})
    checked.validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    assert "id_token_signing_alg_values_supported" not in metadata


def _secure(value):
    # It asks for HTTPS, which loopback has not.
    return value.replace("http://", "https://") if isinstance(value, str) else value
