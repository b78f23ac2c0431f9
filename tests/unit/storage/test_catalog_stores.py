"""The catalogue's stores and the fakes that stand for them in other tests: one contract, held by both."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from chalicelib.catalog.model import (
    Agreement,
    GpuType,
    PriceChange,
    PriceKey,
    PricePoint,
    PriceSchedule,
    Template,
    Term,
)
from chalicelib.catalog.service import KindChanged, PriceChanged, VersionMismatch
from chalicelib.catalog.spot import SpotBounds
from chalicelib.catalog.store import DynamoCatalogStore
from chalicelib.catalog.template_store import DynamoTemplateStore
from chalicelib.core.errors import Unavailable
from chalicelib.core.workloads import Port, Volume, Workload
from chalicelib.storage import keys
from chalicelib.storage.connection import find_models
from chalicelib.storage.transaction import DynamoTransaction, Retry
from tests.fakes import START_MS, FakeCatalogStore, FakeClock, FakeTemplateStore, MemoryDatabase
from tests.unit.storage.items import Items

KEY = PriceKey("H100", "eu-north-1", "spot")
WHOLE = GpuType("H100", "Hopper", 81_559, 700, "nvswitch")
PROFILE = GpuType("H100-1g", "Hopper", 9_984, 100, "none", "1g.10gb", "H100")


@dataclass
class Stores:
    catalog: Any
    templates: Any
    begin: Any
    clock: FakeClock
    items: Items | None = None

    def write(self, add, *arguments):
        tx = self.begin()
        add(tx, *arguments)
        tx.commit()


@pytest.fixture
def dynamo(bound, monkeypatch):
    items, clock = Items(), FakeClock()
    for model in find_models():
        monkeypatch.setattr(model._get_connection().connection, "_make_api_call", items)
    retry = Retry(lambda _seconds: None, lambda: 0.0)
    return Stores(
        DynamoCatalogStore(clock),
        DynamoTemplateStore(),
        lambda: DynamoTransaction(bound, "token", retry),
        clock,
        items,
    )


@pytest.fixture
def fake():
    db, clock = MemoryDatabase(), FakeClock()
    return Stores(FakeCatalogStore(db, clock), FakeTemplateStore(db), db.begin, clock)


@pytest.fixture(params=["dynamo", "fake"])
def stores(request):
    return request.getfixturevalue(request.param)


def build_schedule(version=1, *, until_ms=None):
    points = [PricePoint(START_MS, 1_000_000, version)]
    if until_ms is not None:
        points.append(PricePoint(until_ms, 2_000_000, version))
    return PriceSchedule(KEY, tuple(points), version, SpotBounds(250_000, 800_000), 7)


def test_types_and_schedules_come_back_as_they_were_put(stores):
    stores.write(stores.catalog.put_gpu_type, WHOLE)
    stores.write(stores.catalog.put_gpu_type, PROFILE)
    stores.write(stores.catalog.put_schedule, build_schedule(until_ms=START_MS + 5))
    catalog = stores.catalog.read_catalog()
    assert catalog.gpu_types == {"H100": WHOLE, "H100-1g": PROFILE}
    assert catalog.schedules == (build_schedule(until_ms=START_MS + 5),)


def test_a_schedule_follows_the_version_before_it_and_no_other(stores):
    with pytest.raises(Unavailable):
        stores.write(stores.catalog.put_schedule, build_schedule(2))
    stores.write(stores.catalog.put_schedule, build_schedule(1))
    for version in (1, 3):
        with pytest.raises(Unavailable):
            stores.write(stores.catalog.put_schedule, build_schedule(version))
    stores.write(stores.catalog.put_schedule, build_schedule(2))
    assert stores.catalog.read_catalog().schedules == (build_schedule(2),)


def test_a_price_is_required_at_its_version_and_until_its_end(stores):
    end_ms = START_MS + 10_000
    stores.write(stores.catalog.put_schedule, build_schedule(until_ms=end_ms))
    price = stores.catalog.read_catalog().find_prices("H100", "any", "spot", at_ms=START_MS)[0]
    stores.write(stores.catalog.require_price, price)
    with pytest.raises(PriceChanged):
        stores.write(stores.catalog.require_price, replace(price, billing_class="on_demand"))
    stores.clock.value_ms = end_ms - 1
    stores.write(stores.catalog.require_price, price)
    stores.clock.value_ms = end_ms
    with pytest.raises(PriceChanged):
        stores.write(stores.catalog.require_price, price)
    following = stores.catalog.read_catalog().find_prices("H100", "any", "spot", at_ms=end_ms)[0]
    stores.write(stores.catalog.require_price, following)
    stores.write(stores.catalog.put_schedule, build_schedule(2))
    with pytest.raises(PriceChanged):
        stores.write(stores.catalog.require_price, following)


def test_a_type_keeps_its_kind(stores):
    stores.write(stores.catalog.put_gpu_type, WHOLE)
    stores.write(stores.catalog.put_gpu_type, PROFILE)
    stores.write(stores.catalog.put_gpu_type, replace(WHOLE, power_limit_watts=600))
    stores.write(stores.catalog.put_gpu_type, replace(PROFILE, memory_mib=1))
    for other in (
        replace(WHOLE, mig_profile="1g.10gb", parent_gpu_type="A"),
        replace(PROFILE, mig_profile="2g.20gb"),
        replace(PROFILE, parent_gpu_type="A"),
        replace(PROFILE, mig_profile=None, parent_gpu_type=None),
    ):
        with pytest.raises(KindChanged):
            stores.write(stores.catalog.put_gpu_type, other)
    stores.write(stores.catalog.require_whole_type, "H100")
    for name in ("H100-1g", "unknown"):
        with pytest.raises(KindChanged):
            stores.write(stores.catalog.require_whole_type, name)


def add_history(stores, from_ms, version, key=KEY):
    change = PriceChange(key, PricePoint(from_ms, version, version), START_MS, "operator")
    stores.write(stores.catalog.add_history, change)
    return change


def test_history_is_read_newest_first_between_two_instants_page_by_page(stores):
    add_history(stores, 20, 1, replace(KEY, billing_class="reserved"))
    rows = [add_history(stores, *row) for row in ((10, 1), (20, 2), (20, 3), (30, 4), (START_MS, 5))]
    for limit in (1, 2, 3, 10):
        windows = (
            (0, START_MS + 1, rows),
            (20, 40, rows[1:4]),
            (21, 21, []),
            (50, 10, []),
            # A year that has more digits than a sort key.
            (START_MS, 10**13, rows[4:]),
            (10**13, 10**14, []),
        )
        for low, high, expected in windows:
            seen, start = [], None
            while True:
                page = stores.catalog.list_history(KEY, low, high, limit, start)
                assert len(page.items) <= limit
                seen += page.items
                start = page.next_key
                if start is None:
                    break
            assert seen == expected[::-1]


@pytest.mark.parametrize("start", ["0", "zzz", keys.price_point(25), keys.price_point(20, 3)])
def test_a_cursor_of_another_question_is_only_a_place_to_go_on_from(stores, start):
    rows = [add_history(stores, *row) for row in ((10, 1), (20, 2), (20, 3), (30, 4))]
    page = stores.catalog.list_history(KEY, 0, 100, 10, start)
    before = [row for row in rows if keys.price_point(row.point.from_ms, row.point.version) < start]
    assert list(page.items) == before[::-1]


def test_a_row_of_the_history_is_written_once(stores):
    add_history(stores, 10, 1)
    with pytest.raises(Unavailable):
        add_history(stores, 10, 1)


WORKLOAD = Workload(
    ("a", "b"), {"A": "1"}, "image", (Port(80), Port(53, "udp")), ("ssh-ed25519 x",), Volume(1024, "/v")
)


def build_template(number=1, *, account="acc_1", public=False, version=1):
    template_id = f"tpl_{number:026d}"
    return Template(
        template_id,
        account,
        "name",
        public,
        WORKLOAD,
        "H100",
        2,
        START_MS + number,
        START_MS + number,
        version,
    )


def test_an_agreement_comes_back_as_it_was_put_and_follows_the_version_before_it(stores):
    assert stores.catalog.read_catalog().agreements == {}
    terms = (
        Term("on_demand", START_MS, START_MS + 1, "H100", "eu-north-1", 7),
        Term("reserved", START_MS, discount_ppm=250_000),
    )
    for version in (1, 2):
        agreement = Agreement("acc_1", terms[:version], version)
        stores.write(stores.catalog.put_agreement, agreement)
        assert stores.catalog.read_catalog().agreements == {"acc_1": agreement}
        with pytest.raises(VersionMismatch):
            stores.write(stores.catalog.put_agreement, agreement)
    assert stores.catalog.read_catalog().gpu_types == {}


def test_a_template_comes_back_as_it_was_put(stores):
    for number, template in enumerate(
        (
            build_template(1, public=True),
            replace(build_template(2), gpu_type=None, gpu_count=None, workload=Workload()),
        )
    ):
        stores.write(stores.templates.add_template, template)
        assert stores.templates.get_template(template.template_id) == template, number
    assert stores.templates.get_template("tpl_unknown") is None


def test_a_template_follows_the_version_before_it(stores):
    old = build_template()
    stores.write(stores.templates.add_template, old)
    with pytest.raises(Unavailable):
        stores.write(stores.templates.add_template, old)
    new = replace(old, version=2, name="other")
    stores.write(stores.templates.replace_template, old, new)
    with pytest.raises(VersionMismatch):
        stores.write(stores.templates.replace_template, old, new)
    with pytest.raises(VersionMismatch):
        stores.write(stores.templates.remove_template, old, START_MS)
    stores.write(stores.templates.remove_template, new, START_MS)
    assert stores.templates.get_template(old.template_id) is None
    for act in (stores.templates.remove_template, stores.templates.replace_template):
        with pytest.raises(VersionMismatch):
            stores.write(act, new, START_MS if act == stores.templates.remove_template else new)


def list_numbers(stores, account, limit):
    seen, start = [], None
    while True:
        page = stores.templates.list_visible(account, limit, start)
        seen += [template.created_at_ms - START_MS for template in page.items]
        start = page.next_key
        if start is None:
            return seen


def test_a_listing_merges_the_own_and_the_public_ones(stores):
    for number in range(1, 9):
        account = "acc_1" if number <= 4 else "acc_2"
        stores.write(
            stores.templates.add_template, build_template(number, account=account, public=number % 2 == 0)
        )
    stores.write(stores.templates.remove_template, build_template(4, public=True), START_MS)
    for limit in (1, 2, 3, 50):
        assert list_numbers(stores, "acc_1", limit) == [8, 6, 3, 2, 1]
        assert list_numbers(stores, "acc_2", limit) == [8, 7, 6, 5, 2]
        assert list_numbers(stores, "acc_3", limit) == [8, 6, 2]


def test_what_was_made_private_or_removed_is_not_listed_though_the_index_still_has_it(dynamo):
    public = [build_template(number, public=True) for number in (1, 2, 3)]
    for template in public:
        dynamo.write(dynamo.templates.add_template, template)
    (table,) = dynamo.items.tables.values()
    dynamo.items.stale = dict(table)
    dynamo.write(dynamo.templates.replace_template, public[0], replace(public[0], public=False, version=2))
    dynamo.write(dynamo.templates.remove_template, public[1], START_MS)
    assert list_numbers(dynamo, "acc_2", 50) == [3]


def test_of_a_removed_template_nothing_is_left_but_whose_it_was(dynamo):
    template = build_template(public=True)
    dynamo.write(dynamo.templates.add_template, template)
    dynamo.write(dynamo.templates.remove_template, template, START_MS)
    ((item,),) = [table.values() for table in dynamo.items.tables.values()]
    assert set(item) == {"pk", "sk", "account_id", "version", "expires_at"}


def test_what_the_catalogue_costs(dynamo):
    dynamo.write(dynamo.catalog.put_gpu_type, WHOLE)
    dynamo.write(dynamo.templates.add_template, build_template(1, account="acc_2", public=True))
    dynamo.items.calls.clear()
    dynamo.catalog.read_catalog()
    dynamo.templates.list_visible("acc_1", 50, None)
    dynamo.catalog.list_history(KEY, 0, 100, 50, None)
    assert [operation for operation, _ in dynamo.items.calls] == [
        "Query",
        "Query",
        "Query",
        "BatchGetItem",
        "Query",
    ]


def test_the_price_of_volumes_is_the_one_that_was_put_last_and_no_gpu_type(stores):
    for micros in (100, 0):
        stores.write(stores.catalog.put_volume_price, "eu-north-1", micros)
        found = stores.catalog.read_catalog()
        assert (found.volume_prices_micros, found.gpu_types) == ({"eu-north-1": micros}, {})
