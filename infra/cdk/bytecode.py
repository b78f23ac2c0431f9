"""Makes Chalice's archives ready to start fast: bytecode in, checkout leftovers and unused data out.

A function's folder is read-only, so Python can never write bytecode there; without it the API's imports take
four times as long (1032 ms against 257 ms CPU). Hash-based files stay valid whatever their dates.
"""

import importlib.util
import io
import marshal
import re
import zipfile
from pathlib import Path

from infra.cdk.assets import BESIDE, collect_assets

#: botocore ships 20 MB of service descriptions; these are the services that functions call.
BOTOCORE_SERVICES = ("dynamodb", "ec2", "kms", "s3", "secretsmanager", "sesv2", "sqs", "ssm", "sts")
_BOTOCORE_DATA = "/botocore/data/"
#: Run by hand, with numpy, which no function has.
TOOLS = ("chalicelib/carbon/reproduce/",)
#: Half of stripe is types for checkers. reportlab imports PIL, but no page of ours has it read an image, and
#: that is what advisories are about: without its plugins it cannot.
_UNUSED = re.compile(
    r"/(stripe/params/|PIL/(\w+Plugin\.py|_(avif|webp|imagingft|imagingcms|imagingtk)\.)|pillow\.libs/libavif)"
)
#: The archive is immutable, so the source is never read to validate its bytecode.
_UNCHECKED_HASH = 0b01
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


def prepare_archive(path: Path) -> None:
    """Rewrite a deployment archive in place; the same input gives the same bytes.

    Raises:
        SyntaxError: a source file does not compile on the running interpreter.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        added = collect_assets() if BESIDE in source.namelist() else {}
        for name in sorted({*source.namelist(), *added}):
            if name.endswith("/") or not is_wanted(name):
                continue
            data = added[name] if name in added else source.read(name)
            _write(target, name, data)
            if name.endswith(".py"):
                _write(target, locate_bytecode(name), compile_source(name, data))
    path.write_bytes(buffer.getvalue())


def is_wanted(name: str) -> bool:
    if "/__pycache__/" in f"/{name}" or name.endswith(".pyc") or name.startswith(TOOLS):
        return False
    if _UNUSED.search(name):
        return False
    _, separator, rest = name.partition(_BOTOCORE_DATA)
    if separator and "/" in rest:
        return rest.split("/", 1)[0] in BOTOCORE_SERVICES
    return True


def locate_bytecode(name: str) -> str:
    """Return where the running interpreter looks for the bytecode of ``name``."""
    return importlib.util.cache_from_source(name)


def compile_source(name: str, data: bytes) -> bytes:
    """Return a ``.pyc`` in the layout of PEP 552: magic, flags, hash of the source, marshalled code."""
    code = compile(data, name, "exec", dont_inherit=True)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little")
    return header + importlib.util.source_hash(data) + marshal.dumps(code)


def _write(target: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _FIXED_DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    target.writestr(info, data)
