"""Secrets are fetched rarely, renewed in time, and an outage is bridged for a while."""

import pytest

from chalicelib.core.errors import Unavailable
from chalicelib.runtime.secrets import CACHE_MS, STALE_MS, CachedSecret
from chalicelib.runtime.settings import parse_settings
from tests.fakes.database import FakeClock


class FakeSecretsManager:
    def __init__(self):
        self.value, self.reads, self.down = "first", 0, False

    def get_secret_value(self, **_):
        self.reads += 1
        if self.down:
            raise ConnectionError
        return {"SecretString": self.value}


@pytest.fixture
def parts():
    client, clock = FakeSecretsManager(), FakeClock()
    return client, clock, CachedSecret(client, "pepper", clock)


def test_it_is_fetched_once_and_again_when_it_is_old(parts):
    client, clock, secret = parts
    assert [secret.read() for _ in range(3)] == [b"first"] * 3
    assert client.reads == 1
    client.value = "second"
    clock.advance_seconds(CACHE_MS / 1000)
    assert secret.read() == b"second"


def test_an_outage_is_bridged_with_the_last_value_for_an_hour_and_no_longer(parts):
    client, clock, secret = parts
    secret.read()
    client.down = True
    clock.advance_seconds(STALE_MS / 1000 - 1)
    assert secret.read() == b"first"
    clock.advance_seconds(1)
    with pytest.raises(Unavailable):
        secret.read()


def test_without_any_value_an_outage_is_temporary(parts):
    client, _, secret = parts
    client.down = True
    with pytest.raises(Unavailable):
        secret.read()


def test_a_setting_that_is_missing_is_named():
    with pytest.raises(ValueError, match="pepper_secret_id"):
        parse_settings({"STAGE": "x"})
