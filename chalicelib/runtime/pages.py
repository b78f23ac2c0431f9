"""Pages for people: templates that escape everything, forms, cookies, headers that let nothing else in."""

from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from chalicelib.core.errors import InvalidInput
from chalicelib.runtime.http import Answer, Call, Html

if TYPE_CHECKING:
    from jinja2 import Environment

FORM_TYPE = "application/x-www-form-urlencoded"
#: The largest that anybody fills in is what a passkey answers: some kilobytes.
MAX_FORM_FIELDS, MAX_FIELD = 50, 16_384


def render_page(
    template: str,
    *,
    nonce: str,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    form_action: str = "'self'",
    styles: str = "",
    **values: object,
) -> Answer[Html]:
    """Return ``templates/<template>`` filled in.

    ``nonce``: fresh for each page; only a ``<style>`` or ``<script>`` that carries it is obeyed.
    ``form_action``: where its forms may lead, also by a redirect.
    ``styles``: further sources of styles, of a page of somebody else's making.
    """
    text = _environment().get_template(template).render(nonce=nonce, **values)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; "
        f"style-src 'nonce-{nonce}'{styles and f' {styles}'}; "
        f"img-src data:; connect-src 'self'; "
        f"form-action {form_action}; frame-ancestors 'none'; base-uri 'none'"
    )
    return Answer(
        text,
        status,
        {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
            **(headers or {}),
        },
    )


def redirect(url: str, headers: Mapping[str, str] | None = None) -> Answer[Html]:
    """Send the browser on by GET, whatever it came with (303, never 307: RFC 9700, section 4.12)."""
    return Answer("", HTTPStatus.SEE_OTHER, {"Location": url, **(headers or {})})


def read_form(call: Call) -> Mapping[str, str]:
    """Return the fields of a form, each given once, of `MAX_FIELD` characters at most.

    Raises:
        InvalidInput: ``unsupported_media_type``, or no form.
    """
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise InvalidInput(f"Send the form as {FORM_TYPE}.", code="unsupported_media_type")
    try:
        pairs = parse_qsl(
            call.raw_body.decode(),
            keep_blank_values=True,
            strict_parsing=bool(call.raw_body),
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError as error:
        raise InvalidInput("This is no form.", code="invalid_form") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidInput("A field of the form is given more than once.", code="invalid_form")
    if any(len(name) > MAX_FIELD or len(value) > MAX_FIELD for name, value in pairs):
        raise InvalidInput(f"A field has {MAX_FIELD} characters at most.", code="invalid_form")
    return fields


def read_cookie(call: Call, name: str) -> str | None:
    """Return a cookie as it was sent; ``None``: there is none, or two, of which one is not ours.

    Pairs end at ``;`` alone (RFC 6265, section 4.2.1): no cookie that another host of our domain may set
    holds one of ours within its value, and no other's form keeps ours from being read.
    """
    pairs = (each.partition("=") for each in call.headers.get("cookie", "").split(";"))
    found = [value.strip(" \t") for key, equals, value in pairs if equals and key.strip(" \t") == name]
    return found[0] if len(found) == 1 else None


def set_cookie(name: str, value: str, *, lasts_seconds: int) -> Mapping[str, str]:
    """Return the header that sets a cookie of this host which scripts cannot read; 0 seconds take it away."""
    return {"Set-Cookie": f"{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={lasts_seconds}"}


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader("chalicelib.runtime"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
