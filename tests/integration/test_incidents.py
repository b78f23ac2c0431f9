"""Faults F32, F33 and F36 through the real queues, functions, rights and tables."""

from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.accounts.service import create_key
from chalicelib.core.principal import Principal
from chalicelib.fleet.model import Host
from chalicelib.rentals.model import Rental
from chalicelib.rentals.ports import NoCapacity
from chalicelib.wire import v1
from infra.local.cloud import EmbeddedCloud
from infra.local.seed import Api
from tests.integration.fleet_setup import add_host, add_renter, become_operator, offer, read_rental, rent
from tests.integration.in_process import wire_to
from tests.integration.waiting import wait_for


class Machine:
    """Speaks as the agent of one host would, over its queues."""

    def __init__(self, cloud: EmbeddedCloud, host: Host) -> None:
        self.cloud, self.host = cloud, host
        self.gpu_uuids = [gpu.gpu.gpu_uuid for gpu in wiring.rental_ports().fleet.list_gpus(host.host_id)]
        self.seq = 0

    def beat(
        self,
        *reports: v1.WorkloadReport,
        notices: list[v1.HostNotice] | None = None,
        kernel_boot_id: str = "kernel-1",
    ) -> None:
        heartbeat = v1.Heartbeat(
            wiring.clock().now_ms(),
            "0.1.0",
            [v1.GpuStatus(gpu_uuid, "ok") for gpu_uuid in self.gpu_uuids],
            list(reports),
            v1.SpoolStatus(0, 0),
            notices=notices or [],
            kernel_boot_id=kernel_boot_id,
        )
        self._send("HeartbeatsQueueUrl", heartbeat)

    def tell(self, *xids: v1.XidEvent) -> None:
        self._send("TelemetryQueueUrl", v1.Telemetry([], [], list(xids)))

    def _send(self, queue: str, record: v1.Heartbeat | v1.Telemetry) -> None:
        host_id = self.host.host_id
        body = v1.encode_record(
            record,
            host_id=host_id,
            boot_id="boot",
            seq=self.seq,
            signing_key=wiring.read_signing_key(host_id),
        )
        self.seq += 1
        sqs = self.cloud.aws.client("sqs")
        # Twice, as SQS may deliver it.
        for _ in range(2):
            sqs.send_message(QueueUrl=self.cloud.outputs[queue], MessageBody=body.decode())


@pytest.fixture(scope="module")
def operator(cloud: EmbeddedCloud) -> Iterator[Principal]:
    with wire_to(cloud):
        yield become_operator()


@pytest.fixture
def renter(operator: Principal) -> Principal:
    return add_renter(operator)


def build_machine(cloud: EmbeddedCloud, operator: Principal, name: str, gpus: int) -> Machine:
    offer(operator, name)
    return Machine(cloud, add_host(operator, name, gpus))


def report(rental: Rental, state: Any) -> v1.WorkloadReport:
    leases = rental.wipe_leases if state == "terminated" else rental.leases
    return v1.WorkloadReport(
        rental.rental_id,
        [v1.Lease(lease.gpu_uuid, lease.epoch) for lease in leases],
        state,
        "instance-1",
        wiped=state == "terminated",
    )


def build_xid(gpu_uuid: str, code: int, xid_class: v1.XidClass, count: int = 1) -> v1.XidEvent:
    now_ms = wiring.clock().now_ms()
    return v1.XidEvent(gpu_uuid, code, xid_class, count, now_ms, now_ms, "kernel-1", code * 100, code * 101)


def start(machine: Machine, renter: Principal, gpu_type: str, key: str) -> Rental:
    rental = read_rental(rent(renter, gpu_type, 1, key).body)
    machine.beat(report(rental, "running"))
    return wait_for(lambda: read_rental(rental.rental_id), lambda found: found.state == "running")


def open_api(cloud: EmbeddedCloud, operator: Principal, renter: Principal) -> Api:
    key = create_key(wiring.account_ports(), operator, renter.account_id, label="api")
    return Api(cloud.api_url, key.token)


def test_f36_a_spot_notice_closes_the_host_and_is_shown_to_the_renter(
    cloud: EmbeddedCloud, operator: Principal, renter: Principal
) -> None:
    machine = build_machine(cloud, operator, "spot", 2)
    rental = start(machine, renter, "spot", "first")
    ends_at_ms = wiring.clock().now_ms() + 120_000
    notice = v1.HostNotice("spot_interruption", "terminate", ends_at_ms)
    machine.beat(report(rental, "running"), notices=[notice])
    told = wait_for(lambda: read_rental(rental.rental_id), lambda found: found.interruption is not None)
    assert told.state == "running"
    with pytest.raises(NoCapacity):
        rent(renter, "spot", 1, "too late")
    shown = open_api(cloud, operator, renter).call("GET", f"/v1/rentals/{rental.rental_id}")
    assert shown["interruption"]["reason"] == "spot_interruption"
    assert shown["interruption"]["ends_at"] > shown["interruption"]["notice_at"]
    # Withdrawn, the host is offered again.
    machine.beat(report(rental, "running"))
    wait_for(lambda: read_rental(rental.rental_id), lambda found: found.interruption is None)
    assert rent(renter, "spot", 1, "in time")


def test_f33_a_storm_by_the_tenants_code_warns_once_and_f32_xid_79_takes_the_host_out(
    cloud: EmbeddedCloud, operator: Principal, renter: Principal
) -> None:
    machine = build_machine(cloud, operator, "failing", 2)
    rental = start(machine, renter, "failing", "first")
    gpu_uuid = rental.leases[0].gpu_uuid

    machine.tell(build_xid(gpu_uuid, 31, "B", 7))
    wait_for(lambda: read_rental(rental.rental_id), lambda found: bool(found.warnings))
    (warning,) = open_api(cloud, operator, renter).call("GET", f"/v1/rentals/{rental.rental_id}")["warnings"]
    assert (warning["xid"], warning["xid_class"], warning["count"]) == (31, "B", 7)

    machine.tell(build_xid(gpu_uuid, 79, "D"))
    ended = wait_for(lambda: read_rental(rental.rental_id), lambda found: found.state == "terminating")
    assert (ended.reason, [each.count for each in ended.warnings]) == ("gpu_failed", [7])
    with pytest.raises(NoCapacity):
        rent(renter, "failing", 1, "too late")

    machine.beat(report(ended, "terminated"))
    over = wait_for(
        lambda: read_rental(rental.rental_id), lambda found: found.billing_state in {"closed", "settled"}
    )
    assert over.state == "failed"
    rotated = cloud.bootstrap(rotate=True)["operator_key"]
    assert rotated is not None
    api = Api(cloud.api_url, rotated)
    shown = api.call("GET", f"/v1/hosts/{machine.host.host_id}")
    (bad,) = [gpu for gpu in shown["gpus"] if gpu["gpu_uuid"] == gpu_uuid]
    assert (shown["state"], bad["lease_state"], bad["fault"]["xid"]) == ("draining", "unhealthy", 79)
    assert shown["free_gpus"] == 1
    # It is out of the pool, and an operator still finds it.
    assert machine.host.host_id in {host["host_id"] for host in api.call("GET", "/v1/hosts")["items"]}

    action = {"action": "clear_faults"}
    cleared = api.call("POST", f"/v1/hosts/{machine.host.host_id}/actions", action)
    assert (cleared["state"], cleared["free_gpus"]) == ("active", 2)
    machine.beat()
    again = rent(renter, "failing", 2, "again")
    assert {lease.gpu_uuid for lease in read_rental(again.body).leases} == set(machine.gpu_uuids)
