"""What a password must be: NIST SP 800-63B-4, section 3.1.1.2. No rules of composition, no rotation."""

import re
import unicodedata
from collections.abc import Callable, Iterable

from chalicelib.core.errors import InvalidInput

#: Where it is the only factor, and where a second one is asked for.
MIN_ALONE = 15
MIN_WITH_SECOND_FACTOR = 8
MAX_LENGTH = 128
PRODUCT_WORDS = ("provocative", "provocativecloud", "gpurental")
#: Shorter parts of names are in many good passwords by chance.
MIN_WORD = 4
#: Characters that must be left when the words that anybody could guess are taken out.
MIN_OWN = 8


def normalise_password(text: str) -> str:
    """Return the form that is hashed: the same keys give the same text on every system.

    NFKC, as SP 800-63B-4 lets a verifier choose; nothing is cut off and no space is removed.

    Raises:
        InvalidInput: ``invalid_password``: too long, or it holds characters that no keyboard makes.
    """
    # What is typed is measured first: normalising takes time in the square of a text's length.
    password = unicodedata.normalize("NFKC", text) if len(text) <= MAX_LENGTH else text
    if len(password) > MAX_LENGTH:
        raise InvalidInput(f"A password has {MAX_LENGTH} characters at most.", code="invalid_password")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Cn"} for character in password):
        raise InvalidInput("A password holds no control characters.", code="invalid_password")
    return password


def check_password(
    password: str, *, second_factor: bool, own_words: Iterable[str], is_common: Callable[[str], bool]
) -> None:
    """Refuse what is guessed first. ``password`` is normalised.

    Raises:
        InvalidInput: ``password_too_short``, ``password_too_common``.
    """
    least = MIN_WITH_SECOND_FACTOR if second_factor else MIN_ALONE
    if len(password) < least:
        hint = "" if second_factor else " Several words are easy to remember."
        raise InvalidInput(
            f"Choose a password of at least {least} characters.{hint}", code="password_too_short"
        )
    plain = password.casefold()
    if any(is_common(each) for each in _list_shapes(plain)):
        raise InvalidInput(
            "This password is one of those that are guessed first.", code="password_too_common"
        )
    words = _list_words([*PRODUCT_WORDS, *own_words])
    left = plain
    for word in sorted(words, key=len, reverse=True):
        left = left.replace(word, "")
    if left != plain and len(left) < MIN_OWN:
        raise InvalidInput(
            "This password is little more than your name, your address or ours.", code="password_too_common"
        )


def is_long_enough_alone(password: str) -> bool:
    return len(password) >= MIN_ALONE


def _list_shapes(plain: str) -> set[str]:
    """The password, without what is hung on to it, and one turn of what it repeats."""
    joined = re.sub(r"[\W_]+", "", plain)
    core = re.sub(r"^[\W\d_]+|[\W\d_]+$", "", plain)
    shapes = {plain, joined, *({core} if len(core) >= MIN_WORD else ())}
    return shapes | {_find_turn(each) for each in (plain, joined)}


def _find_turn(text: str) -> str:
    """Return what a text is a row of; the text, where it is none."""
    for length in range(1, len(text) // 2 + 1):
        unit = text[:length]
        if (unit * (len(text) // length + 1))[: len(text)] == text:
            # A character or two over and over is no better than the commonest password.
            return "password" if length <= 2 else unit  # noqa: PLR2004
    return text


def _list_words(texts: Iterable[str]) -> set[str]:
    return {
        word
        for text in texts
        for word in [*re.split(r"[\W_]+", text.casefold()), re.sub(r"[\W_]+", "", text.casefold())]
        if len(word) >= MIN_WORD
    }
