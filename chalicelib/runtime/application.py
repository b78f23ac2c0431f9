"""The REST API as Lambda calls it."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from chalice.app import Chalice

from chalicelib.core.ports import Clock
from chalicelib.runtime.http import Api
from chalicelib.runtime.problems import build_method_refusal
from chalicelib.runtime.routing import RouteTable
from chalicelib.runtime.throttling import Limiter


class Application(Chalice):
    """The REST API. A method that a path does not have is refused as everything is: by a problem document."""

    def __init__(self, find_limiter: Callable[[], Limiter], find_clock: Callable[[], Clock]) -> None:
        super().__init__(app_name="provocative", configure_logs=False)
        self._find_limiter, self._find_clock = find_limiter, find_clock

    def mount(self, api: Api) -> None:
        """Serve the routes of a slice."""
        api.limit_by(self._find_limiter)
        api.tell_time_by(self._find_clock)
        self.register_blueprint(api.blueprint)

    def __call__(self, event: Mapping[str, Any], context: object) -> Any:
        asked = event.get("requestContext", {})
        methods = self.routes.get(asked.get("resourcePath"))
        if methods and asked.get("httpMethod") not in methods:
            refusal = build_method_refusal(methods, str(asked.get("requestId", "unknown")))
            return refusal.to_dict(self.api.binary_types)
        return super().__call__(event, context)


class LazyApplication(Application):
    """Imports a slice with the first request for one of its paths; preflights need none."""

    def __init__(
        self, find_limiter: Callable[[], Limiter], find_clock: Callable[[], Clock], table: RouteTable
    ) -> None:
        super().__init__(find_limiter, find_clock)
        self._table = table
        self._mounted: set[str] = set()

    def __call__(self, event: Mapping[str, Any], context: object) -> Any:
        asked = event.get("requestContext", {})
        if asked.get("httpMethod") != "OPTIONS":
            for name in self._table.find_modules(str(asked.get("resourcePath"))) - self._mounted:
                self.mount(import_module(name).api)
                self._mounted.add(name)
        return super().__call__(event, context)
