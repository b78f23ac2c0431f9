"""Processes on a leased GPU are told apart by control group alone."""

import os

import msgspec

from host_agent.cgroups import find_foreign, read_cgroup
from host_agent.gpu import Reading
from tests.unit.host_agent.fakes import Host, build_start

V1 = "12:memory:/other\n8:pids:/libpod_parent/libpod-1\n1:cpu,cpuacct:/other\n0::/unified\n"
V2 = "0::/system.slice/docker-1.scope\n"


def test_the_group_is_read_in_both_versions_and_unknown_when_the_process_is_gone(tmp_path):
    for pid, text in (("1", V1), ("2", V2), ("3", "")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(text)
    assert read_cgroup(1, tmp_path) == "/libpod_parent/libpod-1"
    assert read_cgroup(2, tmp_path) == "/system.slice/docker-1.scope"
    assert read_cgroup(3, tmp_path) is None
    assert read_cgroup(4, tmp_path) is None


def test_whoever_is_outside_the_tenants_group_is_foreign():
    groups = {1: "/a", 2: "/a/b", 3: "/ab", 4: "/", 5: None}
    readings = {"GPU-0": Reading(1, process_ids=(1, 2, 3, 4, 5)), "GPU-1": Reading(1)}
    cgroups = {"GPU-0": "/a", "GPU-1": "/a", "GPU-2": "/a"}
    assert find_foreign(cgroups, readings, groups.get) == {"GPU-0": 2, "GPU-1": 0, "GPU-2": 0}


def test_the_cloud_is_told_of_a_stranger_on_a_leased_gpu_and_of_nothing_about_it(tmp_path):
    host = Host(tmp_path)
    read = host.reader.read
    host.reader.read = lambda uuid, **options: msgspec.structs.replace(
        # This very process: it lives in some group, and not in the tenant's.
        read(uuid, **options),
        process_ids=(os.getpid(),),
    )
    host.agent.accept(build_start())
    host.agent.work()
    host.agent.work()
    host.agent.beat()
    _, heartbeat = host.heartbeats.take()
    said = {gpu.gpu_uuid: gpu.conditions for gpu in heartbeat.gpus}
    assert "foreign_process" in said["GPU-0"]
    assert "foreign_process" not in said["GPU-1"], "nobody leases it: that is the preflight's to judge"
