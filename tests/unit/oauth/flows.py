"""Requests of clients, without HTTP."""

import base64
import hashlib
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from chalicelib.oauth.asking import build_consent, find_person
from chalicelib.oauth.model import CLI
from chalicelib.oauth.ports import EndpointCall, Reply
from chalicelib.oauth.server_gateway import AuthlibServer
from tests.fakes.database import Crash

REDIRECT = "http://127.0.0.1:53111/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class Flow:
    """What a client of the command line's kind does; each method is one request."""

    def __init__(self, world):
        self.world, self.server = world, AuthlibServer(world.ports)

    def post(self, name, authorization="", address="203.0.113.9", **fields):
        """Return the reply's status and body; ``None`` where the process died before it answered."""
        call = EndpointCall("POST", fields, authorization, address)
        with suppress(Crash):
            reply = getattr(self.server, f"answer_{name}")(call)
            return reply.status, dict(reply.body)
        return None

    def authorize(self, *, approve=True, client=CLI, redirect=REDIRECT, **changes):
        """Return where a person's decision sends the browser, or the reply that is shown instead."""
        fields = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": redirect,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "state": "of the client",
        } | changes
        call = EndpointCall("POST", {k: v for k, v in fields.items() if v is not None})
        question = self.server.read_question(call)
        if isinstance(question, Reply):
            return question
        person = find_person(self.world.ports, self.world.cookie)
        consent = build_consent(
            self.world.ports, person, question.client, self.world.account_id, question.scope
        )
        return self.server.answer_authorization(call, consent if approve else None)

    def get_code(self, **changes):
        return read_location(self.authorize(**changes))["code"]

    def redeem(self, code, **changes):
        fields = {
            "grant_type": "authorization_code",
            "client_id": "cli",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        } | changes
        return self.post("token", **{k: v for k, v in fields.items() if v is not None})

    def sign_in(self):
        status, token = self.redeem(self.get_code())
        assert status == 200, token
        return token

    def refresh(self, token, client_id="cli", **more):
        return self.post(
            "token", grant_type="refresh_token", refresh_token=token, client_id=client_id, **more
        )

    def begin(self, address="203.0.113.9", **more):
        status, begun = self.post("device", address=address, client_id="cli", **more)
        assert status == 200, begun
        return begun

    def poll(self, begun):
        return self.post("token", grant_type=DEVICE_GRANT, device_code=begun["device_code"], client_id="cli")


def read_location(reply):
    assert reply.status == 303
    return {name: values[0] for name, values in parse_qs(urlsplit(reply.location).query).items()}
