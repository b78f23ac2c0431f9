"""What the archives hold that no checkout has: files of the API's pages, from a development package."""

from collections.abc import Mapping

from chalicelib.runtime.assets import LICENCES, SOURCES, read_source

#: Only the archive with the application's code gets them.
BESIDE = "chalicelib/runtime/assets.py"
_FOLDER = "chalicelib/runtime/assets"


def collect_assets() -> Mapping[str, bytes]:
    """Return files by their place in the archive."""
    return {f"{_FOLDER}/{name}": read_source(name) for name in (*SOURCES, *LICENCES)}
