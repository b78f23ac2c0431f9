"""A person who signed up, and what tests do with one."""

import pyotp

from chalicelib.identity import enrolling, service, signing_in, signing_up
from chalicelib.identity.service import Browser
from tests.fakes.identity import FakePeople

EMAIL = "ada@example.com"
PASSWORD = "correct horse battery staple"  # pragma: allowlist secret
NAME = "Ada Byron"
HOME = Browser("192.0.2.1", "Firefox on Linux")
AWAY = Browser("198.51.100.7", "Chrome on Windows")


class People(FakePeople):
    def sign_up(self, email=EMAIL, password=PASSWORD, name=NAME, browser=HOME):
        """Return the session of a person who signed up and opened the link."""
        signing_up.sign_up(self.ports, signing_up.SignUp(email, password, name), browser)
        link = self.mailer.read_link()
        return signing_up.verify_address(self.ports, link, password, browser)

    def sign_in(self, email=EMAIL, password=PASSWORD, browser=HOME):
        return signing_in.sign_in(self.ports, email, password, browser)

    def find(self, started):
        found = service.find_session(self.ports, started.cookie)
        assert found is not None, "the session does not stand"
        return found

    def enrol(self, started):
        """Set up an app; return (secret, enrolled)."""
        user, session = self.find(started)
        secret = enrolling.begin_enrolment(self.ports, user.user_id).secret
        return secret, enrolling.confirm_enrolment(self.ports, user, session, self.code(secret), HOME)

    def code(self, secret, steps=0):
        return pyotp.TOTP(secret).at(self.clock.now_ms() // 1000 + steps * 30)
