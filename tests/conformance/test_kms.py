"""What we rely on of KMS: keys of P-256 that sign digests, and that go when they are told to."""

import pytest

from chalicelib.core.errors import Unavailable
from chalicelib.oauth.keyring import SigningKey
from chalicelib.oauth.kms_gateway import KmsSigner
from chalicelib.oauth.token_gateway import JoseCodec


def test_a_token_signed_by_kms_is_good_by_the_point_that_it_published(aws):
    signer, codec = KmsSigner(lambda: aws.client("kms"), "test"), JoseCodec()
    key_ref = signer.make_key()
    key = SigningKey("kid_1", key_ref, *signer.read_key(key_ref), "current", 0, 0)
    for number in range(20):
        token = codec.encode({"n": number}, key, signer)
        assert codec.read_kid(token) == "kid_1"
        assert codec.decode(token, key) == {"n": number}
    signer.drop_key(key_ref)
    signer.drop_key(key_ref)
    with pytest.raises(Unavailable):
        signer.sign(key_ref, b"too late")
