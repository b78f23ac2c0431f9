"""What DynamoDB answered to a call that failed."""

from typing import Any

from pynamodb.exceptions import PynamoDBException


def find_code(error: PynamoDBException) -> str | None:
    """Return the error's code, ``None`` when no answer came.

    PynamoDB's own property raises AttributeError for a timeout: its ``response`` is there but None.
    """
    response: dict[str, Any] = getattr(error.cause, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


def is_condition_failure(error: PynamoDBException) -> bool:
    """Say whether the condition did not hold, so that nothing was written."""
    return find_code(error) == "ConditionalCheckFailedException"
