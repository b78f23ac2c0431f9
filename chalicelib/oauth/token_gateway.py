"""JSON Web Tokens by joserfc: ES256 and nothing else, signed where the key is kept."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.core.errors import Unauthenticated
from chalicelib.oauth.keyring import P256_ORDER, SigningKey

if TYPE_CHECKING:
    from chalicelib.oauth.ports import TokenSigner

ALGORITHM = "ES256"
#: RFC 9068, section 2.1. RFC 8725, section 3.11: no other kind of JWT passes for one.
TOKEN_TYPE = "at+jwt"  # noqa: S105  # a media type
_REFUSED = "The token is not valid."
_MAX_KID = 64


class StrictDecoder(json.JSONDecoder):
    """Refuses a member that is given twice, and numbers that JSON does not have."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=_read_once, parse_constant=_refuse_constant)


class JoseCodec:
    def read_kid(self, token: str) -> str:
        from joserfc.util import urlsafe_b64decode

        try:
            header = StrictDecoder().decode(urlsafe_b64decode(token.partition(".")[0].encode()).decode())
        except (ValueError, RecursionError) as error:
            raise Unauthenticated(_REFUSED) from error
        # Whatever else a header may say (jku, jwk, x5u, x5c, crit, b64, zip, cty) has no place in ours.
        if not isinstance(header, dict) or set(header) != {"alg", "typ", "kid"}:
            raise Unauthenticated(_REFUSED)
        kid = header["kid"]
        if header["alg"] != ALGORITHM or header["typ"] != TOKEN_TYPE or not isinstance(kid, str):
            raise Unauthenticated(_REFUSED)
        if not 0 < len(kid) <= _MAX_KID:
            raise Unauthenticated(_REFUSED)
        return kid

    def encode(self, claims: Mapping[str, object], key: SigningKey, signer: "TokenSigner") -> str:
        from joserfc import jwt

        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": key.kid}
        registry = _build_registry(signer, key.key_ref)
        return jwt.encode(header, dict(claims), _import(key), registry=registry)

    def decode(self, token: str, key: SigningKey) -> Mapping[str, object]:
        from joserfc import jwt
        from joserfc.errors import JoseError

        _check_low_s(token)
        try:
            found = jwt.decode(token, _import(key), algorithms=[ALGORITHM], decoder_cls=StrictDecoder)
        except (JoseError, ValueError, RecursionError) as error:
            raise Unauthenticated(_REFUSED) from error
        return found.claims


def _check_low_s(token: str) -> None:
    from joserfc.util import urlsafe_b64decode

    try:
        signature = urlsafe_b64decode(token.rpartition(".")[2].encode())
    except ValueError as error:
        raise Unauthenticated(_REFUSED) from error
    if not 0 < int.from_bytes(signature[32:]) <= P256_ORDER // 2:
        raise Unauthenticated(_REFUSED)


def _build_registry(signer: "TokenSigner", key_ref: str) -> Any:
    from joserfc.jwa import ESAlgorithm
    from joserfc.jws import JWSRegistry

    class KeptAlgorithm(ESAlgorithm):  # type: ignore[misc,unused-ignore]
        def sign(self, msg: bytes, key: Any) -> bytes:  # noqa: ARG002
            return signer.sign(key_ref, msg)

    class Registry(JWSRegistry):
        algorithms = {ALGORITHM: KeptAlgorithm(ALGORITHM, "P-256", 256, True)}  # noqa: RUF012

    return Registry(algorithms=[ALGORITHM])


def _import(key: SigningKey) -> Any:
    from joserfc.jwk import ECKey

    # Without kid and use: which key it is was decided before.
    return ECKey.import_key({"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y})


def _read_once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is given twice")
    return found


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")
