"""The PROXY protocol's header: whole, byte by byte, and wrong."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.errors import ClientFault
from mysqlproxy.protocol.proxy_header import MAX_V1, MAX_V2, Introduction, parse_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes((192, 0, 2, 1, 198, 51, 100, 7, 0x13, 0x88, 0x17, 0x91))
V6 = ip_address("2001:db8::1").packed + ip_address("2001:db8::2").packed + b"\x13\x88\x17\x91"


def second(command: int, kind: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes((0x20 | command, kind)) + len(rest).to_bytes(2) + rest


GOOD = {
    "v1 tcp4": (b"PROXY TCP4 192.0.2.1 198.51.100.7 5000 6033\r\n", "192.0.2.1"),
    "v1 tcp6": (b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 6033\r\n", "2001:db8::1"),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", None),
    "v1 unknown with more": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    "v2 tcp4": (second(1, 0x11, V4), "192.0.2.1"),
    "v2 tcp4 and fields": (second(1, 0x11, V4 + b"\x04\x00\x03abc"), "192.0.2.1"),
    "v2 tcp6": (second(1, 0x21, V6), "2001:db8::1"),
    "v2 local": (second(0, 0x00, b""), None),
    "v2 local with addresses": (second(0, 0x11, V4), None),
    "v2 unix": (second(1, 0x31, bytes(216)), None),
    "v2 udp": (second(1, 0x12, V4), None),
}


@pytest.mark.parametrize(("header", "peer"), GOOD.values(), ids=GOOD.keys())
def test_headers(header: bytes, peer: str | None) -> None:
    wanted = Introduction(None if peer is None else ip_address(peer), len(header))
    assert parse_proxy_header(header) == wanted
    assert parse_proxy_header(header + b"what follows") == wanted
    for size in range(len(header)):
        assert parse_proxy_header(header[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x20\0\0\1", b"GET / HTTP/1.1\r\n", b"PROXX", b"PROXY\r\n", b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", b"PROXY TCP4 ::1 ::2 1 2\r\n", b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        b"PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n", b"PROXY " + b"x" * MAX_V1, b"\r\n\r\n\0\r\nQUIT!",
        SIGNATURE + b"\x11\x11\0\x0c" + V4, second(2, 0x11, V4), second(1, 0x11, V4[:-1]), second(1, 0x21, V4),
        SIGNATURE + b"\x21\x11" + (MAX_V2 + 1).to_bytes(2),
    ],
)  # fmt: skip
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ClientFault) as caught:
        parse_proxy_header(data)
    assert caught.value.errno == 1043


@given(st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary(max_size=300))
def test_any_bytes_are_a_header_or_a_fault_or_too_few(begin: bytes, rest: bytes) -> None:
    try:
        found = parse_proxy_header(begin + rest)
    except ClientFault:
        return
    assert found is None or 0 < found.size <= len(begin + rest)
