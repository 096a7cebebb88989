"""OK, ERR and EOF: recorded bytes, round trips, translation, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.errors import MalformedPacket, ProxyError
from mysqlproxy.protocol.capabilities import (
    PROTOCOL_41,
    SESSION_TRACK,
    STATUS_AUTOCOMMIT,
    STATUS_SESSION_STATE_CHANGED,
)
from mysqlproxy.protocol.packets import (
    Err,
    Ok,
    build_eof,
    build_err,
    build_ok,
    parse_err,
    parse_ok,
    translate_ok,
)
from tests.wire import captured

TRACK = PROTOCOL_41 | SESSION_TRACK
INFO = b"Records: 2  Duplicates: 0  Warnings: 0"
TRACKED = [
    captured.MARIADB_OK_GTID,
    captured.MYSQL_OK_GTID,
    captured.MARIADB_OK_USE,
    captured.MARIADB_OK_READ_ONLY,
    captured.OK_SET_NAMES,
]
oks = st.builds(
    Ok,
    affected_rows=st.integers(min_value=0, max_value=(1 << 64) - 1),
    last_insert_id=st.integers(min_value=0, max_value=(1 << 64) - 1),
    status=st.integers(min_value=0, max_value=0xFFFF).map(
        lambda flags: flags & ~STATUS_SESSION_STATE_CHANGED
    ),
    warnings=st.integers(min_value=0, max_value=0xFFFF),
    info=st.binary(max_size=300),
    session_state=st.binary(max_size=300),
)


def flagged(ok: Ok) -> Ok:
    """As it is read again: the state's flag follows from the state."""
    status = ok.status | (STATUS_SESSION_STATE_CHANGED if ok.session_state else 0)
    return Ok(ok.affected_rows, ok.last_insert_id, status, ok.warnings, ok.info, ok.session_state)


def test_an_ok_without_session_track_has_its_info_with_a_length() -> None:
    """The manual says string<EOF>; both servers send the length, too."""
    ok = parse_ok(captured.OK_WITH_INFO, PROTOCOL_41)
    assert ok == Ok(affected_rows=2, last_insert_id=1, status=STATUS_AUTOCOMMIT, info=INFO)
    assert build_ok(ok, PROTOCOL_41) == captured.OK_WITH_INFO


def test_an_info_without_its_length_is_taken_whole() -> None:
    assert parse_ok(b"\x00\x00\x00\x02\x00\x00\x00plain text", PROTOCOL_41).info == b"plain text"


@pytest.mark.parametrize("payload", [captured.MARIADB_OK_GTID, captured.MYSQL_OK_GTID])
def test_an_ok_under_session_track(payload: bytes) -> None:
    ok = parse_ok(payload, TRACK)
    assert (ok.affected_rows, ok.last_insert_id, ok.info) == (2, 3, INFO)
    assert ok.status == STATUS_AUTOCOMMIT | STATUS_SESSION_STATE_CHANGED
    assert payload.endswith(ok.session_state)
    assert ok.session_state


@pytest.mark.parametrize("payload", TRACKED)
def test_recorded_oks_are_built_again_byte_by_byte(payload: bytes) -> None:
    assert build_ok(parse_ok(payload, TRACK), TRACK) == payload


@given(oks, st.sampled_from([0x00, 0xFE]))
def test_oks_round_trip(ok: Ok, header: int) -> None:
    payload = build_ok(ok, TRACK, header)
    assert payload[0] == header
    assert parse_ok(payload, TRACK) == flagged(ok)


@given(oks)
def test_a_client_without_session_track_gets_no_state(ok: Ok) -> None:
    expected = build_ok(ok, PROTOCOL_41)
    assert parse_ok(expected, PROTOCOL_41) == Ok(
        ok.affected_rows, ok.last_insert_id, ok.status, ok.warnings, ok.info
    )
    assert translate_ok(build_ok(ok, TRACK), PROTOCOL_41) == expected
    assert translate_ok(build_ok(ok, TRACK), TRACK) == build_ok(ok, TRACK)


def test_the_translated_ok_is_what_the_server_itself_sends_such_a_client() -> None:
    for payload in (captured.MARIADB_OK_GTID, captured.MYSQL_OK_GTID):
        translated = translate_ok(payload, PROTOCOL_41)
        assert translated == captured.OK_WITH_INFO[:2] + b"\x03" + captured.OK_WITH_INFO[3:]
    assert translate_ok(captured.MARIADB_OK_USE, PROTOCOL_41) == bytes.fromhex("00000002000000")


def test_the_state_flag_without_a_state_is_cleared() -> None:
    assert translate_ok(b"\x00\x00\x00\x02\x40\x00\x00", PROTOCOL_41) == b"\x00\x00\x00\x02\x00\x00\x00"


@pytest.mark.parametrize("payload", TRACKED)
def test_a_cut_off_ok_is_malformed_or_ends_between_its_parts(payload: bytes) -> None:
    whole = parse_ok(payload, TRACK)
    info_at = len(payload) - len(whole.session_state) - 1 - len(whole.info) - 1
    allowed = {info_at, len(payload) - len(whole.session_state) - 1, len(payload)}
    for size in range(len(payload) + 1):
        if size in allowed:
            assert parse_ok(payload[:size], TRACK).affected_rows == whole.affected_rows
            continue
        with pytest.raises(MalformedPacket):
            parse_ok(payload[:size], TRACK)


def test_errors_with_and_without_sqlstate() -> None:
    expected = Err(1040, "08004", "Too many connections")
    assert parse_err(captured.MARIADB_TOO_MANY, PROTOCOL_41) == expected
    assert parse_err(captured.MYSQL_TOO_MANY, PROTOCOL_41) == Err(1040, "HY000", expected.message)
    assert parse_err(captured.MARIADB_TOO_MANY, 0).message == "#08004Too many connections"
    assert build_err(1040, "08004", "Too many connections") == captured.MARIADB_TOO_MANY


@given(st.integers(min_value=1, max_value=65535), st.text(max_size=100))
def test_errors_round_trip(errno: int, message: str) -> None:
    seen = parse_err(build_err(errno, "42S02", message), PROTOCOL_41)
    assert seen == Err(errno, "42S02", message.encode("utf-8", "replace").decode())


def test_a_long_message_is_cut_between_characters() -> None:
    seen = parse_err(build_err(1105, "HY000", "x" + "ü" * 400), PROTOCOL_41).message
    assert seen == "x" + "ü" * 255


@pytest.mark.parametrize("sqlstate", ["", "4200", "420000", "4200ü0"])
def test_an_sqlstate_has_five_characters(sqlstate: str) -> None:
    with pytest.raises(ValueError, match="five"):
        build_err(1105, sqlstate, "")


def test_eof() -> None:
    assert build_eof(0x0022, 3) == b"\xfe\x03\x00\x22\x00"
    assert build_eof(2) == b"\xfe\x00\x00\x02\x00"


@given(st.binary(max_size=60), st.sampled_from([PROTOCOL_41, TRACK]))
def test_any_bytes_are_an_ok_or_an_error(payload: bytes, capabilities: int) -> None:
    for body in (payload, b"\x00" + payload, b"\xfe" + payload):
        try:
            ok = parse_ok(body, capabilities)
        except ProxyError:
            continue
        assert 0 <= ok.status <= 0xFFFF
        assert len(ok.info) + len(ok.session_state) < len(body)


@given(st.binary(max_size=60))
def test_any_bytes_are_translated_or_an_error(payload: bytes) -> None:
    try:
        translated = translate_ok(b"\x00" + payload, PROTOCOL_41)
    except ProxyError:
        return
    assert not parse_ok(translated, PROTOCOL_41).status & STATUS_SESSION_STATE_CHANGED


@given(st.binary(max_size=60))
def test_any_bytes_are_an_err_or_an_error(payload: bytes) -> None:
    for body in (payload, b"\xff" + payload):
        try:
            err = parse_err(body, PROTOCOL_41)
        except ProxyError:
            continue
        assert 0 <= err.errno <= 0xFFFF
        assert len(err.sqlstate) == 5
