"""IP networks as text in CIDR form: which are networks, what lies inside them."""

import ipaddress
from collections.abc import Iterable

from chalicelib.core.errors import InvalidInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return networks in their canonical form, sorted, each once.

    Raises:
        InvalidInput: ``invalid_network``: no CIDR network, bits of a host are set, or IPv4 inside IPv6.
    """
    return tuple(sorted({str(_read_network(text)) for text in texts}))


def is_inside(address: str, networks: Iterable[str]) -> bool:
    """Say whether an address is in one of the networks; what is no address is in none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A dual-stack gateway may write an IPv4 caller as ::ffff:203.0.113.7.
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in ipaddress.ip_network(network) for network in networks)


def covers(outer: Iterable[str], inner: Iterable[str]) -> bool:
    """Say whether each network of ``inner`` lies in one of ``outer``. Both are canonical."""
    around = [ipaddress.ip_network(text) for text in outer]
    return all(any(_contains(each, ipaddress.ip_network(text)) for each in around) for text in inner)


def _read_network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidInput(f"{_explain(text)} Write 203.0.113.0/24.", code="invalid_network") from error
    if isinstance(network, ipaddress.IPv6Network):
        inside = network.network_address
        if inside.ipv4_mapped is not None or inside.scope_id is not None:
            raise InvalidInput(
                "An IPv4 network is written as one, and no network has a zone.", code="invalid_network"
            )
    return network


def _explain(text: str) -> str:
    try:
        whole = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "One of the networks is not in CIDR form."
    return f"A network has no bits of a host; the one around that address is {whole}."


def _contains(outer: Network, inner: Network) -> bool:
    if isinstance(outer, ipaddress.IPv4Network):
        return isinstance(inner, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, ipaddress.IPv6Network) and inner.subnet_of(outer)
