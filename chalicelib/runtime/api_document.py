"""The route of the API's own document.

`infra.openapi` writes it beside this module, which knows no slice: serving it needs that file alone.
"""

import functools
import hashlib
from http import HTTPStatus
from pathlib import Path

from chalicelib.runtime.conventions import names_tag
from chalicelib.runtime.http import Answer, Api, Call, Json

DOCUMENT = Path(__file__).with_name("openapi.json")
#: It changes with a deployment alone; whoever has it asks once an hour whether it did.
MAX_AGE_SECONDS = 3600

api = Api(__name__)


@api.route("GET", "/openapi.json", public=True)
def read_api_document(call: Call) -> Answer[Json]:
    """Show what every route takes and answers: OpenAPI 3.1."""
    text, tag = _read_document()
    headers = {"ETag": tag, "Cache-Control": f"public, max-age={MAX_AGE_SECONDS}"}
    if names_tag(call.headers.get("if-none-match", ""), tag):
        return Answer(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Answer(text, HTTPStatus.OK, headers)


@functools.cache
def _read_document() -> tuple[str, str]:
    """Return the document and its entity tag, which is a digest of it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text, f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
