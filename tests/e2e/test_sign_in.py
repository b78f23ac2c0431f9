"""A person in Chromium: from the sign-up to the sign-in with a code, and with a passkey."""

import json
import threading
import time
from urllib.request import urlopen

import httpx
import pyotp
import pytest

from infra.local.cloud import EmbeddedCloud
from tests.e2e.browser import Camera, give_passkeys, open_browser
from tests.fakes.events import TICK
from tests.unit.identity.people import PASSWORD, People
from tests.unit.identity.server import rewire_pages, start_server

EMAIL = "ada@example.com"


def read_link(cloud: EmbeddedCloud, to: str) -> str:
    """The link of the newest mail to an address, from what the embedded cloud keeps."""
    with urlopen(f"{cloud.server.endpoint_url}/_ministack/ses/messages") as answer:
        by_account = json.load(answer)["messages"]
    sent = [mail for mails in by_account.values() for mail in mails if mail["To"] == [to]]
    newest = max(sent, key=lambda mail: mail["Timestamp"])
    return next(word for word in newest["BodyText"].split() if "token=" in word)


def next_code(secret: str) -> str:
    """The code that comes next in an app: each is taken once, and half a minute early too."""
    return pyotp.TOTP(secret).at(int(time.time()) + 30)


def test_a_person_signs_up_sets_up_an_app_and_signs_in_with_a_code(cloud: EmbeddedCloud):
    base = cloud.api_url
    with open_browser() as context:
        page = context.new_page()
        camera = Camera(page, "sign-in")
        page.goto(f"{base}/signup")
        camera.take("sign-up")
        page.fill("#name", "Ada Byron")
        page.fill("#email", EMAIL)
        page.fill("#password", PASSWORD)
        page.click("button:text-is('Create an account')")
        page.wait_for_url("**/signup/sent")
        camera.take("sent")
        link = read_link(cloud, EMAIL)
        assert link.startswith(f"{base}/verify?token=")
        page.goto(link)
        page.fill("#password", PASSWORD)
        camera.take("verify")
        page.click("button:text-is('Confirm the address')")
        page.wait_for_url("**/account")
        camera.take("account")
        page.click("text=Set up an app")
        page.click("button:text-is('Set it up')")
        camera.take("app")
        secret = page.inner_text("p.code").replace(" ", "")
        page.fill("#code", pyotp.TOTP(secret).now())
        page.click("button:text-is('Confirm')")
        camera.take("codes")
        assert page.locator("ul.code li").count() == 10
        page.click("text=I have kept them")
        page.click("button:text-is('Sign out')")
        page.wait_for_url("**/signin?**")
        page.fill("#email", EMAIL)
        page.fill("#password", PASSWORD)
        camera.take("sign-in")
        page.click("button:text-is('Sign in')")
        page.wait_for_url("**/signin/code")
        camera.take("code")
        page.fill("#code", next_code(secret))
        page.click("button:text-is('Go on')")
        page.wait_for_url("**/account")
        camera.take("signed-in")
        assert "Ada Byron" in page.content()
        page.click("text=Your organisations")
        page.fill("#name", "Ada's lab")
        page.click("button:text-is('Create it')")
        page.wait_for_url("**/account/organisations?notice=created")
        camera.take("organisation")
        make_signing_key(cloud)
        begun = httpx.post(f"{base}/oauth/device_authorization", data={"client_id": "cli"}, timeout=60).json()
        page.goto(begun["verification_uri"])
        page.fill("#user_code", begun["user_code"])
        camera.take("device")
        page.click("button:text-is('Go on')")
        page.wait_for_selector("button:text-is('Allow')")
        camera.take("device-consent")
        page.click("button:text-is('Allow')")
        page.wait_for_selector("button:text-is('Allow')", state="detached")
        camera.take("device-allowed")
        assert camera.complaints == []
    asked = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": begun["device_code"],
        "client_id": "cli",
    }
    given = httpx.post(f"{base}/oauth/token", data=asked, timeout=60)
    assert given.status_code == 200, given.text
    me = httpx.get(
        f"{base}/v1/me", headers={"Authorization": f"Bearer {given.json()['access_token']}"}, timeout=60
    )
    assert (me.status_code, me.json()["role"]) == (200, "owner"), me.text


def make_signing_key(cloud: EmbeddedCloud) -> None:
    """What the schedule does within an hour of a stage's first day."""
    client = cloud.aws.client("lambda")
    pages = client.get_paginator("list_functions").paginate()
    (name,) = (
        each["FunctionName"]
        for page in pages
        for each in page["Functions"]
        if "-RotateSigningKeys-" in each["FunctionName"]
    )
    answer = client.invoke(FunctionName=name, Payload=json.dumps(TICK).encode())
    assert "FunctionError" not in answer, answer["Payload"].read().decode()


def test_a_passkey_is_made_and_signs_in_alone(monkeypatch: pytest.MonkeyPatch):
    """On this machine's name, as an address has no passkeys."""
    people = People()
    people.clock.now_ms = lambda: int(time.time() * 1000)
    rewire_pages(monkeypatch, people)
    server = start_server(people)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    secret, _ = people.enrol(people.sign_up())
    try:
        with open_browser() as context:
            page = context.new_page()
            camera = Camera(page, "passkeys")
            give_passkeys(page)
            page.goto(f"{people.public_url}/signin")
            page.fill("#email", EMAIL)
            page.fill("#password", PASSWORD)
            page.click("button:text-is('Sign in')")
            page.fill("#code", people.code(secret, 1))
            page.click("button:text-is('Go on')")
            page.click("button:text-is('Add a passkey')")
            camera.take("new")
            page.click("#ask")
            page.wait_for_url("**/account?notice=passkey")
            camera.take("account")
            page.click("button:text-is('Sign out')")
            page.click("button:text-is('Use a passkey')")
            camera.take("ask")
            page.click("#ask")
            page.wait_for_url("**/account")
            assert camera.complaints == []
    finally:
        server.shutdown()
        server.server_close()
    assert list(people.db.table("sessions").values())[-1].methods == {"hwk"}
