"""Which addresses are of the internet, however they are written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mydocker_hub.domain.addresses import is_private, is_public


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("8.8.8.8", True, False),
        ("2a00:1450:4007::1", True, False),
        ("127.0.0.1", False, True),
        ("127.9.9.9", False, True),
        ("::1", False, True),
        ("10.1.2.3", False, True),
        ("172.16.0.1", False, True),
        ("192.168.1.1", False, True),
        ("fd00::1", False, True),
        ("169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("100.64.0.1", False, False),
        ("::ffff:127.0.0.1", False, True),
        ("::ffff:169.254.169.254", False, False),
        ("::ffff:8.8.8.8", True, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:7f00:1::", False, False),
        ("fec0::1", False, False),
        # IPv4-compatible (RFC 4291)
        ("::127.0.0.1", False, True),
        ("::10.1.2.3", False, True),
        ("::169.254.169.254", False, False),
        ("::8.8.8.8", True, False),
        # NAT64 (RFC 6052), and of one's own network (RFC 8215)
        ("64:ff9b::127.0.0.1", False, True),
        ("64:ff9b::10.1.2.3", False, True),
        ("64:ff9b::8.8.8.8", True, False),
        ("64:ff9b:1::192.168.1.1", False, True),
        ("64:ff9b:1::169.254.169.254", False, False),
        ("64:ff9b:1::8.8.8.8", True, False),
        ("64:ff9b:1:a01:2:300::", False, False),
        ("64:ff9b:1:ffff:ffff:ffff:808:808", False, False),
    ],
)
def test_public_and_private(address: str, public: bool, private: bool) -> None:
    assert is_public(address) is public
    assert is_private(address) is private


@given(
    st.sampled_from(["::", "::ffff:0:0", "64:ff9b::", "64:ff9b:1::"]),
    st.ip_addresses(v=4).filter(lambda ip: int(ip) > 1),
)
def test_an_address_is_what_it_wraps(prefix: str, inner: ipaddress.IPv4Address) -> None:
    outer = str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + int(inner)))
    assert is_public(outer) is is_public(str(inner))
    assert is_private(outer) is is_private(str(inner))
