"""An authenticator in software: ES256 keys, discoverable, its owner checked or not, as a test wants."""

import base64
import hashlib
import json
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import encode_cbor


def encode(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Authenticator:
    def __init__(self, origin, *, verifies=True):
        self.origin, self.verifies = origin, verifies
        self.key, self.credential_id, self.handle, self.count = None, b"credential-1".ljust(32, b"."), b"", 0

    def _flags(self, extra=0):
        return (0x01 | (0x04 if self.verifies else 0) | extra).to_bytes(1)

    def _data(self, kind, challenge):
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def create(self, options):
        asked = json.loads(options)
        assert asked["authenticatorSelection"]["userVerification"] == "required"
        assert asked["authenticatorSelection"]["residentKey"] == "required"
        self.key, self.handle = ec.generate_private_key(ec.SECP256R1()), decode(asked["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        attested = bytes(16) + struct.pack(">H", 32) + self.credential_id + encode_cbor(cose)
        rp = hashlib.sha256(asked["rp"]["id"].encode()).digest()
        data = rp + self._flags(0x40) + struct.pack(">I", self.count) + attested
        response = {
            "clientDataJSON": encode(self._data("webauthn.create", asked["challenge"])),
            "attestationObject": encode(encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})),
        }
        return self._answer(response)

    def get(self, options):
        asked = json.loads(options)
        assert asked["userVerification"] == "required"
        assert not asked.get("allowCredentials")
        self.count += 1
        rp = hashlib.sha256(asked["rpId"].encode()).digest()
        data = rp + self._flags() + struct.pack(">I", self.count)
        client = self._data("webauthn.get", asked["challenge"])
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": encode(client),
            "authenticatorData": encode(data),
            "signature": encode(signature),
            "userHandle": encode(self.handle),
        }
        return self._answer(response)

    def _answer(self, response):
        name = encode(self.credential_id)
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})
