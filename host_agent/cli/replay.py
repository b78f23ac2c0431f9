"""``provocative-agent replay``: send the records of a saved spool again."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from host_agent import logs
from host_agent.backoff import Backoff
from host_agent.cli.drain import wait_for_signals
from host_agent.cli.output import EX_NOINPUT, EX_NOT_WELL, EX_UNAVAILABLE, fail, hint, say, say_json
from host_agent.clock import SystemClock
from host_agent.config import Config, ConfigError
from host_agent.identity import Identity, load_identity
from host_agent.replay import Contents, SpoolCopy, list_files, replay, survey
from host_agent.sender import Pace
from host_agent.service import Line, draw
from host_agent.transport import TransportError

#: A line of progress after so many records.
_PROGRESS_RECORDS = 500


def replay_spool(config: Config, path: Path, *, send: bool, as_json: bool) -> int:
    """Show what a copy of a spool holds and, if asked, send it.

    Raises:
        ConfigError: this machine is not enrolled, or the copy belongs to another host.
        OSError: the copy or the state directory cannot be read.
    """
    logs.configure("ERROR")
    identity = load_identity(config.state_path)
    if identity is None:
        raise ConfigError("this machine is not enrolled; records can only be sent by the host that made them")
    if not path.exists() or not list_files(path):
        return fail(EX_NOINPUT, f"{path} has no spool files (NUMBER.spool)")
    check_owner(path, identity)
    contents = survey(path)
    if not contents.records:
        return fail(EX_NOINPUT, f"{path} has no intact record ({contents.damaged_bytes} bytes are damaged)")
    if not as_json:
        say(render_contents(contents))
    if not send:
        if as_json:
            say_json({**msgspec.to_builtins(contents), "sent": 0, "refused": 0})
        else:
            say("nothing was sent; add --send")
        return EX_NOT_WELL if contents.damaged_bytes else 0
    line = Line(config, identity, SystemClock(), secrets.token_hex(16))
    copy = SpoolCopy(path)
    return _send(copy, contents, line, wait_for_signals(), as_json=as_json)


def _send(
    copy: SpoolCopy, contents: Contents, line: Line, wait: Callable[[float], bool], *, as_json: bool
) -> int:
    reason, told = "", 0
    try:
        for sent in replay(copy, line.open_telemetry(copy), Pace(draw), Backoff(draw), wait):
            if not as_json and sent >= told + _PROGRESS_RECORDS:
                hint(f"sent {sent} of {contents.records}")
                told = sent
    except TransportError as error:
        reason = str(error)
    left = contents.records - copy.sent - copy.refused
    if as_json:
        say_json({**msgspec.to_builtins(contents), "sent": copy.sent, "refused": copy.refused})
    else:
        say(f"sent {copy.sent} of {contents.records} records, {copy.refused} refused for good")
    if reason:
        return fail(
            EX_UNAVAILABLE, f"the queue does not answer ({reason}); run it again, nothing counts twice"
        )
    return EX_NOT_WELL if left or copy.refused or contents.damaged_bytes else 0


def check_owner(path: Path, identity: Identity) -> None:
    """Raises ConfigError: the state directory that the copy lies in is another host's."""
    directory = path if path.is_dir() else path.parent
    owner = load_identity(directory.parent)
    if owner is not None and owner.host_id != identity.host_id:
        raise ConfigError(
            f"{path} holds records of {owner.host_id}, and this is {identity.host_id}; "
            f"set state_dir to {directory.parent}"
        )


def render_contents(found: Contents) -> str:
    """Return the contents for people."""
    thinned = f" ({found.samples_thinned} thinned)" if found.samples_thinned else ""
    lines = [
        f"records    {found.records} of {found.boots} agent starts in {found.files} files",
        f"time       {_say_instant(found.first_at_ms)} to {_say_instant(found.last_at_ms)}",
        f"inside     {found.intervals} energy intervals, {found.samples} samples{thinned}, {found.xids} Xids",
    ]
    if found.unreadable_records:
        lines.append(f"unreadable {found.unreadable_records} records of another version, sent as they are")
    if found.damaged_bytes:
        lines.append(
            f"DAMAGED    {found.damaged_bytes} bytes, from the first frame on that does not check out"
        )
    return "\n".join(lines)


def _say_instant(at_ms: int | None) -> str:
    if at_ms is None:
        return "-"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ms / 1000))
