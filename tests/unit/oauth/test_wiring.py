"""One header for keys and tokens: which of both it is shows in its first three letters."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import wiring
from chalicelib.accounts.standing import Standings
from chalicelib.core.errors import Unauthenticated
from chalicelib.oauth.admission import authenticate_token
from tests.fakes.cloud import FakeCloud
from tests.fakes.oauth import AuthorizationWorld
from tests.fakes.wiring import rewire
from tests.unit.oauth.test_admission import give_token

WORLD = AuthorizationWorld()
GOOD = give_token(WORLD)[1]


def test_a_key_goes_to_the_keys_and_all_else_to_the_tokens(world, monkeypatch):
    standings = Standings(SimpleNamespace(get_account=lambda _: None), world.clock.now_ms)
    rewire(monkeypatch, oauth_ports=world.ports, account_ports=FakeCloud().accounts, standings=standings)
    _, token = give_token(world)
    assert wiring.authenticate(token).actor_id == world.user_id
    world.forget_reads()
    for text in ("pc_live_x", "pc_", "PC_live", "nonsense", "Bearer", "a.b.c"):
        with pytest.raises(Unauthenticated):
            wiring.authenticate(text)
    assert world.count_reads() == 0


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_a_token_is_more_than_a_refusal(data):
    text = list(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.sampled_from([*"abcABC019-_.=+/ ", "\x00", "é", ""]))
    changed = "".join(text)
    if changed == GOOD:
        return
    with pytest.raises(Unauthenticated):
        authenticate_token(WORLD.ports, changed)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_text_is_more_than_a_refusal(text):
    with pytest.raises(Unauthenticated):
        authenticate_token(WORLD.ports, text)
