"""Keeps workloads' networks apart from the host, from each other and from the cloud's metadata service.

Each rental has a bridge of its own whose name starts with `BRIDGE_PREFIX`; one nftables table of ours has the
rules for all of them. Metadata is refused before routing, so it makes no difference whether the address is
the cloud's or has been given to the host itself. Source of the addresses: EC2 User Guide, "Retrieve instance
metadata" (169.254.169.254, fd00:ec2::254); the link-local block also holds DNS, time and ECS credentials.
"""

import hashlib
import subprocess
from collections.abc import Sequence

BRIDGE_PREFIX = "pvc-"
#: A Linux interface name has at most 15 characters.
_DIGEST_CHARACTERS = 10
TABLE = "provocative"
METADATA_V4 = ("169.254.0.0/16",)
METADATA_V6 = ("fd00:ec2::/32",)


def name_bridge(rental_id: str) -> str:
    return BRIDGE_PREFIX + hashlib.sha256(rental_id.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def build_rules(blocked: Sequence[str] = ()) -> str:
    """Return the table for ``nft -f``; it replaces the former one in one step.

    Args:
        blocked: further networks that no workload may reach, for example the fleet's own.
    """
    v4 = ", ".join([*METADATA_V4, *(each for each in blocked if ":" not in each)])
    v6 = ", ".join([*METADATA_V6, *(each for each in blocked if ":" in each)])
    ours = f'iifname "{BRIDGE_PREFIX}*"'
    return f"""table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain refuse_metadata {{
    type filter hook prerouting priority -310; policy accept;
    {ours} ip daddr {{ {v4} }} counter drop
    {ours} ip6 daddr {{ {v6} }} counter drop
  }}
  chain refuse_other_tenants {{
    type filter hook forward priority -10; policy accept;
    {ours} oifname "{BRIDGE_PREFIX}*" counter drop
  }}
  chain refuse_the_host {{
    type filter hook input priority -10; policy accept;
    {ours} ct state established,related accept
    {ours} meta l4proto {{ tcp, udp }} th dport 53 accept
    {ours} meta l4proto {{ icmp, ipv6-icmp }} accept
    {ours} counter drop
  }}
}}
"""


def guard_networks(blocked: Sequence[str] = ()) -> None:
    """Put the rules in force. Raises OSError: they are not, and nothing may be started."""
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],  # noqa: S607 - the host's own
            input=build_rules(blocked).encode(),
            capture_output=True,
            check=False,
            timeout=30,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError("nft does not answer") from error
    if done.returncode != 0:
        raise OSError(f"nft refused the rules: {done.stderr.decode('utf-8', 'replace').strip()}")
