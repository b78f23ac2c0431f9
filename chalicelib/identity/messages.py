"""What people are written. Plain text; nothing in it was chosen by somebody else than its reader."""

from collections.abc import Sequence

from chalicelib.core.ports import Mail

_GAP = "\n\n"
_END = f"{_GAP}Provocative Cloud\n"


def verify_address(to: str, url: str) -> Mail:
    text = (
        "Somebody, most likely you, has signed up to Provocative Cloud with this address.\n\n"
        f"Open this page within 24 hours, and give the password that you chose:\n{url}\n\n"
        "If it was not you, do nothing: without that password nothing happens."
    )
    return Mail(to, "Confirm your address", text + _END)


def tell_known(to: str, sign_in_url: str, reset_url: str) -> Mail:
    text = (
        "Somebody, most likely you, has signed up to Provocative Cloud with this address. "
        "You have an account already.\n\n"
        f"Sign in: {sign_in_url}\nIf you do not remember your password: {reset_url}\n\n"
        "If it was not you, do nothing: whoever it was learns nothing of your account."
    )
    return Mail(to, "You have an account already", text + _END)


def reset_password(to: str, url: str) -> Mail:
    text = (
        "Somebody, most likely you, wants to choose a new password for Provocative Cloud.\n\n"
        f"Open this page within one hour:\n{url}\n\n"
        "If it was not you, do nothing: your password stays as it is."
    )
    return Mail(to, "Choose a new password", text + _END)


def tell_unknown(to: str, sign_up_url: str) -> Mail:
    text = (
        "Somebody, most likely you, wants to choose a new password for Provocative Cloud, "
        "but there is no account with this address.\n\n"
        f"Perhaps you signed up with another address. To sign up: {sign_up_url}\n\n"
        "If it was not you, do nothing."
    )
    return Mail(to, "There is no account with this address", text + _END)


def confirm_change(to: str, url: str) -> Mail:
    text = (
        "You want to use this address for your account at Provocative Cloud.\n\n"
        f"Open this page within one hour:\n{url}\n\n"
        "If it was not you, do nothing: nothing changes."
    )
    return Mail(to, "Confirm your new address", text + _END)


def tell_change(to: str, what: str, reset_url: str, account_url: str, ways: Sequence[str] = ()) -> Mail:
    """``what`` is a whole sentence. ``ways``: what still signs in without the password."""
    left = "".join(f"\n- {way}" for way in ways)
    text = (
        f"{what}\n\n"
        f"{left and f'These still sign in without the password:{left}{_GAP}'}"
        f"If it was not you, choose a new password at once, which ends every session: {reset_url}\n"
        f"Then take away what signs in without it and is not yours, such as a passkey: {account_url}"
    )
    return Mail(to, "A change to your account", text + _END)
