"""The API's operations for those who rent."""

from collections.abc import Sequence
from typing import Any, cast

from provocative import operations as op
from provocative.carbon_models import (
    BestStarts,
    CarbonSaving,
    GpuHours,
    IntensityForecasts,
    Methodology,
    RegionalIntensity,
)
from provocative.models import (
    Agreement,
    Availability,
    Cluster,
    Listing,
    Log,
    Offer,
    Page,
    PriceHistory,
    Quota,
    Receipt,
    Rental,
    Reservation,
    Template,
    VolumePrices,
)
from provocative.money_models import Budget, LedgerEntry, LedgerProof, TopUp, Usage, Wallet
from provocative.requests import (
    BillingClass,
    BudgetChange,
    BudgetRequest,
    OfferSort,
    RentalAction,
    RentalChange,
    RentalRequest,
    ReservationRequest,
    TemplateRequest,
)
from provocative.transport import Transport


class Catalog:
    """What can be rented, at what price."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_volume_prices(self) -> VolumePrices:
        """What a GiB of a stopped rental's volume costs an hour, by region."""
        return cast("VolumePrices", self._transport.send(op.LIST_VOLUME_PRICES))

    def read_agreement(self) -> Agreement:
        """Return what the account pays by agreement."""
        return cast("Agreement", self._transport.send(op.READ_AGREEMENT))

    def list_offers(
        self,
        *,
        gpu_type: str | None = None,
        gpu_count: int | None = None,
        min_memory_mib: int | None = None,
        region: str | None = None,
        billing_class: BillingClass | None = None,
        max_price_micros_per_gpu_hour: int | None = None,
        max_intensity_mg_per_kwh: int | None = None,
        min_reliability_ppm: int | None = None,
        sort: OfferSort | None = None,
    ) -> Listing[Offer]:
        query = {
            "gpu_type": gpu_type,
            "gpu_count": gpu_count,
            "min_memory_mib": min_memory_mib,
            "region": region,
            "billing_class": billing_class,
            "max_price_micros_per_gpu_hour": max_price_micros_per_gpu_hour,
            "max_intensity_mg_per_kwh": max_intensity_mg_per_kwh,
            "min_reliability_ppm": min_reliability_ppm,
            "sort": sort,
        }
        return cast("Listing[Offer]", self._transport.send(op.LIST_OFFERS, query=query))

    def list_price_history(
        self,
        *,
        gpu_type: str,
        region: str,
        billing_class: BillingClass | None = None,
        from_: str | None = None,
        to: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> PriceHistory:
        """Instants are RFC 3339."""
        query = {
            "gpu_type": gpu_type,
            "region": region,
            "billing_class": billing_class,
            "from": from_,
            "to": to,
            "limit": limit,
            "cursor": cursor,
        }
        return cast("PriceHistory", self._transport.send(op.LIST_PRICE_HISTORY, query=query))

    def list_intensity(
        self, *, region: str, signal: str | None = None, from_: str | None = None, to: str | None = None
    ) -> RegionalIntensity:
        """Instants are RFC 3339; the last day without them."""
        query = {"region": region, "signal": signal, "from": from_, "to": to}
        return cast("RegionalIntensity", self._transport.send(op.LIST_INTENSITY, query=query))

    def list_forecasts(
        self, *, region: str, signal: str | None = None, at: str | None = None
    ) -> IntensityForecasts:
        """As they were known ``at`` an instant (RFC 3339), or now."""
        query = {"region": region, "signal": signal, "at": at}
        return cast("IntensityForecasts", self._transport.send(op.LIST_FORECASTS, query=query))

    def list_best_starts(
        self,
        *,
        region: str,
        duration_seconds: int,
        deadline: str,
        earliest: str | None = None,
        regions: Sequence[str] = (),
        gpu_type: str | None = None,
        max_price_micros_per_gpu_hour: int | None = None,
        signal: str | None = None,
    ) -> BestStarts:
        """When and where it starts best; ``regions``: where it may run, if not at ``region`` alone."""
        query = {
            "region": region,
            "duration_seconds": duration_seconds,
            "deadline": deadline,
            "earliest": earliest,
            "regions": ",".join(regions) or None,
            "gpu_type": gpu_type,
            "max_price_micros_per_gpu_hour": max_price_micros_per_gpu_hour,
            "signal": signal,
        }
        return cast("BestStarts", self._transport.send(op.LIST_BEST_STARTS, query=query))

    def read_methodology(self) -> Methodology:
        """Every formula, constant and source of energy, emissions and removals; anybody may ask."""
        return cast("Methodology", self._transport.send(op.READ_METHODOLOGY))

    def create_template(self, request: TemplateRequest, *, idempotency_key: str | None = None) -> Template:
        answer = self._transport.send(op.CREATE_TEMPLATE, body=request, idempotency_key=idempotency_key)
        return cast("Template", answer)

    def list_templates(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Template]:
        return cast("Page[Template]", _list(self._transport, op.LIST_TEMPLATES, limit, cursor))

    def read_template(self, template_id: str) -> Template:
        return cast("Template", self._transport.send(op.READ_TEMPLATE, {"template_id": template_id}))

    def replace_template(self, template_id: str, request: TemplateRequest, *, version: int) -> Template:
        """``version`` is that which was read; another one is refused."""
        body = {**request, "version": version}
        path = {"template_id": template_id}
        return cast("Template", self._transport.send(op.REPLACE_TEMPLATE, path, body=body))

    def remove_template(self, template_id: str) -> None:
        self._transport.send(op.REMOVE_TEMPLATE, {"template_id": template_id})


class Rentals:
    """Starts, looks at, changes and ends rentals."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, request: RentalRequest, *, idempotency_key: str | None = None) -> Rental | Cluster:
        """Return the rental, or a cluster of several when ``node_count`` is above 1.

        ``idempotency_key``: of whoever repeats starts across processes; without one, each call is new.
        """
        answer = self._transport.send(op.CREATE_RENTAL, body=request, idempotency_key=idempotency_key)
        return cast("Rental | Cluster", answer)

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Rental]:
        return cast("Page[Rental]", _list(self._transport, op.LIST_RENTALS, limit, cursor))

    def read(self, rental_id: str) -> Rental:
        return cast("Rental", self._transport.send(op.READ_RENTAL, {"rental_id": rental_id}))

    def change(self, rental_id: str, change: RentalChange) -> Rental:
        path = {"rental_id": rental_id}
        return cast("Rental", self._transport.send(op.CHANGE_RENTAL, path, body=change))

    def act(self, rental_id: str, action: RentalAction, *, wait: bool = False) -> Rental:
        """``wait``: of ``resume``, stand in line when there is no room now."""
        operation = op.RESTART_RENTAL if action == "restart" else op.ACT_ON_RENTAL
        body = {"action": action, "wait": True} if wait else {"action": action}
        return cast("Rental", self._transport.send(operation, {"rental_id": rental_id}, body=body))

    def request_log(self, rental_id: str) -> Rental:
        """Ask the host for the end of the workload's log; `read_log` has it some seconds later."""
        return cast("Rental", self._transport.send(op.REQUEST_LOG, {"rental_id": rental_id}))

    def read_log(self, rental_id: str) -> Log:
        """Raises NotFound (``log_not_fetched``): none was asked for, or it did not come yet."""
        return cast("Log", self._transport.send(op.READ_LOG, {"rental_id": rental_id}))

    def list_gpu_hours(self, rental_id: str, *, day: str | None = None) -> GpuHours:
        """``day``: 2026-11-30, UTC; today without one."""
        query = {"day": day}
        return cast(
            "GpuHours", self._transport.send(op.LIST_GPU_HOURS, {"rental_id": rental_id}, query=query)
        )

    def read_receipt(self, rental_id: str) -> Receipt:
        return cast("Receipt", self._transport.send(op.READ_RECEIPT, {"rental_id": rental_id}))

    def read_carbon_saving(self, rental_id: str) -> CarbonSaving:
        """What a flexible start saved. Raises Conflict (``not_flexible``): it was not left open."""
        return cast("CarbonSaving", self._transport.send(op.READ_CARBON_SAVING, {"rental_id": rental_id}))


class Reservations:
    """Books GPUs from one quarter of an hour to another."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, request: ReservationRequest, *, idempotency_key: str | None = None) -> Reservation:
        answer = self._transport.send(op.CREATE_RESERVATION, body=request, idempotency_key=idempotency_key)
        return cast("Reservation", answer)

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Reservation]:
        return cast("Page[Reservation]", _list(self._transport, op.LIST_RESERVATIONS, limit, cursor))

    def read(self, reservation_id: str) -> Reservation:
        path = {"reservation_id": reservation_id}
        return cast("Reservation", self._transport.send(op.READ_RESERVATION, path))

    def preview(
        self, *, gpu_type: str, region: str, from_: str, to: str, gpu_count: int | None = None
    ) -> Availability:
        """Show hour by hour what one host could promise."""
        query = {"gpu_type": gpu_type, "region": region, "from": from_, "to": to, "gpu_count": gpu_count}
        return cast("Availability", self._transport.send(op.PREVIEW_AVAILABILITY, query=query))

    def cancel(self, reservation_id: str) -> Reservation:
        path, body = {"reservation_id": reservation_id}, {"action": "cancel"}
        return cast("Reservation", self._transport.send(op.ACT_ON_RESERVATION, path, body=body))

    def read_quota(self) -> Quota:
        """How many GPUs may be in reservations that are not over."""
        return cast("Quota", self._transport.send(op.READ_RESERVED_QUOTA))


class Money:
    """The wallet, and what bounds its use."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def read_wallet(self) -> Wallet:
        return cast("Wallet", self._transport.send(op.READ_WALLET))

    def set_spend_limit(self, limit_micros_per_hour: int | None) -> Wallet:
        """Bound what all running stays may cost an hour; ``None`` lifts it."""
        body = {"limit_micros_per_hour": limit_micros_per_hour}
        return cast("Wallet", self._transport.send(op.PUT_SPEND_LIMIT, body=body))

    def list_entries(self, *, limit: int | None = None, cursor: str | None = None) -> Page[LedgerEntry]:
        """What was posted to the wallet, newest first."""
        return cast("Page[LedgerEntry]", _list(self._transport, op.LIST_ENTRIES, limit, cursor))

    def prove_ledger(self, day: str) -> LedgerProof:
        """At which entry the ledger stood when a day was sealed; `provocative.proving` checks it."""
        return cast("LedgerProof", self._transport.send(op.PROVE_LEDGER, {"day": day}))

    def read_usage(
        self,
        *,
        from_: str | None = None,
        to: str | None = None,
        bucket: str | None = None,
        group_by: str | None = None,
    ) -> Usage:
        """Sum what was used by hour, day or month; the last 30 days where no range is given."""
        query = {"from": from_, "to": to, "bucket": bucket, "group_by": group_by}
        return cast("Usage", self._transport.send(op.READ_USAGE, query=query))

    def top_up(self, amount_micros: int, return_url: str, *, idempotency_key: str | None = None) -> TopUp:
        """Open a page of Stripe, ``checkout_url``, on which the amount is paid."""
        body = {"amount_micros": amount_micros, "return_url": return_url}
        answer = self._transport.send(op.CREATE_TOP_UP, body=body, idempotency_key=idempotency_key)
        return cast("TopUp", answer)

    def list_top_ups(self, *, limit: int | None = None, cursor: str | None = None) -> Page[TopUp]:
        return cast("Page[TopUp]", _list(self._transport, op.LIST_TOP_UPS, limit, cursor))

    def read_top_up(self, top_up_id: str) -> TopUp:
        return cast("TopUp", self._transport.send(op.READ_TOP_UP, {"top_up_id": top_up_id}))

    def create_budget(self, request: BudgetRequest, *, idempotency_key: str | None = None) -> Budget:
        answer = self._transport.send(op.CREATE_BUDGET, body=request, idempotency_key=idempotency_key)
        return cast("Budget", answer)

    def list_budgets(self) -> Listing[Budget]:
        return cast("Listing[Budget]", self._transport.send(op.LIST_BUDGETS))

    def read_budget(self, budget_id: str) -> Budget:
        return cast("Budget", self._transport.send(op.READ_BUDGET, {"budget_id": budget_id}))

    def change_budget(self, budget_id: str, change: BudgetChange) -> Budget:
        path = {"budget_id": budget_id}
        return cast("Budget", self._transport.send(op.CHANGE_BUDGET, path, body=change))

    def remove_budget(self, budget_id: str) -> None:
        self._transport.send(op.REMOVE_BUDGET, {"budget_id": budget_id})

    def read_quota(self) -> Quota:
        return cast("Quota", self._transport.send(op.READ_QUOTA))


def _list(transport: Transport, operation: op.Operation, limit: int | None, cursor: str | None) -> Any:
    return transport.send(operation, query={"limit": limit, "cursor": cursor})
