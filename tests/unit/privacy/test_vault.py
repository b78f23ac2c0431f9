"""A person's key: what it seals opens for that person and field alone, and never after it was destroyed."""

import base64
import io
import itertools

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import Conflict, NotFound, Unavailable
from chalicelib.privacy.cipher_gateway import KEY_BYTES, AesGcm
from chalicelib.privacy.kms_gateway import KmsKeyService
from chalicelib.privacy.model import BrokenSeal, PersonKey
from chalicelib.privacy.vault import CACHED_MS, MAX_CACHED, Vault, bind_seal
from tests.fakes.database import FakeClock
from tests.fakes.privacy import FakeKeyService, FakeVault, MemoryPersonKeys

ANA, BEN = "usr_ana", "usr_ben"


class Place:
    """One process with a vault; ``again`` is another process on the same table."""

    def __init__(self, keys=None, clock=None):
        self.keys = keys or MemoryPersonKeys()
        self.clock = clock or FakeClock()
        self.service = FakeKeyService()
        self.vault = Vault(self.keys, self.service, AesGcm(), self.clock)

    def again(self):
        return Place(self.keys, self.clock)


@pytest.fixture
def place():
    made = Place()
    made.vault.ensure_key(ANA)
    return made


@given(text=st.text(max_size=300), field=st.text(max_size=30))
def test_what_is_sealed_opens_to_the_same_text(text, field):
    place = Place()
    place.vault.ensure_key(ANA)
    sealed = place.vault.seal(ANA, field, text)
    assert place.again().vault.open(ANA, field, sealed) == text


def test_a_seal_opens_for_no_other_field_and_no_other_person(place):
    place.vault.ensure_key(BEN)
    sealed = place.vault.seal(ANA, "email", "ana@example.com")
    for person, field in ((ANA, "name"), (BEN, "email")):
        with pytest.raises(BrokenSeal):
            place.vault.open(person, field, sealed)


def test_a_person_and_a_field_do_not_run_into_each_other():
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "")]
    assert len({bind_seal(*pair) for pair in pairs}) == len(pairs)


def test_every_change_of_a_sealed_text_is_noticed(place):
    sealed = place.vault.seal(ANA, "email", "ana@example.com")
    raw = bytearray(base64.urlsafe_b64decode(sealed[3:] + "=" * (-len(sealed[3:]) % 4)))
    for position in range(len(raw)):
        changed = raw.copy()
        changed[position] ^= 1
        with pytest.raises(BrokenSeal):
            place.vault.open(ANA, "email", "v1." + base64.urlsafe_b64encode(changed).decode())
    for broken in ("", "v1.", "v1.AAAA", "v2." + sealed[3:], sealed[3:], "v1.é", "ana@example.com"):
        with pytest.raises(BrokenSeal):
            place.vault.open(ANA, "email", broken)


def test_the_same_text_is_never_sealed_to_the_same(place):
    sealed = [place.vault.seal(ANA, "email", "ana@example.com") for _ in range(200)]
    assert len(set(sealed)) == 200
    # Three letters alone come about by chance, once in some twenty runs.
    assert not any("ana@" in each or "example" in each for each in sealed)


def test_a_destroyed_key_opens_nothing_and_is_never_made_again(place):
    sealed = place.vault.seal(ANA, "email", "ana@example.com")
    place.vault.destroy_key(ANA)
    assert place.vault.open(ANA, "email", sealed) is None
    assert place.again().vault.open(ANA, "email", sealed) is None
    with pytest.raises(NotFound):
        place.vault.seal(ANA, "email", "ana@example.com")
    for each in (place, place.again()):
        with pytest.raises(Conflict):
            each.vault.ensure_key(ANA)
    assert place.keys.rows[ANA].wrapped is None


def test_destroying_again_changes_nothing_and_a_person_without_a_key_never_gets_one(place):
    place.vault.destroy_key(ANA)
    first = place.keys.rows[ANA]
    place.clock.advance_seconds(60)
    place.vault.destroy_key(ANA)
    assert place.keys.rows[ANA] == first
    place.vault.destroy_key(BEN)
    with pytest.raises(Conflict):
        place.vault.ensure_key(BEN)


def test_elsewhere_a_destroyed_key_is_gone_within_a_minute(place):
    other = place.again()
    sealed = place.vault.seal(ANA, "email", "ana@example.com")
    assert other.vault.open(ANA, "email", sealed) == "ana@example.com"
    place.vault.destroy_key(ANA)
    place.clock.value_ms += CACHED_MS - 1
    assert other.vault.open(ANA, "email", sealed) == "ana@example.com"
    place.clock.value_ms += 1
    assert other.vault.open(ANA, "email", sealed) is None


def test_using_a_key_does_not_prolong_how_long_it_is_kept(place):
    other = place.again()
    sealed = place.vault.seal(ANA, "email", "ana@example.com")
    place.clock.value_ms += 1
    for _ in range(6):
        other.vault.open(ANA, "email", sealed)
        place.clock.value_ms += CACHED_MS // 6
    place.vault.destroy_key(ANA)
    assert other.vault.open(ANA, "email", sealed) is None


def test_many_seals_cost_one_call_and_the_cache_is_bounded(place):
    other = place.again()
    sealed = place.vault.seal(ANA, "email", "ana@example.com")
    for _ in range(50):
        other.vault.open(ANA, "email", sealed)
    assert other.service.unwrapped == 1
    for number in range(MAX_CACHED):
        other.vault.ensure_key(f"usr_{number}")
    other.vault.open(ANA, "email", sealed)
    assert other.service.unwrapped == 2


def test_two_that_make_a_persons_key_at_once_end_with_one_key(place):
    """The other comes between the read and the write; what it sealed still opens."""
    other, sealed = place.again(), []
    other.service.made = 100

    class Late(MemoryPersonKeys):
        def add_key(self, key):
            other.vault.ensure_key(BEN)
            sealed.append(other.vault.seal(BEN, "email", "ben@example.com"))
            return super().add_key(key)

    late = Place(Late(place.keys.rows), place.clock)
    late.vault.ensure_key(BEN)
    assert late.vault.open(BEN, "email", sealed[0]) == "ben@example.com"


def test_a_key_destroyed_while_it_is_made_stays_destroyed(place):
    class Late(MemoryPersonKeys):
        def add_key(self, key):
            place.vault.destroy_key(key.user_id)
            return super().add_key(key)

    with pytest.raises(Conflict):
        Place(Late(place.keys.rows), place.clock).vault.ensure_key(BEN)


def test_a_key_of_the_wrong_length_seals_nothing():
    with pytest.raises(ValueError, match="128, 192, or 256"):
        AesGcm().encrypt(b"x" * (KEY_BYTES - 1), b"", b"")


class Kms:
    def __init__(self, error=None):
        self.calls, self.error = [], error

    def _note(self, **call):
        if self.error is not None:
            raise self.error
        self.calls.append(call)
        return {"Plaintext": b"k" * KEY_BYTES, "CiphertextBlob": io.BytesIO(b"wrapped").getvalue()}

    generate_data_key = decrypt = _note


def test_kms_binds_a_key_to_its_person():
    kms = Kms()
    service = KmsKeyService(lambda: kms, "alias/persons")
    assert service.make_key(ANA) == (b"k" * KEY_BYTES, b"wrapped")
    service.unwrap_key(ANA, b"wrapped")
    context = {"KeyId": "alias/persons", "EncryptionContext": {"user_id": ANA}}
    assert kms.calls == [
        {**context, "KeySpec": "AES_256"},
        {**context, "CiphertextBlob": b"wrapped"},
    ]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException"}}, "Decrypt"),
        EndpointConnectionError(endpoint_url=""),
    ],
)
def test_a_kms_that_does_not_answer_is_unavailable(error):
    service = KmsKeyService(lambda: Kms(error), "alias/persons")
    for call in (lambda: service.make_key(ANA), lambda: service.unwrap_key(ANA, b"")):
        with pytest.raises(Unavailable):
            call()


@pytest.mark.parametrize("acts", list(itertools.permutations(("ensure", "destroy", "destroy"))))
def test_the_fake_keeps_the_same_rules(acts):
    def play(vault):
        outcomes = []
        for act in acts:
            try:
                (vault.ensure_key if act == "ensure" else vault.destroy_key)(ANA)
                outcomes.append(vault.open(ANA, "f", vault.seal(ANA, "f", "text")))
            except (Conflict, NotFound) as error:
                outcomes.append(type(error))
        return outcomes

    assert play(FakeVault()) == play(Place().vault)


def test_a_wrapped_key_is_a_row_of_its_own(place):
    assert place.keys.rows == {ANA: PersonKey(ANA, place.keys.rows[ANA].wrapped, place.clock.now_ms())}
