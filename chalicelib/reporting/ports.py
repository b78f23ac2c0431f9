"""What the use cases of reports need."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from chalicelib.carbon.model import RegionFigures
from chalicelib.core.paging import Page
from chalicelib.core.ports import Clock, Transaction, Transactions
from chalicelib.fleet.model import Host
from chalicelib.metering.model import LateSite, Meter, SiteUse
from chalicelib.removals.model import Share
from chalicelib.rentals.model import Rental
from chalicelib.reporting.model import Content, Due, Kind, Owner, Period, Report, SiteDay, StayDay
from chalicelib.statements.ports import Link


class EnergyRecords(Protocol):
    """What metering keeps (`metering.ports.MeterStore`)."""

    def list_sites(self, day: str, after: str | None = None) -> Iterator[str]: ...
    def list_site_uses(
        self, host_id: str, first_hour: str, last_hour: str
    ) -> Mapping[str, Sequence[SiteUse]]: ...
    def get_meter(self, rental_id: str, segment: int) -> Meter | None: ...
    def mark_late(self, tx: Transaction, late: LateSite) -> None: ...
    def list_late(self) -> Sequence[LateSite]: ...
    def clear_late(self, late: LateSite) -> None: ...


class RentalReader(Protocol):
    def get_rental(self, rental_id: str) -> Rental | None: ...


class HostReader(Protocol):
    def get_host(self, host_id: str) -> Host | None: ...


class ShareReader(Protocol):
    def list_day_shares(self, account_id: str, day: str) -> Sequence[Share]: ...


class PurchaseReader(Protocol):
    def find_purchased(self, account_id: str, month: str) -> Mapping[str, int]:
        """Return what the account has bought for a month: mg CO2 by state of the order."""
        ...


class ReportStore(Protocol):
    def get_stay_day(
        self, account_id: str, day: str, host_id: str, rental_id: str, segment: int
    ) -> StayDay | None: ...
    def list_stay_days(self, account_id: str, day: str) -> Sequence[StayDay]: ...
    def put_stay_day(self, tx: Transaction, stay: StayDay) -> None:
        """Fails with Unavailable unless its version follows the stored one."""

    def get_site_day(self, region: str, day: str, host_id: str) -> SiteDay | None: ...
    def list_site_days(self, region: str, day: str) -> Sequence[SiteDay]: ...
    def put_site_day(self, tx: Transaction, site: SiteDay) -> None:
        """As `put_stay_day`."""

    def get_progress(self) -> tuple[str, str | None] | None:
        """Return the day that is rolled up, and the last host that is done; ``None`` before the first."""
        ...

    def put_progress(self, day: str, host_id: str | None) -> None: ...

    def mark_due(self, tx: Transaction, due: Due) -> None: ...
    def list_due(self, now_ms: int) -> Iterator[Due]:
        """Yield what is due, the longest first."""
        ...

    def clear_due(self, due: Due) -> None:
        """Forget it, unless somebody has asked for it again."""

    def find_report(self, owner: Owner, period: Period, version: int | None = None) -> Report | None:
        """Return the version, or the last."""
        ...

    def list_day_reports(self, owner: Owner, month: Period) -> Sequence[Report]:
        """Return the last version of each day of a month, in their order."""
        ...

    def list_reports(self, owner: Owner, kind: Kind, limit: int, start: str | None) -> Page[Report]:
        """Every version, newest period and version first."""
        ...

    def add_report(self, tx: Transaction, report: Report) -> None:
        """Fails with Unavailable when the version is there."""


class Files(Protocol):
    """What is kept as files (`statements.ports.Documents`)."""

    def keep(self, key: str, file: BinaryIO, content_type: str) -> str: ...
    def read(self, key: str) -> BinaryIO:
        """Raises NotFound; Unavailable: try again."""
        ...

    def link(self, key: str, file_name: str) -> Link: ...


class ContentCodec(Protocol):
    """Contents as JSON: the same content comes to the same bytes."""

    def encode(self, content: Content) -> bytes: ...
    def decode(self, data: bytes) -> Content: ...


@dataclass(frozen=True, slots=True)
class ReportPorts:
    """``read_figures``: (region, hours by their starts in ms) -> what to count them with.

    ``read_power_limits``: watts by GPU type.
    """

    store: ReportStore
    energy: EnergyRecords
    rentals: RentalReader
    hosts: HostReader
    shares: ShareReader
    purchases: PurchaseReader
    files: Files
    codec: ContentCodec
    read_figures: Callable[[str, Sequence[int]], RegionFigures]
    read_power_limits: Callable[[], Mapping[str, int]]
    #: Called only where one is printed: what it returns loads a library.
    connect_printer: Callable[[], Callable[[Content, Report], bytes]]
    transactions: Transactions
    clock: Clock
