"""What is stored of an account, item by item, as `privacy.inventory` lists it.

Access: an account's own partitions and its indexes; what belongs to a rental by the account's rentals.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pynamodb.exceptions import DeleteError, UpdateError
from pynamodb.models import Model

from chalicelib.core.errors import Unavailable
from chalicelib.privacy.fields import ERASED
from chalicelib.privacy.requests import Reason, Record
from chalicelib.storage import carbon_keys, keys, organisation_keys, payment_keys, privacy_keys, usage_keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.accounts import AccountItem, ApiKeyItem
from chalicelib.storage.tables.catalog import CatalogItem
from chalicelib.storage.tables.fleet import CommandItem
from chalicelib.storage.tables.ledger import (
    BalanceItem,
    BillingDetailsItem,
    BudgetItem,
    EntryItem,
    HoldItem,
    LegItem,
    StatementItem,
    UsageItem,
)
from chalicelib.storage.tables.metering import DuplicatesItem, EnergyItem, MeterItem
from chalicelib.storage.tables.oauth import OAuthItem
from chalicelib.storage.tables.organisations import (
    InvitationItem,
    MembershipItem,
    OrganisationItem,
    ProjectItem,
    ServiceAccountItem,
)
from chalicelib.storage.tables.payments import (
    CustomerItem,
    OrderItem,
    PurchaseItem,
    RemovalSettingsItem,
    TopUpItem,
)
from chalicelib.storage.tables.privacy import ConsentItem, PrivacyRequestItem
from chalicelib.storage.tables.records import AuditItem, IdempotencyItem
from chalicelib.storage.tables.removals import ShareItem
from chalicelib.storage.tables.rentals import LogItem, RentalItem, WorkloadItem
from chalicelib.storage.tables.reports import ReportItem, StayDayItem
from chalicelib.storage.tables.reservations import ReservationItem, ReservedQuotaItem
from chalicelib.storage.tables.scheduling import QuotaItem
from chalicelib.storage.tables.templates import TemplateItem
from chalicelib.storage.tables.webhooks import EndpointsItem, EventItem

#: How long a dispute may still move: Stripe keeps no state of it here, and card schemes end within it.
DISPUTED_FOR_MS = 180 * 86_400_000
_DONE_RENTALS = frozenset({"terminated", "failed"})
_OPEN_TOP_UPS = frozenset({"created", "processing"})
_OPEN_RESERVATIONS = frozenset({"confirmed", "active"})

Items = Iterator[Any]
Source = Callable[[str], Items]


class DynamoRecords:
    def list_records(self, account_id: str, item: str) -> Iterator[Record]:
        for each in SOURCES[item](account_id):
            yield Record(item, each.pk, each.sk, read_values(each))

    def clear(self, record: Record, names: list[str]) -> None:
        model = _MODELS[record.item]
        attributes = {each.attr_name: each for each in model.get_attributes().values()}
        actions = [
            attributes[name].remove() if attributes[name].null else attributes[name].set(ERASED)
            for name in names
        ]
        try:
            model(record.pk, record.sk).update(actions, model.pk.exists())
        except UpdateError as error:
            if not is_condition_failure(error):
                raise Unavailable("It could not be erased; try again.") from error

    def delete(self, record: Record) -> None:
        try:
            _MODELS[record.item](record.pk, record.sk).delete()
        except DeleteError as error:
            raise Unavailable("It could not be erased; try again.") from error

    def list_reasons(self, account_id: str, now_ms: int) -> tuple[Reason, ...]:
        reasons = _find_rental_reasons(account_id)
        if any(each.state in _OPEN_RESERVATIONS for each in ReservationItem.by_account.query(account_id)):
            reasons.add("reservation_open")
        for top_up in TopUpItem.by_account.query(account_id):
            if top_up.state in _OPEN_TOP_UPS:
                reasons.add("payment_open")
            if top_up.disputed_micros > 0 and top_up.created_at_ms > now_ms - DISPUTED_FOR_MS:
                reasons.add("dispute_open")
        if any(each.open_top_up_id is not None for each in SOURCES["OrderItem"](account_id)):
            reasons.add("payment_open")
        for balance in SOURCES["BalanceItem"](account_id):
            # Whatever an index does not show yet has its money set aside.
            if balance.held_micros > 0:
                reasons.add("money_held")
            if balance.posted_micros < 0:
                reasons.add("balance_negative")
        return tuple(sorted(reasons))


def read_values(item: Model) -> dict[str, object]:
    """Return an item's attributes by their names in the table, without its key."""
    return {
        attribute.attr_name: _read_value(getattr(item, name))
        for name, attribute in item.get_attributes().items()
        if attribute.attr_name not in {"pk", "sk"} and getattr(item, name) is not None
    }


def _read_value(value: Any) -> object:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return value


def _find_rental_reasons(account_id: str) -> set[Reason]:
    reasons: set[Reason] = set()
    for rental in _list_rentals(account_id):
        if _is_open_rental(rental):
            reasons.add("rental_open")
        if rental.kept:
            # What it cost is to be charged yet.
            reasons.add("volume_kept")
    return reasons


def _is_open_rental(item: RentalItem) -> bool:
    """Say whether it may still run, or is to be charged: its last stay is not among those posted yet."""
    if item.state not in _DONE_RENTALS:
        return True
    # What has ended keeps its last placement, and is wiped by then.
    stay = item.placement or (item.past or [{"segment": 0}])[-1]
    last = stay["segment"]
    return item.billing_state != "not_started" and (item.settled_segment or 0) < last


def _one(model: type[Any], pk: Callable[[str], str], sk: str | Callable[[str], str]) -> Source:
    def find(account_id: str) -> Items:
        key = sk if isinstance(sk, str) else sk(account_id)
        try:
            yield model.get(pk(account_id), key, consistent_read=True)
        except model.DoesNotExist:
            return

    return find


def _many(model: type[Any], pk: Callable[[str], str], prefix: str | None = None) -> Source:
    def find(account_id: str) -> Items:
        condition = None if prefix is None else model.sk.startswith(prefix)
        yield from model.query(pk(account_id), condition, consistent_read=True)

    return find


def _indexed(index: Any, condition: Any = None) -> Source:
    def find(account_id: str) -> Items:
        yield from index.query(account_id, condition)

    return find


def _list_rentals(account_id: str) -> Iterator[RentalItem]:
    yield from RentalItem.by_account.query(account_id)


def _of_rentals(model: type[Any], sk: str, *, prefix: bool = False) -> Source:
    def find(account_id: str) -> Items:
        for rental in _list_rentals(account_id):
            condition = model.sk.startswith(sk) if prefix else model.sk == sk
            yield from model.query(keys.rental(rental.rental_id), condition, consistent_read=True)

    return find


def _list_commands(account_id: str) -> Iterator[CommandItem]:
    """Of the hosts that its rentals were on; what has expired is gone by itself."""
    for rental in _list_rentals(account_id):
        stays = [*(rental.past or ()), *([rental.placement] if rental.placement else [])]
        for host_id in sorted({stay["host_id"] for stay in stays}):
            mentions = CommandItem.command.contains(rental.rental_id)
            yield from CommandItem.query(keys.host(host_id), filter_condition=mentions, consistent_read=True)


def _list_answers(account_id: str) -> Iterator[IdempotencyItem]:
    for found in IdempotencyItem.by_account.query(account_id):
        try:
            yield IdempotencyItem.get(found.pk, keys.RESPONSE, consistent_read=True)
        except IdempotencyItem.DoesNotExist:
            continue


def _list_entries(account_id: str) -> Iterator[EntryItem]:
    for statement in SOURCES["StatementItem"](account_id):
        yield from EntryItem.query(usage_keys.entries(account_id, statement.sk), consistent_read=True)


def _list_usage(account_id: str) -> Iterator[UsageItem]:
    for statement in SOURCES["StatementItem"](account_id):
        for third in usage_keys.list_thirds(account_id, statement.sk):
            yield from UsageItem.query(third, consistent_read=True)


def _owner(account_id: str) -> str:
    return f"account:{account_id}"


def _energy_of(account_id: str) -> str:
    return carbon_keys.report_energy(_owner(account_id))


def _reports_of(account_id: str) -> str:
    return carbon_keys.reports(_owner(account_id))


def _agreements(_account_id: str) -> str:
    return keys.CATALOG


_of_organisation = organisation_keys.organisation

#: Item -> how those of an account are found.
SOURCES: Mapping[str, Source] = {
    "AccountItem": _one(AccountItem, keys.account, keys.ACCOUNT),
    "ApiKeyItem": _indexed(ApiKeyItem.by_account),
    "AuditItem": _many(AuditItem, keys.account),
    "BalanceItem": _one(BalanceItem, keys.account, keys.BALANCE),
    "HoldItem": _many(HoldItem, keys.account, keys.HOLD_PREFIX),
    "BudgetItem": _many(BudgetItem, keys.account),
    "CatalogItem": _one(CatalogItem, _agreements, keys.agreement),
    "CommandItem": _list_commands,
    "IdempotencyItem": _list_answers,
    "LegItem": _many(LegItem, keys.chain),
    "MeterItem": _of_rentals(MeterItem, keys.METER_PREFIX, prefix=True),
    "EnergyItem": _of_rentals(EnergyItem, keys.ENERGY_PREFIX, prefix=True),
    "DuplicatesItem": _of_rentals(DuplicatesItem, keys.DUPLICATES),
    "TopUpItem": _indexed(TopUpItem.by_account),
    "OrderItem": _one(OrderItem, keys.order, keys.order),
    "PurchaseItem": _many(PurchaseItem, payment_keys.removals, payment_keys.PURCHASE_PREFIX),
    "RemovalSettingsItem": _one(RemovalSettingsItem, payment_keys.removals, payment_keys.SETTINGS),
    "CustomerItem": _one(CustomerItem, keys.account, keys.CUSTOMER),
    "ShareItem": _many(ShareItem, keys.account),
    "RentalItem": _list_rentals,
    "LogItem": _of_rentals(LogItem, keys.LOG),
    "WorkloadItem": _of_rentals(WorkloadItem, keys.WORKLOAD),
    "ReportItem": _many(ReportItem, _reports_of),
    "StayDayItem": _many(StayDayItem, _energy_of),
    "ReservationItem": _indexed(ReservationItem.by_account),
    "ReservedQuotaItem": _one(ReservedQuotaItem, keys.account, keys.QUOTA),
    "QuotaItem": _one(QuotaItem, keys.account, keys.QUOTA),
    # Months begin with a digit, what else is kept of an account does not.
    "StatementItem": _many(StatementItem, keys.account, "2"),
    "BillingDetailsItem": _one(BillingDetailsItem, keys.account, keys.BILLING_DETAILS),
    "TemplateItem": _indexed(TemplateItem.by_account),
    "EntryItem": _list_entries,
    "UsageItem": _list_usage,
    "EventItem": _many(EventItem, keys.account, keys.EVENT_PREFIX),
    "EndpointsItem": _one(EndpointsItem, keys.account, keys.ENDPOINTS),
    "OrganisationItem": _one(OrganisationItem, _of_organisation, organisation_keys.HEAD),
    "MembershipItem": _many(MembershipItem, _of_organisation, organisation_keys.MEMBER_PREFIX),
    "InvitationItem": _many(InvitationItem, _of_organisation, organisation_keys.INVITATION_PREFIX),
    "ProjectItem": _many(ProjectItem, _of_organisation, organisation_keys.PROJECT_PREFIX),
    "ServiceAccountItem": _indexed(ServiceAccountItem.by_account),
    # Its clients: nothing else there has the account beside its record.
    "OAuthItem": _indexed(OAuthItem.by_account),
    "PrivacyRequestItem": _many(PrivacyRequestItem, keys.account, privacy_keys.REQUEST_PREFIX),
    "ConsentItem": _many(ConsentItem, keys.account, privacy_keys.CONSENT_PREFIX),
}
_MODELS: Mapping[str, type[Any]] = {
    each.__name__: each
    for each in (
        *(AccountItem, ApiKeyItem, HoldItem, BudgetItem, CommandItem, IdempotencyItem, TopUpItem, OrderItem),
        *(PurchaseItem, RemovalSettingsItem, CustomerItem, RentalItem, LogItem, WorkloadItem, ReportItem),
        *(
            StayDayItem,
            ReservationItem,
            BillingDetailsItem,
            TemplateItem,
            UsageItem,
            EventItem,
            EndpointsItem,
        ),
        *(InvitationItem, ProjectItem, ServiceAccountItem, OAuthItem),
    )
}
