"""The stage fits what AWS allows: the embedded cloud counts none of it, and a deployment would stop half way.

Source of each number: the quotas' page of the service, as they are before anybody asks for more.
"""

import json
import zipfile

import pytest

TEMPLATE_BYTES, TEMPLATE_RESOURCES, TEMPLATE_OUTPUTS = 1_000_000, 500, 200
ROLE_POLICY_CHARACTERS = 10_240
ENVIRONMENT_BYTES = 4_096
FUNCTION_UNZIPPED_BYTES = 250 * 1024 * 1024
API_RESOURCES = 300
API_DEFINITION_BYTES = 6_000_000
#: Longer than any ARN, name or address of a stage: `arn:aws:secretsmanager:…` with its suffix has 106.
LONGEST = "x" * 110


def select(template, kind):
    return {name: each for name, each in template["Resources"].items() if each["Type"] == kind}


def resolve(value):
    """Return what a deployment makes of it, no shorter than it will be."""
    if isinstance(value, list):
        return [resolve(each) for each in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Fn::Join": [separator, parts]}:
            return separator.join(str(resolve(each)) for each in parts)
        case {"Ref": "AWS::Partition" | "AWS::Region" | "AWS::AccountId"}:
            return "ap-southeast-1"
        case {"Ref": _} | {"Fn::GetAtt": _} | {"Fn::Sub": _} | {"Fn::Select": _}:
            return LONGEST
        case _:
            return {name: resolve(each) for name, each in value.items()}


def test_a_stage_fits_one_template(production, template):
    assert (production / "prod.template.json").stat().st_size < TEMPLATE_BYTES
    assert len(template["Resources"]) < TEMPLATE_RESOURCES
    assert len(template["Outputs"]) < TEMPLATE_OUTPUTS


def test_what_a_role_may_do_fits_its_inline_policies(template):
    sizes = {
        name: len(json.dumps(resolve(role["Properties"].get("Policies", [])), separators=(",", ":")))
        for name, role in select(template, "AWS::IAM::Role").items()
    }
    assert len(sizes) > 1
    assert {name: size for name, size in sizes.items() if size > ROLE_POLICY_CHARACTERS} == {}


def test_what_a_function_is_told_fits_its_environment(template):
    sizes = {
        name: sum(
            len(key) + len(str(resolve(value)))
            for key, value in each["Properties"]["Environment"]["Variables"].items()
        )
        for name, each in select(template, "AWS::Serverless::Function").items()
    }
    assert min(sizes.values()) > 0
    assert {name: size for name, size in sizes.items() if size > ENVIRONMENT_BYTES} == {}


def test_code_and_layer_fit_a_function(production):
    unpacked = 0
    for path in production.glob("asset.*.zip"):
        with zipfile.ZipFile(path) as archive:
            unpacked += sum(each.file_size for each in archive.infolist())
    assert 0 < unpacked < FUNCTION_UNZIPPED_BYTES


def test_the_routes_fit_one_api(template):
    (api,) = select(template, "AWS::Serverless::Api").values()
    body = api["Properties"]["DefinitionBody"]
    resources = {
        path[:end]
        for path in body["paths"]
        for end in [*(at for at, letter in enumerate(path) if letter == "/"), len(path)]
    }
    assert len(body["paths"]) <= len(resources) < API_RESOURCES
    assert len(json.dumps(resolve(body))) < API_DEFINITION_BYTES


@pytest.mark.parametrize(
    ("value", "resolved"),
    [
        ({"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, ":a"]]}, "arn:ap-southeast-1:a"),
        ([{"Fn::GetAtt": ["Table", "Arn"]}], [LONGEST]),
        ({"Action": "s3:PutObject"}, {"Action": "s3:PutObject"}),
    ],
)
def test_a_reference_counts_as_what_it_becomes(value, resolved):
    assert resolve(value) == resolved
