"""Passkeys by py_webauthn: discoverable, and its owner shown to the authenticator each time.

A passkey is bound to the host of our address. No attestation is asked for: which make of key somebody has is
none of our business.
"""

import base64
import json
import secrets
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from chalicelib.core.errors import InvalidInput
from chalicelib.identity.model import Passkey
from chalicelib.identity.ports import Credential

RP_NAME = "Provocative Cloud"
CHALLENGE_BYTES = 32
#: Of an answer, in characters: an attestation that nobody asked for has some kilobytes.
MAX_ANSWER = 16_384
#: What parsers raise on what no browser sends; nesting that is too deep is the last of these.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class WebAuthnPasskeys:
    """`chalicelib.identity.ports.Passkeys`."""

    def __init__(self, public_url: Callable[[], str]) -> None:
        self._public_url = public_url

    @property
    def rp_id(self) -> str:
        return urlsplit(self._public_url()).hostname or ""

    @property
    def origin(self) -> str:
        parts = urlsplit(self._public_url())
        return f"{parts.scheme}://{parts.netloc}"

    def new_challenge(self) -> str:
        return _encode(secrets.token_bytes(CHALLENGE_BYTES))

    def build_registration(
        self, challenge: str, *, user_id: str, user_name: str, known: Sequence[str]
    ) -> str:
        from webauthn import generate_registration_options, options_to_json
        from webauthn.helpers.structs import (
            AuthenticatorSelectionCriteria,
            PublicKeyCredentialDescriptor,
            ResidentKeyRequirement,
            UserVerificationRequirement,
        )

        options = generate_registration_options(
            rp_id=self.rp_id,
            rp_name=RP_NAME,
            user_name=user_name,
            user_id=user_id.encode(),
            challenge=_decode(challenge),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=_decode(each)) for each in known],
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
        )
        return options_to_json(options)

    def verify_registration(self, challenge: str, answer: str) -> Credential:
        from webauthn import verify_registration_response
        from webauthn.helpers.exceptions import WebAuthnException

        _check_length(answer)
        try:
            verified = verify_registration_response(
                credential=answer,
                expected_challenge=_decode(challenge),
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                require_user_verification=True,
            )
        except (WebAuthnException, *_MALFORMED) as error:
            raise _refuse() from error
        return Credential(
            _encode(verified.credential_id), _encode(verified.credential_public_key), verified.sign_count
        )

    def build_assertion(self, challenge: str) -> str:
        from webauthn import generate_authentication_options, options_to_json
        from webauthn.helpers.structs import UserVerificationRequirement

        options = generate_authentication_options(
            rp_id=self.rp_id,
            challenge=_decode(challenge),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json(options)

    def read_owner(self, answer: str) -> tuple[str, str]:
        _check_length(answer)
        try:
            given = json.loads(answer)
            owner = _decode(given["response"]["userHandle"]).decode()
            return owner, _encode(_decode(given["id"]))
        except _MALFORMED as error:
            raise _refuse() from error

    def verify_assertion(self, challenge: str, answer: str, passkey: Passkey) -> int:
        from webauthn import verify_authentication_response
        from webauthn.helpers.exceptions import WebAuthnException

        _check_length(answer)
        try:
            verified = verify_authentication_response(
                credential=answer,
                expected_challenge=_decode(challenge),
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                credential_public_key=_decode(passkey.public_key),
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except (WebAuthnException, *_MALFORMED) as error:
            raise _refuse() from error
        return verified.new_sign_count


def _check_length(answer: str) -> None:
    if len(answer) > MAX_ANSWER:
        raise _refuse()


def _refuse() -> InvalidInput:
    return InvalidInput("This passkey was not accepted.", code="invalid_passkey")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
