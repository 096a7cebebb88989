"""Where the SQL begins: recorded, built, cut off, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.errors import MalformedPacket, ProxyError
from mysqlproxy.protocol.capabilities import PROTOCOL_41, QUERY_ATTRIBUTES
from mysqlproxy.protocol.codec import lenenc, lenenc_bytes
from mysqlproxy.protocol.commands import Command, name_of, statement_offset
from mysqlproxy.protocol.framing import frame
from tests.wire import captured

ATTRIBUTES = PROTOCOL_41 | QUERY_ATTRIBUTES
# One value of every type a parameter can have, in the binary protocol.
VALUES = {
    0: lenenc_bytes(b"1.50"),
    1: b"\x01",
    2: b"\x01\x02",
    3: b"\x01\x02\x03\x04",
    4: b"\x00\x00\xc0\x3f",
    5: b"\x00\x00\x00\x00\x00\x00\xf8\x3f",
    6: b"",
    7: b"\x04\xe9\x07\x0b\x15",
    8: b"\x01\x02\x03\x04\x05\x06\x07\x08",
    9: b"\x01\x02\x03\x00",
    10: b"\x04\xe9\x07\x0b\x15",
    11: b"\x08\x00\x00\x00\x00\x00\x01\x02\x03",
    12: b"\x0b\xe9\x07\x0b\x15\x01\x02\x03\x04\x05\x06\x00",
    13: b"\xe9\x07",
    15: lenenc_bytes(b"text"),
    16: lenenc_bytes(b"\x05"),
    242: lenenc_bytes(b"\x00\x00\x80\x3f"),
    244: b"\x01",
    245: lenenc_bytes(b"{}"),
    246: lenenc_bytes(b"1.50"),
    247: lenenc_bytes(b"a"),
    248: lenenc_bytes(b"a,b"),
    249: lenenc_bytes(b"blob"),
    250: lenenc_bytes(b"blob"),
    251: lenenc_bytes(b"x" * 300),
    252: lenenc_bytes(b"blob"),
    253: lenenc_bytes(b""),
    254: lenenc_bytes(b"v"),
    255: lenenc_bytes(b"\x00" * 25),
}

attribute = st.tuples(st.binary(max_size=20), st.sampled_from(sorted(VALUES)), st.booleans())


def query(attributes: list[tuple[bytes, int, bool]], sql: bytes) -> bytes:
    """A COM_QUERY with named attributes of these types, NULL or not."""
    payload = b"\x03" + lenenc(len(attributes)) + b"\x01"
    if attributes:
        nulls = sum(1 << index for index, (_, _, null) in enumerate(attributes) if null)
        payload += nulls.to_bytes((len(attributes) + 7) // 8, "little") + b"\x01"
        payload += b"".join(bytes((kind, 0)) + lenenc_bytes(name) for name, kind, _ in attributes)
        payload += b"".join(VALUES[kind] for _, kind, null in attributes if not null)
    return payload + sql


def test_names() -> None:
    assert name_of(Command.QUERY) == "COM_QUERY"
    assert name_of(Command.STMT_BULK_EXECUTE) == "COM_STMT_BULK_EXECUTE"
    assert name_of(0) == "COM_SLEEP"
    assert name_of(77) == "COM_77"


def test_without_attributes_the_sql_follows_the_command() -> None:
    payload = b"\x03\x00\x01select 1"
    assert statement_offset(payload, 0, PROTOCOL_41) == 1
    assert statement_offset(frame(payload), 4, PROTOCOL_41) == 5
    assert statement_offset(b"\x03", 0, PROTOCOL_41) == 1


def test_the_common_case_of_no_attributes() -> None:
    payload = b"\x03\x00\x01select 1"
    assert payload[statement_offset(payload, 0, ATTRIBUTES) :] == b"select 1"
    raw = frame(payload)
    assert raw[statement_offset(raw, 4, ATTRIBUTES) :] == b"select 1"
    assert statement_offset(b"\x03\x00\x01", 0, ATTRIBUTES) == 3


def test_recorded_attributes() -> None:
    payload = captured.QUERY_WITH_ATTRIBUTES
    assert payload[statement_offset(payload, 0, ATTRIBUTES) :] == b"select 9"
    raw = frame(payload)
    assert raw[statement_offset(raw, 4, ATTRIBUTES) :] == b"select 9"


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_every_type_of_value(kind: int) -> None:
    payload = query([(b"first", kind, False), (b"last", 3, False)], b"select 1")
    assert payload[statement_offset(payload, 0, ATTRIBUTES) :] == b"select 1"


@given(st.lists(attribute, max_size=20), st.binary(max_size=20))
def test_any_attributes(attributes: list[tuple[bytes, int, bool]], sql: bytes) -> None:
    payload = query(attributes, sql)
    assert payload[statement_offset(payload, 0, ATTRIBUTES) :] == sql


def test_attributes_cut_off_anywhere_are_malformed() -> None:
    payload = captured.QUERY_WITH_ATTRIBUTES
    begin = statement_offset(payload, 0, ATTRIBUTES)
    for size in range(1, begin):
        with pytest.raises(MalformedPacket):
            statement_offset(payload[:size], 0, ATTRIBUTES)
    assert statement_offset(payload[:begin], 0, ATTRIBUTES) == begin


@pytest.mark.parametrize(
    "rest",
    [
        b"\xfe" + b"\xff" * 8 + b"\x01",  # 2^64 - 1 attributes
        b"\xfd\xff\xff\xff\x01" + bytes(100),
        b"\x00\x02select 1",  # two sets
        b"\x01\x01\x00\x00\x03\x00\x00",  # no types
        b"\x01\x01\x00\x01\x11\x00\x00",  # no such type
        b"\x01\x01\x00\x01\xfe\x00\xff",  # a name's length that is none
        b"\x01\x01\x00\x01\xfe\x00\x00\xfe" + b"\xff" * 8,  # a value's length that lies
        b"\xfb\x01",
    ],
)
def test_attributes_that_lie(rest: bytes) -> None:
    with pytest.raises(MalformedPacket):
        statement_offset(b"\x03" + rest, 0, ATTRIBUTES)


@given(st.binary(max_size=80), st.sampled_from([0, 4]), st.sampled_from([PROTOCOL_41, ATTRIBUTES]))
def test_any_bytes_are_an_offset_or_an_error(data: bytes, base: int, capabilities: int) -> None:
    try:
        offset = statement_offset(data, base, capabilities)
    except ProxyError:
        return
    assert 0 <= offset <= len(data)
