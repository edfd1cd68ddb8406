"""Which address a request comes from, behind proxies or not."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

__all__ = ["Networks", "caller_address", "networks"]

Networks = tuple[IPv4Network | IPv6Network, ...]
_MAX_HOPS = 16


def networks(text: str) -> Networks:
    """Addresses and networks between commas; ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def caller_address(peer: str, forwarded: bytes | None, trusted: Networks) -> str:
    """The last hop that no trusted proxy stands for. What an untrusted peer says about others is not believed.

    `forwarded`: the header X-Forwarded-For, to which each proxy appends the address that it was called from.
    """
    if not forwarded or not _is_in(peer, trusted):
        return peer
    address = peer
    for hop in _hops(forwarded):
        if not _is_address(hop):
            return address
        address = hop
        if not _is_in(hop, trusted):
            break
    return address


def _hops(forwarded: bytes) -> Sequence[str]:
    """Nearest first."""
    return [hop.strip() for hop in forwarded.decode("latin-1").rsplit(",", _MAX_HOPS)][::-1][:_MAX_HOPS]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(address: str, networks: Networks) -> bool:
    if not networks:
        return False
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)
