"""The PROXY protocol, versions 1 and 2: for whom a load balancer connects. Called by the session's client socket.

It is read from listed networks only, and required there. Addresses are believed, nothing else is: the further
fields of version 2 are skipped. https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

from mysqlproxy.errors import ClientFault

MAX_V1: Final = 107  # bytes, with CRLF
MAX_V2: Final = 4096  # bytes behind the first 16; addresses take 216 at most, the rest is fields that we skip
_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LINE: Final = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5})\r\n")


class Introduction(NamedTuple):
    """What a header says.

    Attributes:
        peer: the client's address; None: the sender speaks for itself (health checks), or does not know.
        size: bytes of the header.
    """

    peer: IPv4Address | IPv6Address | None
    size: int


def parse_proxy_header(data: bytes) -> Introduction | None:
    """The header at the begin of ``data``; None when more bytes are needed.

    Raises:
        ClientFault: no header (1043/08S01).
    """
    if data[: len(_V1)] == _V1[: len(data)]:
        return _version_1(data)
    if data[: len(_V2)] == _V2[: len(data)]:
        return _version_2(data)
    raise _fault("a PROXY header is required from this address")


def _version_1(data: bytes) -> Introduction | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise _fault("a PROXY header without end")
        return None
    size = end + 2
    if data.startswith(b"PROXY UNKNOWN"):
        return Introduction(None, size)
    match = _LINE.fullmatch(data[:size])
    if match is None:
        raise _fault("a PROXY header that is none")
    kind = IPv4Address if match[1] == b"TCP4" else IPv6Address
    try:
        kind(match[3].decode())
        return Introduction(kind(match[2].decode()), size)
    except AddressValueError:
        raise _fault("a PROXY header with an address that is none") from None


def _version_2(data: bytes) -> Introduction | None:
    if len(data) < 16:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    length = int.from_bytes(data[14:16])
    if version != 2 or command > 1 or length > MAX_V2:
        raise _fault("a PROXY header that is none")
    size = 16 + length
    if len(data) < size:
        return None
    if command == 0 or family not in (1, 2) or transport != 1:
        return Introduction(None, size)
    if length < (12 if family == 1 else 36):
        raise _fault("a PROXY header that is cut off")
    return Introduction(
        IPv4Address(data[16:20]) if family == 1 else IPv6Address(data[16:32]),
        size,
    )


def _fault(reason: str) -> ClientFault:
    return ClientFault(f"Bad handshake: {reason}", errno=1043, sqlstate="08S01")
