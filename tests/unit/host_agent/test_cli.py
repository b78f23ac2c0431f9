"""``enrol`` and ``replay`` against a platform on loopback: what people see, and what the queue gets."""

import json
import os
import shutil

import pytest

from chalicelib.wire.telemetry import unpack_telemetry
from chalicelib.wire.v1 import decode_envelope, decode_telemetry, verify_envelope
from host_agent.__main__ import main
from host_agent.gpu import GpuUnavailable
from host_agent.spool import Spool
from host_agent.status import lock_state
from tests.unit.host_agent.fakes import FakeClock, FakeReader
from tests.unit.host_agent.loopback import KEY, serve_platform
from tests.unit.host_agent.spool_records import build_frame, build_xid_record, list_frames

FRAMES = list_frames(25)


@pytest.fixture
def platform():
    with serve_platform() as served:
        yield served


@pytest.fixture
def machine(tmp_path, platform, monkeypatch):
    """A machine with two GPUs and a token; returns the state directory and the arguments."""
    monkeypatch.setattr("host_agent.cli.enrol.open_reader", lambda *_: FakeReader(FakeClock()))
    state, file = tmp_path / "state", tmp_path / "agent.toml"
    file.write_text(f'api_url = "{platform.url}"\nstate_dir = "{state}"\nenrolment_token = "pc_enrol_x"\n')
    return state, ["--config", str(file)]


def test_enrolling_twice_is_one_host_and_no_key_is_shown(machine, platform, capsys):
    state, arguments = machine
    assert main(["enrol", *arguments]) == 0
    assert capsys.readouterr().out == "enrolled as hst_1: 2 x H100 in eu-north-1\n"
    assert main(["enrol", "--json", *arguments]) == 0
    text = capsys.readouterr().out
    assert json.loads(text) == {
        "host_id": "hst_1",
        "created": False,
        "region": "eu-north-1",
        "gpu_type": "H100",
        "gpus": ["GPU-0", "GPU-1"],
    }
    assert len(platform.enrolments) == 1
    assert "secret" not in text
    assert KEY.hex() not in text
    assert (state / "identity.json").stat().st_mode & 0o077 == 0


def test_an_enrolment_whose_answer_was_lost_is_asked_for_again_by_the_same_machine(machine, platform, capsys):
    _, arguments = machine
    platform.refusals = [503]
    assert main(["enrol", *arguments]) == 69
    assert "safe to try again" in capsys.readouterr().err
    platform.refusals = [500]
    assert main(["enrol", *arguments]) == 69
    assert main(["enrol", *arguments]) == 0
    assert len(platform.enrolments) == 1


def test_each_thing_that_can_be_wrong_with_an_enrolment_has_its_own_code(
    machine, platform, capsys, monkeypatch
):
    state, arguments = machine
    platform.refusals = [401]
    assert main(["enrol", *arguments]) == 77
    assert "refused this host" in capsys.readouterr().err
    state.mkdir(exist_ok=True)
    lock = lock_state(state)
    assert main(["enrol", *arguments]) == 75
    os.close(lock)

    def no_driver(*_):
        raise GpuUnavailable("driver_not_loaded")

    monkeypatch.setattr("host_agent.cli.enrol.open_reader", no_driver)
    assert main(["enrol", *arguments]) == 78
    monkeypatch.setenv("PROVOCATIVE_ENROLMENT_TOKEN", "")
    assert main(["enrol", *arguments]) == 78
    assert "set enrolment_token" in capsys.readouterr().err
    assert platform.enrolments == []
    # Nothing of all that left a lock behind.
    os.close(lock_state(state))


@pytest.fixture
def copy(tmp_path, machine, monkeypatch):
    """A copy of an enrolled host's spool, with a lease record and an Xid; no time passes between batches."""
    assert main(["enrol", *machine[1]]) == 0
    monkeypatch.setattr("host_agent.cli.replay.wait_for_signals", lambda: lambda _: False)
    directory = tmp_path / "saved"
    spool = Spool(directory, segment_bytes=16 * 1024)
    for frame in FRAMES:
        spool.append(frame)
    spool.append(build_frame(25, build_xid_record(), required=True))
    spool.close()
    return directory


def read_files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def read_stored(platform):
    """Return the records as the cloud keeps them: once per (host, boot, sequence)."""
    stored = {}
    for body in platform.bodies:
        envelope = decode_envelope(body)
        verify_envelope(envelope, KEY)
        stored.setdefault((envelope.host_id, envelope.boot_id, envelope.seq), decode_telemetry(envelope))
    return stored


def test_a_replay_shows_first_and_sends_only_when_asked(machine, platform, copy, capsys):
    _, arguments = machine
    before = read_files(copy)
    capsys.readouterr()
    assert main(["replay", str(copy), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "26 of 1 agent starts" in shown
    assert "200 samples, 1 Xids" in shown
    assert "nothing was sent; add --send" in shown
    assert platform.bodies == []
    assert main(["replay", "--json", str(copy), *arguments]) == 0
    contents = json.loads(capsys.readouterr().out)
    assert (contents["records"], contents["sent"], contents["damaged_bytes"]) == (26, 0, 0)
    assert contents["intervals"] == sum(len(unpack_telemetry(each.record).intervals) for each in FRAMES)
    assert read_files(copy) == before


def test_a_replay_sends_each_record_under_its_own_number_and_a_second_one_changes_nothing(
    machine, platform, copy, capsys
):
    _, arguments = machine
    before = read_files(copy)
    assert main(["replay", "--send", str(copy), *arguments]) == 0
    assert "sent 26 of 26 records, 0 refused" in capsys.readouterr().out
    stored = read_stored(platform)
    assert sorted(stored) == [("hst_1", "boot", seq) for seq in range(26)]
    for frame in FRAMES:
        assert stored["hst_1", "boot", frame.seq] == unpack_telemetry(frame.record)
    first = min(copy.glob("*.spool"))
    assert main(["replay", "--send", "--json", str(first), *arguments]) == 0
    again = json.loads(capsys.readouterr().out)
    assert 0 < again["sent"] == again["records"] < 26
    assert read_stored(platform) == stored
    assert read_files(copy) == before


def test_a_replay_that_the_queue_refuses_says_how_far_it_came_and_may_be_run_again(
    machine, platform, copy, capsys
):
    _, arguments = machine
    platform.failing = True
    assert main(["replay", "--send", str(copy), *arguments]) == 69
    told = capsys.readouterr()
    assert "sent 0 of 26" in told.out
    assert "run it again" in told.err
    platform.failing = False
    assert main(["replay", "--send", str(copy), *arguments]) == 0
    assert len(read_stored(platform)) == 26


def test_a_replay_that_is_interrupted_says_that_something_is_left(machine, copy, monkeypatch, capsys):
    monkeypatch.setattr("host_agent.cli.replay.wait_for_signals", lambda: lambda _: True)
    assert main(["replay", "--send", "--json", str(copy), *machine[1]]) == 1
    assert json.loads(capsys.readouterr().out)["sent"] == 10


def test_what_is_intact_of_a_damaged_copy_is_sent_and_the_damage_is_told(machine, platform, copy, capsys):
    first = min(copy.glob("*.spool"))
    data = bytearray(first.read_bytes())
    data[3000] ^= 0xFF
    first.write_bytes(data)
    assert main(["replay", "--send", str(copy), *machine[1]]) == 1
    assert "DAMAGED" in capsys.readouterr().out
    stored = read_stored(platform)
    assert ("hst_1", "boot", 25) in stored
    assert ("hst_1", "boot", 1) not in stored


def test_a_copy_of_another_host_an_empty_one_and_an_unenrolled_machine_are_refused(
    tmp_path, machine, platform, copy, capsys
):
    state, arguments = machine
    other = tmp_path / "other"
    other.mkdir()
    shutil.copytree(copy, other / "spool")
    identity = json.loads((state / "identity.json").read_text()) | {"host_id": "hst_2"}
    (other / "identity.json").write_text(json.dumps(identity))
    for path in (other / "spool", min((other / "spool").glob("*.spool"))):
        assert main(["replay", "--send", str(path), *arguments]) == 78
        assert "records of hst_2" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (empty, tmp_path / "missing"):
        assert main(["replay", "--send", str(path), *arguments]) == 66
        assert "no spool files" in capsys.readouterr().err
    (empty / "000000000001.spool").write_bytes(b"rotten")
    assert main(["replay", "--send", str(empty), *arguments]) == 66
    (state / "identity.json").unlink()
    assert main(["replay", str(copy), *arguments]) == 78
    assert platform.bodies == []


@pytest.mark.parametrize("verb", ["run", "status", "doctor", "enrol", "drain", "replay"])
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert "--config" in capsys.readouterr().out
