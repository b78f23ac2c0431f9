"""Holds the API's answers to its document: whatever test asks a route, the answer is one that is written."""

import json

from chalicelib.runtime.api_document import DOCUMENT
from tests.unit.infra.json_schema import find_faults, resolve

CONTRACT = json.loads(DOCUMENT.read_text())


def hold_to_document(event, answered):
    """Raises AssertionError: the document does not know the status, media type, body or code of a refusal."""
    path = CONTRACT["paths"].get(event["resource"])
    if path is None:
        # A route of the test's own.
        return
    if event["httpMethod"].lower() not in path:
        assert answered["statusCode"] == 405
        return
    operation = path[event["httpMethod"].lower()]
    name, status = operation["operationId"], str(answered["statusCode"])
    assert status in operation["responses"], f"{name} may not answer {status}: {answered['body']}"
    response = operation["responses"][status]
    response = resolve(response["$ref"], CONTRACT) if "$ref" in response else response
    if "content" not in response:
        assert not answered["body"], f"{name} answers {status} with a body"
        return
    sent = {key.lower(): value for key, value in answered["headers"].items()}
    sent |= {key.lower(): value[-1] for key, value in answered.get("multiValueHeaders", {}).items()}
    media_type = sent["content-type"].partition(";")[0]
    ranges = {media_type, media_type.partition("/")[0] + "/*"}
    assert ranges & set(response["content"]), f"{name} answers {status} as {media_type}"
    if media_type.startswith("text/"):
        return
    body = json.loads(answered["body"])
    faults = list(find_faults(response["content"][media_type]["schema"], body, CONTRACT))
    assert not faults, f"{name} answers {status} otherwise than written down: {faults}"
    if "x-codes" in response:
        assert body["code"] in response["x-codes"], f"{body['code']} of {name} is not known under {status}"
