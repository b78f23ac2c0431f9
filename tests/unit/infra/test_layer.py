"""A layer without a package, or with one that Lambda cannot load, is refused before it is deployed."""

import zipfile

import pytest

from infra.cdk.layer import LayerUnusable, check_layer, runs_there

REQUIREMENTS = """
# What runs in Lambda.
Fast_Thing==1.2.0
    # via something
plain==3.0 ; implementation_name == 'cpython'
elsewhere==1.0 ; sys_platform == 'win32'
"""
PLAIN = ("plain-3.0", ["py2-none-any", "py3-none-any"])
FAST = ("fast_thing-1.2.0", ["cp311-cp311-manylinux_2_17_aarch64", "cp311-cp311-manylinux2014_aarch64"])


@pytest.fixture
def pack(tmp_path):
    def pack(*wheels):
        path = tmp_path / "layer.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, tags in wheels:
                text = "Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags)
                archive.writestr(f"python/lib/python3.11/site-packages/{name}.dist-info/WHEEL", text)
        return path

    return pack


def test_a_layer_with_every_pin_for_its_system_is_taken(pack):
    check_layer(pack(PLAIN, FAST), REQUIREMENTS, "arm64")


def test_what_the_packager_went_on_without_is_named(pack):
    with pytest.raises(LayerUnusable, match=r"Fast_Thing==1.2.0 is wanted and it has none"):
        check_layer(pack(PLAIN), REQUIREMENTS, "arm64")


def test_another_version_than_the_pin_is_refused(pack):
    with pytest.raises(LayerUnusable, match=r"plain==3.0.* is wanted and it has 2.9"):
        check_layer(pack(("plain-2.9", ["py3-none-any"]), FAST), REQUIREMENTS, "arm64")


@pytest.mark.parametrize(
    "tags",
    [
        ["cp311-cp311-linux_aarch64"],
        ["cp311-cp311-manylinux_2_28_aarch64"],
        ["cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux2014_x86_64"],
        [],
    ],
)
def test_what_lambda_cannot_load_is_refused(pack, tags):
    with pytest.raises(LayerUnusable, match=r"Fast_Thing==1.2.0 was built for another system"):
        check_layer(pack(PLAIN, ("fast_thing-1.2.0", tags)), REQUIREMENTS, "arm64")


@pytest.mark.parametrize(
    ("tag", "architecture", "runs"),
    [
        ("any", "arm64", True),
        ("manylinux2014_x86_64", "x86_64", True),
        ("manylinux_2_26_x86_64", "x86_64", True),
        ("manylinux_2_35_x86_64", "x86_64", False),
        ("musllinux_1_2_x86_64", "x86_64", False),
        ("macosx_11_0_arm64", "arm64", False),
    ],
)
def test_a_wheel_runs_where_its_tag_says(tag, architecture, runs):
    assert runs_there(tag, architecture) is runs
