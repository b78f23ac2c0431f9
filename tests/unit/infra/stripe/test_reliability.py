import json
import threading
import urllib.error
import urllib.request

import pytest
import stripe

from infra.local.stripe.faults import Fault
from infra.local.stripe.server import run_stripe
from infra.local.stripe.webhooks import BACKOFF_SECONDS, Disorder

from .conftest import START

SECRETS = ("whsec" + "_new", "whsec" + "_old")
PAYMENTS = "/v1/payment_intents"


def pay(shop, key, amount=1_000):
    params = {"amount": amount, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    return shop.client.v1.payment_intents.create(params, {"idempotency_key": key})


def captured(shop):
    return shop.simulator.books.summarise()["total"].get("usd", {}).get("captured", 0)


def test_a_key_replays_its_answer_for_a_day_and_refuses_another_request(shop):
    first, again = pay(shop, "topup:1:1"), pay(shop, "topup:1:1")
    assert (again.id, again.last_response.headers["Idempotent-Replayed"]) == (first.id, "true")
    with pytest.raises(stripe.IdempotencyError) as caught:
        pay(shop, "topup:1:1", 2_000)
    assert (caught.value.http_status, captured(shop)) == (400, 1_000)
    shop.simulator.world.advance(24 * 3_600)
    assert pay(shop, "topup:1:1").id == first.id
    shop.simulator.world.advance(1)
    assert pay(shop, "topup:1:1").id != first.id


def test_a_refused_parameter_does_not_burn_the_key(shop):
    with pytest.raises(stripe.InvalidRequestError):
        pay(shop, "topup:1:1", 1)
    assert pay(shop, "topup:1:1").status == "succeeded"


@pytest.mark.parametrize(("kind", "effect"), [("error_before", 0), ("error_after", 1_000)])
def test_a_500_is_stored_and_replayed(shop, kind, effect):
    shop.simulator.faults.plan(Fault(kind, path=PAYMENTS))
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            pay(shop, "topup:1:1")
        assert caught.value.http_status == 500
    assert caught.value.headers["Idempotent-Replayed"] == "true"
    assert captured(shop) == effect


@pytest.mark.parametrize(("kind", "effect"), [("cut_before", 0), ("cut_after", 1_000)])
def test_after_a_cut_the_same_key_pays_once(shop, kind, effect):
    shop.simulator.faults.plan(Fault(kind, path=PAYMENTS))
    with pytest.raises(stripe.APIConnectionError):
        pay(shop, "topup:1:1")
    assert captured(shop) == effect
    assert pay(shop, "topup:1:1").status == "succeeded"
    assert captured(shop) == 1_000


@pytest.mark.parametrize(("kind", "status"), [("rate_limited", 429), ("conflict", 409)])
def test_a_request_refused_for_now_has_no_effect_and_frees_its_key(shop, kind, status):
    shop.simulator.faults.plan(Fault(kind, method="POST"))
    with pytest.raises(stripe.StripeError) as caught:
        pay(shop, "topup:1:1")
    assert (caught.value.http_status, captured(shop)) == (status, 0)
    assert pay(shop, "topup:1:1").status == "succeeded"


def test_a_key_in_flight_is_a_conflict(shop):
    arrived, go = threading.Event(), threading.Event()

    def hold(_seconds):
        arrived.set()
        assert go.wait(10)

    shop.waits.append(hold)
    shop.simulator.faults.plan(Fault("latency", seconds=5))

    def pay_slowly():
        pay(shop, "topup:1:1")
        shop.client._requestor._get_http_client().close()

    slow = threading.Thread(target=pay_slowly)
    slow.start()
    assert arrived.wait(10)
    with pytest.raises(stripe.StripeError) as caught:
        pay(shop, "topup:1:1")
    go.set()
    slow.join()
    assert (caught.value.http_status, captured(shop)) == (409, 1_000)


def verify(received, secret):
    _, body, header = received
    return stripe.WebhookSignature.verify_header(body.decode(), header, secret, tolerance=None)


def test_each_secret_of_a_roll_signs(shop):
    shop.simulator.webhooks.register(
        "http://receiver/", *SECRETS, events=frozenset({"payment_intent.succeeded"})
    )
    pay(shop, "one")
    shop.simulator.world.advance(0)
    assert len(shop.inbox.received) == 1
    assert all(verify(shop.inbox.received[0], secret) for secret in SECRETS)


def test_a_refused_delivery_comes_again_more_and_more_slowly_for_three_days(shop):
    shop.simulator.webhooks.register("http://receiver/", *SECRETS, events=frozenset({"charge.succeeded"}))
    shop.inbox.statuses = [500] * 100
    pay(shop, "one")
    shop.simulator.world.advance(4 * 86_400)
    at = [attempt.at - START for attempt in shop.simulator.webhooks.attempts]
    assert at == [sum(BACKOFF_SECONDS[:number]) for number in range(len(BACKOFF_SECONDS) + 1)]
    assert 2.5 * 86_400 < at[-1] <= 3 * 86_400
    undelivered = shop.client.v1.events.list({"delivery_success": False}).data
    assert [event.type for event in undelivered] == ["charge.succeeded"]


@pytest.mark.parametrize(
    ("disorder", "per_event"), [(Disorder(loss=1), 0), (Disorder(duplicate=1), 2), (Disorder(), 1)]
)
def test_events_are_lost_or_doubled_and_still_listed(shop, disorder, per_event):
    shop.simulator.webhooks.register("http://receiver/", *SECRETS)
    shop.simulator.webhooks.disorder = disorder
    pay(shop, "one")
    shop.simulator.world.advance(0)
    listed = list(shop.client.v1.events.list({"limit": 1, "created": {"gte": START}}).auto_paging_iter())
    assert len(listed) == 3
    assert len(shop.inbox.received) == per_event * 3


def test_events_come_late_and_in_another_order(shop):
    shop.simulator.webhooks.register("http://receiver/", *SECRETS)
    shop.simulator.webhooks.disorder = Disorder(reorder=True, delay_seconds=600)
    for number in range(3):
        pay(shop, str(number))
    shop.simulator.world.advance(600)
    came = [json.loads(body)["id"] for _, body, _ in shop.inbox.received]
    listed = [event.id for event in reversed(shop.client.v1.events.list().data)]
    assert sorted(came) == sorted(listed)
    assert came != listed


@pytest.mark.parametrize("how", ["wrong_secret", "old", "reserialised", "tampered", "unsigned", "v0_only"])
def test_a_forgery_does_not_verify(shop, how):
    pay(shop, "one")
    shop.simulator.webhooks.register("http://receiver/", *SECRETS)
    shop.simulator.webhooks.forge(shop.client.v1.events.list().data[0].id, how)
    shop.simulator.world.advance(0)
    (_, body, header), secret = shop.inbox.received[0], SECRETS[0]
    if how == "old":
        assert f"t={START - 301}," in header
    else:
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.WebhookSignature.verify_header(body.decode(), header, secret, tolerance=None)


def test_knobs_are_turned_over_http(shop):
    def turn(name, **given):
        request = urllib.request.Request(f"{shop.url}/_simulator/{name}", json.dumps(given).encode())
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    intent = pay(shop, "one")
    assert turn("open_dispute", charge=intent.latest_charge)["amount"] == 1_000
    assert turn("summary")["total"]["usd"]["disputed"] == 1_000
    turn("faults", kind="rate_limited")
    with pytest.raises(stripe.RateLimitError):
        pay(shop, "two")
    with pytest.raises(urllib.error.HTTPError) as caught:
        turn("nothing")
    assert caught.value.code == 404
    caught.value.close()


def test_the_same_seed_makes_the_same_ids(shop):
    with run_stripe(seed=7, now=lambda: START) as other:
        made = other.simulator.methods.create_customer({})["id"]
    assert shop.client.v1.customers.create().id == made
