"""Which stage may deliver to the machine that it runs on: the one of a laptop, and no other."""

from types import SimpleNamespace

import pytest

from chalicelib import wiring
from chalicelib.wiring import webhooks
from infra.cdk.stack import Stage
from infra.local.synth import build_local_context
from tests.fakes.wiring import rewire


@pytest.mark.parametrize(
    "stage", ["dev", "prod", "staging", "Local", "LOCAL", "local2", "local-eu", "test", ""]
)
def test_a_deployed_stage_never_delivers_to_a_private_or_loopback_address(monkeypatch, stage):
    rewire(monkeypatch, settings=SimpleNamespace(stage=stage))
    reach = webhooks.reach()
    assert not any(reach.allows(each) for each in ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254"))


def test_the_embedded_cloud_does(monkeypatch):
    stage = Stage(build_local_context()["stage"])
    rewire(monkeypatch, settings=SimpleNamespace(stage=stage.name))
    assert webhooks.reach().allows("127.0.0.1")


def test_both_who_takes_urls_and_who_delivers_have_the_same_reach():
    """Neither is built with a reach of its own making."""
    for factory in (wiring.webhook_ports, wiring.dispatch_ports):
        assert "reach" in factory.__wrapped__.__code__.co_names


def test_jobs_run_side_by_side_and_all_end_before_one_that_failed_is_told():
    done = []

    def fail():
        raise RuntimeError("one of them")

    with pytest.raises(RuntimeError):
        webhooks.run_all([fail, lambda: done.append(1), lambda: done.append(2)])
    assert sorted(done) == [1, 2]
    webhooks.run_all([])


def test_keys_of_the_table_are_told_apart():
    assert wiring.read_event_reference("ACCOUNT#acc_1", "EVENT#evt_1") == ("acc_1", "evt_1")
    assert wiring.read_event_reference("ACCOUNT#acc_1", "ENDPOINTS") is None
