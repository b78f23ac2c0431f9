"""The systemd unit: restarts never touch renters' work, hopeless ones are not repeated, rights are few."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from host_agent import __main__ as agent

CONTAINERS = Path(agent.__file__).with_name("provocative-agent-containers.conf")
UNIT = Path(agent.__file__).with_name("provocative-agent.service")


@pytest.fixture(scope="module")
def service():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser["Service"]


def test_only_the_agent_is_signalled_and_never_the_work_of_renters(service):
    assert service["KillMode"] == "process"
    assert int(service["TimeoutStopSec"]) >= 10
    assert service["Restart"] == "always"


def test_what_no_restart_mends_is_not_restarted(service):
    codes = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert codes == {agent.EX_TEMPFAIL, agent.EX_NOPERM, agent.EX_CONFIG}


def test_it_starts_the_command_that_the_wheel_installs(service):
    program, *arguments = service["ExecStart"].split()
    assert program.endswith("/provocative-agent")
    options = agent.build_parser().parse_args(arguments)
    assert (options.command, str(options.config)) == ("run", "/etc/provocative/agent.toml")


def test_its_rights_are_few(service):
    assert service["User"] != "root"
    assert service["CapabilityBoundingSet"] == "CAP_SYSLOG"
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    assert service["DevicePolicy"] == "closed"


def test_systemd_finds_no_fault(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    # The program and the user are the host's, not this machine's.
    text = UNIT.read_text().replace("/opt/provocative/bin/provocative-agent", "/bin/true")
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("User=provocative\n", ""))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    # It only warns of a setting that it does not know.
    assert (done.returncode, done.stderr) == (0, "")


def test_a_host_of_containers_adds_what_engines_need_and_systemd_finds_no_fault(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    text = UNIT.read_text().replace("/opt/provocative/bin/provocative-agent", "/bin/true")
    added = CONTAINERS.read_text()
    copy = tmp_path / UNIT.name
    # In one file, as systemd reads the two: what comes later wins, lists grow.
    copy.write_text(text.replace("\n[Install]", f"\n{added}\n[Install]"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    # A mount that only the agent sees would give containers an empty directory for a volume.
    for setting in ("ProtectSystem", "ProtectHome", "PrivateTmp", "ProtectControlGroups"):
        assert f"\n{setting}=no\n" in added
    assert "CAP_SYS_PTRACE" not in added
    assert "CAP_SYS_MODULE" not in added
