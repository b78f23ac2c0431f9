"""Prometheus metrics of one host, on loopback: text format 0.0.4, base units, by the naming conventions.

Of a tenant it shows what the GPU does, never what runs. An unknown value has no sample: it is not zero.
"""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import get_args

import msgspec

from chalicelib.wire.v1 import NoticeKind
from host_agent.gpu import Reading
from host_agent.status import Status

HOST = "127.0.0.1"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BYTES_PER_MIB = 1024 * 1024


class _Metric(msgspec.Struct, frozen=True):
    name: str
    kind: str
    text: str
    read: Callable[[Reading], float | None]


def _divide(value: int | None, by: int) -> float | None:
    return None if value is None else value / by


def _multiply(value: int | None, by: int) -> float | None:
    return None if value is None else value * by


#: Per GPU.
_GPU_METRICS = (
    _Metric(
        "gpu_energy_joules_total",
        "counter",
        "Energy since the driver was loaded.",
        lambda reading: _divide(reading.energy_counter_millijoules, 1000),
    ),
    _Metric("gpu_power_watts", "gauge", "Power.", lambda reading: _divide(reading.power_milliwatts, 1000)),
    _Metric(
        "gpu_utilization_ratio",
        "gauge",
        "Part of the time in which a kernel ran.",
        lambda reading: _divide(reading.utilization_percent, 100),
    ),
    _Metric(
        "gpu_memory_used_bytes",
        "gauge",
        "Memory in use.",
        lambda reading: _multiply(reading.memory_used_mib, _BYTES_PER_MIB),
    ),
    _Metric(
        "gpu_temperature_celsius", "gauge", "Core temperature.", lambda reading: reading.temperature_celsius
    ),
    _Metric(
        "gpu_slowdown_margin_celsius",
        "gauge",
        "Kelvin until the hardware slows down.",
        lambda reading: reading.slowdown_margin_celsius,
    ),
    _Metric(
        "gpu_sm_clock_hertz",
        "gauge",
        "Clock of the multiprocessors.",
        lambda reading: _multiply(reading.sm_clock_mhz, 1_000_000),
    ),
    _Metric(
        "gpu_ecc_uncorrected_errors_total",
        "counter",
        "Uncorrected memory errors since the driver was loaded.",
        lambda reading: reading.ecc_uncorrected,
    ),
    _Metric(
        "gpu_row_remap_pending",
        "gauge",
        "1 when a reset is needed to remap a row.",
        lambda reading: reading.row_remap_pending,
    ),
    _Metric(
        "gpu_row_remap_failed",
        "gauge",
        "1 when no spare row is left.",
        lambda reading: reading.row_remap_failed,
    ),
    _Metric(
        "gpu_nvlinks_active",
        "gauge",
        "NVLinks that are up.",
        lambda reading: None if reading.nvlink is None else reading.nvlink.active,
    ),
    _Metric(
        "gpu_nvlink_errors_total",
        "counter",
        "Replays, recoveries and CRC errors of the links that are up.",
        lambda reading: None if reading.nvlink is None else reading.nvlink.errors,
    ),
    _Metric("gpu_pcie_replays_total", "counter", "PCIe replays.", lambda reading: reading.pcie_replays),
)


def render_metrics(status: Status) -> str:
    """Return the exposition of one status."""
    return "".join(f"{line}\n" for line in _list_lines(status))


def _list_lines(status: Status) -> Iterator[str]:
    for metric in _GPU_METRICS:
        yield from _head(metric.name, metric.kind, metric.text)
        for gpu in status.gpus:
            value = None if gpu.reading is None or gpu.state != "ok" else metric.read(gpu.reading)
            if value is not None:
                yield f'provocative_{metric.name}{{gpu_uuid="{gpu.gpu_uuid}"}} {_number(value)}'
    yield from _head("gpu_up", "gauge", "1 when the GPU could be read.")
    for gpu in status.gpus:
        yield f'provocative_gpu_up{{gpu_uuid="{gpu.gpu_uuid}"}} {int(gpu.state == "ok")}'
    yield from _list_fitness(status)
    spool, sent = status.spool, status.sent
    singles = (
        ("spool_records", "gauge", "Records that SQS has not confirmed.", spool.depth_records),
        ("spool_bytes", "gauge", "Their size on disk.", spool.depth_bytes),
        ("spool_on_disk", "gauge", "0 while the disk refuses.", int(spool.medium == "disk")),
        ("lost_records_total", "counter", "Records given up.", spool.records_lost),
        (
            "thinned_samples_total",
            "counter",
            "Readings of GPUs given up to make room.",
            spool.samples_thinned,
        ),
        ("draining", "gauge", "1 while no new workload is started.", int(status.draining)),
        ("heartbeats_sent_total", "counter", "Heartbeats that SQS confirmed.", sent.heartbeats),
        ("telemetry_sent_total", "counter", "Records that SQS confirmed.", sent.telemetry),
    )
    for name, kind, text, value in singles:
        yield from _head(name, kind, text)
        yield f"provocative_{name} {_number(value)}"
    yield from _list_capture(status)
    yield from _head("host_notices", "gauge", "Announcements of the machine's provider that stand.")
    for kind in get_args(NoticeKind):
        count = sum(notice.kind == kind for notice in status.notices)
        yield f'provocative_host_notices{{kind="{kind}"}} {_number(count)}'
    if sent.last_ack_at_ms is not None:
        yield from _head("last_ack_timestamp_seconds", "gauge", "When SQS last confirmed anything.")
        yield f"provocative_last_ack_timestamp_seconds {_number(sent.last_ack_at_ms / 1000)}"


def _list_capture(status: Status) -> Iterator[str]:
    if not status.capture:
        return
    yield from _head("capture_datapoints_total", "counter", "Readings of a capture unit that were kept.")
    for unit in status.capture:
        yield f'provocative_capture_datapoints_total{{unit_id="{unit.unit_id}"}} {_number(unit.datapoints)}'
    yield from _head("capture_refused_total", "counter", "Readings that could not be used.")
    for unit in status.capture:
        yield f'provocative_capture_refused_total{{unit_id="{unit.unit_id}"}} {_number(unit.refused)}'
    yield from _head("capture_last_reading_timestamp_seconds", "gauge", "When there was a new reading.")
    for unit in status.capture:
        if unit.last_reading_at_ms is not None:
            at = _number(unit.last_reading_at_ms / 1000)
            yield f'provocative_capture_last_reading_timestamp_seconds{{unit_id="{unit.unit_id}"}} {at}'


def _list_fitness(status: Status) -> Iterator[str]:
    yield from _head("gpu_rentable", "gauge", "1 when the GPU may be given new work.")
    for gpu in status.gpus:
        if gpu.fitness is not None:
            rentable = int(gpu.state == "ok" and gpu.fitness.rentable)
            yield f'provocative_gpu_rentable{{gpu_uuid="{gpu.gpu_uuid}"}} {rentable}'
    yield from _head("gpu_condition", "gauge", "1 for each health rule that is broken and each failed check.")
    for gpu in status.gpus:
        for name in gpu.fitness.conditions if gpu.fitness is not None else ():
            yield f'provocative_gpu_condition{{gpu_uuid="{gpu.gpu_uuid}",condition="{name}"}} 1'


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP provocative_{name} {text}"
    yield f"# TYPE provocative_{name} {kind}"


def _number(value: float) -> str:
    return repr(float(value))


class _Server(HTTPServer):
    # A server that is started again must not wait for old connections.
    allow_reuse_address = True


def build_server(port: int, read: Callable[[], Status]) -> HTTPServer:
    """Return a server of /metrics on loopback; the caller runs and closes it. ``port`` 0 picks one.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version = "provocative-agent"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            body = render_metrics(read()).encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Scrapes are not events."""

    return _Server((HOST, port), Handler)
