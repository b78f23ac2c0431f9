"""Workloads in containers, on a real engine: what a tenant gets, what it cannot reach, what it leaves."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import docker
import pytest

from chalicelib.wire.v1 import WorkloadSpec
from host_agent.workloads.network import build_rules, name_bridge
from host_agent.workloads.notice import Notice
from host_agent.workloads.runtime import WorkloadOrder
from tests.containers.bench import SHARE, ContainerHost, list_bridges, port, volume
from tests.containers.conftest import run

FOREVER = "while true; do sleep 1; done"
#: What every container has, and no board of the host.
PLAIN_DEVICES = {
    "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
    "stdout", "tty", "urandom", "zero",
}  # fmt: skip
CANARY = "canary-of-the-first-tenant"


@pytest.fixture
def host(tmp_path, engine_url):
    host = ContainerHost(tmp_path, engine_url)
    yield host
    host.open()
    for rental_id in sorted(host.rentals):
        host.end(rental_id)


@pytest.fixture
def api(engine_url):
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        yield client.api


def test_a_container_gets_its_command_environment_labels_and_limits_and_no_more(host, api):
    script = (
        "echo env=$MINE,$RENTAL_ID,$NVIDIA_VISIBLE_DEVICES,$OF_THE_AGENT; cat /proc/self/status;"
        "echo users=$(cat /proc/self/uid_map); echo devices=$(ls /dev);"
        f"echo mount=$(mount -t tmpfs none /tmp 2>&1); {FOREVER}"
    )
    os.environ["OF_THE_AGENT"] = "hidden"
    try:
        assert host.run("rnt_1", script, env={"MINE": "1", "RENTAL_ID": "forged"}).state == "running"
    finally:
        del os.environ["OF_THE_AGENT"]
    said = host.read("rnt_1", until="mount=")
    assert "env=1,rnt_1,GPU-1,\n" in said
    # chown dac_override fowner fsetid kill setgid setuid net_bind_service sys_chroot: 0 1 3 4 5 6 7 10 18
    assert re.search(r"CapBnd:\t00000000000404fb\n", said)
    assert re.search(r"NoNewPrivs:\t1\n", said)
    assert re.search(r"Seccomp:\t2\n", said)
    assert int(re.search(r"users= ?0 (\d+) 65536", said)[1]) >= 100_000, "root is root's number on the host"
    devices = set(re.search(r"devices=(.*)", said)[1].split())
    assert devices <= PLAIN_DEVICES
    assert "permission denied" in re.search(r"mount=(.*)", said)[1].lower()
    found = api.inspect_container("provocative-rnt_1")
    limits = found["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"]) == (SHARE.memory_bytes, SHARE.memory_bytes)
    assert limits["NanoCpus"] == SHARE.cpu_millis * 1_000_000
    assert limits["PidsLimit"] == SHARE.processes
    assert not limits["Privileged"]
    assert found["Config"]["Labels"]["cloud.provocative"] == "cmd-rnt_1"
    assert found["Config"]["Labels"]["cloud.provocative.rental"] == "rnt_1"


def test_limits_hold_against_a_program_that_wants_more(host):
    status = host.run("rnt_1", "tail /dev/zero")
    status = host.wait_for("rnt_1", "exited")
    assert status.exit_code == 137, "killed by the memory limit"
    forks = "i=0; while [ $i -lt 300 ]; do sleep 60 & i=$((i+1)); done; echo all-started"
    host.run("rnt_2", f"({forks}) 2>&1; echo done; {FOREVER}")
    said = host.read("rnt_2", until="done")
    assert "all-started" not in said
    assert "fork" in said


def test_the_exit_code_outlives_the_agent_and_nothing_is_started_twice(host, api):
    host.run("rnt_1", "sleep 2; exit 7")
    pid = api.inspect_container("provocative-rnt_1")["State"]["Pid"]
    host.open()
    host.runtime.start(host.order("rnt_1", "sleep 2; exit 7"))
    assert api.inspect_container("provocative-rnt_1")["State"]["Pid"] == pid
    status = host.wait_for("rnt_1", "exited")
    assert status.exit_code == 7
    assert status.ended_at_ms is not None


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"image": "localhost/not-there:1"}, "image_not_found"),
        ({"image": None}, "image_required"),
    ],
)
def test_what_cannot_start_fails_with_a_code(host, spec, code):
    assert host.run("rnt_1", "true", **spec).detail == code


def test_a_command_that_the_image_has_not_fails_with_a_code(host):
    order = host.order("rnt_1", "")
    order.spec.command[:] = ["/no/such/program"]
    host.runtime.start(order)
    assert host.wait_for("rnt_1", "failed").detail == "command_not_found"


def test_a_start_waits_for_an_engine_that_is_away(host, tmp_path):
    socket_path = tmp_path / "engine.sock"
    host.open(engine_url=f"unix://{socket_path}")
    host.runtime.start(host.order("rnt_1", FOREVER))
    log = tmp_path / "workloads" / "rnt_1" / "operation.log"
    host.wait(
        "rnt_1",
        lambda: (host.runtime.inspect("rnt_1"), log.exists() and "EngineUnavailable" in log.read_text())[1],
    )
    assert host.runtime.inspect("rnt_1").state == "starting"
    socket_path.symlink_to(host.engine_url.removeprefix("unix://"))
    assert host.wait_for("rnt_1", "running", "failed").state == "running"


def test_the_log_keeps_the_newest_lines(host):
    host.run("rnt_1", f"i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done; {FOREVER}")
    said = host.read("rnt_1", until="line-19999")
    assert len(said) <= 64_000
    assert "line-0\n" not in said


class Metadata(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"credentials-of-the-host")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def metadata():
    """The cloud's metadata service, on this machine's loopback."""
    run("ip", "address", "replace", "169.254.169.254/32", "dev", "lo")
    server = HTTPServer(("169.254.169.254", 8099), Metadata)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield "http://169.254.169.254:8099/"
    server.shutdown()
    thread.join()
    server.server_close()
    run("ip", "address", "del", "169.254.169.254/32", "dev", "lo")


def test_the_metadata_service_is_out_of_reach(host, metadata):
    script = f"while true; do timeout 2 wget -q -O - {metadata} || echo refused; echo; sleep 1; done"
    host.run("rnt_1", script)
    assert "credentials" not in host.read("rnt_1", until="refused")
    # The proof that it would be reached otherwise: without our rules it is.
    run("nft", "delete", "table", "inet", "provocative")
    assert "credentials-of-the-host" in host.read("rnt_1", until="credentials")
    subprocess.run(["nft", "-f", "-"], input=build_rules().encode(), check=True)


def test_other_tenants_and_the_host_are_out_of_reach_and_published_ports_are_not(host, api):
    host.open(public_address="gpu-7.example")
    serve = f"mkdir /www; echo tenant-$RENTAL_ID > /www/index.html; httpd -p 8080 -h /www; {FOREVER}"
    published = host.run("rnt_1", serve, ports=[port(8080)]).ports
    assert [(each.container_port, each.address) for each in published] == [(8080, "gpu-7.example")]
    connection = http.client.HTTPConnection("127.0.0.1", published[0].host_port, timeout=10)
    connection.request("GET", "/index.html")
    assert connection.getresponse().read() == b"tenant-rnt_1\n"
    connection.close()
    networks = api.inspect_container("provocative-rnt_1")["NetworkSettings"]["Networks"]
    assert list(networks) == ["provocative-rnt_1"], "a bridge of its own"
    first = networks["provocative-rnt_1"]
    # The host itself listens on the bridge's address; a tenant must not get there either.
    server = HTTPServer((first["Gateway"], 8098), Metadata)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        ask = "timeout 2 wget -q -O - http://{}/ 2>&1 || echo refused-{}; "
        script = ask.format(f"{first['IPAddress']}:8080", "tenant") + ask.format(
            f"{first['Gateway']}:8098", "host"
        )
        host.run("rnt_2", f"{script}echo end; {FOREVER}")
        said = host.read("rnt_2", until="end")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "refused-tenant" in said
    assert "refused-host" in said
    assert "tenant-rnt_1" not in said


def test_a_preemption_is_announced_by_file_socket_and_signal(host, tmp_path):
    script = (
        "trap 'echo got-sigterm; exit 0' TERM;"
        "echo file=$PROVOCATIVE_NOTICE_FILE socket=$PROVOCATIVE_NOTICE_SOCKET;"
        "until [ -f $PROVOCATIVE_NOTICE_FILE ]; do sleep 0.1; done; cat $PROVOCATIVE_NOTICE_FILE;"
        "echo x > $PROVOCATIVE_NOTICE_FILE; while true; do sleep 0.1; done"
    )
    host.run("rnt_1", script)
    assert "file=/run/provocative/notice.json socket=/run/provocative/notice.sock" in host.read(
        "rnt_1", until="file="
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(20)
        listener.connect(str(tmp_path / "workloads" / "rnt_1" / "notice" / "notice.sock"))
        host.runtime.announce("rnt_1", Notice("preempted", 1_234))
        heard = listener.makefile().read()
    assert json.loads(heard) == {"reason": "preempted", "deadline_at_ms": 1_234}
    said = host.read("rnt_1", until="Read-only")
    assert '"deadline_at_ms":1234' in said
    host.stop("rnt_1", grace_seconds=20)
    assert host.runtime.inspect("rnt_1").exit_code == 0
    assert "got-sigterm" in host.read("rnt_1", until="got-sigterm")


def test_a_second_tenant_finds_no_trace_of_the_first(host, tmp_path, api, engine_url):
    places = "/tmp/a /root/b /dev/shm/c /data/d /etc/e"
    # Put together by the tenant's program: the engine's own books hold commands until they are overwritten.
    first, _, rest = CANARY.partition("-")
    write = (
        f"c={first}; c=$c-{rest}; for f in {places}; do echo $c > $f; done; echo $c; echo written; {FOREVER}"
    )
    host.run("rnt_1", write, volume=volume("vol_1"))
    host.read("rnt_1", until="written")
    storage = Path(engine_url.removeprefix("unix://")).parent
    assert find_canary(storage), "the search would find it"
    bridge = name_bridge("rnt_1")
    assert bridge in list_bridges()
    host.end("rnt_1")
    assert find_canary(storage) == []
    assert find_canary(tmp_path) == []
    assert os.listdir(tmp_path / "workloads") == ["settings.json"]
    assert os.listdir(tmp_path / "volumes") == []
    assert bridge not in list_bridges()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert api.containers(all=True) == []
    assert [each["Name"] for each in api.networks() if each["Name"].startswith("provocative-")] == []
    # Another tenant on the same GPU, even with the same names of everything.
    look = f"for f in {places}; do [ -e $f ] && echo found $f; done; env;"
    search = f"grep -r {CANARY} /data /tmp /root /dev/shm /etc /run"
    host.run("rnt_2", f"{look} {search}; echo looked; {FOREVER}", volume=volume("vol_1"))
    said = host.read("rnt_2", until="looked")
    assert "found" not in said
    assert CANARY not in said


def find_canary(root: Path) -> list[str]:
    found = subprocess.run(["grep", "-rlF", CANARY, str(root)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_a_volume_has_its_size_and_outlives_a_stop_that_keeps_it(host):
    fill = "echo kept > /data/note; dd if=/dev/zero of=/data/big bs=1M count=64 2>&1; echo full; "
    host.run("rnt_1", fill + FOREVER, volume=volume("vol_1", 32))
    assert "No space left" in host.read("rnt_1", until="full")
    host.stop("rnt_1")
    assert host.wipe("rnt_1", keep_volume=True).volume_kept
    host.run("rnt_1", f"cat /data/note; echo read; {FOREVER}", volume=volume("vol_1", 32))
    assert "kept\nread" in host.read("rnt_1", until="read")


def test_a_kept_volume_is_destroyed_when_its_rental_ends_for_good(host, tmp_path):
    host.run("rnt_1", "echo kept > /data/note; " + FOREVER, volume=volume("vol_1", 32))
    host.stop("rnt_1")
    assert host.wipe("rnt_1", keep_volume=True).volume_kept
    assert os.listdir(tmp_path / "volumes") == ["vol_1"]
    left = WorkloadOrder("rnt_1", "cmd_1", WorkloadSpec([], volume=volume("vol_1", 32)), [])
    host.runtime.prepare_discard(left)
    host.stop("rnt_1")
    assert not host.wipe("rnt_1").volume_kept
    assert os.listdir(tmp_path / "volumes") == []


def test_ssh_lets_the_key_in_and_nobody_else(host, tmp_path):
    key, stranger = tmp_path / "key", tmp_path / "stranger"
    for each in (key, stranger):
        run("dropbearkey", "-t", "ed25519", "-f", str(each))
    public = next(
        line for line in run("dropbearkey", "-y", "-f", str(key)).splitlines() if line.startswith("ssh-")
    )
    status = host.run("rnt_1", FOREVER, ssh_public_keys=[public])
    [ssh] = [each for each in status.ports if each.container_port == 22]

    def login(identity: Path) -> str:
        address = ["-p", str(ssh.host_port), "root@127.0.0.1"]
        done = subprocess.run(
            ["dbclient", "-y", "-y", "-i", str(identity), *address, "echo in-$RENTAL_ID; id -u"],
            capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.stdout + done.stderr

    host.wait("rnt_1", lambda: "refused" not in login(key).lower())
    assert "in-" in login(key)
    assert "in-" not in login(stranger)
