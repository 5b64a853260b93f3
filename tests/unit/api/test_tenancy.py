"""Which addresses need keys."""

from __future__ import annotations

import pytest

from api.tenancy import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_a_loopback_address_is_this_machine_alone(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "192.168.1.7", "example.org", "localhost.evil.org"]
)
def test_any_other_address_is_a_network(host):
    assert not is_loopback(host)
