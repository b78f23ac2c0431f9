"""``provocative-agent enrol``: make this machine a host without running the agent."""

import os
import secrets

from host_agent import logs
from host_agent.cli.output import EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, fail, say, say_json
from host_agent.clock import SystemClock
from host_agent.config import Config
from host_agent.identity import ApiUnavailable, HostApi, Identity, enrol, load_identity
from host_agent.service import open_reader
from host_agent.status import lock_state


def enrol_machine(config: Config, *, as_json: bool) -> int:
    """Enrol once and say which host this is; a machine that is enrolled is left as it is.

    Raises:
        ApiRefused, GpuUnavailable, OSError, msgspec.DecodeError.
    """
    logs.configure("ERROR")
    known = load_identity(config.state_path)
    if known is not None:
        return _show(known, created=False, as_json=as_json)
    if not config.enrolment_token:
        return fail(EX_CONFIG, "set enrolment_token; an operator gets one from POST /v1/enrolments")
    config.state_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Two that enrol at once would end with the key of one and the identity of the other.
    lock = lock_state(config.state_path)
    if lock is None:
        return fail(EX_TEMPFAIL, f"an agent runs on {config.state_dir} and enrols by itself")
    clock = SystemClock()
    try:
        reader = open_reader(config, clock)
        api = HostApi(config.api_url, clock)
        made = enrol(
            config.state_path,
            api,
            config.enrolment_token,
            reader.list_gpus(),
            lambda: secrets.token_hex(16),
            config.fabric_id or None,
        )
        reader.close()
    except ApiUnavailable as error:
        return fail(EX_UNAVAILABLE, f"the platform does not answer ({error}); it is safe to try again")
    finally:
        os.close(lock)
    return _show(made, created=True, as_json=as_json)


def _show(identity: Identity, *, created: bool, as_json: bool) -> int:
    """Print who this host is; never its keys."""
    gpus = [gpu.gpu_uuid for gpu in identity.gpus]
    if as_json:
        shown = {"host_id": identity.host_id, "created": created, "region": identity.region}
        say_json({**shown, "gpu_type": identity.gpu_type, "gpus": gpus})
        return 0
    how = "enrolled as" if created else "already enrolled as"
    say(f"{how} {identity.host_id}: {len(gpus)} x {identity.gpu_type} in {identity.region}")
    return 0
