"""What KMS is asked for, and what becomes of its answers."""

import hashlib

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chalicelib.core.errors import Unavailable
from chalicelib.oauth.keyring import P256_ORDER
from chalicelib.oauth.kms_gateway import KmsSigner, raw_signature, read_point
from tests.unit.oauth.tokens import open_part

ARN = "arn:aws:kms:us-east-1:000000000000:key/1"


class Kms:
    """A client of one key. ``failure`` is raised in place of an answer."""

    def __init__(self):
        self.key, self.asked, self.failure = ec.generate_private_key(ec.SECP256R1()), [], None

    def __getattr__(self, name):
        def ask(**parameters):
            self.asked.append((name, parameters))
            if self.failure is not None:
                raise self.failure
            return getattr(self, f"answer_{name}")(**parameters)

        return ask

    def answer_create_key(self, **_):
        return {"KeyMetadata": {"Arn": ARN}}

    def answer_get_public_key(self, **_):
        return {
            "PublicKey": self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        }

    def answer_sign(self, **asked):
        return {"Signature": self.key.sign(asked["Message"], ec.ECDSA(Prehashed(SHA256())))}

    def answer_schedule_key_deletion(self, **_):
        return {}


@pytest.fixture
def kms():
    return Kms()


def fail(code):
    return ClientError({"Error": {"Code": code}}, "Sign")


def test_a_key_is_made_for_signing_alone_with_the_tags_that_rights_are_told_by(kms):
    signer = KmsSigner(lambda: kms, "prod")
    key_ref = signer.make_key()
    assert [name for name, _ in kms.asked] == ["create_key"], "nothing may fail behind it"
    x, y = signer.read_key(key_ref)
    numbers = kms.key.public_key().public_numbers()
    assert (int.from_bytes(open_part(x)), int.from_bytes(open_part(y))) == (numbers.x, numbers.y)
    assert key_ref == ARN
    _, asked = kms.asked[0]
    assert (asked["KeySpec"], asked["KeyUsage"]) == ("ECC_NIST_P256", "SIGN_VERIFY")
    assert {tag["TagKey"]: tag["TagValue"] for tag in asked["Tags"]} == {
        "provocative:stage": "prod",
        "provocative:purpose": "token-signing",
    }


def test_a_digest_is_signed_and_the_answer_is_two_numbers_of_32_bytes(kms):
    message = b"header.claims"
    raw = KmsSigner(lambda: kms, "prod").sign(ARN, message)
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    kms.key.public_key().verify(der, message, ec.ECDSA(SHA256()))
    _, asked = kms.asked[0]
    assert asked["Message"] == hashlib.sha256(message).digest()
    assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")


def test_of_the_two_values_of_s_the_lower_is_taken_and_short_numbers_are_padded():
    for s in (1, P256_ORDER - 1):
        assert raw_signature(encode_dss_signature(7, s)) == (7).to_bytes(32) + (1).to_bytes(32)


def test_a_key_that_goes_already_is_gone(kms):
    signer = KmsSigner(lambda: kms, "prod")
    for code in ("KMSInvalidStateException", "NotFoundException"):
        kms.failure = fail(code)
        signer.drop_key(ARN)
    kms.failure = fail("AccessDeniedException")
    with pytest.raises(Unavailable):
        signer.drop_key(ARN)


@pytest.mark.parametrize(
    "failure", [fail("ThrottlingException"), EndpointConnectionError(endpoint_url="https://kms")]
)
def test_without_kms_nothing_is_signed(kms, failure):
    kms.failure = failure
    signer = KmsSigner(lambda: kms, "prod")
    for act in (
        signer.make_key,
        lambda: signer.read_key(ARN),
        lambda: signer.sign(ARN, b"x"),
        lambda: signer.drop_key(ARN),
    ):
        with pytest.raises(Unavailable):
            act()


def test_no_key_of_another_curve_is_taken():
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    with pytest.raises(TypeError):
        read_point(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
