"""Scripts and styles of the API's pages: of Swagger UI and ReDoc, served by us and by nobody else.

The archives have them in the folder ``assets`` beside this module, where `infra.cdk.assets` puts them. A
checkout has none: there they are read from the development package that they come from, which is found and
never imported.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chalicelib.core.errors import NotFound

FOLDER = Path(__file__).with_name("assets")
PACKAGE = "drf_spectacular_sidecar"
_STATIC = f"static/{PACKAGE}"
#: Name -> where the package has it.
SOURCES: Mapping[str, str] = {
    "swagger-ui.css": f"{_STATIC}/swagger-ui-dist/swagger-ui.css",
    "swagger-ui-bundle.js": f"{_STATIC}/swagger-ui-dist/swagger-ui-bundle.js",
    "redoc.standalone.js": f"{_STATIC}/redoc/bundles/redoc.standalone.js",
}
#: Travel with them, and are served as they are.
LICENCES: Mapping[str, str] = {
    "swagger-ui-licence.txt": f"{_STATIC}/swagger-ui-dist/LICENSE",
    "swagger-ui-bundle-licences.txt": f"{_STATIC}/swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt",
    "redoc-licence.txt": f"{_STATIC}/redoc/LICENSE",
    "redoc-bundle-licences.txt": f"{_STATIC}/redoc/bundles/redoc.standalone.js.LICENSE.txt",
}
#: All that a page would fetch from elsewhere: ReDoc's own logo, which it hides when it does not load.
_OUTSIDE = {b"https://cdn.redoc.ly/redoc/logo-mini.svg": b"data:,"}
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Asset:
    """``digest`` is of the content, in hexadecimal; the name that is served has it, so it never changes."""

    name: str
    text: str
    digest: str

    @property
    def served_name(self) -> str:
        stem, dot, suffix = self.name.rpartition(".")
        return f"{stem}.{self.digest}{dot}{suffix}"

    @property
    def content_type(self) -> str:
        return _TYPES[Path(self.name).suffix]


def read_source(name: str) -> bytes:
    """Return an asset as the package has it, but for what it would fetch from elsewhere.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{PACKAGE} is not installed")
    data = (Path(spec.submodule_search_locations[0]) / {**SOURCES, **LICENCES}[name]).read_bytes()
    for outside, inside in _OUTSIDE.items():
        data = data.replace(outside, inside)
    return data


@cache
def read_asset(name: str) -> Asset:
    """Raises NotFound: there is none of this name."""
    if name not in SOURCES and name not in LICENCES:
        raise NotFound("There is no such thing.")
    path = FOLDER / name
    data = path.read_bytes() if path.is_file() else read_source(name)
    return Asset(name, data.decode(), hashlib.sha256(data).hexdigest()[:_DIGITS])


def find_asset(served_name: str) -> Asset:
    """Raises NotFound: there is none of this name and content."""
    stem, _, suffix = served_name.rpartition(".")
    name = f"{stem.rpartition('.')[0]}.{suffix}"
    found = read_asset(name)
    if found.served_name != served_name:
        raise NotFound("There is no such thing.")
    return found
