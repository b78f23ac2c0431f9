"""Bodies of the reservation routes."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.core.capacity import Quota
from chalicelib.core.clock import format_instant
from chalicelib.reservations.model import MAX_NODES, Reservation, see_state
from chalicelib.reservations.service import Preview, ReservationRequest
from chalicelib.runtime.bodies import Instant, RequestBody, ResponseBody

MAX_GPUS_PER_HOST = 64

Name = Annotated[str, Field(min_length=1, max_length=64)]


class CreateReservationRequest(RequestBody):
    gpu_type: Name
    #: One region: a reservation names its place.
    region: Name
    #: On each node.
    gpu_count: Annotated[int, Field(ge=1, le=MAX_GPUS_PER_HOST)]
    #: Several nodes are whole hosts of one fabric.
    node_count: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    starts_at: Instant
    ends_at: Instant
    label: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]*$")] | None = None


class ReservationActionRequest(RequestBody):
    action: Literal["cancel"]


class ReservedQuotaRequest(RequestBody):
    max_gpus: Annotated[int, Field(ge=0, le=1_000_000)]


class ReservedQuotaBody(ResponseBody):
    max: int
    used: int
    available: int


class BookingBody(ResponseBody):
    host_id: str
    gpu_count: int
    used_gpus: int
    rental_ids: list[str]


class ReservationBody(ResponseBody):
    reservation_id: str
    state: str
    gpu_type: str
    region: str
    gpu_count: int
    node_count: int
    starts_at: str
    ends_at: str
    price_micros_per_gpu_hour: int
    currency: str
    label: str | None
    created_at: str
    bookings: list[BookingBody]
    cancelled_at: str | None
    cancel_fee_micros: int | None
    broken_at: str | None
    #: Held in the wallet while it is not over.
    deposit_micros: int
    #: Credited when it was broken.
    credit_due_micros: int | None


class ReservationListBody(ResponseBody):
    items: list[ReservationBody]
    next_cursor: str | None


class HourBody(ResponseBody):
    starts_at: str
    #: The most GPUs that one host could promise in every slot of the hour.
    largest_gpus: int


class AvailabilityBody(ResponseBody):
    #: Live, and no promise.
    items: list[HourBody]
    fits: bool
    price_micros_per_gpu_hour: int
    currency: str


def read_request(body: CreateReservationRequest) -> ReservationRequest:
    return ReservationRequest(
        gpu_type=body.gpu_type,
        region=body.region,
        gpu_count=body.gpu_count,
        starts_at_ms=body.starts_at,
        ends_at_ms=body.ends_at,
        node_count=body.node_count,
        label=body.label,
    )


def render_reservation(reservation: Reservation, now_ms: int) -> ReservationBody:
    return ReservationBody(
        reservation_id=reservation.reservation_id,
        state=see_state(reservation, now_ms),
        gpu_type=reservation.gpu_type,
        region=reservation.region,
        gpu_count=reservation.gpu_count,
        node_count=reservation.node_count,
        starts_at=format_instant(reservation.starts_at_ms),
        ends_at=format_instant(reservation.ends_at_ms),
        price_micros_per_gpu_hour=reservation.price_micros_per_gpu_hour,
        currency=reservation.currency,
        label=reservation.label,
        created_at=format_instant(reservation.created_at_ms),
        bookings=[
            BookingBody(
                host_id=booking.host_id,
                gpu_count=booking.gpu_count,
                used_gpus=booking.used_gpus,
                rental_ids=sorted(booking.uses),
            )
            for booking in reservation.open_bookings
        ],
        cancelled_at=_format(reservation.cancelled_at_ms),
        cancel_fee_micros=reservation.cancel_fee_micros,
        broken_at=_format(reservation.broken_at_ms),
        deposit_micros=reservation.deposit_micros,
        credit_due_micros=reservation.credit_due_micros,
    )


def render_quota(quota: Quota) -> ReservedQuotaBody:
    return ReservedQuotaBody(max=quota.max_gpus, used=quota.used_gpus, available=quota.available_gpus)


def render_availability(preview: Preview, currency: str) -> AvailabilityBody:
    return AvailabilityBody(
        items=[
            HourBody(starts_at=format_instant(hour.starts_at_ms), largest_gpus=hour.largest_gpus)
            for hour in preview.hours
        ],
        fits=preview.fits,
        price_micros_per_gpu_hour=preview.price_micros_per_gpu_hour,
        currency=currency,
    )


def _format(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_instant(at_ms)
