"""The packets of prepared statements: recorded, built, cut off, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.errors import MalformedPacket, ProxyError
from mysqlproxy.protocol.capabilities import PROTOCOL_41, QUERY_ATTRIBUTES
from mysqlproxy.protocol.codec import lenenc, lenenc_bytes
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.prepared import (
    LAST_PREPARED,
    PrepareOk,
    cursor_requested,
    parameter_types,
    parse_prepare_ok,
    statement_id,
    with_parameter_types,
    with_statement_id,
)
from tests.wire import captured

PLAIN = PROTOCOL_41
ATTRIBUTES = PROTOCOL_41 | QUERY_ATTRIBUTES


def execute(
    count: int, types: bytes | None, *, capabilities: int = PLAIN, flags: int = 0, values: bytes = b"values"
) -> bytes:
    """A COM_STMT_EXECUTE of ``count`` parameters, none of them NULL."""
    payload = b"\x17\x07\x00\x00\x00" + bytes((flags,)) + b"\x01\x00\x00\x00"
    if capabilities & QUERY_ATTRIBUTES and (count or flags & 8):
        payload += lenenc(count)
    if not count:
        return payload
    payload += bytes((count + 7) // 8)
    return payload + (b"\x00" if types is None else b"\x01" + types) + values


def test_mariadbs_prepare_ok() -> None:
    assert parse_prepare_ok(captured.PREPARE_OK) == PrepareOk(1, columns=3, parameters=3, warnings=0)
    with_warnings = captured.PREPARE_OK[:-2] + b"\x05\x00"
    assert parse_prepare_ok(with_warnings).warnings == 5


def test_a_cut_off_prepare_ok_is_malformed() -> None:
    for size in range(len(captured.PREPARE_OK)):
        if size == 9:  # how servers before 5.0 sent it
            assert parse_prepare_ok(captured.PREPARE_OK[:size]).warnings == 0
            continue
        with pytest.raises(MalformedPacket):
            parse_prepare_ok(captured.PREPARE_OK[:size])


@pytest.mark.parametrize("code", [0x17, 0x18, 0x19, 0x1A, 0x1C, 0xFA])
def test_ids_are_replaced_in_every_request(code: int) -> None:
    raw = frame(bytes((code,)) + LAST_PREPARED.to_bytes(4, "little") + b"the rest")
    assert statement_id(raw) == LAST_PREPARED
    replaced = with_statement_id(raw, 0x01020304)
    assert statement_id(replaced) == 0x01020304
    assert replaced == frame(bytes((code,)) + b"\x04\x03\x02\x01the rest")


@pytest.mark.parametrize("size", range(9))
def test_a_request_without_an_id_is_malformed(size: int) -> None:
    raw = frame(b"\x17\x01\x00\x00\x00")[:size]
    with pytest.raises(MalformedPacket):
        with_statement_id(raw, 5)
    with pytest.raises(MalformedPacket):
        statement_id(raw)


def test_cursors() -> None:
    assert not cursor_requested(captured.MARIADB_EXECUTE)
    assert not cursor_requested(captured.EXECUTE_WITH_ATTRIBUTE)  # its flag says that the count is there
    for flags, cursor in ((0, False), (8, False), (1, True), (9, True), (2, True), (4, True)):
        assert cursor_requested(execute(1, b"\x03\x00", flags=flags)) is cursor
    assert not cursor_requested(b"\x17\x01")
    assert not cursor_requested(b"")
    assert not cursor_requested(b"\xfa\x01\x00\x00\x00\x01\x00")


def test_recorded_types() -> None:
    assert parameter_types(captured.MARIADB_EXECUTE, 3, PLAIN) == bytes.fromhex("0180fe000600")
    assert parameter_types(captured.MARIADB_EXECUTE_NO_PARAMETERS, 0, PLAIN) is None
    types = parameter_types(captured.EXECUTE_WITH_ATTRIBUTE, 3, ATTRIBUTES)
    assert types == bytes.fromhex("018000fe00000600000180057472616365")
    types = parameter_types(captured.EXECUTE_ONLY_ATTRIBUTES, 0, ATTRIBUTES)
    assert types == bytes.fromhex("0180057472616365fe00027432")


@pytest.mark.parametrize(
    ("payload", "parameters", "capabilities"),
    [
        (captured.MARIADB_EXECUTE, 3, PLAIN),
        (captured.EXECUTE_WITH_ATTRIBUTE, 3, ATTRIBUTES),
        (captured.EXECUTE_ONLY_ATTRIBUTES, 0, ATTRIBUTES),
    ],
)
def test_types_taken_out_and_put_back_are_the_recorded_packet(
    payload: bytes, parameters: int, capabilities: int
) -> None:
    types = parameter_types(payload, parameters, capabilities)
    assert types is not None
    later = payload.replace(b"\x01" + types, b"\x00", 1)
    assert parameter_types(later, parameters, capabilities) is None
    assert with_parameter_types(later, parameters, types, capabilities) == payload
    assert with_parameter_types(payload, parameters, types, capabilities) is payload


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=10)), min_size=1, max_size=70),
    st.booleans(),
    st.binary(max_size=20),
)
def test_types_round_trip(parameters: list[tuple[int, bytes]], named: bool, values: bytes) -> None:
    capabilities = ATTRIBUTES if named else PLAIN
    types = b"".join(bytes((kind, 0)) + (lenenc_bytes(name) if named else b"") for kind, name in parameters)
    count = len(parameters)
    first = execute(count, types, capabilities=capabilities, values=values)
    later = execute(count, None, capabilities=capabilities, values=values)
    assert parameter_types(first, count, capabilities) == types
    assert parameter_types(later, count, capabilities) is None
    assert with_parameter_types(later, count, types, capabilities) == first


def test_a_bulk_execution_has_its_types_behind_its_flags() -> None:
    head = b"\xfa\x01\x00\x00\x00"
    first = head + b"\x80\x00" + b"\x03\x00\xfe\x00" + b"\x00\x01\x00\x00\x00\x00\x01a"
    later = head + b"\x00\x00" + b"\x00\x01\x00\x00\x00\x00\x01a"
    assert parameter_types(first, 2, PLAIN) == b"\x03\x00\xfe\x00"
    assert parameter_types(later, 2, PLAIN) is None
    assert with_parameter_types(later, 2, b"\x03\x00\xfe\x00", PLAIN) == first
    with_results = head + b"\x40\x00" + later[7:]
    assert with_parameter_types(with_results, 2, b"\x03\x00\xfe\x00", PLAIN)[5:7] == b"\xc0\x00"


@pytest.mark.parametrize("types", [b"", b"\x03\x00", b"\x03\x00\xfe\x00\x03", b"\x03\x00\xfe\x00\x03\x00"])
def test_types_of_another_number_of_parameters_are_refused(types: bytes) -> None:
    with pytest.raises(MalformedPacket):
        with_parameter_types(execute(2, None), 2, types, PLAIN)


@pytest.mark.parametrize(
    ("payload", "parameters", "capabilities"),
    [
        (captured.MARIADB_EXECUTE, 3, PLAIN),
        (captured.EXECUTE_WITH_ATTRIBUTE, 3, ATTRIBUTES),
        (captured.EXECUTE_ONLY_ATTRIBUTES, 0, ATTRIBUTES),
    ],
)
def test_an_execution_cut_off_before_its_values_is_malformed(
    payload: bytes, parameters: int, capabilities: int
) -> None:
    types = parameter_types(payload, parameters, capabilities)
    assert types is not None
    values_at = payload.index(types) + len(types)
    for size in range(values_at):
        with pytest.raises(MalformedPacket):
            parameter_types(payload[:size], parameters, capabilities)
    assert parameter_types(payload[:values_at], parameters, capabilities) == types


@pytest.mark.parametrize("count", [b"\xfe" + b"\xff" * 8, b"\xfd\xff\xff\xff", b"\xff", b"\xfb"])
def test_a_count_that_lies_is_refused(count: bytes) -> None:
    payload = execute(0, None) + count + b"\x00\x01\x03\x00\x00"
    with pytest.raises(MalformedPacket):
        parameter_types(payload, 1, ATTRIBUTES)


@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"\x17", b"\xfa", captured.EXECUTE_WITH_ATTRIBUTE[:12]]),
    st.integers(min_value=0, max_value=65535) | st.integers(min_value=0, max_value=9),
    st.sampled_from([PLAIN, ATTRIBUTES]),
    st.binary(max_size=12),
)
def test_any_bytes_are_an_execution_or_an_error(
    data: bytes, begin: bytes, parameters: int, capabilities: int, types: bytes
) -> None:
    payload = begin + data
    cursor_requested(payload)
    try:
        found = parameter_types(payload, parameters, capabilities)
    except ProxyError:
        found = None
    assert found is None or found in payload
    try:
        changed = with_parameter_types(payload, parameters, types, capabilities)
    except ProxyError:
        return
    assert changed is payload or len(changed) == len(payload) + len(types)


@given(st.binary(max_size=20))
def test_any_bytes_are_a_prepare_ok_or_an_error(payload: bytes) -> None:
    for body in (payload, b"\x00" + payload):
        try:
            found = parse_prepare_ok(body)
        except ProxyError:
            continue
        assert found.parameters <= 65535
