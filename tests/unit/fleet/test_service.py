"""Enrolment: one machine per token, a key that follows the machine, rights for its own queues only."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from chalicelib.accounts.service import authenticate
from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from chalicelib.core.leases import Lease
from chalicelib.core.workloads import Port, Volume, Workload
from chalicelib.fleet.aws_gateway import AwsHostIdentities
from chalicelib.fleet.capacity import FleetCapacity
from chalicelib.fleet.functions import build_wire_command
from chalicelib.fleet.model import (
    ENROLMENT_LIFETIME_MS,
    Gpu,
    HostCommand,
    derive_signing_key,
)
from chalicelib.fleet.schemas import HostRequest, read_gpus, render_host
from chalicelib.fleet.service import (
    create_enrolment,
    enrol_host,
    issue_credentials,
    list_hosts,
    read_host,
    sort_out_unfit,
)
from chalicelib.wire import v1
from tests.factories import GPU_TYPE, REGION, add_host, rent, seed_cloud
from tests.fakes import START_MS, Crash

GPUS = [Gpu("GPU-a", "0:0", "H100", 81_559), Gpu("GPU-b", "0:1", "H100", 81_559)]


@pytest.fixture
def seeded():
    return seed_cloud(hosts=0)


def offer_enrolment(seeded):
    catalog = seeded.cloud.catalog.store.read_catalog()
    return create_enrolment(seeded.cloud.fleet, seeded.operator, catalog, gpu_type=GPU_TYPE, region=REGION)


def enrol(seeded, token, install_id="machine", gpus=GPUS):
    return enrol_host(seeded.cloud.fleet, token, install_id=install_id, agent_version="0.1.0", gpus=gpus)


def test_a_machine_becomes_a_host_with_its_gpus_free_at_epoch_zero(seeded):
    enrolment, token = offer_enrolment(seeded)
    enrolled = enrol(seeded, token)
    host, liveness, gpus = read_host(seeded.cloud.fleet, enrolled.host.host_id)
    assert (host.host_id, host.gpu_count, host.free_gpus) == (enrolment.host_id, 2, 2)
    assert liveness is None
    assert [(gpu.lease_state, gpu.epoch) for gpu in gpus] == [("free", 0)] * 2
    principal = authenticate(seeded.cloud.accounts, enrolled.key.token)
    assert (principal.role, principal.host_id) == ("host", host.host_id)


def test_the_instances_of_a_partitioned_board_are_enrolled_as_gpus_of_their_own(seeded):
    _, token = offer_enrolment(seeded)
    listed = [
        {
            "gpu_uuid": f"MIG-{index}",
            "pci_bus_id": "00000000:10:00.0",
            "model": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "memory_mib": 9856,
            "parent_uuid": f"GPU-{index // 7}",
            "slices": 1,
        }
        for index in range(56)
    ]
    body = HostRequest.model_validate({"install_id": "machine", "agent_version": "0.1.0", "gpus": listed})
    enrolled = enrol(seeded, token, gpus=read_gpus(body))
    shown = render_host(*read_host(seeded.cloud.fleet, enrolled.host.host_id), now_ms=START_MS)
    assert (shown.gpu_count, shown.free_gpus) == (56, 56)
    assert {(gpu.parent_uuid, gpu.slices) for gpu in shown.gpus} == {(f"GPU-{n}", 1) for n in range(8)}


def test_a_machine_that_lost_the_answer_asks_again_and_its_old_key_dies(seeded):
    _, token = offer_enrolment(seeded)
    first, second = enrol(seeded, token), enrol(seeded, token)
    assert (first.created, second.created) == (True, False)
    assert first.host.host_id == second.host.host_id
    assert authenticate(seeded.cloud.accounts, second.key.token).host_id == second.host.host_id
    with pytest.raises(Unauthenticated):
        authenticate(seeded.cloud.accounts, first.key.token)
    assert len(seeded.cloud.db.table("gpus")) == 2


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_an_enrolment_that_died_halfway_is_finished_by_the_same_machine(seeded, point):
    _, token = offer_enrolment(seeded)
    setattr(seeded.cloud.db, point, seeded.cloud.db.commits)
    with pytest.raises(Crash):
        enrol(seeded, token)
    setattr(seeded.cloud.db, point, None)
    assert len(seeded.cloud.db.table("hosts")) == (point == "crash_after")
    enrolled = enrol(seeded, token)
    assert authenticate(seeded.cloud.accounts, enrolled.key.token).host_id == enrolled.host.host_id
    assert len(seeded.cloud.db.table("hosts")) == 1


def test_a_token_serves_one_machine(seeded):
    _, token = offer_enrolment(seeded)
    enrol(seeded, token)
    with pytest.raises(Conflict) as caught:
        enrol(seeded, token, install_id="another")
    assert caught.value.code == "enrolment_used"


def test_an_old_token_enrols_nobody_but_still_serves_its_machine(seeded):
    _, unused = offer_enrolment(seeded)
    _, used = offer_enrolment(seeded)
    enrol(seeded, used)
    seeded.cloud.clock.advance_seconds(ENROLMENT_LIFETIME_MS / 1000 + 1)
    with pytest.raises(Unauthenticated):
        enrol(seeded, unused, install_id="late")
    assert enrol(seeded, used).created is False


def test_a_host_without_a_price_could_never_be_rented(seeded):
    catalog = seeded.cloud.catalog.store.read_catalog()
    with pytest.raises(InvalidInput) as caught:
        create_enrolment(seeded.cloud.fleet, seeded.operator, catalog, gpu_type=GPU_TYPE, region="us-east-1")
    assert caught.value.code == "unknown_offer"


def test_a_gpu_that_is_listed_twice_is_a_mistake(seeded):
    _, token = offer_enrolment(seeded)
    with pytest.raises(InvalidInput) as caught:
        enrol(seeded, token, gpus=[GPUS[0], GPUS[0]])
    assert caught.value.code == "duplicate_gpu"
    assert enrol(seeded, token).created


def test_a_host_gets_credentials_for_itself_only(seeded):
    host, other = add_host(seeded, "one"), add_host(seeded, "two")
    _, token = offer_enrolment(seeded)
    enrolled = enrol(seeded, token, "three")
    principal = authenticate(seeded.cloud.accounts, enrolled.key.token)
    given = issue_credentials(seeded.cloud.fleet, principal, enrolled.host.host_id)
    assert given.access_key_id.endswith(enrolled.host.host_id)
    for foreign in (host.host_id, other.host_id, "hst_missing"):
        with pytest.raises(NotFound):
            issue_credentials(seeded.cloud.fleet, principal, foreign)


def test_a_retired_host_gets_no_credentials(seeded):
    from dataclasses import replace

    _, token = offer_enrolment(seeded)
    enrolled = enrol(seeded, token)
    rows = seeded.cloud.db.table("hosts")
    rows[enrolled.host.host_id] = replace(rows[enrolled.host.host_id], state="retired")
    principal = authenticate(seeded.cloud.accounts, enrolled.key.token)
    with pytest.raises(Forbidden):
        issue_credentials(seeded.cloud.fleet, principal, enrolled.host.host_id)


def test_capacity_is_what_is_free_now(seeded):
    for name in ("one", "two"):
        seeded.beat(add_host(seeded, name, 4).host_id)
    capacity = FleetCapacity(seeded.cloud.fleet_store, seeded.cloud.watch_store)
    assert capacity.read_capacity(GPU_TYPE, REGION).free_gpus == 8
    rent(seeded, 3)
    found = capacity.read_capacity(GPU_TYPE, REGION)
    assert (found.free_gpus, found.largest_block_gpus) == (5, 4)
    assert capacity.read_capacity(GPU_TYPE, "us-east-1").free_gpus == 0


def test_hosts_are_listed_with_their_liveness_and_a_missing_one_is_not_found(seeded):
    host = add_host(seeded, "one")
    seeded.beat(host.host_id)
    page = list_hosts(seeded.cloud.fleet, seeded.cloud.catalog.store.read_catalog())
    ((listed, liveness),) = page.items
    assert (listed.host_id, liveness.gpus_ok) == (host.host_id, 8)
    with pytest.raises(NotFound):
        read_host(seeded.cloud.fleet, "hst_missing")


def test_each_host_signs_with_its_own_key():
    assert derive_signing_key("a", b"p") != derive_signing_key("b", b"p")
    assert derive_signing_key("a", b"p") != derive_signing_key("a", b"q")
    assert len(derive_signing_key("a", b"p")) == 32


class FakeSts:
    def assume_role(self, **request):
        self.request = request
        expires = datetime(2027, 1, 15, 9, tzinfo=UTC)
        credentials = {"AccessKeyId": "a", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": expires}
        return {"Credentials": credentials}


def test_a_session_may_send_to_the_ingest_queues_and_read_its_own_commands():
    sts = FakeSts()
    arns = ("arn:aws:sqs:us-east-1:1:p-heartbeats", "arn:aws:sqs:us-east-1:1:p-telemetry")
    identities = AwsHostIdentities(None, sts, "p-commands-", "arn:role", arns)
    given = identities.issue_credentials("hst_1")
    assert given.expires_at_ms == 1_800_003_600_000
    assert sts.request["RoleSessionName"] == "hst_1"
    send, receive = json.loads(sts.request["Policy"])["Statement"]
    assert set(send["Resource"]) == set(arns)
    assert receive["Resource"] == "arn:aws:sqs:us-east-1:1:p-commands-hst_1"
    assert not any("*" in action for statement in (send, receive) for action in statement["Action"])


def test_an_order_in_the_outbox_becomes_the_same_order_on_the_wire():
    stored = {
        "command_id": "cmd_1",
        "kind": "start",
        "host_id": "hst_1",
        "rental_id": "rnt_1",
        "leases": [{"gpu_uuid": "GPU-a", "epoch": 3}],
        "issued_at_ms": 7,
        "workload": {"command": ["x"], "env": {"A": "1"}},
    }
    command = build_wire_command(stored)
    assert (command.kind, command.leases[0].epoch, command.workload.env) == ("start", 3, {"A": "1"})
    assert build_wire_command({**stored, "kind": "stop", "workload": None}).workload is None
    # An outbox item of before there were containers.
    old = {**stored, "workload": {"command": ["a"], "env": {"B": "1"}}}
    assert build_wire_command(old).workload == v1.WorkloadSpec(["a"], env={"B": "1"})


def test_all_that_a_renter_asks_of_a_container_reaches_the_host():
    workload = Workload(
        image="team/train:1",
        ports=(Port(8080), Port(53, "udp")),
        ssh_public_keys=("ssh-ed25519 AAAA me",),
        volume=Volume(1024, "/data"),
    )
    command = HostCommand("cmd_1", "start", "hst_1", "rnt_1", (Lease("GPU-0", 1),), 5, workload)
    assert build_wire_command(json.loads(json.dumps(asdict(command)))).workload == v1.WorkloadSpec(
        [],
        "team/train:1",
        {},
        [v1.PortSpec(8080), v1.PortSpec(53, "udp")],
        ["ssh-ed25519 AAAA me"],
        v1.VolumeSpec("vol_rnt_1", 1024, "/data"),
    )


def test_a_gpu_that_its_host_calls_unfit_is_withheld_and_offered_again_when_it_is_well(seeded):
    host_id = add_host(seeded, "machine", 2).host_id
    seeded.beat(host_id)
    store, transactions = seeded.cloud.fleet_store, seeded.cloud.rentals.transactions
    bad, good = sorted(gpu.gpu.gpu_uuid for gpu in store.list_gpus(host_id))
    rental = seeded.rental(rent(seeded, 1).body)
    (leased,) = (lease.gpu_uuid for lease in rental.leases)
    for _ in range(2):
        sort_out_unfit(store, transactions, host_id, {bad, good}, withheld=1)
        states = {gpu.gpu.gpu_uuid: gpu.lease_state for gpu in store.list_gpus(host_id)}
        assert states == {bad: "withheld", good: "withheld"} | {leased: "leased"}
        assert store.get_host(host_id).free_gpus == 0
    sort_out_unfit(store, transactions, host_id, set(), withheld=1)
    assert store.get_host(host_id).free_gpus == 1
    assert {gpu.lease_state for gpu in store.list_gpus(host_id)} == {"leased", "free"}


def test_a_host_says_how_its_gpus_are_joined_and_an_old_agent_says_nothing(seeded):
    gpu = {"pci_bus_id": "0:0", "model": "H100", "memory_mib": 81_559}
    old = {
        "install_id": "machine",
        "agent_version": "0.1.0",
        "gpus": [gpu | {"gpu_uuid": f"GPU-{n}"} for n in range(4)],
    }
    new = old | {"gpus": [each | {"link_group": f"numa-{n // 2}"} for n, each in enumerate(old["gpus"])]}
    new["fabric_id"] = "ib-1"
    hosts = []
    for listed in (old, new):
        body = HostRequest.model_validate(listed)
        _, token = offer_enrolment(seeded)
        enrolled = enrol_host(
            seeded.cloud.fleet,
            token,
            install_id=body.install_id,
            agent_version=body.agent_version,
            gpus=read_gpus(body),
            fabric_id=body.fabric_id,
        )
        shown = read_host(seeded.cloud.fleet, enrolled.host.host_id)
        hosts.append(render_host(*shown, now_ms=START_MS))
    before, after = hosts
    assert (before.fabric_id, [each.link_group for each in before.gpus]) == (None, [None] * 4)
    assert after.fabric_id == "ib-1"
    assert [each.link_group for each in after.gpus] == ["numa-0", "numa-0", "numa-1", "numa-1"]
    candidate = seeded.cloud.fleet_store.get_candidate(after.host_id)
    assert (list(candidate.link_groups.values()), candidate.fabric_id) == ([0, 0, 1, 1], "ib-1")
    assert seeded.cloud.fleet_store.get_candidate(before.host_id).link_groups == {}
