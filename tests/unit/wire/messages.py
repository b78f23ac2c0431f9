"""One message of each kind with every field set: what the golden files hold."""

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
HEARTBEAT_OF_MACHINE = v1.msgspec.structs.replace(
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
        v1.msgspec.structs.replace(
            FIRST_TELEMETRY.intervals[0],
            energy_min_millijoules=40_000_000,
            energy_max_millijoules=44_300_001,
            integral_millijoules=41_990_000,
            cause="unread",
        )
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
STOP = v1.Command(1, "cmd_2", "stop", "hst_1", "rnt_1", LEASES, AT_MS)


def encode(record: v1.Heartbeat | v1.Telemetry) -> bytes:
    return v1.encode_record(record, host_id="hst_1", boot_id="boot-1", seq=9, signing_key=KEY)


ENCODED = {
    "heartbeat": lambda: encode(HEARTBEAT),
    "heartbeat-machine": lambda: encode(HEARTBEAT_OF_MACHINE),
    "telemetry": lambda: encode(FIRST_TELEMETRY),
    "telemetry-bounds": lambda: encode(TELEMETRY),
    "start": lambda: v1.encode_command(START, KEY).encode(),
    "stop": lambda: v1.encode_command(STOP, KEY).encode(),
}
