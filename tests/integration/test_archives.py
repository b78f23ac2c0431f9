"""The archives hold all that functions import, and need nothing that this machine has beside.

The embedded cloud cannot show that: packages of its own environment come before those of the layer.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from infra.cdk.bytecode import BOTOCORE_SERVICES
from infra.local.cloud import EmbeddedCloud

LAYER = "python/lib/"
#: Alone with the archives: neither site packages nor anything of the environment.
IMPORT = """
import importlib, json, pkgutil, sys
folders, modules, services = json.loads(sys.argv[1])
sys.path[:0] = folders
import chalicelib
# Much is imported where it is needed only: all that there is, then, and every package of the layer.
ours = [each.name for each in pkgutil.walk_packages(chalicelib.__path__, "chalicelib.")]
theirs = [each.name for each in pkgutil.iter_modules(folders[1:])]
for name in [*modules, *ours, *theirs]:
    importlib.import_module(name)
import stripe
stripe.StripeClient("sk_test_1").v1.refunds.create
from reportlab.platypus import Paragraph
from chalicelib.runtime.printing import load_fonts, print_pages
load_fonts()
assert print_pages([Paragraph("Statement")], title="Statement", author="Seller").startswith(b"%PDF")
from botocore.session import get_session
for name in services:
    get_session().create_client(name, region_name="eu-north-1")
paths = [getattr(each, "__file__", None) or "" for each in list(sys.modules.values())]
strange = sorted(path for path in paths if "site-packages" in path and not path.startswith(tuple(folders)))
print(json.dumps([stripe.__file__, strange]))
"""


def test_every_module_that_is_called_is_imported_from_the_archives_alone(
    cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    for archive in cloud.assembly.glob("asset.*.zip"):
        with zipfile.ZipFile(archive) as files:
            files.extractall(tmp_path)
    (packages,) = (tmp_path / LAYER).glob("*/site-packages")
    (template,) = cloud.assembly.glob("*.template.json")
    functions = [
        each["Properties"]["Handler"].rpartition(".")[0]
        for each in json.loads(template.read_text())["Resources"].values()
        if each["Type"] == "AWS::Serverless::Function"
    ]
    table = json.loads((tmp_path / "chalicelib/runtime/routes.json").read_text())
    routes = [name for part in table.values() for methods in part.values() for name in methods.values()]
    assert "chalicelib.entrance" in functions
    told = json.dumps([[str(tmp_path), str(packages)], sorted({*functions, *routes}), BOTOCORE_SERVICES])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT, told],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, strange = json.loads(done.stdout.splitlines()[-1])
    assert where.startswith(str(packages))
    assert strange == []
