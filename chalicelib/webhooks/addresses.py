"""Which URLs an endpoint may have, and to which addresses a delivery may go.

A name is checked when the endpoint is made, for a clear error; what counts is the address that it resolves
to, looked at each time before we connect to it.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from chalicelib.core.errors import InvalidInput

MAX_URL = 2048
HTTPS_PORT = 443
HTTP_PORT = 80
FIRST_UNPRIVILEGED_PORT = 1024
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: RFC 6761, 6762, 8375 and what clouds use for themselves.
_PRIVATE_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "home.arpa", "test")
#: What `ipaddress` calls global in some versions and is no server's address: relays, tests, documentation.
_IPV4_REFUSED = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/3",
    )
)
#: Global unicast. What carries an IPv4 address is outside (mapped, NAT64) or refused (6to4, Teredo).
_IPV6_ALLOWED = ipaddress.ip_network("2000::/3")
_IPV6_REFUSED = tuple(
    ipaddress.ip_network(each) for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


@dataclass(frozen=True, slots=True)
class Reach:
    """``loopback``: also this machine itself, over plain HTTP. Of the stage on a laptop, and of no other."""

    loopback: bool = False

    def allows(self, address: str) -> bool:
        """Say whether a delivery may connect to an address (text of IPv4 or IPv6)."""
        return is_public(address) or (self.loopback and is_loopback(address))


def is_public(address: str) -> bool:
    """Say whether it is the address of one machine in the public internet; text that is no address is not."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not any(parsed in network for network in _IPV4_REFUSED)
    inside = parsed in _IPV6_ALLOWED and not any(parsed in network for network in _IPV6_REFUSED)
    return inside and parsed.is_global and parsed.scope_id is None


def is_loopback(address: str) -> bool:
    """Say whether it is 127.0.0.0/8 or ::1, written plainly."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_url(url: str, reach: Reach) -> None:
    """Raises InvalidInput (``invalid_webhook_url``): no delivery to it would ever be made."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise _refuse(f"it has {MAX_URL} characters at most, ASCII, none of them a space or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refuse("it is malformed") from error
    host = parts.hostname or ""
    if "@" in parts.netloc:
        raise _refuse("it has a user name or a password")
    if parts.fragment or "#" in url:
        raise _refuse("it has a fragment")
    if reach.loopback and parts.scheme in {"http", "https"} and is_loopback(host):
        return
    if parts.scheme != "https":
        raise _refuse("it does not begin with https://")
    if port is not None and port != HTTPS_PORT and port < FIRST_UNPRIVILEGED_PORT:
        raise _refuse(f"its port is neither {HTTPS_PORT} nor {FIRST_UNPRIVILEGED_PORT} or above")
    _check_host(parts, host)


def choose_port(parts: SplitResult) -> int:
    return parts.port or (HTTPS_PORT if parts.scheme == "https" else HTTP_PORT)


def _check_host(parts: SplitResult, host: str) -> None:
    if "[" in parts.netloc or _is_address(host):
        if not is_public(host):
            raise _refuse("its address is not a public one")
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(each) for each in labels):  # noqa: PLR2004
        raise _refuse("its host is no full domain name")
    # Resolvers take 0x7f.1 or 0177.0.0.1 for an address.
    if _NUMBER.fullmatch(labels[-1]):
        raise _refuse("its host is no full domain name")
    name = ".".join(labels)
    if any(name == each or name.endswith(f".{each}") for each in _PRIVATE_NAMES):
        raise _refuse("its host is a name of a private network")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _refuse(why: str) -> InvalidInput:
    return InvalidInput(f"The URL is refused: {why}.", code="invalid_webhook_url")
