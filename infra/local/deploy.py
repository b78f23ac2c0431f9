"""Deploys a synthesised stack into MiniStack through CloudFormation, as `cdk deploy` does on AWS."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.local.aws import Aws
from infra.local.ministack import ACCOUNT_ID, REGION
from infra.local.progress import Progress, StepFailed

DEPLOY_SECONDS = 240
ANY_METHOD = "x-amazon-apigateway-any-method"
_PLACEHOLDERS = {
    "${AWS::AccountId}": ACCOUNT_ID,
    "${AWS::Region}": REGION,
    "${AWS::Partition}": "aws",
}


def deploy_stack(aws: Aws, assembly: Path, stack_name: str, progress: Progress, log: Path) -> dict[str, str]:
    """Upload the assets, create the stack, wait for it; return its outputs.

    Raises:
        StepFailed: a resource could not be created; names it and the reason.
    """
    template = (assembly / f"{stack_name}.template.json").read_text()
    with progress.step("uploading the functions' code"):
        upload_assets(aws, assembly, stack_name)
    with progress.step("deploying the template"):
        cloudformation = aws.client("cloudformation")
        cloudformation.create_stack(
            StackName=stack_name,
            TemplateURL=_upload_template(aws, template),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        stack = _wait(cloudformation, stack_name, log)
        _check_batches(aws)
        pass_other_methods(aws, json.loads(template))
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def upload_assets(aws: Aws, assembly: Path, stack_name: str) -> None:
    manifest = json.loads((assembly / f"{stack_name}.assets.json").read_text())
    for asset in manifest["files"].values():
        source = assembly / asset["source"]["path"]
        for destination in asset["destinations"].values():
            bucket = _resolve(destination["bucketName"])
            _ensure_bucket(aws, bucket)
            aws.client("s3").put_object(
                Bucket=bucket, Key=_resolve(destination["objectKey"]), Body=source.read_bytes()
            )


def _upload_template(aws: Aws, template: str) -> str:
    # Above 51,200 bytes CloudFormation takes a template from S3 only.
    bucket, key = f"cdk-templates-{ACCOUNT_ID}", "stack.template.json"
    _ensure_bucket(aws, bucket)
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=template.encode())
    return f"{aws.endpoint_url}/{bucket}/{key}"


def _ensure_bucket(aws: Aws, bucket: str) -> None:
    try:
        aws.client("s3").create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
            raise


def _resolve(text: str) -> str:
    for placeholder, value in _PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


def _wait(cloudformation: Any, stack_name: str, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + DEPLOY_SECONDS
    while True:
        stack: dict[str, Any] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
        status = stack["StackStatus"]
        if status == "CREATE_COMPLETE":
            return stack
        if status != "CREATE_IN_PROGRESS" or time.monotonic() > deadline:
            reason = _find_failure(cloudformation, stack_name) or stack.get("StackStatusReason", status)
            raise StepFailed(f"the stack could not be deployed: {reason}", f"see {log}")
        time.sleep(0.25)


def _find_failure(cloudformation: Any, stack_name: str) -> str | None:
    events = cloudformation.describe_stack_events(StackName=stack_name)["StackEvents"]
    for event in events:
        if event["ResourceStatus"].endswith("FAILED") and event.get("ResourceStatusReason"):
            return f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
    return None


def pass_other_methods(aws: Aws, template: dict[str, Any]) -> None:
    """Give the deployed API the methods that MiniStack does not read from a template: those named ANY."""
    gateway = aws.client("apigateway")
    for resource in template["Resources"].values():
        if resource["Type"] != "AWS::Serverless::Api":
            continue
        wanted = {
            path
            for path, item in resource["Properties"]["DefinitionBody"]["paths"].items()
            if ANY_METHOD in item
        }
        for api_id, found in list_api_resources(aws):
            if found["path"] in wanted:
                names = {"restApiId": api_id, "resourceId": found["id"]}
                integration = next(iter(found["resourceMethods"].values()))["methodIntegration"]
                gateway.put_method(**names, httpMethod="ANY", authorizationType="NONE")
                gateway.put_integration(
                    **names,
                    httpMethod="ANY",
                    type=integration["type"],
                    integrationHttpMethod=integration["httpMethod"],
                    uri=integration["uri"],
                )


def list_api_resources(aws: Aws) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each API's id with each path of it that has methods."""
    gateway = aws.client("apigateway")
    for api in gateway.get_rest_apis()["items"]:
        pages = gateway.get_paginator("get_resources").paginate(restApiId=api["id"], embed=["methods"])
        for page in pages:
            yield from ((api["id"], each) for each in page["items"] if each.get("resourceMethods"))


def _check_batches(aws: Aws) -> None:
    """One poison record must not take nine others with it: the mappings have to say so."""
    mappings = aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    for mapping in mappings:
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            raise StepFailed(
                f"{mapping['EventSourceArn']} does not report batch item failures",
                "the template or MiniStack lost FunctionResponseTypes",
            )
    if not mappings:
        raise StepFailed("no event source mapping was created", "see the template")
