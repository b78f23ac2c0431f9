"""What an agent says of itself: to people, to programs, to Prometheus, and to whoever asks what is wrong."""

import json
import os
import urllib.error
import urllib.request

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chalicelib.wire.v1 import SpoolStatus
from host_agent.__main__ import main, serve_metrics
from host_agent.config import Config, ConfigError, Containers
from host_agent.doctor import examine, examine_disk, examine_gpus, examine_kernel_log
from host_agent.findings import render_finding
from host_agent.gpu import Capabilities, GpuInfo, GpuUnavailable, Reading
from host_agent.identity import Identity
from host_agent.metrics import build_server, render_metrics
from host_agent.status import (
    STALE_MS,
    GpuReport,
    Sent,
    Status,
    is_running,
    lock_state,
    read_status,
    render_status,
    write_status,
)
from host_agent.workloads.examination import examine_runtime
from tests.unit.host_agent.fakes import START_MS, FakeClock, FakeReader

READING = Reading(START_MS, None, 1_234_567, 650_500, 97, 1024, 71, ecc_uncorrected=2, row_remap_pending=True)


def build_status(**changes) -> Status:
    gpus = [
        GpuReport("GPU-0", "0:0", "H100", "ok", READING, Capabilities({}, "field_average")),
        GpuReport("GPU-1", "0:1", "H100", "lost", READING, Capabilities()),
        GpuReport("GPU-2", "0:2", "H100", "ok", Reading(START_MS), Capabilities()),
        GpuReport("GPU-3", "0:3", "H100", "unknown", None, Capabilities()),
    ]
    status = Status(
        START_MS,
        os.getpid(),
        "0.1.0",
        "hst_1",
        "boot",
        SpoolStatus(3, 900, "memory", 1, 40),
        Sent(12, 5, 2, START_MS - 4_000),
        {"live": 1, "terminated": 2},
        gpus,
    )
    return msgspec.structs.replace(status, **changes)


def write_config(tmp_path) -> list[str]:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'api_url = "http://127.0.0.1:9"\nstate_dir = "{tmp_path}"\nruntime = "process"\nmetadata_url = ""\n'
    )
    return ["--config", str(config)]


def test_people_see_whether_it_runs_what_waits_and_how_each_gpu_is_measured():
    text = render_status(build_status(), START_MS + 1_000, running=True)
    assert f"running (pid {os.getpid()})" in text
    assert "3 records, 900 bytes on memory, 1 lost, 40 samples thinned" in text
    assert "last confirmed 5 s ago" in text
    assert "1 live, 2 terminated\n" in text
    draining = render_status(build_status(draining=True), START_MS, running=True)
    assert "1 live, 2 terminated, DRAINING: no new one is started" in draining
    assert "GPU-0  ok, 650 W, 97 %, 71 °C (counter, field_average)" in text
    assert "GPU-2  ok, -, -, - (no counter, no power figure)" in text
    assert "GPU-3  unknown, never read" in text
    assert "NOT RUNNING" in render_status(build_status(), START_MS, running=False)


def test_programs_get_the_same_as_json_and_an_exit_code(tmp_path, capsys):
    arguments = ["status", "--json", *write_config(tmp_path)]
    assert main(arguments) == 1
    assert "no agent has run" in capsys.readouterr().err
    write_status(tmp_path, build_status(written_at_ms=0))
    assert main(arguments) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["running"], shown["fresh"], shown["spool"]["depth_records"]) == (False, False, 3)
    assert shown["gpus"][0]["reading"]["power_milliwatts"] == 650_500


def test_a_lock_says_whether_an_agent_runs(tmp_path):
    assert not is_running(tmp_path)
    lock = lock_state(tmp_path)
    assert lock is not None
    assert is_running(tmp_path)
    assert lock_state(tmp_path) is None
    os.close(lock)
    assert not is_running(tmp_path)
    assert STALE_MS == 30_000


def test_a_status_of_another_form_is_none_and_no_crash(tmp_path):
    (tmp_path / "status.json").write_text('{"pid": 1}')
    assert read_status(tmp_path) is None
    write_status(tmp_path, build_status())
    assert read_status(tmp_path) == build_status()


def read_samples(text):
    return {
        (sample.name, sample.labels.get("gpu_uuid")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_base_units_and_finds_no_value_where_none_is_known():
    samples = read_samples(render_metrics(build_status()))
    assert samples["provocative_gpu_energy_joules_total", "GPU-0"] == 1234.567
    assert samples["provocative_gpu_power_watts", "GPU-0"] == 650.5
    assert samples["provocative_gpu_utilization_ratio", "GPU-0"] == 0.97
    assert samples["provocative_gpu_memory_used_bytes", "GPU-0"] == 2**30
    assert samples["provocative_gpu_row_remap_pending", "GPU-0"] == 1
    assert [samples["provocative_gpu_up", f"GPU-{n}"] for n in range(4)] == [1, 0, 1, 0]
    assert samples["provocative_spool_on_disk", None] == 0
    assert samples["provocative_thinned_samples_total", None] == 40
    assert samples["provocative_draining", None] == 0
    assert read_samples(render_metrics(build_status(draining=True)))["provocative_draining", None] == 1
    assert samples["provocative_last_ack_timestamp_seconds", None] == (START_MS - 4_000) / 1000
    for gpu in ("GPU-1", "GPU-2", "GPU-3"):
        assert ("provocative_gpu_power_watts", gpu) not in samples


def test_names_and_types_follow_the_conventions():
    for family in text_string_to_metric_families(render_metrics(build_status())):
        assert family.documentation
        assert family.name.startswith("provocative_")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


def test_metrics_are_served_on_loopback_and_nothing_else_is():
    with serve_metrics(0, build_status):
        pass
    probe = build_server(0, build_status)
    port = probe.server_address[1]
    assert probe.server_address[0] == "127.0.0.1"
    with pytest.raises(ConfigError, match="metrics_port"), serve_metrics(port, build_status):
        pass
    probe.server_close()
    with serve_metrics(port, build_status):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert read_samples(answer.read().decode()) == read_samples(render_metrics(build_status()))
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/")
        assert caught.value.code == 404
        caught.value.close()


def test_the_doctor_finds_a_healthy_host_ready_to_enrol(tmp_path):
    reader = FakeReader(FakeClock())
    config = Config(
        "http://127.0.0.1:9", str(tmp_path), enrolment_token="token", runtime="process", metadata_url=""
    )
    findings = list(examine(config, lambda: reader, FakeClock()))
    names = ["GPU-0", "GPU-0 preflight", "GPU-1", "GPU-1 preflight"]
    names = ["state directory", *names, "kernel log", "runtime", "instance", "identity"]
    assert [finding.name for finding in findings] == names
    # Whether the kernel log may be read depends on who runs the tests.
    assert all(finding.ok for finding in findings if finding.name != "kernel log")
    assert os.listdir(tmp_path) == []


def test_the_doctor_says_what_to_do_about_each_thing_that_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    broken_disk = examine_disk(tmp_path / "file" / "state")
    reader = FakeReader(FakeClock())
    reader.lost.add("GPU-0")
    reader.infos[1] = GpuInfo("GPU-1", "0:1", "K80", 12_000)
    reader.read = lambda uuid, read=reader.read: read(uuid) if uuid == "GPU-0" else Reading(1)
    gpus = list(examine_gpus(lambda: reader))

    def no_driver():
        raise GpuUnavailable("driver_not_loaded")

    (driver,) = examine_gpus(no_driver)
    identity = Identity(*["x"] * 9, 10, 60)
    (tmp_path / "identity.json").write_bytes(msgspec.json.encode(identity))
    config = Config("http://127.0.0.1:9", str(tmp_path), runtime="process", metadata_url="")
    *_, api = examine(config, lambda: reader, FakeClock())
    away = Config("http://127.0.0.1:9", str(tmp_path), containers=Containers(f"unix://{tmp_path}/none"))
    engine, *_ = examine_runtime(away)
    (no_systemd,) = examine_runtime(msgspec.structs.replace(away, runtime="systemd"))
    found = (broken_disk, *gpus, driver, engine, api, examine_kernel_log(tmp_path / "none"))
    for finding in (*found, *([] if no_systemd.ok else [no_systemd])):
        assert not finding.ok, finding
        assert finding.advice
        assert finding.advice in render_finding(finding)


def test_the_doctors_exit_code_says_whether_all_is_well(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("host_agent.__main__.open_reader", lambda *_: FakeReader(FakeClock()))
    monkeypatch.setattr("host_agent.doctor.os.access", lambda *_: True)
    arguments = write_config(tmp_path)
    assert main(["doctor", *arguments]) == 1
    assert "enrolment_token" in capsys.readouterr().out
    monkeypatch.setenv("PROVOCATIVE_ENROLMENT_TOKEN", "token")
    assert main(["doctor", "--json", *arguments]) == 0
    assert all(finding["ok"] for finding in json.loads(capsys.readouterr().out))
