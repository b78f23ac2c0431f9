"""Codes of an app (RFC 6238) by pyotp, and the picture that it scans by segno."""

import hmac

STEP_SECONDS = 30
ISSUER = "Provocative Cloud"
DIGITS = 6


class TotpCodes:
    """`chalicelib.identity.ports.OneTimeCodes`."""

    def new_secret(self) -> str:
        import pyotp

        return pyotp.random_base32()

    def find_step(self, secret: str, code: str, now_ms: int) -> int | None:
        import pyotp

        given = "".join(code.split())
        if len(given) != DIGITS or not (given.isascii() and given.isdigit()):
            return None
        totp, now_step = pyotp.TOTP(secret, digits=DIGITS), now_ms // 1000 // STEP_SECONDS
        found = None
        # All three are compared, whichever it is. A clock that is half a minute off still fits.
        for step in (now_step - 1, now_step, now_step + 1):
            if hmac.compare_digest(totp.generate_otp(step), given):
                found = step
        return found

    def draw(self, secret: str, account_name: str) -> str:
        import pyotp
        import segno

        uri = pyotp.TOTP(secret, digits=DIGITS).provisioning_uri(name=account_name, issuer_name=ISSUER)
        return segno.make(uri, micro=False).svg_inline(scale=4, omitsize=True, svgclass=None, lineclass=None)
