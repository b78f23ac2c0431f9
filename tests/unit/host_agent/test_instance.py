"""What EC2 says of the machine: read with a token, told to the cloud at once, and never in anybody's way."""

import threading
import time

import msgspec
import pytest

from chalicelib.wire.v1 import MAX_NOTICES, HostNotice
from host_agent.backoff import Backoff
from host_agent.config import Config, ConfigError, load_config
from host_agent.doctor import examine_instance
from host_agent.identity import ApiRefused, ApiUnavailable, CredentialCache, Identity
from host_agent.instance import (
    RENEWAL_MS,
    RENEWAL_PAUSE_MS,
    InstanceMetadata,
    InstanceProfile,
    MetadataUnavailable,
    open_credentials,
    read_instance,
    read_notices,
)
from host_agent.metrics import render_metrics
from host_agent.notices import ABSENT_SECONDS, POLL_SECONDS, Machine, NoticeWatch
from host_agent.sender import keep_trying
from host_agent.signing import AwsCredentials
from host_agent.status import render_status
from tests.fakes.metadata import (
    IDENTITY_PATH,
    REBALANCE_PATH,
    ROLE,
    ROLES_PATH,
    SCHEDULED_PATH,
    SPOT_PATH,
    TOKEN_PATH,
    run_metadata,
)
from tests.unit.host_agent.fakes import START_MS, FakeClock, Host
from tests.unit.host_agent.test_status import build_status

#: 2027-01-15T08:00:00Z is START_MS.
SPOT_AT_MS = START_MS + 22 * 60_000


@pytest.fixture
def ec2():
    with run_metadata() as fake:
        yield fake


def build_watch(ec2, machine=None):
    machine = machine or Machine()
    return NoticeWatch(InstanceMetadata(ec2.url), machine), machine


def test_f36_a_spot_notice_is_in_the_next_heartbeat_which_does_not_wait_for_its_turn(ec2, tmp_path):
    host = Host(tmp_path)
    watch, _ = build_watch(ec2, host.agent.machine)
    assert watch.step() == POLL_SECONDS
    host.agent.beat()
    assert not host.agent.work()
    assert host.agent.interruption_at_ms is None
    ec2.announce_spot()
    watch.step()
    notice = HostNotice("spot_interruption", "terminate", SPOT_AT_MS)
    assert host.agent.notices == (notice,)
    assert host.agent.interruption_at_ms == SPOT_AT_MS
    assert host.agent.work(), "the cloud should hear of it now"
    host.agent.beat()
    _, heartbeat = host.heartbeats.take()
    assert heartbeat.notices == [notice]
    assert not host.agent.work()


def test_f36_a_scheduled_retirement_is_read_with_its_time_and_what_is_over_is_not_told(ec2):
    event = {
        "NotBefore": "21 Jan 2027 09:00:43 GMT",
        "Code": "instance-retirement",
        "Description": "The instance is running on degraded hardware",
        "EventId": "instance-event-0d59937288b749b32",
        "NotAfter": "21 Jan 2027 09:17:23 GMT",
        "State": "active",
    }
    reboot = {**event, "Code": "system-reboot", "State": "completed"}
    ec2.write(SCHEDULED_PATH, [event, reboot])
    ec2.write(REBALANCE_PATH, {"noticeTime": "2027-01-15T08:22:00Z"})
    retirement = HostNotice("scheduled_event", "instance-retirement", 1_800_522_043_000)
    advice = HostNotice("rebalance_recommendation", "rebalance")
    assert read_notices(InstanceMetadata(ec2.url)) == (retirement, advice)
    ec2.announce_spot()
    first, *_ = read_notices(InstanceMetadata(ec2.url))
    assert first.kind == "spot_interruption"


def test_f36_a_mere_recommendation_is_no_interruption(ec2):
    ec2.write(REBALANCE_PATH, {"noticeTime": "2027-01-15T08:22:00Z"})
    watch, machine = build_watch(ec2)
    watch.step()
    assert [notice.kind for notice in machine.notices] == ["rebalance_recommendation"]
    assert machine.interruption_at_ms is None


@pytest.mark.parametrize(
    ("path", "kind"), [(SPOT_PATH, "spot_interruption"), (SCHEDULED_PATH, "scheduled_event")]
)
@pytest.mark.parametrize("body", [b"", b"{", b'{"action": 7}', b"<html>", b"\xff", b'{"time": "soon"}'])
def test_f36_a_notice_that_cannot_be_read_is_a_notice_of_unknown_time(ec2, path, kind, body):
    ec2.write(path, body)
    assert read_notices(InstanceMetadata(ec2.url)) == (HostNotice(kind, "unknown"),)


def test_f36_an_event_without_a_readable_time_is_told_without_one_and_many_are_bounded(ec2):
    ec2.write(SCHEDULED_PATH, [{"Code": f"event-{n}", "NotBefore": "?"} for n in range(50)])
    notices = read_notices(InstanceMetadata(ec2.url))
    assert len(notices) == MAX_NOTICES
    assert {notice.ends_at_ms for notice in notices} == {None}


def test_a_token_is_fetched_once_and_again_when_it_has_expired(ec2):
    metadata = InstanceMetadata(ec2.url)
    for _ in range(3):
        assert read_instance(metadata).instance_id == "i-0123456789abcdef0"
    assert ec2.requests.count(("PUT", TOKEN_PATH)) == 1
    ec2.tokens.clear()
    assert read_instance(metadata).zone == "eu-north-1a"
    assert ec2.requests.count(("PUT", TOKEN_PATH)) == 2


def test_no_proxy_is_asked(ec2, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert read_instance(InstanceMetadata(ec2.url)).instance_type == "p5.48xlarge"


def test_a_machine_that_is_not_on_ec2_says_so_once_and_asks_seldom(caplog):
    caplog.set_level("INFO")
    machine = Machine()
    watch = NoticeWatch(InstanceMetadata("http://127.0.0.1:9"), machine)
    assert [watch.step() for _ in range(3)] == [ABSENT_SECONDS] * 3
    assert (machine.instance, machine.notices) == (None, ())
    assert caplog.messages.count("not_on_ec2") == 1


@pytest.mark.parametrize("status", [403, 404, 500, 301])
def test_another_service_at_that_address_is_not_ec2(ec2, status):
    ec2.status = status
    watch, machine = build_watch(ec2)
    assert watch.step() == ABSENT_SECONDS
    assert machine.instance is None
    assert ec2.requests == [("PUT", TOKEN_PATH)]


def test_an_instance_identity_that_cannot_be_read_is_not_ec2(ec2):
    for body in (b"not json", b"{}"):
        ec2.write(IDENTITY_PATH, body)
        with pytest.raises(MetadataUnavailable):
            read_instance(InstanceMetadata(ec2.url))
    del ec2.pages[IDENTITY_PATH]
    with pytest.raises(MetadataUnavailable):
        read_instance(InstanceMetadata(ec2.url))


def test_f36_a_service_that_stops_answering_takes_no_notice_back(ec2, caplog):
    caplog.set_level("INFO")
    watch, machine = build_watch(ec2)
    ec2.announce_spot()
    watch.step()
    ec2.status = 503
    assert [watch.step() for _ in range(3)] == [POLL_SECONDS] * 3
    assert machine.interruption_at_ms == SPOT_AT_MS
    assert caplog.messages.count("metadata_unanswered") == 1
    ec2.status = None
    del ec2.pages[SPOT_PATH]
    watch.step()
    assert machine.notices == ()


def test_f36_a_service_that_hangs_stops_its_own_thread_only(ec2, tmp_path):
    host, stopped = Host(tmp_path), threading.Event()
    ec2.answering.clear()
    watch = NoticeWatch(InstanceMetadata(ec2.url, timeout_seconds=30.0), host.agent.machine)
    thread = threading.Thread(
        target=keep_trying, args=("notices", watch.step, Backoff(lambda: 0.0), stopped), daemon=True
    )
    thread.start()
    while not ec2.requests:
        time.sleep(0.001)
    began = time.monotonic()
    for _ in range(20):
        host.agent.work()
        host.agent.look()
        host.agent.sample()
        host.agent.beat()
    assert time.monotonic() - began < 5.0
    assert thread.is_alive()
    stopped.set()
    ec2.answering.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_service_that_hangs_is_given_up_in_time(ec2):
    ec2.answering.clear()
    with pytest.raises(MetadataUnavailable):
        InstanceMetadata(ec2.url, timeout_seconds=0.05).get(IDENTITY_PATH)


def test_notices_stand_in_status_and_metrics(ec2):
    instance = read_instance(InstanceMetadata(ec2.url))
    notices = [
        HostNotice("spot_interruption", "terminate", START_MS + 120_000),
        HostNotice("scheduled_event", "x"),
    ]
    status = build_status(instance=instance, notices=notices)
    text = render_status(status, START_MS + 33_000, running=True)
    assert "instance   i-0123456789abcdef0, p5.48xlarge, eu-north-1a" in text
    assert "NOTICE     spot_interruption: terminate in 87 s" in text
    assert "NOTICE     scheduled_event: x\n" in text
    metrics = render_metrics(status)
    assert 'provocative_host_notices{kind="spot_interruption"} 1.0' in metrics
    assert 'provocative_host_notices{kind="rebalance_recommendation"} 0.0' in metrics


def test_the_doctor_tells_ec2_from_elsewhere_and_minds_only_when_the_role_is_needed(ec2, tmp_path):
    config = Config("http://127.0.0.1:9", str(tmp_path), metadata_url=ec2.url)
    assert "i-0123456789abcdef0" in examine_instance(config).detail
    elsewhere = msgspec.structs.replace(config, metadata_url="http://127.0.0.1:9")
    assert examine_instance(elsewhere).ok
    needed = examine_instance(msgspec.structs.replace(elsewhere, credentials="instance_profile"))
    assert not needed.ok
    assert "hop limit" in needed.advice


# Credentials of the instance's own role.


def build_profile(ec2):
    clock = FakeClock()
    return InstanceProfile(InstanceMetadata(ec2.url), clock), clock


def count_role_reads(ec2):
    return ec2.requests.count(("GET", f"{ROLES_PATH}{ROLE}"))


def test_credentials_of_the_role_are_kept_and_renewed_before_they_end(ec2):
    ec2.grant_role("AKIA-1", "2027-01-15T14:00:00Z")
    profile, clock = build_profile(ec2)
    first = profile.get()
    assert first == AwsCredentials("AKIA-1", "hidden-AKIA-1", "session", START_MS + 6 * 3_600_000, START_MS)
    clock.ms = first.expires_at_ms - RENEWAL_MS - 1
    assert profile.get() is first
    assert count_role_reads(ec2) == 1
    clock.ms += 1
    # EC2 has no newer ones yet: it is asked once a minute, not with every message.
    assert [profile.get().access_key_id for _ in range(5)] == ["AKIA-1"] * 5
    assert count_role_reads(ec2) == 2
    ec2.grant_role("AKIA-2", "2027-01-15T20:00:00Z")
    clock.ms += RENEWAL_PAUSE_MS
    assert profile.get().access_key_id == "AKIA-2"


def test_credentials_serve_until_they_end_when_the_service_does_not_answer(ec2):
    ec2.grant_role("AKIA-1", "2027-01-15T14:00:00Z")
    profile, clock = build_profile(ec2)
    first = profile.get()
    ec2.status = 500
    clock.ms = first.expires_at_ms - 1
    assert profile.get() is first
    clock.ms = first.expires_at_ms + RENEWAL_PAUSE_MS
    with pytest.raises(ApiUnavailable, match="does not answer"):
        profile.get()


def test_credentials_that_aws_refused_are_fetched_anew_and_newer_ones_stay(ec2):
    ec2.grant_role("AKIA-1", "2027-01-15T14:00:00Z")
    profile, _ = build_profile(ec2)
    bad = profile.get()
    ec2.grant_role("AKIA-2", "2027-01-15T14:00:00Z")
    profile.reject(bad)
    good = profile.get()
    assert good.access_key_id == "AKIA-2"
    profile.reject(bad)
    assert profile.get() is good


def test_a_clock_that_runs_ahead_of_ec2s_still_uses_what_it_gives(ec2):
    ec2.grant_role("AKIA-1", "2027-01-15T07:00:00Z")
    profile, _ = build_profile(ec2)
    assert profile.get().access_key_id == "AKIA-1"


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda ec2: None, "this instance has no role"),
        (lambda ec2: ec2.write(ROLES_PATH, b""), "this instance has no role"),
        (
            lambda ec2: ec2.grant_role(
                "", "2027-01-15T14:00:00Z", Code="AssumeRoleUnauthorizedAccess", Message="EC2 cannot assume"
            ),
            f"no credentials of the role {ROLE}: AssumeRoleUnauthorizedAccess EC2 cannot assume",
        ),
        (
            lambda ec2: (ec2.grant_role("x", "y"), ec2.write(f"{ROLES_PATH}{ROLE}", b"[]")),
            "an answer that cannot be read",
        ),
    ],
)
def test_an_instance_without_a_usable_role_says_what_is_wrong(ec2, prepare, says):
    prepare(ec2)
    profile, _ = build_profile(ec2)
    with pytest.raises(ApiRefused, match=says):
        profile.get()


def test_the_configuration_chooses_whose_credentials_are_used(ec2, tmp_path):
    config = Config("http://127.0.0.1:9", str(tmp_path), metadata_url=ec2.url)
    identity = Identity(*["x"] * 9, 10, 60)
    assert isinstance(open_credentials(config, identity, FakeClock()), CredentialCache)
    ec2.grant_role("AKIA-1", "2027-01-15T14:00:00Z")
    own = msgspec.structs.replace(config, credentials="instance_profile")
    assert open_credentials(own, identity, FakeClock()).get().access_key_id == "AKIA-1"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"CREDENTIALS": "mine"}, "credentials"),
        ({"METADATA_URL": "169.254.169.254"}, "metadata_url"),
        ({"METADATA_URL": "https://169.254.169.254"}, "metadata_url"),
        ({"METADATA_URL": "", "CREDENTIALS": "instance_profile"}, "metadata_url"),
    ],
)
def test_a_wrong_setting_is_named(settings, named, tmp_path):
    environment = {"API_URL": "http://127.0.0.1:9", "STATE_DIR": str(tmp_path), **settings}
    with pytest.raises(ConfigError, match=named):
        load_config(None, {f"PROVOCATIVE_{name}": value for name, value in environment.items()})
