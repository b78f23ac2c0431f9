"""What the archives of the functions hold."""

import re
import zipfile

from chalice.deploy.packager import LambdaDeploymentPackager
from chalice.utils import OSUtils

from infra.cdk.bytecode import BOTOCORE_SERVICES, is_wanted, prepare_archive
from infra.checks import ROOT


def test_tools_that_are_run_by_hand_are_left_out_and_what_functions_import_stays(tmp_path):
    path = tmp_path / "deployment.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("policies.py", "reproduce/__init__.py", "reproduce/scenarios.py"):
            archive.writestr(f"chalicelib/carbon/{name}", "VALUE = 1\n")
    prepare_archive(path)
    with zipfile.ZipFile(path) as archive:
        sources = [name for name in archive.namelist() if name.endswith(".py")]
        bytecode = [name for name in archive.namelist() if name.endswith(".pyc")]
    assert sources == ["chalicelib/carbon/policies.py"]
    assert len(bytecode) == 1


def test_of_the_data_of_botocore_only_what_is_called_is_wanted():
    assert is_wanted("python/botocore/data/sqs/2012-11-05/service-2.json.gz")
    assert not is_wanted("python/botocore/data/glacier/2012-06-01/service-2.json.gz")


def test_nothing_that_reads_images_and_no_types_of_stripe_are_packaged():
    for name in (
        "PIL/PsdImagePlugin.py",
        "PIL/_avif.cpython-311-x86_64-linux-gnu.so",
        "pillow.libs/libavif-4aef.so.16",
    ):
        assert not is_wanted(f"python/lib/python3.11/site-packages/{name}")
    assert not is_wanted("python/lib/python3.11/site-packages/stripe/params/_refund_create_params.py")
    for name in (
        "PIL/Image.py",
        "PIL/_imaging.cpython-311-x86_64-linux-gnu.so",
        "stripe/_refund.py",
        "stripe/__init__.py",
    ):
        assert is_wanted(f"python/lib/python3.11/site-packages/{name}")


def test_every_service_that_a_function_calls_is_described_in_the_archive_and_no_other():
    called = {
        name
        for path in (ROOT / "chalicelib").rglob("*.py")
        for name in re.findall(r'aws_client\(\s*"(\w+)"', path.read_text())
    }
    assert set(BOTOCORE_SERVICES) == called | {"dynamodb"}


def test_the_document_of_the_api_is_packaged_beside_the_module_that_serves_it():
    packager = LambdaDeploymentPackager(OSUtils(), None, None)
    packaged = {name for _, name in packager._iter_app_filenames(str(ROOT))}
    assert "chalicelib/runtime/openapi.json" in packaged
    assert is_wanted("chalicelib/runtime/openapi.json")
    assert not any(name.startswith("infra/") for name in packaged)
