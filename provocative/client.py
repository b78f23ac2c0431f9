"""The client of the API.

    with Client("https://…", key) as client:
        rental = client.rentals.create({"gpu_type": "H100-SXM-80GB", "image": "pytorch/pytorch"})
        for each in list_all(client.rentals.list):
            print(each["rental_id"], each["state"])

Every method is one call and returns the API's own body; what it refuses is raised as `provocative.errors`.
May be used by several threads at once.
"""

import random
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from provocative.authorising import OAuth
from provocative.models import Page
from provocative.notifying import Webhooks
from provocative.operating import Accounts, CatalogDesk, Fleet, Pools
from provocative.paying import Paying
from provocative.privacy import Privacy
from provocative.purchasing import RemovalPurchases
from provocative.removing import Removals
from provocative.renting import Catalog, Money, Rentals, Reservations
from provocative.reporting import CarbonReports
from provocative.statements import Statements
from provocative.trail import Audit
from provocative.transport import RetryPolicy, Transport

T = TypeVar("T")


class Client:
    """One API with one key."""

    def __init__(
        self,
        api_url: str,
        api_key: str | Callable[[], str],
        *,
        timeout_seconds: float = 30.0,
        retries: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Raises ValueError: the URL is not HTTPS (or loopback), or the key cannot be one."""
        self._transport = Transport(
            api_url,
            api_key,
            timeout_seconds=timeout_seconds,
            retries=retries,
            sleep=sleep,
            draw=draw,
            transport=transport,
        )
        self.catalog = Catalog(self._transport)
        self.rentals = Rentals(self._transport)
        self.reservations = Reservations(self._transport)
        self.money = Money(self._transport)
        self.paying = Paying(self._transport)
        self.statements = Statements(self._transport)
        self.oauth = OAuth(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.accounts = Accounts(self._transport)
        self.catalog_desk = CatalogDesk(self._transport)
        self.fleet = Fleet(self._transport)
        self.pools = Pools(self._transport)
        self.audit = Audit(self._transport)
        self.removals = Removals(self._transport)
        self.carbon_reports = CarbonReports(self._transport)
        self.privacy = Privacy(self._transport)
        self.removal_purchases = RemovalPurchases(self._transport)

    def __repr__(self) -> str:
        return f"Client({self._transport.api_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()


def list_all(fetch: Callable[..., Page[T]], /, **filters: Any) -> Iterator[T]:
    """Yield every item of a listing, page by page, each page fetched when it is reached.

    Raises:
        ApiError: one of its kinds; what was yielded before stands.
    """
    cursor: str | None = None
    while True:
        page = fetch(**filters, cursor=cursor)
        yield from page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return
