"""Passwords: long enough, in any script, not one of those that are guessed first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidInput
from chalicelib.identity.common_gateway import FILE, is_common
from chalicelib.identity.password_gateway import ArgonHasher
from chalicelib.identity.passwords import check_password, normalise_password

OWN = ("ada.byron@example.com", "Ada Byron")


def check(password, *, second_factor=False):
    check_password(
        normalise_password(password), second_factor=second_factor, own_words=OWN, is_common=is_common
    )


def code_of(password, **options):
    with pytest.raises(InvalidInput) as refused:
        check(password, **options)
    return refused.value.code


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "a" * 7 + "b" * 8,
        "密码是一句很长的话没有人能猜到它的",
        "пароль из нескольких слов",
        "🔑" * 3 + "twelve more of it",
        "x y z " * 21,
    ],
)
def test_what_is_long_and_ones_own_is_taken_in_any_script(password):
    check(password)


def test_fifteen_characters_alone_and_eight_beside_a_second_factor():
    assert code_of("qkzv-7t!mw4x9p") == "password_too_short"
    check("qkzv-7t!mw4x9p2")
    assert code_of("qkzv-7t", second_factor=True) == "password_too_short"
    check("qkzv-7t!", second_factor=True)


@pytest.mark.parametrize("password", ["Password", "12345678", "iloveyou", "Trustno1", "PASSWORD1"])
def test_the_commonest_are_refused_however_they_are_written(password):
    assert code_of(password, second_factor=True) == "password_too_common"


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword",
        "aaaaaaaaaaaaaaaa",
        "dragon1234567890",
        "password password password",
        "monkey-monkey-monkey",
        "12345678" * 2,
    ],
)
def test_a_common_word_is_no_better_for_being_long(password):
    assert code_of(password) == "password_too_common"


@pytest.mark.parametrize(
    "password", ["adabyron-adabyron", "Provocative-Cloud", "byron@example.com", "provocative2026!"]
)
def test_ones_name_and_ours_are_no_secret(password):
    assert code_of(password) == "password_too_common"


def test_the_longest_has_128_characters_and_none_is_cut_off():
    longest = ("a good long one " * 8)[:128]
    check(longest)
    assert normalise_password(longest) == longest
    with pytest.raises(InvalidInput):
        check(longest + "x")


@pytest.mark.parametrize("character", ["\n", "\x00", "\x7f", "\ud800"])
def test_what_no_keyboard_makes_is_refused(character):
    with pytest.raises(InvalidInput):
        normalise_password(f"a long enough password{character}")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=40))
def test_a_password_is_the_same_however_the_keyboard_composes_it(text):
    import unicodedata

    assert normalise_password(unicodedata.normalize("NFD", text)) == normalise_password(
        unicodedata.normalize("NFC", text)
    )


def test_the_filter_is_what_the_script_makes():
    from infra.passwords import build_filter, read_passwords

    assert FILE.read_bytes() == build_filter(read_passwords())


def test_argon2id_is_used_with_its_parameters_and_renewed_when_they_change():
    hasher = ArgonHasher()
    digest = hasher.hash("correct horse battery staple")
    assert digest.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hasher.verify(digest, "correct horse battery staple")
    assert not hasher.verify(digest, "correct horse battery stapl")
    assert not hasher.verify(None, "\x00nobody")
    assert not hasher.verify("no digest", "x")
    assert not hasher.is_outdated(digest)
    assert hasher.is_outdated(ArgonHasher(1, 8_192).hash("x"))


@pytest.mark.slow
def test_nobodys_password_takes_as_long_as_somebodys():
    import statistics
    import time

    hasher = ArgonHasher()
    digest = hasher.hash("correct horse battery staple")

    def measure(stored):
        begin = time.process_time()
        hasher.verify(stored, "a wrong password")
        return time.process_time() - begin

    # Taken in turn, so that a busy machine slows both. The medians differ by less than a fifth.
    pairs = [(measure(digest), measure(None)) for _ in range(25)]
    somebody, nobody = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert abs(somebody - nobody) < 0.2 * somebody
