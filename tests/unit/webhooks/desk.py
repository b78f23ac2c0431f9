"""Webhooks over one database in memory: an account, its endpoints, a receiver, and a dispatcher."""

from dataclasses import replace

from chalicelib.core.principal import Principal
from chalicelib.webhooks.addresses import Reach
from chalicelib.webhooks.dispatch import DispatchPorts, deliver, sweep
from chalicelib.webhooks.model import Endpoint, Event
from chalicelib.webhooks.service import EndpointRequest, WebhookPorts, create_endpoint
from tests.fakes import FakeAuditTrail, FakeClock, FakeIdempotencyStore, FakeIds, MemoryDatabase
from tests.fakes.cloud import run_in_turn
from tests.fakes.webhooks import FakeSender, FakeWebhookStore

PEPPER = b"pepper of the tests"
RENTER = Principal("acc_1", "renter", "key_1", frozenset())
OTHER = Principal("acc_2", "renter", "key_2", frozenset())
URL = "https://hooks.example.com/in"


class Desk:
    def __init__(self):
        self.db, self.clock, self.ids = MemoryDatabase(), FakeClock(), FakeIds()
        self.store, self.sender = FakeWebhookStore(self.db), FakeSender()
        self.audit = FakeAuditTrail(self.db)
        self.ports = WebhookPorts(
            self.store,
            FakeIdempotencyStore(self.db),
            self.audit,
            self.db.begin,
            self.clock,
            self.ids,
            lambda: PEPPER,
            Reach(),
        )
        self.dispatch = DispatchPorts(
            self.store, self.sender, self.clock, lambda: PEPPER, lambda: 0.5, run_in_turn
        )

    def create(self, url=URL, *, key=None, types=(), principal=RENTER, fingerprint="same"):
        request = EndpointRequest(
            url,
            frozenset(types),
            "",
            key or self.ids.new_id("key"),
            fingerprint,
            lambda endpoint: endpoint.endpoint_id,
            lambda body: body,
        )
        return create_endpoint(self.ports, principal, request)

    def add(self, url=URL, **given) -> Endpoint:
        return self.endpoint(self.create(url, **given).body, given.get("principal", RENTER))

    def endpoint(self, endpoint_id, principal=RENTER) -> Endpoint:
        found = self.store.get_endpoints(principal.account_id).find(endpoint_id)
        assert found is not None
        return found

    def change(self, endpoint, **changes):
        old = self.store.get_endpoints("acc_1")
        assert self.store.keep_endpoints(old, old.put(replace(endpoint, **changes)))

    def happen(self, kind="rental.running", account_id="acc_1", **data) -> tuple[str, str]:
        event = Event(self.ids.new_id("evt"), account_id, kind, self.clock.now_ms(), data)
        tx = self.db.begin()
        self.store.add_event(tx, event)
        tx.commit()
        return account_id, event.event_id

    def stream(self, *references):
        return deliver(self.dispatch, references)

    def sweep(self):
        return sweep(self.dispatch)

    def read(self, reference) -> Event:
        found = self.store.get_event(*reference)
        assert found is not None
        return found
