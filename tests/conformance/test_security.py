"""What we rely on for security: IAM is enforced, secrets are made, nobody else can reach the emulator."""

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra.local.aws import Aws

LISTEN = "0A"


def assume(aws: Aws, role_arn: str, policy: dict | None = None) -> Aws:
    extra = {"Policy": json.dumps(policy)} if policy else {}
    found = aws.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test", **extra)["Credentials"]
    return Aws(aws.endpoint_url, found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])


def allow(action: str, resource: str) -> dict:
    return {"Effect": "Allow", "Action": [action], "Resource": [resource]}


def test_a_role_can_do_what_its_policy_says_and_a_session_policy_narrows_it(aws, name, create_role):
    sqs = aws.client("sqs")
    urls = [sqs.create_queue(QueueName=f"{name}-{n}")["QueueUrl"] for n in range(2)]
    prefix = f"arn:aws:sqs:us-east-1:000000000000:{name}"
    role = create_role(f"{name}-role", allow("sqs:SendMessage", f"{prefix}-*"))
    wide = assume(aws, role)
    for url in urls:
        wide.client("sqs").send_message(QueueUrl=url, MessageBody="x")
    with pytest.raises(ClientError) as caught:
        wide.client("sqs").receive_message(QueueUrl=urls[0])
    assert caught.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}
    session = {"Version": "2012-10-17", "Statement": [allow("sqs:SendMessage", f"{prefix}-0")]}
    narrow = assume(aws, role, session)
    narrow.client("sqs").send_message(QueueUrl=urls[0], MessageBody="x")
    with pytest.raises(ClientError):
        narrow.client("sqs").send_message(QueueUrl=urls[1], MessageBody="x")
    for clients in (wide, narrow):
        clients.close()


def test_keys_that_nobody_issued_are_refused(aws):
    stranger = Aws(aws.endpoint_url, "AKIAAAAAAAAAAAAAAAAA", "wrong")
    with pytest.raises(ClientError):
        stranger.client("sqs").list_queues()
    stranger.close()


def test_cloudformation_generates_a_secret_that_is_not_in_the_template(aws, name):
    template = {
        "Resources": {
            "Secret": {
                "Type": "AWS::SecretsManager::Secret",
                "Properties": {
                    "Name": name,
                    "GenerateSecretString": {"PasswordLength": 64, "ExcludePunctuation": True},
                },
            }
        }
    }
    formation = aws.client("cloudformation")
    formation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    formation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    secret = aws.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
    assert len(secret) == 64
    assert secret not in formation.get_template(StackName=name)["TemplateBody"]


def test_everything_it_listens_on_is_on_loopback(ministack):
    """Reads /proc: the listening sockets of the process that we started and all below it."""
    family = list_descendants(ministack.process.pid)
    inodes = {inode for pid in family for inode in list_socket_inodes(pid)}
    listening = {address for address, inode in list_listeners() if inode in inodes}
    assert any(port == ministack.port for _, port in listening)
    assert {host for host, _ in listening} <= {"127.0.0.1", "::1"}, listening


def list_descendants(root: int) -> set[int]:
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(path.name)] = int(fields[1])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def list_socket_inodes(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target.removeprefix("socket:[").removesuffix("]"))
    return found


def list_listeners() -> list[tuple[tuple[str, int], str]]:
    """Return ((host, port), inode) of each listening TCP socket here. Source: proc(5), /proc/net/tcp."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                host, port = fields[1].split(":")
                found.append(((name_address(host), int(port, 16)), fields[9]))
    return found


def name_address(raw: str) -> str:
    words = [bytes.fromhex(raw[start : start + 8])[::-1] for start in range(0, len(raw), 8)]
    data = b"".join(words)
    if len(data) == 4:
        return ".".join(str(byte) for byte in data)
    return "::1" if data == bytes(15) + b"\x01" else data.hex()
