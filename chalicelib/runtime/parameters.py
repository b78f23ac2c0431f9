"""Parameters come from Parameter Store: what is known only once the stack stands, such as its own address."""

from dataclasses import dataclass
from typing import Any

from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import Clock

#: A changed parameter is seen by every process within this time.
CACHE_MS = 300_000


@dataclass(slots=True)
class CachedParameter:
    """The value of one parameter. ``client`` is a botocore ``ssm`` client.

    While Parameter Store does not answer, the last value serves: none of them is a secret, and none expires.
    """

    client: Any
    name: str
    clock: Clock
    _value: str | None = None
    _fetched_at_ms: int = 0

    def read(self) -> str:
        """Raises Unavailable: there is no value yet and the service does not answer."""
        now_ms = self.clock.now_ms()
        if self._value is not None and now_ms - self._fetched_at_ms < CACHE_MS:
            return self._value
        try:
            self._value = str(self.client.get_parameter(Name=self.name)["Parameter"]["Value"])
        except Exception as error:
            if self._value is None:
                raise Unavailable("A dependency did not answer; try again.") from error
        self._fetched_at_ms = now_ms
        return self._value
