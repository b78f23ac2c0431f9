"""What the use cases of grid intensity need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib.carbon.intensity import Forecast, IntensityPoint, Kind, Series
from chalicelib.core.ports import Clock

#: (URL, headers) -> the JSON that came, numbers with a point as ``Decimal``. Raises ProviderFailed.
FetchJson = Callable[[str, Mapping[str, str]], Any]

FIRST_DELAY_MS = 5 * 60_000
MAX_DELAY_MS = 6 * 3_600_000


class IntensityProvider(Protocol):
    """What a provider says is returned as it is; `carbon.intensity` judges it."""

    def fetch_actuals(self, series: Series, from_ms: int, until_ms: int) -> list[IntensityPoint]:
        """Raises ProviderFailed: it did not answer, or with something else than was asked for."""
        ...

    def fetch_forecast(self, series: Series) -> Forecast:
        """Raises ProviderFailed: as above."""
        ...


@dataclass(frozen=True, slots=True)
class FetchState:
    """How the last attempts at one series went. ``failures`` in a row; 0 after a success."""

    series: Series
    kind: Kind
    attempted_at_ms: int = 0
    next_attempt_ms: int = 0
    failures: int = 0
    succeeded_at_ms: int | None = None
    reason: str | None = None


class IntensityStore(Protocol):
    def list_actuals(self, series: Series, from_ms: int, until_ms: int) -> list[IntensityPoint]:
        """Every revision of the intervals that begin in the range, the end excluded, in the order of time."""
        ...

    def add_actual(self, point: IntensityPoint) -> bool:
        """Say whether it is new: another run may have stored this revision."""
        ...

    def add_forecast(self, forecast: Forecast) -> bool:
        """Say whether it is new: one is stored for each instant at which one was made."""
        ...

    def find_forecast(self, series: Series, at_ms: int) -> Forecast | None:
        """Return the last that was made, and that we had, at the instant; ``None`` if a month ago at best."""
        ...

    def list_states(self) -> list[FetchState]: ...
    def put_state(self, state: FetchState) -> None: ...


@dataclass(frozen=True, slots=True)
class GridPorts:
    """``providers`` by name: those that the stage has keys for."""

    store: IntensityStore
    clock: Clock
    providers: Callable[[], Mapping[str, IntensityProvider]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """``failed``: (provider, zone, signal, kind, reason). ``left``: not tried, for want of time."""

    stored: int
    refused: int
    failed: Sequence[tuple[str, str, str, str, str]]
    left: int
