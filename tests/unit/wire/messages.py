"""One message of each kind with every field set: what the golden files hold."""

import msgspec

from chalicelib.wire import v1

KEY = b"key of the golden files"
AT_MS = 1_800_000_000_000
LEASES = [v1.Lease("GPU-0", 3)]

HEARTBEAT = v1.Heartbeat(
    AT_MS,
    "0.1.0",
    [v1.GpuStatus("GPU-0", "ok"), v1.GpuStatus("GPU-1", "lost")],
    [v1.WorkloadReport("rnt_1", LEASES, "terminated", "inst-1", 143, AT_MS, wiped=True, detail="sigterm")],
    v1.SpoolStatus(2, 512, "memory", 1),
)
#: With what agents have told of the machine since.
HEARTBEAT_OF_MACHINE = msgspec.structs.replace(
    HEARTBEAT,
    notices=[
        v1.HostNotice("spot_interruption", "terminate", AT_MS + 120_000),
        v1.HostNotice("rebalance_recommendation", "rebalance"),
    ],
    kernel_boot_id="0d9c5b0e-6f0c-4a53-9a0b-5f0f6b1f3a11",
)
FIRST_TELEMETRY = v1.Telemetry(
    [v1.GpuSample("GPU-0", AT_MS, 123_456, 700_000, 97, 40_000, 71), v1.GpuSample("GPU-1", AT_MS)],
    [
        v1.EnergyInterval(
            "GPU-0", AT_MS, AT_MS + 60_000, 42_000_000, "counter", "rnt_1", 3, 7, True, True, 100, 42_000_100
        )
    ],
)
#: With the bounds that agents have stated since.
TELEMETRY = v1.Telemetry(
    FIRST_TELEMETRY.samples,
    [
        msgspec.structs.replace(
            FIRST_TELEMETRY.intervals[0],
            energy_min_millijoules=40_000_000,
            energy_max_millijoules=44_300_001,
            integral_millijoules=41_990_000,
            cause="unread",
        )
    ],
)
#: With the parts of a partitioned board.
MIG_TELEMETRY = v1.Telemetry(
    TELEMETRY.samples,
    [msgspec.structs.replace(TELEMETRY.intervals[0], parent_uuid="GPU-1", split="activity")],
)
#: With how long the GPU was slowed.
SLOWED_TELEMETRY = v1.Telemetry(
    TELEMETRY.samples,
    [
        msgspec.structs.replace(
            TELEMETRY.intervals[0],
            thermal_slowdown_ms=12_000,
            power_brake_ms=0,
            slowdown_source="counter",
        )
    ],
)
#: With what agents say of health, and of what the drivers answer.
HEALTH_HEARTBEAT = msgspec.structs.replace(
    HEARTBEAT,
    gpus=[
        v1.GpuStatus("GPU-0", "ok", rentable=False, conditions=["row_remap_pending"]),
        v1.GpuStatus("GPU-1", "lost", rentable=False),
    ],
)
CAPABLE_TELEMETRY = v1.Telemetry(
    [], [], [], [v1.GpuCapabilities("GPU-0", {"energy_counter": "ok"}, "field_average", "580.65.06")]
)
#: As a full spool leaves it.
THINNED_TELEMETRY = msgspec.structs.replace(TELEMETRY, samples=[], thinned=v1.Thinned(2, 2, AT_MS, AT_MS + 3))
DRAINING_HEARTBEAT = msgspec.structs.replace(
    HEARTBEAT, spool=v1.SpoolStatus(2, 512, "memory", 1, 4_096), draining=True
)
#: With what a capture unit showed.
CAPTURE_TELEMETRY = v1.Telemetry(
    [],
    [],
    capture=[
        v1.CaptureDatapoint(
            "unit-1", "FT-101", "gas_mass_flow", 12_500_000, 250_000, "milligrams_per_hour", AT_MS
        ),
        v1.CaptureDatapoint("unit-1", "TT-101", "temperature", 293_150, 300, "millikelvin", AT_MS),
    ],
)
START = v1.Command(
    1,
    "cmd_1",
    "start",
    "hst_1",
    "rnt_1",
    LEASES,
    AT_MS,
    v1.WorkloadSpec(["python", "x.py"], None, {"A": "1"}),
)
#: With all that a container can be given.
START_CONTAINER = msgspec.structs.replace(
    START,
    workload=v1.WorkloadSpec(
        [],
        "registry.example/team/train:1",
        {},
        [v1.PortSpec(8080), v1.PortSpec(53, "udp")],
        ["ssh-ed25519 AAAA me"],
        v1.VolumeSpec("vol_rnt_1", 1024, "/data"),
    ),
)
PREEMPT = v1.Command(1, "cmd_3", "preempt", "hst_1", "rnt_1", LEASES, AT_MS, deadline_at_ms=AT_MS + 120_000)
STOP_KEEPING = v1.Command(1, "cmd_4", "stop", "hst_1", "rnt_1", LEASES, AT_MS, keep_volume=True)
#: With what a container is reached by, and what its end left.
CONTAINER_HEARTBEAT = msgspec.structs.replace(
    HEARTBEAT,
    workloads=[
        v1.WorkloadReport(
            "rnt_1", LEASES, "running", "cmd_1", ports=[v1.PublishedPort(22, "tcp", "192.0.2.1", 40_022)]
        ),
        v1.WorkloadReport(
            "rnt_2", LEASES, "terminated", "cmd_4", wiped=True, gpu_memory="verified", volume_kept=True
        ),
    ],
)
STOP = v1.Command(1, "cmd_2", "stop", "hst_1", "rnt_1", LEASES, AT_MS)


def encode(record: v1.Heartbeat | v1.Telemetry) -> bytes:
    return v1.encode_record(record, host_id="hst_1", boot_id="boot-1", seq=9, signing_key=KEY)


ENCODED = {
    "heartbeat": lambda: encode(HEARTBEAT),
    "heartbeat-machine": lambda: encode(HEARTBEAT_OF_MACHINE),
    "telemetry": lambda: encode(FIRST_TELEMETRY),
    "telemetry-bounds": lambda: encode(TELEMETRY),
    "telemetry-mig": lambda: encode(MIG_TELEMETRY),
    "telemetry-slowed": lambda: encode(SLOWED_TELEMETRY),
    "heartbeat-health": lambda: encode(HEALTH_HEARTBEAT),
    "telemetry-capabilities": lambda: encode(CAPABLE_TELEMETRY),
    "heartbeat-container": lambda: encode(CONTAINER_HEARTBEAT),
    "telemetry-capture": lambda: encode(CAPTURE_TELEMETRY),
    "start-container": lambda: v1.encode_command(START_CONTAINER, KEY).encode(),
    "preempt": lambda: v1.encode_command(PREEMPT, KEY).encode(),
    "stop-keeping": lambda: v1.encode_command(STOP_KEEPING, KEY).encode(),
    "telemetry-thinned": lambda: encode(THINNED_TELEMETRY),
    "heartbeat-draining": lambda: encode(DRAINING_HEARTBEAT),
    "start": lambda: v1.encode_command(START, KEY).encode(),
    "stop": lambda: v1.encode_command(STOP, KEY).encode(),
}
