"""Tokens that nobody should take: each is one step away from a good one."""

import base64
import hashlib
import hmac
import json
import string

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib.oauth.keyring import P256_ORDER
from chalicelib.oauth.kms_gateway import raw_signature

MINUTE = 60


def b64(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def open_part(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Forge:
    """Makes bad tokens of a good one. It may sign with the real key, as a bug of ours would."""

    def __init__(self, world, good):
        self.world, self.good = world, good
        self.head, self.body, self.signature = good.split(".")
        self.header, self.claims = json.loads(open_part(self.head)), json.loads(open_part(self.body))
        self.key = world.signer.keys[world.read_ring().current.key_ref]

    def sign(self, head, body):
        text = f"{head}.{body}"
        return f"{text}.{b64(raw_signature(self.key.sign(text.encode(), ec.ECDSA(SHA256()))))}"

    def with_header(self, **changes):
        """Signed by our key, with another header; ``None`` leaves a member out."""
        header = {k: v for k, v in (self.header | changes).items() if v is not None}
        return self.sign(b64(header), self.body)

    def with_claims(self, **changes):
        claims = {k: v for k, v in (self.claims | changes).items() if v is not None}
        return self.sign(self.head, b64(claims))

    def with_raw_claims(self, text):
        return self.sign(self.head, b64(text.encode()))

    def unsigned(self, alg, signature=""):
        return f"{b64(self.header | {'alg': alg})}.{self.body}.{signature}"

    def with_signature(self, raw):
        return f"{self.head}.{self.body}.{b64(raw)}"

    def hmac_with(self, secret):
        text = f"{b64(self.header | {'alg': 'HS256'})}.{self.body}"
        return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"

    def rsa(self, alg):
        key = rsa.generate_private_key(65537, 2048)
        text = f"{b64(self.header | {'alg': alg})}.{self.body}"
        return f"{text}.{b64(key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"

    def foreign(self, **header):
        key = ec.generate_private_key(ec.SECP256R1())
        text = f"{b64(self.header | header)}.{self.body}"
        return f"{text}.{b64(raw_signature(key.sign(text.encode(), ec.ECDSA(SHA256()))))}"


def list_unsigned(forge):
    """Yield (name, token): the signature does not hold, or nobody should get as far as looking at it."""
    public = forge.key.public_key()
    jwk = forge.world.read_ring().current.build_jwk()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = open_part(forge.signature)
    r, s = raw[:32], raw[32:]
    for alg in ("none", "None", "NONE", "nOnE", "", "none "):
        yield f"alg {alg!r} without signature", forge.unsigned(alg)
        yield f"alg {alg!r} with the old signature", forge.unsigned(alg, forge.signature)
    yield "HS256 with the public key as PEM", forge.hmac_with(pem)
    yield "HS256 with the public key as DER", forge.hmac_with(der)
    yield "HS256 with the JWK", forge.hmac_with(json.dumps(jwk).encode())
    yield "HS256 with nothing", forge.hmac_with(b"")
    for alg in ("RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "es256", "ES256 "):
        yield f"alg {alg}", forge.with_header(alg=alg)
    yield "RS256 by a key of its own", forge.rsa("RS256")
    yield "RSA under ES256", forge.rsa("ES256")
    yield "another key under our kid", forge.foreign()
    yield "its own key in jwk", forge.foreign(jwk=dict(jwk))
    yield "jku", forge.foreign(jku="https://evil.example/keys.json")
    yield "x5u", forge.foreign(x5u="https://evil.example/cert.pem")
    yield "x5c", forge.foreign(x5c=["MIIB"])
    for name, value in {
        "jku": "https://api.provocative.test/.well-known/jwks.json",
        "jwk": dict(jwk),
        "x5u": "https://evil.example/",
        "x5c": ["MIIB"],
        "x5t": "abc",
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "cty": "JWT",
        "extra": 1,
    }.items():
        yield f"{name} under our signature", forge.with_header(**{name: value})
    yield "b64 false with crit", forge.with_header(b64=False, crit=["b64"])
    for kid in (
        "../../../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "key\x00",
        "",
        " ",
        "*",
        "RING#KEYS",
        "kid_" + "0" * 26,
        "x" * 5000,
        0,
        [],
        {},
        True,
        [forge.header["kid"]],
        forge.header["kid"].upper(),
        forge.header["kid"] + " ",
    ):
        yield f"kid {str(kid)[:30]!r}", forge.with_header(kid=kid)
    yield "no kid", forge.with_header(kid=None)
    yield "no alg", forge.with_header(alg=None)
    yield "alg is a list", forge.with_header(alg=["ES256"])
    twice = json.dumps(forge.header)[:-1]
    yield "alg twice", forge.sign(b64(f'{twice}, "alg": "ES256"}}'.encode()), forge.body)
    yield "alg twice, none first", forge.sign(b64(f'{{"alg": "none", {twice[1:]}}}'.encode()), forge.body)
    yield "kid twice", forge.sign(b64(f'{twice}, "kid": "other"}}'.encode()), forge.body)
    yield "typ twice", forge.sign(b64(f'{twice}, "typ": "at+jwt"}}'.encode()), forge.body)
    for typ in ("JWT", "jwt", "at+JWT ", "id+jwt", "logout+jwt", "application/at+jwt", "", None, 1):
        yield f"typ {typ!r}", forge.with_header(typ=typ)
    yield "zero r and s", forge.with_signature(b"\0" * 64)
    yield "zero r", forge.with_signature(b"\0" * 32 + s)
    yield "zero s", forge.with_signature(r + b"\0" * 32)
    order = P256_ORDER.to_bytes(32)
    yield "r and s are the order", forge.with_signature(order * 2)
    yield "the other s", forge.with_signature(r + (P256_ORDER - int.from_bytes(s)).to_bytes(32))
    yield "s above the order", forge.with_signature(r + b"\xff" * 32)
    yield "one bit of the signature", forge.with_signature(raw[:-1] + bytes([raw[-1] ^ 1]))
    yield "signature as DER", forge.with_signature(forge.key.sign(b"x", ec.ECDSA(SHA256())))
    yield "short signature", forge.with_signature(raw[:-1])
    yield "long signature", forge.with_signature(raw + b"\0")
    yield "no signature", f"{forge.head}.{forge.body}."
    yield (
        "claims of another",
        f"{forge.head}.{b64(forge.claims | {'sub': 'usr_' + '0' * 26})}.{forge.signature}",
    )
    yield "two parts", f"{forge.head}.{forge.body}"
    yield "one part", forge.head
    yield "four parts", f"{forge.good}.{forge.signature}"
    yield "five parts, as a JWE has", f"{forge.good}.{forge.head}.{forge.body}"
    yield "truncated", forge.good[:-10]
    yield "huge", forge.with_claims(scope="rentals:read " * 2000)
    yield "padded", f"{forge.head}={'=' * 0}.{forge.body}.{forge.signature}"
    yield "padded signature", f"{forge.good}=="
    yield "standard alphabet", forge.good.replace("-", "+").replace("_", "/") + "+"
    yield "last characters of the signature not canonical", forge.good[:-1] + _neighbour(forge.good[-1])
    yield "a line feed", forge.good + "\n"
    yield "a space before", f" {forge.good}"
    yield "unicode digits", forge.good.replace("1", "\uff11").replace("e", "\u0435")
    yield "null", forge.good + "\0"
    yield "empty", ""
    yield "dots", ".."
    yield "header is a list", forge.sign(b64([1]), forge.body)
    yield "header is null", forge.sign(b64(b"null"), forge.body)
    yield "header is no JSON", forge.sign(b64(b"{"), forge.body)
    yield "header is not UTF-8", forge.sign(b64(b"\xff\xfe"), forge.body)
    yield "header is nested deep", forge.sign(b64(b"[" * 2000), forge.body)


def list_signed(forge):
    """Yield (name, token): our own key signed it, and it is refused for what it says."""
    now = forge.claims["iat"]
    yield "issuer with a slash", forge.with_claims(iss=forge.claims["iss"] + "/")
    yield "issuer in capitals", forge.with_claims(iss=forge.claims["iss"].upper())
    yield "issuer of http", forge.with_claims(iss=forge.claims["iss"].replace("https", "http"))
    yield "no issuer", forge.with_claims(iss=None)
    yield "issuer is a list", forge.with_claims(iss=[forge.claims["iss"]])
    yield "audience is a list", forge.with_claims(aud=[forge.claims["aud"]])
    yield "audience of another", forge.with_claims(aud="https://other.example")
    yield "audience is the client, as in an id token", forge.with_claims(aud="cli")
    yield "two audiences", forge.with_claims(aud=[forge.claims["aud"], "https://evil.example"])
    yield "no audience", forge.with_claims(aud=None)
    yield "an id token", forge.with_claims(nonce="n", azp="cli", scope=None, client_id=None)
    yield "expired", forge.with_claims(iat=now - 700, exp=now - 100)
    yield "expired at the edge", forge.with_claims(iat=now - 660, exp=now - MINUTE)
    yield "from the future", forge.with_claims(iat=now + 61, exp=now + 600)
    yield "lives too long", forge.with_claims(exp=now + 601)
    yield "expires before it was made", forge.with_claims(exp=now)
    yield "no expiry", forge.with_claims(exp=None)
    yield "no iat", forge.with_claims(iat=None)
    yield "expiry is a text", forge.with_claims(exp=str(now + 600))
    yield "expiry is a fraction", forge.with_claims(exp=now + 600.0)
    yield "expiry is true", forge.with_claims(exp=True)
    yield "expiry is huge", forge.with_claims(exp=10**30)
    yield "not yet", forge.with_claims(nbf=now + 300)
    yield "nbf is a text", forge.with_claims(nbf="0")
    yield "another claim", forge.with_claims(admin=True)
    yield "no subject", forge.with_claims(sub=None)
    yield "subject is a client", forge.with_claims(sub="cli")
    yield "subject is a key", forge.with_claims(sub="key_" + "0" * 26)
    yield "subject with a slash", forge.with_claims(sub=forge.claims["sub"] + "/..")
    yield "no client", forge.with_claims(client_id=None)
    yield "another client", forge.with_claims(client_id="oac_" + "0" * 26)
    yield "no scope", forge.with_claims(scope=None)
    yield "scope is a list", forge.with_claims(scope=["all"])
    yield "no session", forge.with_claims(sid=None)
    yield "session of another kind", forge.with_claims(sid="CLIENT#cli")
    yield "unknown session", forge.with_claims(sid="ogr_" + "0" * 26)
    yield "another organisation", forge.with_claims(org="acc_" + "0" * 26)
    yield "an older epoch", forge.with_claims(epoch=forge.claims["epoch"] - 1)
    yield "a later epoch", forge.with_claims(epoch=forge.claims["epoch"] + 1)
    yield "epoch is a text", forge.with_claims(epoch="3")
    yield "methods are a text", forge.with_claims(amr="pwd")
    yield "no token id", forge.with_claims(jti=None)
    text = json.dumps(forge.claims)
    yield "subject twice", forge.with_raw_claims(f'{text[:-1]}, "sub": "{forge.claims["sub"]}"}}')
    yield "scope twice", forge.with_raw_claims(f'{text[:-1]}, "scope": "all"}}')
    yield "NaN", forge.with_raw_claims(text.replace(str(forge.claims["exp"]), "NaN"))
    yield "claims are a list", forge.with_raw_claims("[]")
    yield "claims are no JSON", forge.with_raw_claims("{")
    yield "claims are nested deep", forge.with_raw_claims("[" * 1500)
    yield "a token in a token", forge.with_raw_claims(json.dumps(forge.good[:2000]))


def _neighbour(character):
    # 64 bytes leave four bits of the last character unused.
    alphabet = f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}-_"
    return alphabet[alphabet.index(character) ^ 1]
