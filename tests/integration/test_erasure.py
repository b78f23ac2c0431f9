"""Canaries of an account and of a person, and what is left of them in the deployed stack after an erasure."""

import io
import json
import re
import secrets
import urllib.request
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.accounts.model import PERMISSIONS
from chalicelib.accounts.service import create_key
from chalicelib.core.errors import Conflict
from chalicelib.core.principal import Principal
from chalicelib.identity import service as identity_service
from chalicelib.identity.model import FederatedLink, Passkey, Person
from chalicelib.identity.service import Browser
from chalicelib.organisations import service as organisation_service
from chalicelib.organisations.ports import Once
from chalicelib.privacy.requests import PrivacyRequest
from chalicelib.privacy.service import MakeRequest, make_request
from chalicelib.storage import carbon_keys, keys, payment_keys, usage_keys
from chalicelib.storage.tables.ledger import HoldItem, StatementItem, UsageItem
from chalicelib.storage.tables.payments import PurchaseItem, TopUpItem
from chalicelib.storage.tables.rentals import LogItem
from chalicelib.storage.tables.reports import StayDayItem
from infra.local.cloud import EmbeddedCloud
from infra.local.seed import REGION, Api, Seed, seed_installation
from tests.integration.in_process import wire_to
from tests.integration.test_reports import invoke

CANARIES = 20
#: Of which there is no host: who wants it waits in line.
ALONE = "ERASURE-TEST"
#: Numbers of cards by the ranges of their issuers (ISO/IEC 7812).
CARD = re.compile(
    r"(?<![0-9])(?:4[0-9]{15}|5[1-5][0-9]{14}|3[47][0-9]{13}|6(?:011|5[0-9]{2})[0-9]{12})(?![0-9])"
)


class Canaries:
    """Texts that stand nowhere else."""

    def __init__(self) -> None:
        self.mark = f"cnry{secrets.token_hex(6)}"
        self.count = 0

    def draw(self) -> str:
        self.count += 1
        return f"{self.mark}x{self.count}"

    def is_in(self, text: str) -> list[str]:
        return sorted(set(re.findall(rf"{self.mark}x\d+", text)))


@pytest.fixture(scope="module")
def seed(cloud: EmbeddedCloud) -> Seed:
    return seed_installation(cloud)


def dump_tables(cloud: EmbeddedCloud) -> str:
    client = cloud.aws.client("dynamodb")
    items: list[Any] = []
    for page in client.get_paginator("list_tables").paginate():
        for name in page["TableNames"]:
            for rows in client.get_paginator("scan").paginate(TableName=name, ConsistentRead=True):
                items += [{name: row} for row in rows["Items"]]
    return json.dumps(items, default=repr)


def dump_queues(cloud: EmbeddedCloud) -> str:
    client, bodies = cloud.aws.client("sqs"), []
    for url in client.list_queues().get("QueueUrls", []):
        found = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        bodies += [each["Body"] for each in found.get("Messages", [])]
    return json.dumps(bodies)


def list_documents(cloud: EmbeddedCloud) -> Iterator[tuple[str, bytes]]:
    """Every version of everything in every bucket but the code of the functions."""
    client = cloud.aws.client("s3")
    for bucket in client.list_buckets()["Buckets"]:
        if "-documents-" not in bucket["Name"]:
            continue
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"]):
            for each in page.get("Versions", []):
                found = client.get_object(Bucket=bucket["Name"], Key=each["Key"], VersionId=each["VersionId"])
                yield each["Key"], found["Body"].read()


def dump_documents(cloud: EmbeddedCloud) -> str:
    texts = []
    for key, body in list_documents(cloud):
        if key.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                texts += [archive.read(name).decode() for name in archive.namelist()]
        else:
            texts += [key, body.decode(errors="replace")]
    return "\n".join(texts)


def dump_logs(cloud: EmbeddedCloud) -> str:
    client, lines = cloud.aws.client("logs"), []
    for page in client.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            events = client.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
            lines += [event["message"] for found in events for event in found["events"]]
    return "\n".join(lines)


def write_through_the_api(cloud: EmbeddedCloud, seed: Seed, draw: Any) -> tuple[Api, str, str]:
    """An account with a canary in every text that the API takes; return its key, its id and a rental."""
    account_id = seed.operator.call("POST", "/v1/accounts", {"name": draw()})["account_id"]
    path = f"/v1/accounts/{account_id}"
    machine = {"architecture": "Hopper", "memory_mib": 81_559, "power_limit_watts": 700}
    seed.operator.call("PUT", f"/v1/gpu-types/{ALONE}", machine)
    price = {"price_micros_per_gpu_hour": 1_000_000}
    seed.operator.call("PUT", f"/v1/gpu-types/{ALONE}/prices/{REGION}", price)
    token = seed.operator.call("POST", f"{path}/api-keys", {"label": draw()})["key"]
    renter = Api(cloud.api_url, token)
    renter.call("POST", f"/v1/accounts/{account_id}/api-keys", {"label": draw()})
    credit = {"amount_micros": 10_000_000, "reason": "paid"}
    seed.operator.call("POST", f"{path}/credits", credit, Idempotency_Key=secrets.token_hex(8))
    workload = {
        "command": ["echo", draw()],
        "image": "pytorch/pytorch:2.5.1",
        "env": {"TOKEN": draw()},
        "ssh_public_keys": [f"ssh-ed25519 {'A' * 68} {draw()}"],
    }
    renter.call("POST", "/v1/templates", {"name": draw(), **workload}, Idempotency_Key=draw())
    budget = {"name": draw(), "scope": "label", "scope_value": draw(), "limit_micros": 5_000_000}
    renter.call("POST", "/v1/budgets", budget, Idempotency_Key=draw())
    details = {"name": draw(), "address_lines": [draw()], "country": "DE", "tax_id": draw()}
    renter.call("PUT", "/v1/billing-details", details)
    endpoint = {"url": f"https://hooks.example.com/{draw()}", "description": draw()}
    renter.call("POST", "/v1/webhook-endpoints", endpoint, Idempotency_Key=draw())
    wanted = {"gpu_type": ALONE, "gpu_count": 1, "region": REGION, "label": draw(), **workload}
    wanted["spread_group"] = draw()
    rental = renter.call("POST", "/v1/rentals", wanted, Idempotency_Key=draw())
    return renter, account_id, rental["rental_id"]


def write_what_takes_time(account_id: str, rental_id: str, draw: Any) -> None:
    """What a month of use, a log, a payment and a report would leave."""
    LogItem(keys.rental(rental_id), keys.LOG, taken_at_ms=1, text=draw(), truncated=False).save()
    StatementItem(
        keys.account(account_id), "2026-01", currency="USD", state="empty", opened_at_ms=1, opening=[0, "", 0]
    ).save()
    usage = {"gpu_type": "h100", "gpu_count": 1, "region": REGION, "label": draw()}
    counts = dict.fromkeys(("seconds", "micros", "promo_micros", "overrun_micros"), 1)
    line = usage_keys.line("2026-01-02", rental_id, 1)
    UsageItem(
        usage_keys.third(account_id, "2026-01", "2026-01-02"), line, facts=[], label=draw(), **counts
    ).save()
    HoldItem(
        keys.account(account_id),
        keys.hold(f"{rental_id}#0009"),
        hold_id="x",
        amount_micros=0,
        captured_micros=0,
        state="released",
        rate_micros_per_hour=0,
        rental_id=rental_id,
        gpu_type="h100",
        label=draw(),
    ).save()
    StayDayItem(
        carbon_keys.report_energy(f"account:{account_id}"),
        carbon_keys.stay_day("2026-01-02", "host_x", rental_id, 1),
        **usage | {"label": draw()},
        rental_id=rental_id,
        segment=1,
        host_id="host_x",
        hours=[],
        version=1,
    ).save()
    TopUpItem(
        keys.top_up(f"top_{account_id}"),
        keys.TOP_UP,
        top_up_id=f"top_{account_id}",
        account_id=account_id,
        created_key=keys.created(1, "top"),
        kind="checkout",
        amount_micros=1,
        currency="USD",
        created_at_ms=1,
        state="succeeded",
        attempt=1,
        receipt_url=f"https://pay.example.com/{draw()}",
        tax_micros=0,
        refunded_micros=0,
        disputed_micros=0,
        version=1,
    ).save()
    PurchaseItem(
        payment_keys.removals(account_id),
        payment_keys.purchase("2026-01"),
        currency="USD",
        residual_mg=0,
        planned_at_ms=1,
        state="nothing",
        quantity_mg=0,
        price_micros=0,
        limited=0,
        beneficiary_name=draw(),
        charged_at_ms=0,
        attempt=1,
        deliveries=[],
        version=1,
    ).save()


def test_nothing_personal_is_left_after_an_erasure_and_no_card_is_anywhere(
    cloud: EmbeddedCloud, seed: Seed
) -> None:
    canaries = Canaries()
    renter, account_id, rental_id = write_through_the_api(cloud, seed, canaries.draw)
    with wire_to(cloud):
        write_what_takes_time(account_id, rental_id, canaries.draw)
        documents = cloud.aws.client("s3")
        bucket = wiring.settings().documents_bucket
        for key in (f"carbon/account/{account_id}/2026-01/v1.csv",) * 2:
            documents.put_object(Bucket=bucket, Key=key, Body=canaries.draw().encode())
        books = wiring.billing_ports().wallets.get_balance(account_id)
    assert canaries.count >= CANARIES
    assert len(canaries.is_in(dump_tables(cloud))) >= CANARIES

    export = renter.call("POST", "/v1/privacy/requests", {"kind": "export"}, Idempotency_Key="export")
    invoke(cloud, "RunPrivacyRequests")
    done = renter.call("GET", f"/v1/privacy/requests/{export['request_id']}")
    assert done["state"] == "completed", done
    with urllib.request.urlopen(done["url"]) as fetched:  # the embedded cloud's
        body = fetched.read()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        exported = "\n".join(archive.read(name).decode() for name in archive.namelist())
    # All but what is in documents and in keys that clients chose.
    assert len(canaries.is_in(exported)) >= CANARIES

    erasure = renter.call("POST", "/v1/privacy/requests", {"kind": "erasure"}, Idempotency_Key="erasure")
    invoke(cloud, "RunPrivacyRequests")
    waiting = renter.call("GET", f"/v1/privacy/requests/{erasure['request_id']}")
    assert (waiting["state"], waiting["reasons"]) == ("queued", ["rental_open"])
    renter.call("POST", f"/v1/rentals/{rental_id}/actions", {"action": "terminate"})
    invoke(cloud, "RunPrivacyRequests")
    assert renter.request("GET", "/v1/rentals").status_code == 401

    for dump in (dump_tables, dump_queues, dump_documents, dump_logs):
        text = dump(cloud)
        assert canaries.is_in(text) == [], dump.__name__
        assert [each for each in CARD.findall(text) if is_luhn(each)] == [], dump.__name__
    with wire_to(cloud):
        request = wiring.privacy_ports().store.get_request(account_id, erasure["request_id"])
        assert request is not None
        assert request.state == "completed"
        assert wiring.billing_ports().wallets.get_balance(account_id) == books


def write_a_person(draw: Any) -> str:
    """Somebody with a canary in every text that is theirs; return their id."""
    ports = wiring.identity_ports()
    user_id, now_ms = ports.ids.new_id("usr"), ports.clock.now_ms()
    ports.vault.ensure_key(user_id)
    email, name = (
        ports.vault.seal(user_id, field, text)
        for field, text in (("email", f"{draw()}@example.com"), ("name", draw()))
    )
    person = Person(user_id, f"key-{user_id}", email, name, "active", 1, now_ms, now_ms, "digest", True)
    tx = ports.transactions()
    ports.store.add_person(tx, person)
    for number in range(6):
        browser = Browser("192.0.2.1", draw())
        identity_service.add_session(ports, tx, person, frozenset({"pwd", "otp"}), browser)
        passkey = Passkey(f"cred-{number}", user_id, "public", 0, draw(), now_ms)
        ports.store.add_passkey(tx, passkey)
        ports.store.add_link(tx, FederatedLink("https://idp.example", draw(), user_id, "Example", now_ms))
    tx.commit()
    return user_id


def sign_in(user_id: str, account_id: str) -> Principal:
    now_ms = wiring.clock().now_ms()
    granted = PERMISSIONS["owner"]
    return Principal(account_id, "owner", user_id, granted, user_id=user_id, authenticated_at_ms=now_ms)


def ask(person: Principal, kind: Any) -> str:
    command = MakeRequest(
        kind, of_account=False, idempotency_key=kind, fingerprint="f", render=lambda made: made.request_id
    )
    return make_request(wiring.privacy_ports(), person, command).body


def run(cloud: EmbeddedCloud, user_id: str, request_id: str) -> PrivacyRequest:
    invoke(cloud, "RunPrivacyRequests")
    found = wiring.privacy_ports().store.get_request(user_id, request_id)
    assert found is not None
    return found


def test_nothing_of_a_person_is_left_after_an_erasure(cloud: EmbeddedCloud) -> None:
    canaries = Canaries()
    with wire_to(cloud):
        user_id, organisations = write_a_person(canaries.draw), wiring.organisation_ports()
        once = Once("lab", "f", lambda made: made.account_id)
        founder = sign_in(user_id, "acc_none")
        account_id = organisation_service.create_organisation(
            organisations, founder, once, name="Lab", currency="USD"
        ).body
        owner = sign_in(user_id, account_id)
        key = create_key(organisations.accounts, owner, account_id, label="ci").key
        neighbour = write_a_person(canaries.draw)
        assert canaries.count == 2 * CANARIES

        export = run(cloud, user_id, ask(owner, "export"))
        assert export.state == "completed"
        assert len(canaries.is_in(dump_documents(cloud))) == CANARIES

        erasure = ask(owner, "erasure")
        waiting = run(cloud, user_id, erasure)
        assert (waiting.state, waiting.reasons) == ("queued", ("owns_organisation",))
        organisation_service.close_organisation(organisations, owner, account_id)
        assert run(cloud, user_id, erasure).state == "completed"
        assert organisations.accounts.store.get_key(key.key_id).revoked_at_ms is not None  # type: ignore[union-attr]
        assert organisations.store.get_membership(account_id, user_id) is None

    # What a process has in memory is gone with it.
    with wire_to(cloud):
        person = wiring.identity_ports().store.get_person(user_id)
        assert person is not None
        assert (person.status, person.sealed_email) == ("erased", None)
        with pytest.raises(Conflict):
            wiring.person_vault().ensure_key(user_id)
        # The neighbour's name and address are sealed; the rest of theirs stands where it stood.
        user = identity_service.get_user(wiring.identity_ports(), neighbour)
        assert user is not None
        assert canaries.is_in(repr(user)) != []
    left = {int(each.rpartition("x")[2]) for each in canaries.is_in(dump_tables(cloud))}
    assert left == set(range(CANARIES + 3, 2 * CANARIES + 1))
    for dump in (dump_queues, dump_documents, dump_logs):
        assert canaries.is_in(dump(cloud)) == [], dump.__name__


def test_a_destroyed_key_opens_nothing_on_the_real_key_service(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        vault, person = wiring.person_vault(), f"usr_{secrets.token_hex(8)}"
        vault.ensure_key(person)
        sealed = vault.seal(person, "email", "ana@example.com")
        wiring.person_vault.cache_clear()
        assert wiring.person_vault().open(person, "email", sealed) == "ana@example.com"
        vault.destroy_key(person)
        assert vault.open(person, "email", sealed) is None
        with pytest.raises(Conflict):
            vault.ensure_key(person)
    assert "ana@example.com" not in dump_tables(cloud)


def is_luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = [int(each) for each in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def test_the_scan_would_find_a_card() -> None:
    assert [each for each in CARD.findall("paid by 4242424242424242, thanks") if is_luhn(each)]
    assert not [each for each in CARD.findall("at 4242424242424241") if is_luhn(each)]
