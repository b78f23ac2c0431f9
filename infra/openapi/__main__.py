"""Writes the API's document and the table of its routes to where they are packaged: ``make openapi``."""

import app
from chalicelib.runtime.api_document import DOCUMENT
from chalicelib.runtime.routing import TABLE, render_table
from infra.openapi.document import render_document


def main() -> None:
    text = render_document(app.APIS)
    DOCUMENT.write_text(text, encoding="utf-8")
    TABLE.write_text(render_table(app.TABLE), encoding="utf-8")
    count = sum(len(api.operations) for api in app.APIS)
    print(f"{DOCUMENT.name}: {count} operations, {len(text)} characters; {TABLE.name}")


if __name__ == "__main__":
    main()
