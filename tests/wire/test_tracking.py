"""Session-state blocks: recorded, built, cut off, any bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.errors import MalformedPacket, ProxyError
from mysqlproxy.protocol.capabilities import PROTOCOL_41, SESSION_TRACK
from mysqlproxy.protocol.codec import lenenc_bytes
from mysqlproxy.protocol.packets import parse_ok
from mysqlproxy.protocol.tracking import (
    Change,
    ChangeKind,
    is_statement_id,
    only_kinds,
    parse_session_state,
)
from tests.wire import captured

TRACK = PROTOCOL_41 | SESSION_TRACK


def block(kind: int, content: bytes) -> bytes:
    return bytes((kind,)) + lenenc_bytes(content)


def recorded(payload: bytes) -> list[Change]:
    return parse_session_state(parse_ok(payload, TRACK).session_state)


def variable(name: str, value: str) -> Change:
    return Change(ChangeKind.VARIABLE, name, value)


def test_mariadbs_gtid_is_a_variable() -> None:
    assert recorded(captured.MARIADB_OK_GTID) == [variable("last_gtid", "0-1-16")]


def test_mysqls_gtid_has_its_own_kind_beside_a_variable() -> None:
    statement, gtids = recorded(captured.MYSQL_OK_GTID)
    assert statement.name == "statement_id"
    assert gtids.kind is ChangeKind.GTIDS
    uuid, _, number = gtids.value.partition(":")
    assert len(uuid) == 36
    assert number.isdecimal()


def test_use_reports_the_schema_and_the_state() -> None:
    assert recorded(captured.MARIADB_OK_USE) == [
        Change(ChangeKind.SCHEMA, "", "shop"),
        Change(ChangeKind.STATE_CHANGE, "", "1"),
    ]


def test_a_transaction_reports_its_state_and_its_sql() -> None:
    assert recorded(captured.MARIADB_OK_READ_ONLY) == [
        Change(ChangeKind.TRANSACTION_STATE, "", "T_______"),
        Change(ChangeKind.TRANSACTION_CHARACTERISTICS, "", "START TRANSACTION READ ONLY;"),
    ]


def test_set_names_reports_three_variables() -> None:
    assert recorded(captured.OK_SET_NAMES) == [
        variable("character_set_client", "utf8mb4"),
        variable("character_set_connection", "utf8mb4"),
        variable("character_set_results", "utf8mb4"),
    ]


def test_several_variables_in_one_block() -> None:
    content = b"".join(map(lenenc_bytes, (b"a", b"1", b"b", b"")))
    assert parse_session_state(block(0, content)) == [variable("a", "1"), variable("b", "")]


def test_unknown_kinds_and_encodings_are_skipped() -> None:
    data = block(200, b"anything") + block(3, b"\x07binary") + block(1, lenenc_bytes(b"s"))
    assert parse_session_state(data) == [Change(ChangeKind.SCHEMA, "", "s")]


def test_bytes_that_are_no_utf8_come_back() -> None:
    (change,) = parse_session_state(block(1, lenenc_bytes(b"gr\xfc\xdfe")))
    assert change.value.encode("utf-8", "surrogateescape") == b"gr\xfc\xdfe"


@pytest.mark.parametrize(
    "data",
    [
        b"\x01",
        b"\x01\x05\x04sho",
        b"\x01\x04\x05shop",
        b"\x01\x05\x03shop",  # a byte behind the value
        b"\x00\x02\x01a",  # a name without a value
        b"\x03\x00",
        b"\xc8\x09short",
        b"\x01\xff",
    ],
)
def test_lengths_that_do_not_fit(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_session_state(data)


def test_a_cut_off_state_is_malformed_except_between_blocks() -> None:
    data = parse_ok(captured.OK_SET_NAMES, TRACK).session_state
    whole = parse_session_state(data)
    complete = 0
    for size in range(len(data) + 1):
        try:
            changes = parse_session_state(data[:size])
        except MalformedPacket:
            continue
        assert changes == whole[:complete]
        complete += 1
    assert complete == len(whole) + 1


values = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
changes = st.lists(
    st.builds(variable, values, values)
    | st.builds(
        Change,
        st.sampled_from([kind for kind in ChangeKind if kind is not ChangeKind.VARIABLE]),
        st.just(""),
        values,
    ),
    max_size=6,
)


@given(changes)
def test_states_round_trip(expected: list[Change]) -> None:
    data = b""
    for change in expected:
        content = change.value.encode()
        if change.kind is not ChangeKind.STATE_CHANGE:
            content = lenenc_bytes(content)
        if change.kind is ChangeKind.VARIABLE:
            content = lenenc_bytes(change.name.encode()) + content
        elif change.kind is ChangeKind.GTIDS:
            content = b"\0" + content
        data += block(change.kind.value, content)
    assert parse_session_state(data) == expected


@given(st.binary(max_size=60))
def test_any_bytes_are_changes_or_an_error(data: bytes) -> None:
    try:
        found = parse_session_state(data)
    except ProxyError:
        return
    assert len(found) <= len(data)


def test_only_some_kinds_and_variables_are_kept() -> None:
    state = (
        block(0, b"\x03a_b\x01x") + block(0, b"\x01c\x01y\x01d\x01z") + block(1, b"\x03app") + block(9, b"?")
    )
    assert only_kinds(state, {ChangeKind.SCHEMA}, {b"d"}) == block(0, b"\x01d\x01z") + block(1, b"\x03app")
    assert only_kinds(state, (), None) == block(0, b"\x03a_b\x01x") + block(0, b"\x01c\x01y\x01d\x01z")
    assert only_kinds(state, (), ()) == b""


@given(st.binary(max_size=100))
def test_any_state_is_filtered_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedPacket):
        kept = only_kinds(data, tuple(ChangeKind), None)
        assert only_kinds(kept, tuple(ChangeKind), None) == kept
    with contextlib.suppress(MalformedPacket):
        only_kinds(data, (ChangeKind.SCHEMA,), (b"a",))


def test_a_statements_number_alone_is_told_apart() -> None:
    alone = block(0, b"\x0cstatement_id\x0245")
    assert is_statement_id(alone)
    for state in (
        b"",
        alone + alone,
        alone + block(1, b"\x03app"),
        block(0, b"\x0bstatement_i\x0245"),
        alone[:-1],
    ):
        assert not is_statement_id(state)
