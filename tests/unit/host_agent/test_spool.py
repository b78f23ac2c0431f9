"""What the spool has confirmed is there after any crash; what was torn is known to be gone."""

import struct
import zlib

import msgspec
import pytest

from chalicelib.wire.telemetry import seal_telemetry
from chalicelib.wire.v1 import GpuSample, Telemetry, decode_envelope, decode_telemetry, verify_envelope
from host_agent.frames import Frame, scan_frames
from host_agent.outbox import TelemetryOutbox
from host_agent.spool import Spool, SpoolBroken, SpoolFull


def build_frame(seq: int, *, required: bool = False) -> Frame:
    return Frame("boot", seq, f'{{"n":{seq}}}'.encode(), f"state-{seq}".encode(), required)


def fill(directory, count: int) -> Spool:
    spool = Spool(directory)
    for seq in range(count):
        spool.append(build_frame(seq))
    return spool


def read_seqs(spool: Spool) -> list[int]:
    return [frame.seq for _, frame in spool.peek(10_000)]


def test_records_survive_a_restart_in_order_with_the_newest_state(tmp_path):
    fill(tmp_path, 20)
    again = Spool(tmp_path)
    assert read_seqs(again) == list(range(20))
    assert again.latest_state == b"state-19"


def test_a_file_torn_at_any_byte_keeps_its_intact_prefix(tmp_path):
    fill(tmp_path / "whole", 50).close()
    (file,) = (tmp_path / "whole").glob("*.spool")
    data = file.read_bytes()
    ends = [end for end, _ in scan_frames(data)]
    for length in range(len(data) + 1):
        directory = tmp_path / "torn"
        directory.mkdir(exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
        (directory / file.name).write_bytes(data[:length])
        spool = Spool(directory)
        intact = sum(end <= length for end in ends)
        assert read_seqs(spool) == list(range(intact))
        assert spool.latest_state == (f"state-{intact - 1}".encode() if intact else None)


@pytest.mark.parametrize("offset", [0, 4, 9, 40, 100])
def test_a_rotten_byte_ends_the_segment_there_and_never_gives_a_wrong_record(tmp_path, offset):
    fill(tmp_path, 10).close()
    (file,) = tmp_path.glob("*.spool")
    data = bytearray(file.read_bytes())
    data[offset] ^= 0xFF
    file.write_bytes(bytes(data))
    seqs = read_seqs(Spool(tmp_path))
    assert seqs == list(range(len(seqs)))
    assert len(seqs) < 10


def test_acknowledged_records_are_not_sent_again_and_unacknowledged_are(tmp_path):
    spool = fill(tmp_path, 10)
    found = spool.peek(10)
    spool.acknowledge([position for position, frame in found if frame.seq in {0, 1, 2, 5}])
    assert read_seqs(spool) == [3, 4, 6, 7, 8, 9]
    assert read_seqs(Spool(tmp_path)) == [3, 4, 5, 6, 7, 8, 9]


def test_the_state_outlives_its_record(tmp_path):
    spool = fill(tmp_path, 3)
    spool.acknowledge([position for position, _ in spool.peek(3)])
    again = Spool(tmp_path)
    assert (again.depth, again.latest_state) == (0, b"state-2")


def test_a_full_spool_refuses_samples_and_takes_what_is_required(tmp_path):
    spool = Spool(tmp_path, cap_bytes=200)
    spool.append(build_frame(0))
    with pytest.raises(SpoolFull):
        for seq in range(1, 50):
            spool.append(build_frame(seq))
    spool.append(build_frame(99, required=True))
    assert read_seqs(spool)[-1] == 99


def test_a_refused_sync_leaves_nothing_of_the_record(tmp_path, monkeypatch):
    spool = fill(tmp_path, 2)

    def fail(descriptor):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("host_agent.spool.os.fsync", fail)
        with pytest.raises(SpoolBroken):
            spool.append(build_frame(2))
    spool.append(build_frame(3))
    assert read_seqs(spool) == [0, 1, 3]
    assert read_seqs(Spool(tmp_path)) == [0, 1, 3]


def test_numbers_that_were_confirmed_are_not_given_again_when_the_files_are_gone(tmp_path):
    spool = fill(tmp_path, 3)
    spool.acknowledge([position for position, _ in spool.peek(3)])
    spool.close()
    for file in tmp_path.glob("*.spool"):
        file.unlink()
    spool = Spool(tmp_path)
    for seq in (7, 8):
        spool.append(build_frame(seq))
    assert read_seqs(Spool(tmp_path)) == [7, 8]


def test_a_spool_of_an_older_agent_is_sent_whole(tmp_path):
    """Frames of four members with plain JSON, acknowledged by byte offset; what is sent twice counts once."""
    record = msgspec.json.encode(Telemetry([GpuSample("GPU-0", 1)], []))
    data = b""
    for seq in range(3):
        payload = msgspec.msgpack.encode(("boot", seq, record, b"state"))
        data += struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    (tmp_path / "000000000004.spool").write_bytes(data)
    (tmp_path / "acked.json").write_bytes(b"[4,80]")
    outbox = TelemetryOutbox(Spool(tmp_path), "new-boot")
    outbox.put(Telemetry([], []), b"state")
    pendings = outbox.take(10)
    assert [(each.boot_id, each.seq) for each in pendings] == [
        *(("boot", seq) for seq in range(3)),
        ("new-boot", 0),
    ]
    for pending in pendings:
        body = seal_telemetry(
            pending.packed, host_id="hst", boot_id=pending.boot_id, seq=pending.seq, signing_key=b"key"
        )
        verify_envelope(decode_envelope(body), b"key")
        assert decode_telemetry(decode_envelope(body)) == pending.record
    outbox.confirm(pendings, [])
    assert Spool(tmp_path).depth == 0
