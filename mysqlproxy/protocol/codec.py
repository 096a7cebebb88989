"""Integers and strings of the protocol, read with bounds checks: the bottom of every parser here.

Every reader takes the data and a position and returns the value with the position behind it; what does not
fit raises MalformedPacket. Never copies more than the value, never reads beyond the data. Compiled by mypyc.

Manual: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_data_types.html
"""

from __future__ import annotations

from mysqlproxy.errors import MalformedPacket


def read_int(data: bytes, position: int, size: int) -> tuple[int, int]:
    """A little-endian unsigned integer of ``size`` bytes.

    Raises:
        MalformedPacket: it does not fit.
    """
    end = position + size
    if position < 0 or end > len(data):
        raise MalformedPacket("Malformed packet: an integer is cut off")
    return int.from_bytes(data[position:end], "little"), end


def read_bytes(data: bytes, position: int, size: int) -> tuple[bytes, int]:
    """Exactly ``size`` bytes.

    Raises:
        MalformedPacket: they do not fit.
    """
    end = position + size
    if position < 0 or size < 0 or end > len(data):
        raise MalformedPacket("Malformed packet: a string is cut off")
    return data[position:end], end


def read_lenenc(data: bytes, position: int) -> tuple[int, int]:
    """A length-encoded integer, at most 8 bytes; the NULL (0xFB) and ERR (0xFF) marks are no integers.

    Raises:
        MalformedPacket: it does not fit or is none.
    """
    if position < 0 or position >= len(data):
        raise MalformedPacket("Malformed packet: an integer is cut off")
    first = data[position]
    if first < 0xFB:
        return first, position + 1
    if first == 0xFC:
        return read_int(data, position + 1, 2)
    if first == 0xFD:
        return read_int(data, position + 1, 3)
    if first == 0xFE:
        return read_int(data, position + 1, 8)
    raise MalformedPacket("Malformed packet: not a length-encoded integer")


def skip_lenenc_bytes(data: bytes, position: int) -> int:
    """The position behind a length-encoded string.

    Raises:
        MalformedPacket: it does not fit.
    """
    size, start = read_lenenc(data, position)
    if size > len(data) - start:
        raise MalformedPacket("Malformed packet: a string is cut off")
    return start + size


def read_lenenc_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    """A length-encoded string.

    Raises:
        MalformedPacket: it does not fit.
    """
    size, start = read_lenenc(data, position)
    return read_bytes(data, start, size)


def read_nul_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    """A string up to its NUL; the NUL is consumed, not returned.

    Raises:
        MalformedPacket: there is no NUL.
    """
    end = data.find(b"\0", position) if position >= 0 else -1
    if end < 0:
        raise MalformedPacket("Malformed packet: a string has no end")
    return data[position:end], end + 1


def lenenc(value: int) -> bytes:
    """A length-encoded integer (0..2^64-1)."""
    if value < 0xFB:
        return value.to_bytes(1, "little")
    if value <= 0xFFFF:
        return b"\xfc" + value.to_bytes(2, "little")
    if value <= 0xFFFFFF:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def lenenc_bytes(value: bytes) -> bytes:
    """A length-encoded string."""
    return lenenc(len(value)) + value
