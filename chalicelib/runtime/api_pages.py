"""The API's document for people: Swagger UI and ReDoc, and the files that they are made of.

Addresses in the pages are relative: they hold behind whatever address the API is reached at. The files go out
as text: a function may answer 6 MB, and the largest has 1.6 MB.
"""

from http import HTTPStatus
from typing import Annotated, Any

from chalicelib.runtime.assets import find_asset, read_asset
from chalicelib.runtime.conventions import names_tag
from chalicelib.runtime.http import Answer, Api, Call, Html
from chalicelib.runtime.pages import render_page
from chalicelib.runtime.system import SystemIds

Text = Annotated[str, "text/*"]
#: The name of an asset has a digest of its content.
FOREVER = "public, max-age=31536000, immutable"
#: Of ReDoc's one style of its own, by content: it is put in before the page can say its nonce. First empty.
REDOC_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "  # pragma: allowlist secret - a digest of a style
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"  # pragma: allowlist secret - a digest of a style
)

api = Api(__name__)


@api.route("GET", "/docs", public=True)
def show_swagger_ui(_call: Call) -> Answer[Html]:
    """Show this API for trying out: Swagger UI."""
    return _show("swagger_ui.html", ("swagger-ui.css", "swagger-ui-bundle.js"))


@api.route("GET", "/redoc", public=True)
def show_redoc(_call: Call) -> Answer[Html]:
    """Show this API for reading: ReDoc."""
    return _show("redoc.html", ("redoc.standalone.js",), REDOC_STYLES)


@api.route("GET", "/assets/{name}", public=True)
def read_page_asset(call: Call, name: str) -> Answer[Text]:
    """Serve a file of those pages; its name has a digest of its content."""
    asset = find_asset(name)
    headers = {"Content-Type": asset.content_type, "ETag": f'"{asset.digest}"', "Cache-Control": FOREVER}
    if names_tag(call.headers.get("if-none-match", ""), f'"{asset.digest}"'):
        return Answer(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Answer(asset.text, HTTPStatus.OK, headers)


def _show(template: str, names: tuple[str, ...], styles: str = "") -> Answer[Html]:
    served: dict[str, Any] = {
        name.partition(".")[0].replace("-", "_"): read_asset(name).served_name for name in names
    }
    page = render_page(template, nonce=SystemIds().new_secret(), styles=styles, **served)
    return Answer(page.body, HTTPStatus.OK, page.headers)
