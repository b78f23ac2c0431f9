"""What operators do to a host: each act is audited, may be repeated, and takes nothing that is in use."""

from dataclasses import replace

import pytest

from chalicelib.accounts.service import authenticate
from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated, Unavailable
from chalicelib.core.leases import Lease
from chalicelib.fleet.health import GpuFault
from chalicelib.fleet.model import set_fault
from chalicelib.fleet.operations import cordon_host, force_release, retire_host, uncordon_host
from chalicelib.fleet.service import (
    CapacityTaken,
    StaleEpoch,
    create_enrolment,
    enrol_host,
    issue_credentials,
    list_moved,
)
from tests.factories import GPU_TYPE, REGION, rent
from tests.fakes import Crash
from tests.unit.fleet.watching import Watched


@pytest.fixture
def watched():
    watched = Watched(hosts=2)
    watched.operations = watched.cloud.operations
    yield watched
    watched.check_totals()


def give_up_none(_host_id, _rental_ids):
    """Nobody waits for these wipes."""


def list_actions(watched, host_id):
    return [entry.action for entry in watched.cloud.audit.entries if entry.subject == host_id]


def stick(watched, host_id, count=2):
    """GPUs whose rental has ended and whose wipe nobody acknowledges."""
    watched.lease(host_id, count=count)
    leased = [gpu for gpu in watched.gpus(host_id) if gpu.lease_state == "leased"]
    tx = watched.cloud.db.begin()
    leases = [Lease(gpu.gpu.gpu_uuid, gpu.epoch) for gpu in leased]
    watched.cloud.fleet_store.begin_wipe(tx, host_id, "rnt_x", leases)
    tx.commit()
    return [lease.gpu_uuid for lease in leases]


def test_a_cordoned_host_gets_nothing_new_until_it_is_uncordoned(watched):
    operator = watched.seeded.operator
    for host_id in watched.hosts:
        cordon_host(watched.operations, operator, host_id, "smells of smoke")
        cordon_host(watched.operations, operator, host_id, "smells of smoke")
    assert {watched.host(host_id).state for host_id in watched.hosts} == {"draining"}
    with pytest.raises(Conflict):
        rent(watched.seeded, 1)
    # Its own heartbeats do not open it.
    watched.run(30)
    assert watched.host(watched.hosts[0]).state == "draining"
    uncordon_host(watched.operations, operator, watched.hosts[0])
    uncordon_host(watched.operations, operator, watched.hosts[0])
    assert watched.host(watched.hosts[0]).state == "active"
    assert rent(watched.seeded, 1)
    actions = list_actions(watched, watched.hosts[0])
    assert (actions.count("host.cordoned"), actions.count("host.uncordoned")) == (1, 1)
    (entry,) = [each for each in watched.cloud.audit.entries if each.action == "host.uncordoned"]
    assert entry.details == {"reason": "smells of smoke"}


def test_an_uncordoned_host_stays_closed_while_something_else_closes_it(watched):
    host_id, operator = watched.hosts[0], watched.seeded.operator
    cordon_host(watched.operations, operator, host_id, "to be looked at")
    watched.cloud.clock.advance_seconds(10)
    watched.beat(host_id, draining=True)
    assert uncordon_host(watched.operations, operator, host_id).state == "draining"


def test_a_retired_host_leaves_its_pool_its_key_and_the_watch(watched):
    host_id, operator = watched.hosts[0], watched.seeded.operator
    key_id = watched.host(host_id).api_key_id
    for _ in range(2):
        assert retire_host(watched.operations, operator, host_id, "sold").state == "retired"
    assert watched.cloud.accounts.store.get_key(key_id).revoked_at_ms is not None
    assert watched.heartbeat(host_id).watch_key == ""
    totals = watched.cloud.watch_store.get_pool_totals(GPU_TYPE, REGION)
    assert (totals.hosts["active"], totals.hosts.get("draining", 0), totals.gpus["active"]) == (1, 0, 4)
    assert list_actions(watched, host_id)[-2:] == ["host.cordoned", "host.retired"]
    # Words of it that were under way change nothing, and no act on it is left.
    watched.up.discard(host_id)
    watched.run(120)
    watched.beat(host_id)
    assert watched.host(host_id).state == "retired"
    assert watched.heartbeat(host_id).watch_key == ""
    assert watched.incidents == []
    with pytest.raises(Conflict, match="retired"):
        cordon_host(watched.operations, operator, host_id, "again")
    principal = replace(operator, role="host", host_id=host_id)
    with pytest.raises(Forbidden):
        issue_credentials(watched.cloud.fleet, principal, host_id)


def test_the_token_of_a_retired_host_gives_no_new_key(watched):
    cloud, operator = watched.cloud, watched.seeded.operator
    catalog = cloud.catalog.store.read_catalog()
    _, token = create_enrolment(cloud.fleet, operator, catalog, gpu_type=GPU_TYPE, region=REGION)
    gpus = [gpu.gpu for gpu in watched.gpus(watched.hosts[0])]
    enrolled = enrol_host(cloud.fleet, token, install_id="m", agent_version="v", gpus=gpus)
    retire_host(watched.operations, operator, enrolled.host.host_id, "sold")
    with pytest.raises(Unauthenticated):
        authenticate(cloud.accounts, enrolled.key.token)
    with pytest.raises(Forbidden) as refused:
        enrol_host(cloud.fleet, token, install_id="m", agent_version="v", gpus=gpus)
    assert refused.value.code == "host_retired"


@pytest.mark.parametrize("state", ["leased", "wiping"])
def test_a_host_in_use_is_not_retired_but_gets_nothing_new(watched, state):
    host_id = watched.hosts[0]
    if state == "leased":
        watched.lease(host_id)
    else:
        stick(watched, host_id, 1)
    with pytest.raises(Conflict) as refused:
        retire_host(watched.operations, watched.seeded.operator, host_id, "sold")
    assert refused.value.code == "host_in_use"
    assert len(refused.value.extra["gpus"]) == 1
    assert watched.host(host_id).state == "draining"


def test_a_lease_that_comes_between_is_seen_by_the_retirement(watched):
    host_id = watched.hosts[0]
    seen = watched.gpus(host_id)[0]
    plain, done = watched.cloud.db.begin, []

    def lease_first():
        if not done:
            done.append(True)
            watched.lease(host_id)
        return plain()

    accounts = replace(watched.cloud.accounts, transactions=lease_first)
    raced = replace(watched.operations, fleet=replace(watched.cloud.fleet, accounts=accounts))
    with pytest.raises(Conflict, match="leased"):
        retire_host(raced, watched.seeded.operator, host_id, "sold")
    # And one that comes after the cordon fails.
    tx = plain()
    late = [Lease(seen.gpu.gpu_uuid, seen.epoch)]
    watched.cloud.fleet_store.take_leases(tx, host_id, "rnt_late", late, 0)
    with pytest.raises(CapacityTaken):
        tx.commit()


def test_a_gpu_that_is_stuck_is_freed_under_the_next_epoch_and_old_words_are_refused(watched):
    host_id, operator = watched.hosts[0], watched.seeded.operator
    stuck = stick(watched, host_id)
    old = {gpu.gpu.gpu_uuid: gpu.epoch for gpu in watched.gpus(host_id)}
    waited = force_release(watched.operations, operator, host_id, stuck, "disk was shredded", give_up_none)
    assert waited == ["rnt_x"]
    for gpu in watched.gpus(host_id):
        risen = 1 if gpu.gpu.gpu_uuid in stuck else 0
        assert (gpu.lease_state, gpu.epoch) == ("free", old[gpu.gpu.gpu_uuid] + risen)
    assert watched.host(host_id).free_gpus == 4
    tx = watched.cloud.db.begin()
    watched.cloud.fleet_store.free_leases(tx, host_id, "rnt_x", [Lease(stuck[0], old[stuck[0]])])
    with pytest.raises(StaleEpoch):
        tx.commit()
    assert force_release(watched.operations, operator, host_id, stuck, "once more", give_up_none) == []
    assert watched.incidents == ["gpu_forced_free"]
    (entry,) = [each for each in watched.cloud.audit.entries if each.action == "host.gpus_forced_free"]
    assert entry.details == {
        "reason": "disk was shredded",
        "gpu_uuids": sorted(stuck),
        "rental_ids": ["rnt_x"],
    }


def test_a_stuck_gpu_with_a_fault_is_freed_for_nobody(watched):
    host_id, store = watched.hosts[0], watched.cloud.fleet_store
    (uuid,) = stick(watched, host_id, 1)
    host, gpus = watched.host(host_id), watched.gpus(host_id)
    fault = GpuFault(79, "D", watched.cloud.clock.now_ms(), "kernel", 1)
    changed, changed_gpus = set_fault(host, gpus, uuid, fault)
    tx = watched.cloud.db.begin()
    store.replace_health(tx, host, changed, list_moved(gpus, changed_gpus))
    tx.commit()
    force_release(
        watched.operations, watched.seeded.operator, host_id, [uuid], "machine is gone", give_up_none
    )
    (gpu,) = [gpu for gpu in watched.gpus(host_id) if gpu.gpu.gpu_uuid == uuid]
    assert gpu.lease_state == "unhealthy"
    assert watched.host(host_id).free_gpus == 3


def test_what_is_leased_or_unknown_is_not_freed(watched):
    host_id, operator = watched.hosts[0], watched.seeded.operator
    watched.lease(host_id)
    (leased,) = [gpu.gpu.gpu_uuid for gpu in watched.gpus(host_id) if gpu.lease_state == "leased"]
    with pytest.raises(Conflict) as refused:
        force_release(watched.operations, operator, host_id, [leased], "why not", give_up_none)
    assert refused.value.code == "gpu_in_use"
    for wrong in (["GPU-x"], []):
        with pytest.raises(InvalidInput):
            force_release(watched.operations, operator, host_id, wrong, "why not", give_up_none)
    with pytest.raises(NotFound):
        force_release(watched.operations, operator, "hst_x", ["GPU-x"], "why not", give_up_none)


def test_a_release_that_meets_the_acknowledgement_changes_nothing(watched):
    host_id = watched.hosts[0]
    stuck = stick(watched, host_id, 1)
    plain, done = watched.cloud.db.begin, []

    def acknowledge_first():
        if not done:
            done.append(True)
            watched.acknowledge(host_id)
        return plain()

    accounts = replace(watched.cloud.accounts, transactions=acknowledge_first)
    raced = replace(watched.operations, fleet=replace(watched.cloud.fleet, accounts=accounts))
    with pytest.raises(StaleEpoch):
        force_release(raced, watched.seeded.operator, host_id, stuck, "impatient", give_up_none)
    assert watched.incidents == []
    assert watched.host(host_id).free_gpus == 4


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", [0, 1])
def test_a_retirement_that_dies_anywhere_is_finished_by_its_repeat(watched, when, commit):
    host_id, operator = watched.hosts[0], watched.seeded.operator
    setattr(watched.cloud.db, when, watched.cloud.db.commits + commit)
    with pytest.raises(Crash):
        retire_host(watched.operations, operator, host_id, "sold")
    watched.cloud.db.crash_before = watched.cloud.db.crash_after = None
    assert retire_host(watched.operations, operator, host_id, "sold").state == "retired"
    assert list_actions(watched, host_id).count("host.retired") == 1
    totals = watched.cloud.watch_store.get_pool_totals(GPU_TYPE, REGION)
    assert sum(totals.hosts.values()) == 1


def test_a_cordon_that_meets_another_change_is_tried_again_by_its_caller(watched):
    host_id = watched.hosts[0]
    plain, done = watched.cloud.db.begin, []

    def drain_first():
        if not done:
            done.append(True)
            watched.cloud.clock.advance_seconds(10)
            watched.beat(host_id, draining=True)
        return plain()

    accounts = replace(watched.cloud.accounts, transactions=drain_first)
    raced = replace(watched.operations, fleet=replace(watched.cloud.fleet, accounts=accounts))
    with pytest.raises(Unavailable):
        cordon_host(raced, watched.seeded.operator, host_id, "now")
    assert watched.host(host_id).cordon is None
