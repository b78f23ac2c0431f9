"""The authorization server as it is deployed: its table, its keys in KMS, its list of keys, its refusals."""

import json

import httpx
import jwt as pyjwt
import pytest

from chalicelib import wiring
from chalicelib.core.errors import Unavailable
from chalicelib.oauth.granting import end_grant, open_grant, sign_for_person
from chalicelib.oauth.model import Consent, Grant
from chalicelib.oauth.signing import rotate_signing_keys
from infra.local.cloud import EmbeddedCloud
from tests.integration.in_process import wire_to
from tests.integration.waiting import wait_for


def make_grant(ports, user_id):
    consent = Consent(user_id, "acc_" + "1" * 26, "all", 1, ports.clock.now_ms(), ("pwd",), "ses_1")
    return open_grant(ports, ports.ids.new_id("ogr"), "cli", consent)[0]


def test_a_token_is_signed_in_kms_and_good_by_the_list_that_the_api_publishes(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        ports = wiring.oauth_ports()
        rotate_signing_keys(ports)
        assert rotate_signing_keys(ports).made == 0
        token = sign_for_person(ports, make_grant(ports, "usr_" + "1" * 26), "all")
    metadata = httpx.get(f"{cloud.api_url}/.well-known/oauth-authorization-server").json()
    assert metadata["issuer"] == cloud.api_url
    keys = httpx.get(metadata["jwks_uri"]).json()
    key = pyjwt.PyJWKSet.from_dict(keys)[pyjwt.get_unverified_header(token)["kid"]]
    claims = pyjwt.decode(token, key, ["ES256"], audience=cloud.api_url, issuer=cloud.api_url)
    # It is ours, and its grant was never stored.
    answer = httpx.get(f"{cloud.api_url}/v1/oauth-clients", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert claims["sub"] == "usr_" + "1" * 26


def test_a_device_begins_and_waits_over_http(cloud: EmbeddedCloud) -> None:
    begun = httpx.post(f"{cloud.api_url}/oauth/device_authorization", data={"client_id": "cli"}).json()
    asked = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": begun["device_code"],
        "client_id": "cli",
    }
    answer = httpx.post(f"{cloud.api_url}/oauth/token", data=asked)
    assert (answer.status_code, answer.json()) == (400, {"error": "authorization_pending"})
    assert httpx.get(begun["verification_uri"]).status_code == 303


def test_records_are_what_was_stored_and_only_the_newest_is_replaced(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        ports = wiring.oauth_ports()
        user_id = ports.ids.new_id("usr")
        grant = make_grant(ports, user_id)
        tx = wiring.system.start_transaction()
        ports.store.add(tx, grant)
        tx.commit()
        stored = ports.store.get(Grant, grant.grant_id)
        assert stored is not None
        assert json.dumps(stored.consent.methods) == '["pwd"]'
        again = wiring.system.start_transaction()
        ports.store.add(again, grant)
        with pytest.raises(Unavailable):
            again.commit()
        end_grant(ports, grant.grant_id, user_id, "revoked")
        late = wiring.system.start_transaction()
        ports.store.replace(late, stored)
        with pytest.raises(Unavailable):
            late.commit()
        page = wait_for(lambda: ports.store.list_grants(user_id, 10, None), lambda found: bool(found.items))
        assert [each.grant_id for each in page.items] == [grant.grant_id]
