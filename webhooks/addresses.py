"""Say which addresses lie in the public internet; all others are refused unless the operator allows them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

# Written down rather than taken from ``ipaddress``, whose idea of "global" changes with the version of Python.
_CLOSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, where some clouds keep their metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's own services under a public number
        "169.254.0.0/16",  # link-local: metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_OPEN_V6 = IPv6Network("2000::/3")  # global unicast; NAT64, mapped, ULA, link-local and multicast lie outside
_CLOSED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4 holds an IPv4 address
        "3fff::/20",
    )
)


def is_public(text: str) -> bool:
    """Say whether an address, as a resolver returns it, lies in the public internet; False for what is none."""
    try:
        address: Address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in closed for closed in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in closed for closed in _CLOSED_V6)
