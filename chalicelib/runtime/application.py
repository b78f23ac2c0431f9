"""The REST API as Lambda calls it."""

from collections.abc import Mapping
from typing import Any

from chalice.app import Chalice

from chalicelib.runtime.problems import build_method_refusal


class Application(Chalice):
    """The REST API. A method that a path does not have is refused as everything is: by a problem document."""

    def __call__(self, event: Mapping[str, Any], context: object) -> Any:
        asked = event.get("requestContext", {})
        methods = self.routes.get(asked.get("resourcePath"))
        if methods and asked.get("httpMethod") not in methods:
            refusal = build_method_refusal(methods, str(asked.get("requestId", "unknown")))
            return refusal.to_dict(self.api.binary_types)
        return super().__call__(event, context)
