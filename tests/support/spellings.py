"""Spell addresses that must not be reached, in every way that some reader of URLs takes for them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

CLOSED = ("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
          "224.0.0.1", "255.255.255.255", "168.63.129.16")  # fmt: skip


def _of_v4(text: str) -> Iterator[str]:
    address = IPv4Address(text)
    number, (a, b, c, d) = int(address), address.packed
    yield text
    yield f"{text}."
    yield str(number)
    yield hex(number)
    yield f"0{number:o}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"
    yield f"{a}.{b << 16 | c << 8 | d}"
    yield f"{a}.{b}.{c << 8 | d}"
    yield f"00{a:o}.{b}.{c}.{d}"
    yield f"[::ffff:{text}]"
    yield f"[0:0:0:0:0:ffff:{a:02x}{b:02x}:{c:02x}{d:02x}]"
    yield f"[::{text}]"
    yield f"[64:ff9b::{text}]"
    yield f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]"


HOSTS = (
    *(host for text in CLOSED for host in _of_v4(text)),
    *(
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fc00::1]",
        "[ff02::1]",
        "[fec0::1]",
        "[2001:db8::1]",
    ),
    *("localhost", "localhost.", "LOCALHOST", "LocalHost.", "0", "0x0", "127.1", "127.0.1"),
    *("%31%32%37.0.0.1", "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "[::1%25lo]", "[v1.a]"),
)

URLS = (
    "https://example.com@{loopback}/",
    "https://user:pw@{loopback}/",
    "https://{loopback}#@example.com/",
    "https://{loopback}\\@example.com/",
    "https://example.com\\@{loopback}/",
    "https:\\\\{loopback}/",
    "https:///{loopback}/",
    "https://{loopback}\t/",
    "https://exa\nmple.com@{loopback}/",
    " https://{loopback}/",
    "http://{loopback}/",
    "HTTP://{loopback}/",
    "ftp://{loopback}/",
    "file://{loopback}/etc/passwd",
    "gopher://{loopback}/_x",
    "ws://{loopback}/",
    "//{loopback}/",
    "{loopback}",
    "https://",
    "https://:443/",
    "https://[{loopback}",
)
