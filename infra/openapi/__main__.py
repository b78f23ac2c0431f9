"""Writes the API's document to where it is packaged and served from: ``make openapi``."""

import app
from chalicelib.runtime.api_document import DOCUMENT
from infra.openapi.document import render_document


def main() -> None:
    text = render_document(app.APIS)
    DOCUMENT.write_text(text, encoding="utf-8")
    print(
        f"{DOCUMENT.name}: {sum(len(api.operations) for api in app.APIS)} operations, {len(text)} characters"
    )


if __name__ == "__main__":
    main()
