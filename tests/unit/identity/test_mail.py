"""Mails go out as plain text, to one person, from our address; what was not taken is said."""

import pytest

from chalicelib.core.errors import Unavailable
from chalicelib.identity import messages
from chalicelib.identity.mail_gateway import SesMailer

LINK = "https://cloud.example/verify?token=abc"


class Ses:
    def __init__(self, failure=None):
        self.sent, self.failure = [], failure

    def send_email(self, **request):
        if self.failure is not None:
            raise self.failure
        self.sent.append(request)


def test_a_mail_is_sent_as_text_from_our_address_to_one_person():
    ses = Ses()
    SesMailer(ses, "accounts@cloud.example").send(messages.verify_address("ada@example.com", LINK))
    (request,) = ses.sent
    assert request["FromEmailAddress"] == "accounts@cloud.example"
    assert request["Destination"] == {"ToAddresses": ["ada@example.com"]}
    body = request["Content"]["Simple"]["Body"]
    assert set(body) == {"Text"}
    assert LINK in body["Text"]["Data"]


def test_a_mail_that_was_not_taken_is_asked_for_again():
    with pytest.raises(Unavailable):
        SesMailer(Ses(OSError("no route")), "a@b.cd").send(messages.verify_address("ada@example.com", LINK))


@pytest.mark.parametrize(
    "mail",
    [
        messages.verify_address("a@b.cd", LINK),
        messages.tell_known("a@b.cd", LINK, LINK),
        messages.reset_password("a@b.cd", LINK),
        messages.tell_unknown("a@b.cd", LINK),
        messages.confirm_change("a@b.cd", LINK),
        messages.tell_change("a@b.cd", "Your password was changed.", LINK, LINK),
        messages.tell_change("a@b.cd", "Your password was reset by mail.", LINK, LINK, ["a passkey"]),
    ],
)
def test_every_mail_has_a_link_and_says_what_to_do_if_it_was_somebody_else(mail):
    assert mail.to == "a@b.cd"
    assert LINK in mail.text
    assert "If it was not you" in mail.text
    assert len(mail.subject) < 60
