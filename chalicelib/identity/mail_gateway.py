"""Mails through Amazon SES (SESv2 ``SendEmail``), as plain text."""

from dataclasses import dataclass
from typing import Any

from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import Mail


@dataclass(frozen=True, slots=True)
class SesMailer:
    """`chalicelib.core.ports.Mailer`. ``client``: botocore's ``sesv2``; ``sender``: an identity of SES."""

    client: Any
    sender: str

    def send(self, mail: Mail) -> None:
        try:
            self.client.send_email(
                FromEmailAddress=self.sender,
                Destination={"ToAddresses": [mail.to]},
                Content={
                    "Simple": {
                        "Subject": {"Data": mail.subject, "Charset": "UTF-8"},
                        "Body": {"Text": {"Data": mail.text, "Charset": "UTF-8"}},
                    }
                },
            )
        except Exception as error:
            raise Unavailable("The mail could not be sent; try again.") from error
