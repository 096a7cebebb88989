"""Addresses: the forms that are taken, and the sentences for the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.config.addresses import Address, parse_address, parse_listen


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:3307", Address("127.0.0.1", 3307)),
        ("db1.example.com", Address("db1.example.com", 3306)),
        ("db_1:1", Address("db_1", 1)),
        ("[::1]:65535", Address("::1", 65535)),
        ("[2001:db8::1]", Address("2001:db8::1", 3306)),
        ("unix:/run/mysqld/mysqld.sock", Address("", 0, "/run/mysqld/mysqld.sock")),
    ],
)
def test_servers(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no host"),
        (":3306", "has no host"),
        ("h:", "has no port between 0 and 65535"),
        ("h:65536", "has no port between 0 and 65535"),
        ("h:٣", "has no port between 0 and 65535"),
        ("h:-1", "has no port between 0 and 65535"),
        ("h:0", "has port 0"),
        ("::1", "has several colons"),
        ("[::1", r"is not of the form \[ipv6\]:port"),
        ("[::1]3306", r"is not of the form \[ipv6\]:port"),
        ("[h]:1", "'h' is no IPv6 address"),
        ("a b:1", "'a b' is no host name"),
        ("a" * 254, "is no host name"),
        ("unix:", "needs a path"),
        ("unix:/" + "a" * 107, "at most 107 bytes"),
        ("unix:/a\0b", "no NUL"),
    ],
)
def test_no_servers(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("*:6033", Address("", 6033)),
        (":6033", Address("", 6033)),
        ("[::]:6033", Address("::", 6033)),
        ("unix:/run/a", Address("", 0, "/run/a")),
    ],
)
def test_listeners(text: str, address: Address) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["localhost", "[::1]", "", "*:x"])
def test_no_listeners(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        parse_listen(text)


@given(st.text(max_size=300))
def test_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_address, parse_listen):
        try:
            address = parse(text)
        except ValueError:
            continue
        assert 0 <= address.port <= 65535
