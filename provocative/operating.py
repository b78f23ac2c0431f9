"""The API's operations for those who run the fleet, and for keys, which everybody has."""

from typing import cast

from provocative import operations as op
from provocative.fleet_models import Enrolment, Host, Incident, Plan, Pool, Window
from provocative.models import (
    Account,
    Agreement,
    GpuType,
    IssuedKey,
    Key,
    Listing,
    Page,
    Price,
    Quota,
    VolumePrice,
)
from provocative.money_models import TopUp, Wallet
from provocative.requests import (
    CreditRequest,
    GpuTypeRequest,
    HostAction,
    HostActionRequest,
    KeyRequest,
    PoolRequest,
    PriceRequest,
    TermRequest,
    WindowRequest,
)
from provocative.transport import Transport


class Accounts:
    """Accounts, their keys, credits and quotas."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str) -> Account:
        return cast("Account", self._transport.send(op.CREATE_ACCOUNT, body={"name": name}))

    def create_key(self, account_id: str, request: KeyRequest) -> IssuedKey:
        """The key's text is in this answer and nowhere else."""
        path = {"account_id": account_id}
        return cast("IssuedKey", self._transport.send(op.CREATE_KEY, path, body=request))

    def list_keys(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Key]:
        """Of the caller's account."""
        query = {"limit": limit, "cursor": cursor}
        return cast("Page[Key]", self._transport.send(op.LIST_KEYS, query=query))

    def rotate_key(
        self, key_id: str, overlap_seconds: int | None = None, *, idempotency_key: str | None = None
    ) -> IssuedKey:
        """Get a key's successor; the key itself stays valid for the overlap, a day unless one is given."""
        body = {} if overlap_seconds is None else {"overlap_seconds": overlap_seconds}
        answer = self._transport.send(
            op.ROTATE_KEY, {"key_id": key_id}, body=body, idempotency_key=idempotency_key
        )
        return cast("IssuedKey", answer)

    def revoke_key(self, key_id: str) -> None:
        self._transport.send(op.REVOKE_KEY, {"key_id": key_id})

    def report_leaked_key(self, token: str, *, url: str | None = None) -> None:
        """Report a key that others can read, and where; it is revoked at once if it is one."""
        body = {"token": token} if url is None else {"token": token, "url": url}
        self._transport.send(op.REPORT_LEAKED_KEY, body=body)

    def grant_credit(
        self, account_id: str, request: CreditRequest, *, idempotency_key: str | None = None
    ) -> Wallet:
        path = {"account_id": account_id}
        answer = self._transport.send(op.GRANT_CREDIT, path, body=request, idempotency_key=idempotency_key)
        return cast("Wallet", answer)

    def charge(
        self, account_id: str, amount_micros: int, reason: str, *, idempotency_key: str | None = None
    ) -> Wallet:
        """Charge an account for something beside GPU time; it reads the reason in its books."""
        path, body = {"account_id": account_id}, {"amount_micros": amount_micros, "reason": reason}
        answer = self._transport.send(op.CHARGE_ACCOUNT, path, body=body, idempotency_key=idempotency_key)
        return cast("Wallet", answer)

    def refund(self, top_up_id: str, amount_micros: int, *, idempotency_key: str | None = None) -> TopUp:
        """Give money back the way it came."""
        path, body = {"top_up_id": top_up_id}, {"amount_micros": amount_micros}
        answer = self._transport.send(op.REFUND_TOP_UP, path, body=body, idempotency_key=idempotency_key)
        return cast("TopUp", answer)

    def reverse_posting(self, journal_key: str, reason: str) -> Wallet:
        """Post the opposite of a charge or a credit; again, it changes nothing."""
        body = {"journal_key": journal_key, "reason": reason}
        return cast("Wallet", self._transport.send(op.REVERSE_POSTING, body=body))

    def set_quota(self, account_id: str, max_gpus: int) -> Quota:
        path = {"account_id": account_id}
        return cast("Quota", self._transport.send(op.PUT_QUOTA, path, body={"max_gpus": max_gpus}))

    def set_reserved_quota(self, account_id: str, max_gpus: int) -> Quota:
        """Of the GPUs in reservations that are not over."""
        path, body = {"account_id": account_id}, {"max_gpus": max_gpus}
        return cast("Quota", self._transport.send(op.PUT_RESERVED_QUOTA, path, body=body))


class CatalogDesk:
    """What is sold, and for how much."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put_gpu_type(self, gpu_type: str, request: GpuTypeRequest) -> GpuType:
        path = {"gpu_type": gpu_type}
        return cast("GpuType", self._transport.send(op.PUT_GPU_TYPE, path, body=request))

    def put_price(self, gpu_type: str, region: str, request: PriceRequest) -> Price:
        path = {"gpu_type": gpu_type, "region": region}
        return cast("Price", self._transport.send(op.PUT_PRICE, path, body=request))

    def put_volume_price(self, region: str, price_micros_per_gib_hour: int) -> VolumePrice:
        """Set what a GiB of a stopped rental's volume costs an hour."""
        body = {"price_micros_per_gib_hour": price_micros_per_gib_hour}
        return cast("VolumePrice", self._transport.send(op.PUT_VOLUME_PRICE, {"region": region}, body=body))

    def read_agreement(self, account_id: str) -> Agreement:
        return cast("Agreement", self._transport.send(op.READ_ACCOUNT_AGREEMENT, {"account_id": account_id}))

    def put_agreement(self, account_id: str, terms: list[TermRequest], *, version: int) -> Agreement:
        """Replace an account's terms; ``version`` is the one that was read, 0 where there is none."""
        path, body = {"account_id": account_id}, {"terms": terms, "version": version}
        return cast("Agreement", self._transport.send(op.PUT_AGREEMENT, path, body=body))


class Fleet:
    """Hosts, incidents, announced maintenance, and who did what."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create_enrolment(self, gpu_type: str, region: str) -> Enrolment:
        """Create a one-time token with which a machine becomes a host."""
        body = {"gpu_type": gpu_type, "region": region}
        return cast("Enrolment", self._transport.send(op.CREATE_ENROLMENT, body=body))

    def list_hosts(self) -> Listing[Host]:
        return cast("Listing[Host]", self._transport.send(op.LIST_HOSTS))

    def read_host(self, host_id: str) -> Host:
        return cast("Host", self._transport.send(op.READ_HOST, {"host_id": host_id}))

    def act_on_host(
        self,
        host_id: str,
        action: HostAction,
        *,
        reason: str | None = None,
        gpu_uuids: list[str] | None = None,
    ) -> Host:
        """``gpu_uuids``: of ``force_release``, GPUs that are stuck in ``wiping``."""
        body: HostActionRequest = {"action": action}
        if reason is not None:
            body["reason"] = reason
        if gpu_uuids is not None:
            body["gpu_uuids"] = gpu_uuids
        return cast("Host", self._transport.send(op.ACT_ON_HOST, {"host_id": host_id}, body=body))

    def list_incidents(
        self, *, host_id: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Incident]:
        query = {"host_id": host_id, "limit": limit, "cursor": cursor}
        return cast("Page[Incident]", self._transport.send(op.LIST_INCIDENTS, query=query))

    def plan_window(self, request: WindowRequest, *, idempotency_key: str | None = None) -> Window:
        answer = self._transport.send(op.PLAN_WINDOW, body=request, idempotency_key=idempotency_key)
        return cast("Window", answer)

    def list_windows(
        self, *, host_id: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Window]:
        """Those to come or under way; of one host, all."""
        query = {"host_id": host_id, "limit": limit, "cursor": cursor}
        return cast("Page[Window]", self._transport.send(op.LIST_WINDOWS, query=query))

    def read_window(self, window_id: str) -> Window:
        return cast("Window", self._transport.send(op.READ_WINDOW, {"window_id": window_id}))

    def cancel_window(self, window_id: str) -> Window:
        path, body = {"window_id": window_id}, {"action": "cancel"}
        return cast("Window", self._transport.send(op.ACT_ON_WINDOW, path, body=body))


class Pools:
    """What pools may buy by themselves, and what they would do next."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Listing[Pool]:
        return cast("Listing[Pool]", self._transport.send(op.LIST_POOLS))

    def read(self, gpu_type: str, region: str) -> Pool:
        path = {"gpu_type": gpu_type, "region": region}
        return cast("Pool", self._transport.send(op.READ_POOL, path))

    def put(self, gpu_type: str, region: str, request: PoolRequest) -> Pool:
        path = {"gpu_type": gpu_type, "region": region}
        return cast("Pool", self._transport.send(op.PUT_POOL, path, body=request))

    def show_plan(self) -> Listing[Plan]:
        """What the next minute would do; nothing is done."""
        return cast("Listing[Plan]", self._transport.send(op.SHOW_PLAN))
