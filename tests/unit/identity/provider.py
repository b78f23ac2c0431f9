"""A provider of OpenID Connect in memory: its keys are real, and it says whatever a test wants."""

import hmac
import json
from urllib.parse import parse_qs, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from chalicelib.core.errors import Unauthenticated
from tests.unit.identity.authenticator import encode

ISSUER = "https://idp.example"


class MemoryProvider:
    """``send`` takes the place of HTTP. ``claims`` and ``header`` are put over what a proper token has."""

    def __init__(self, clock):
        self.clock, self.keys = clock, KeySet([ECKey.generate_key("P-256", {"kid": "one"})])
        self.claims, self.header, self.drop, self.key = {}, {}, (), None
        self.requests, self.codes = [], {}
        self.metadata = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
        }

    def turn_keys(self):
        self.keys = KeySet([ECKey.generate_key("P-256", {"kid": f"turned-{len(self.requests)}"})])

    def authorize(self, url):
        """A person signs in there; return (code, state)."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        return code, query["state"]

    def send(self, method, url, headers, body):
        self.requests.append((method, url))
        path = url.removeprefix(ISSUER)
        if path == "/.well-known/openid-configuration":
            return json.dumps(self.metadata).encode()
        if path == "/keys":
            return json.dumps(self.keys.as_dict(private=False)).encode()
        assert (method, path) == ("POST", "/token")
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        asked = self.codes.pop(form["code"], None)
        proper = (
            asked is not None
            and form["client_secret"] == "its secret"  # pragma: allowlist secret
            and form["redirect_uri"] == asked["redirect_uri"]
            and create_s256_code_challenge(form["code_verifier"]) == asked["code_challenge"]
        )
        if not proper:
            raise Unauthenticated("refused", code="provider_refused")
        return json.dumps({"access_token": "at", "id_token": self.sign(asked)}).encode()

    def sign(self, asked):
        now = self.clock.now_ms() // 1000
        claims = {
            "iss": ISSUER,
            "sub": "subject-1",
            "aud": "client",
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            "nonce": asked["nonce"],
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada Byron",
        } | self.claims
        claims = {name: value for name, value in claims.items() if name not in self.drop}
        header = {"alg": "ES256", "kid": self.keys.keys[0].kid} | self.header
        if header["alg"] in {"HS256", "none"}:
            return self._forge(header, claims)
        return jwt.encode(header, claims, self.key or self.keys.keys[0], algorithms=["ES256", "RS256"])

    def _forge(self, header, claims):
        """A token whose key is what everybody has: our public key as a MAC's, or none."""
        signed = ".".join(encode(json.dumps(each).encode()) for each in (header, claims))
        mac = b"" if header["alg"] == "none" else hmac.digest(self.key, signed.encode(), "sha256")
        return f"{signed}.{encode(mac)}"


def other_key():
    return ECKey.generate_key("P-256", {"kid": "one"})


def rsa_key():
    return RSAKey.generate_key(2048, {"kid": "one"})


def public_text(keys):
    return keys.keys[0].as_pem(private=False)
