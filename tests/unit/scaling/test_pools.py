"""Crashes at every step, the plan shown, pools set, and the minute's function."""

import json
import subprocess
import sys

import pytest

from chalicelib.core.errors import InvalidInput, NotFound, Unauthenticated
from chalicelib.fleet.service import enrol_host
from chalicelib.scaling import functions, service
from chalicelib.scaling.fleet_hosts import derive_secret
from chalicelib.scaling.model import PoolSettings
from chalicelib.scaling.schemas import PoolRequest, read_settings, render_plan, render_pool
from tests.factories import GPU_TYPE, REGION
from tests.fakes import Crash
from tests.fakes.events import TICK
from tests.fakes.metrics import read_metrics
from tests.unit.scaling.cloud import ON_DEMAND, POOL, build_cloud


@pytest.mark.parametrize("step", range(14))
def test_a_crash_between_any_two_calls_leaks_nothing(step):
    cloud = build_cloud()
    cloud.want(8, "one")
    cloud.ec2.crash_in = step
    db = cloud.seeded.cloud.db
    for _ in range(4):
        try:
            cloud.minutes(1)
        except Crash:
            cloud.ec2.crash_in = None
    cloud.ec2.crash_in = None
    cloud.minutes(3)
    assert len(cloud.ec2.rows) == 1
    assert [launch.state for launch in cloud.open()] == ["running"]
    assert db.table("rentals")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("commit", range(4))
def test_a_crash_at_any_commit_leaks_nothing(when, commit):
    cloud = build_cloud()
    cloud.want(8, "one")
    db = cloud.seeded.cloud.db
    setattr(db, f"crash_{when}", db.commits + commit)
    for _ in range(4):
        try:
            cloud.minutes(1)
        except Crash:
            db.crash_before = db.crash_after = None
    db.crash_before = db.crash_after = None
    cloud.minutes(3)
    assert len(cloud.ec2.rows) == 1
    assert [launch.state for launch in cloud.open()] == ["running"]


def test_the_preview_tells_the_plan_and_does_nothing():
    cloud = build_cloud()
    cloud.want(8, "one")
    commits = cloud.seeded.cloud.db.commits
    view = service.preview_plan(cloud.ports, cloud.settings())
    assert view.plan.decision is not None
    assert view.plan.decision.kind == "launch"
    assert (cloud.seeded.cloud.db.commits, cloud.ec2.launches) == (commits, 0)


def test_a_pool_is_set_read_and_audited():
    cloud = build_cloud()
    cloud.put(max_hosts=7)
    assert service.read_pool(cloud.ports, GPU_TYPE, REGION).settings.max_hosts == 7
    assert cloud.settings().version == 2
    cloud.put(max_hosts=7)
    assert cloud.settings().version == 2
    assert cloud.audited().count("pool.set") == 2
    assert [view.settings.pool for view in service.list_pools(cloud.ports)] == [POOL]
    with pytest.raises(NotFound):
        service.read_pool(cloud.ports, GPU_TYPE, "mars")
    with pytest.raises(InvalidInput, match="min_hosts"):
        cloud.put(min_hosts=9, max_hosts=1)
    with pytest.raises(InvalidInput, match="same name"):
        cloud.put(options=(ON_DEMAND, ON_DEMAND))


def test_a_token_is_derived_and_a_wrong_one_opens_nothing():
    cloud = build_cloud()
    cloud.want(8, "one")
    cloud.run()
    (launch,) = cloud.open()
    token = cloud.ports.hosts.build_token(launch.launch_id)
    assert cloud.ports.hosts.build_token(launch.launch_id) == token
    assert token in cloud.ec2.orders[launch.launch_id].user_data
    assert derive_secret(launch.launch_id, b"another") != derive_secret(launch.launch_id, b"pepper")
    other = cloud.ports.hosts.build_token("lch_00000000000000000000000000")
    with pytest.raises(Unauthenticated):
        enrol_host(cloud.seeded.cloud.fleet, other, install_id="x", agent_version="1", gpus=[])
    assert isinstance(cloud.settings(), PoolSettings)


def test_the_api_loads_nothing_of_ec2():
    code = "import sys, app; print('chalicelib.scaling.ec2_gateway' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class Settings:
    stage = "unit"


def test_a_pool_that_fails_stops_no_other_and_is_heard_of(monkeypatch, capsys):
    cloud = build_cloud(min_hosts=1)
    pools = cloud.seeded.cloud.db.table("pools")
    good = pools.pop((GPU_TYPE, REGION))

    class Broken:
        pool = "broken"

    pools["broken"] = Broken()
    pools[GPU_TYPE, REGION] = good
    monkeypatch.setattr(functions.wiring, "scaling_ports", lambda: cloud.ports)
    monkeypatch.setattr(functions.wiring, "instances", lambda: cloud.ec2)
    monkeypatch.setattr(functions.wiring, "settings", Settings)
    with pytest.raises(RuntimeError, match="1 pools"):
        functions.scale_pools(TICK, None)
    assert len(cloud.ec2.list_alive()) == 1
    assert read_metrics(capsys) == {"pools_blind": 0, "instances_not_ending": 0}
    cloud.ec2.throttled_lists = 1
    with pytest.raises(RuntimeError, match="1 pools"):
        functions.scale_pools(TICK, None)
    assert read_metrics(capsys) == {"pools_blind": 1, "instances_not_ending": 0}


def test_a_pool_and_its_plan_are_rendered_as_they_are_asked_for():
    cloud = build_cloud()
    cloud.want(8, "one")
    planned = render_plan(service.preview_plan(cloud.ports, cloud.settings()))
    assert planned.decision is not None
    assert (planned.decision.kind, planned.decision.option) == ("launch", ON_DEMAND.name)
    assert (planned.waiting_tickets, planned.shortage_gpus) == (1, 8)
    cloud.minutes(3)
    shown = json.loads(render_pool(service.read_pool(cloud.ports, GPU_TYPE, REGION)).model_dump_json())
    (launch,) = shown["launches"]
    assert (launch["state"], launch["instance_id"]) == ("running", "i-00000000000000000")
    asked = {
        name: shown[name]
        for name in ("min_hosts", "max_hosts", "warm_gpus", "scale_in_after_seconds", "options")
    }
    body = PoolRequest.model_validate(asked)
    assert read_settings(body, GPU_TYPE, REGION) == cloud.settings()
    with pytest.raises(ValueError, match="instance_type"):
        PoolRequest.model_validate(asked | {"options": [asked["options"][0] | {"instance_type": "x y"}]})
