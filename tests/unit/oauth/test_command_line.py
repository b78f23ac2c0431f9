"""The command line signs in by the device flow, keeps its tokens to itself, refreshes them and ends them."""

import base64
import json
import stat
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chalicelib.core.errors import Unauthenticated
from chalicelib.oauth.admission import authenticate_token
from provocative.cli.app import run
from provocative.cli.failures import find_hint
from provocative.cli.session import Surroundings
from provocative.errors import ApiError


def read_claims(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


class Desk:
    """A person with a terminal and a browser. Whenever the terminal waits, time passes and they act."""

    def __init__(self, site, browser, home, capsys):
        self.site, self.browser, self.capsys = site, browser, capsys
        self.environ = {"XDG_CONFIG_HOME": str(home)}
        self.path = home / "provocative" / "credentials.json"
        self.decision, self.told = "approve", ""

    def read_now(self):
        return datetime.fromtimestamp(self.site.world.clock.now_ms() / 1000, UTC)

    def sleep(self, seconds):
        self.site.world.clock.advance_seconds(seconds)
        self.told += self.capsys.readouterr().err
        if self.decision and "and type " in self.told:
            code = self.told.rpartition("and type ")[2].split()[0]
            self.browser.connect(code, self.decision)
            self.decision = None

    def run(self, *arguments):
        around = Surroundings(environ=self.environ, sleep=self.sleep, draw=lambda: 0.5, now=self.read_now)
        code = run(list(arguments), around)
        shown = self.capsys.readouterr()
        self.told += shown.err
        return code, shown.out

    def sign_in_again(self):
        """In the browser, as the page asks."""
        world = self.site.world
        again = replace(world.session, authenticated_at_ms=world.clock.now_ms())
        world.standing.sessions[world.session.session_id] = again

    @property
    def profile(self):
        return json.loads(self.path.read_text())["profiles"]["default"]


@pytest.fixture
def desk(site, browser, tmp_path, capsys, monkeypatch):
    from tests.fakes.cloud import FakeCloud
    from tests.fakes.wiring import rewire

    rewire(monkeypatch, account_ports=FakeCloud().accounts)
    return Desk(site, browser, tmp_path, capsys)


def test_a_person_signs_in_by_a_browser_and_the_tokens_are_theirs_alone(desk):
    code, out = desk.run("login", "--url", desk.site.url, "--device")
    assert (code, out) == (0, "Signed in; profile 'default'.\n"), desk.told
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600
    assert desk.profile["api_key"] not in out + desk.told
    assert desk.run("keys")[0] == 0, desk.told


def test_a_fresh_sign_in_has_the_page_ask_and_comes_to_later_tokens(desk):
    desk.run("login", "--url", desk.site.url, "--device")
    before = read_claims(desk.profile["api_key"])["auth_time"]
    desk.site.world.clock.advance_seconds(600)
    desk.decision, desk.told = "approve", ""
    desk.sign_in_again()
    assert desk.run("login", "--fresh")[0] == 0, desk.told
    assert f"Open {desk.site.url}/device?max_age=60\n" in desk.told
    assert read_claims(desk.profile["api_key"])["auth_time"] >= before + 600
    refused = ApiError(status=403, code="step_up_needed", detail="Sign in again.")
    assert "provocative login --fresh" in str(find_hint(refused))


def test_tokens_are_refreshed_before_they_expire_and_kept(desk):
    desk.run("login", "--url", desk.site.url, "--device")
    before = desk.profile
    desk.site.world.clock.advance_seconds(3600)
    assert desk.run("keys")[0] == 0, desk.told
    assert desk.profile["refresh_token"] != before["refresh_token"]
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600
    after = desk.profile
    desk.run("keys")
    assert desk.profile == after


def test_a_refusal_keeps_nothing(desk):
    desk.decision = "deny"
    code, _ = desk.run("login", "--url", desk.site.url, "--device")
    assert code != 0
    assert not desk.path.exists()


def test_a_code_that_nobody_types_runs_out(desk):
    desk.decision = None
    assert desk.run("login", "--url", desk.site.url, "--device")[0] != 0
    assert not desk.path.exists()


def test_logging_out_ends_the_tokens_themselves(desk):
    desk.run("login", "--url", desk.site.url, "--device")
    token = desk.profile["api_key"]
    assert desk.run("logout")[0] == 0
    with pytest.raises(Unauthenticated):
        authenticate_token(desk.site.world.ports, token)
    assert json.loads(desk.path.read_text())["profiles"] == {}


def test_a_sign_in_that_is_over_says_so(desk):
    desk.run("login", "--url", desk.site.url, "--device")
    desk.site.world.clock.advance_seconds(31 * 86_400)
    code, _ = desk.run("keys")
    assert code != 0
    assert "invalid_grant" in desk.told or "log" in desk.told
