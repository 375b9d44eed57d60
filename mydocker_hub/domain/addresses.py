"""Which IP addresses are of the internet: what others name is asked at no other unless allowed."""

from __future__ import annotations

import ipaddress

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# The last 32 bits are an IPv4 address: RFC 4291 §2.5.5.1, RFC 6052 §2.1, RFC 8215.
_EMBEDDING = [ipaddress.IPv6Network(net) for net in ("::/96", "64:ff9b::/96", "64:ff9b:1::/96")]
_NAT64_HERE = ipaddress.IPv6Network("64:ff9b:1::/48")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, however it is wrapped."""
    ip = _unwrapped(address)
    return ip is not None and ip.is_global and not ip.is_multicast


def is_private(address: str) -> bool:
    """Whether it is loopback or of a private network: not link-local, where clouds keep keys."""
    ip = _unwrapped(address)
    if ip is None or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return False
    return ip.is_private


def _unwrapped(address: str) -> _Address | None:
    """The address that is reached; None for nobody's, and an IPv4 address in another disguise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address) or ip.is_loopback or ip.is_unspecified:
        return ip
    if any(ip in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(ip.packed[-4:])
    if ip in _NAT64_HERE or ip.sixtofour or ip.teredo or ip.is_site_local:
        return None
    return ip.ipv4_mapped or ip
