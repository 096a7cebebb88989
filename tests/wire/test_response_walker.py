"""The response walker on what MariaDB 10.11 and MySQL 9.7 really answered: whole, byte by byte, at any split.

Where an answer ends was found in the recording by the server's silence, not by any parser.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire import builds
from tests.wire.answers import Answer, cut, packets, recorded, walk

CURSOR_EXISTS, LAST_ROW_SENT, IN_TRANS = 0x40, 0x80, 0x01

# What each answer holds, on every server and with all capabilities; ``status`` are flags that must be set.
NO_ROWS = {"result_sets": 1, "rows_seen": False, "errno": 0}
ROWS = {"result_sets": 1, "rows_seen": True, "errno": 0}
TWO_SETS = {"result_sets": 2, "rows_seen": True, "errno": 0}
DONE = {"result_sets": 0, "rows_seen": False, "errno": 0}
FETCHED = {"result_sets": 0, "rows_seen": True, "errno": 0}
NO_TABLE = {"errno": 1146, "sqlstate": "42S02", "message": b"Table 'recorded.missing' doesn't exist"}
EXPECTED: dict[str, dict[str, Any]] = {
    "ok": {**DONE, "affected_rows": 0},
    "insert": {**DONE, "affected_rows": 2, "last_insert_id": 6},
    "update with info": {**DONE, "affected_rows": 1},
    "error": {**NO_TABLE, "result_sets": 0},
    "syntax error": {"errno": 1064, "sqlstate": "42000", "rows_seen": False},
    "empty result": NO_ROWS,
    "one row": ROWS,
    "a row of NULL and of an empty string": ROWS,
    "100 rows": ROWS,
    "251 columns": ROWS,
    "a warning": {**ROWS, "warnings": 1},
    "multi-statement": {**TWO_SETS, "affected_rows": 1, "last_insert_id": 8},
    "multi-statement that fails": {**NO_TABLE, "result_sets": 1, "rows_seen": True},
    "error among the rows": {"errno": 1242, "sqlstate": "21000", "result_sets": 1, "rows_seen": True},
    "call": TWO_SETS,
    "call that fails late": {"errno": 5000, "sqlstate": "45000", "message": b"late", "result_sets": 1},
    "call with a cursor of its own": TWO_SETS,
    "a function with a cursor of its own": ROWS,
    "track: schema": {**DONE, "session_state": b"\x01\x09\x08recorded"},
    "track: variables": DONE,
    "track: two variables": {
        **DONE,
        "session_state": b"\0\x0e\x0aautocommit\x02ON\0\x11\x09time_zone\x06+01:00",
    },
    "track: state change on": DONE,
    "track: begin": {**DONE, "status": IN_TRANS},
    "track: read in a transaction": {**ROWS, "status": IN_TRANS},
    "track: commit": DONE,
    "track: off": DONE,
    "insert returning": {**ROWS},
    "local infile": {**DONE, "affected_rows": 2, "local_infile": None},
    "local infile, then a result": {**ROWS, "local_infile": None},
    "prepare": {**DONE, "columns": 1, "parameters": 0},
    "prepare with parameters": {**DONE, "columns": 2, "parameters": 2},
    "prepare, parameters only": {**DONE, "columns": 0, "parameters": 1},
    "prepare, nothing": {**DONE, "columns": 0, "parameters": 0},
    "prepare that fails": {**NO_TABLE, "statement_id": 0},
    "execute": ROWS,
    "execute, no rows": NO_ROWS,
    "execute an insert": {**DONE, "affected_rows": 1},
    "execute a function with a cursor of its own": ROWS,
    "execute a call with OUT": TWO_SETS,
    "execute an unknown statement": {"errno": 1243, "sqlstate": "HY000"},
    "execute with a cursor": {**NO_ROWS, "status": CURSOR_EXISTS},
    "fetch one": {**FETCHED, "status": CURSOR_EXISTS},
    "fetch the rest": {**FETCHED, "status": LAST_ROW_SENT},
    "fetch beyond the end": {"errno": 1421, "sqlstate": "HY000", "rows_seen": False},
    "reset statement": DONE,
    "execute with a cursor, no rows": {**NO_ROWS, "status": CURSOR_EXISTS},
    "fetch of no rows": {"errno": 0, "rows_seen": False, "status": LAST_ROW_SENT},
    "a query while a cursor is open": ROWS,
    "execute a call with a cursor": TWO_SETS,
    "execute a call with a cursor of its own": TWO_SETS,
    "execute an insert with a cursor": {**DONE, "affected_rows": 1},
    "execute SHOW with a cursor": {**NO_ROWS, "status": CURSOR_EXISTS},
    "bulk execute": {**DONE, "affected_rows": 3},
    "progress": {**DONE, "affected_rows": 1_000_000},
    "ping": DONE,
    "init db": {**DONE, "session_state": b"\x01\x09\x08recorded"},
    "init db that fails": {"errno": 1049, "sqlstate": "42000"},
    "set option": DONE,
    "set option back": DONE,
    "statistics": DONE,
    "field list": DONE,
    "field list of nothing": NO_TABLE,
    "unknown command": {"errno": 1047, "sqlstate": "08S01"},
    "reset connection": DONE,
}
ERROR_65535 = {
    "mysql": {"errno": 65535, "sqlstate": "45000", "message": b"highest"},
    "mariadb": {"errno": 1231, "sqlstate": "42000"},  # its highest is 65534: the number is that of progress
}


SERVERS = (
    "mariadb_eof",
    "mariadb_deprecate_eof",
    "mariadb_extended",
    "mariadb_deprecate_eof_extended",
    "mysql_eof",
    "mysql_deprecate_eof",
)


@pytest.fixture(params=builds.KINDS, scope="module")
def response(request: pytest.FixtureRequest) -> ModuleType:
    return builds.load(request.param)


def answers_of(server: str) -> list[Answer]:
    return [answer for answer in recorded() if answer.server == server]


def expected(answer: Answer) -> dict[str, Any]:
    if answer.name == "error 65535":
        return ERROR_65535[answer.server.partition("_")[0]]
    return EXPECTED[answer.name]


def test_every_recording_is_there_and_none_without_what_it_must_show() -> None:
    assert {answer.server for answer in recorded()} == set(SERVERS)
    assert {answer.name for answer in recorded()} == EXPECTED.keys() | {"error 65535"}


@pytest.mark.parametrize("answer", recorded(), ids=str)
def test_whole(response: ModuleType, answer: Answer) -> None:
    client = walk(response, answer, [[part] for part in answer.parts])
    walker = client.walker
    assert walker.done
    assert client.passed == b"".join(answer.parts) and client.held == b""
    for field, value in expected(answer).items():
        if field == "status":
            assert walker.status & value == value
        else:
            assert getattr(walker, field) == value, field
    for start, end, sequence in client.oks:
        assert (start, end) in list(packets(client.passed))
        assert client.passed[start + 3] == sequence
        assert client.passed[start + 4] in (0, 0xFE)
    if answer.form == "PREPARE" and not walker.errno:
        assert client.prepare_ok == (0, 16)
        assert walker.statement_id == int.from_bytes(client.passed[5:9], "little") > 0


@pytest.mark.parametrize("server", SERVERS)
def test_byte_by_byte(response: ModuleType, server: str) -> None:
    for answer in answers_of(server):
        whole = walk(response, answer, [[part] for part in answer.parts]).seen()
        single = walk(
            response, answer, [[part[i : i + 1] for i in range(len(part))] for part in answer.parts]
        )
        assert single.seen() == whole, answer.name


@pytest.mark.parametrize(
    "answer", [a for a in recorded() if a.name in ("ok", "one row", "call", "prepare")], ids=str
)
def test_what_follows_is_left(response: ModuleType, answer: Answer) -> None:
    """A second answer right behind (a client that pipelines, a server that says too much) is not walked into."""
    client = walk(response, answer, [[answer.parts[0] + answer.parts[0]]])
    assert client.walker.done
    assert (client.passed, client.held) == (answer.parts[0], answer.parts[0])
    assert client.walker.feed(client.held) == 0
    client.held = b""
    client.walker.begin(getattr(response, answer.form))
    assert not client.walker.done
    client.feed(answer.parts[0])
    assert client.walker.done and client.passed == answer.parts[0] * 2


@pytest.mark.parametrize("server", SERVERS)
def test_control_packets_pass_only_whole(response: ModuleType, server: str) -> None:
    """At every cut the bytes passed end at a packet's end, or inside a row or a definition."""
    for answer in answers_of(server):
        data = answer.parts[0]
        for point in range(1, len(data)):
            client = walk(response, answer, [[data[:point]]])
            assert not client.walker.done
            for start, end in packets(data):
                if start < len(client.passed) < end:
                    assert start > 0 or answer.form in ("FETCH", "FIELD_LIST")
                    assert data[start + 4] < 0xFE
                    assert (
                        len(client.passed) == point
                    )  # nothing of a row is held once its first byte is there


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_at_any_split(response: ModuleType, data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(recorded()))
    chunks = [
        cut(part, data.draw(st.lists(st.integers(1, max(1, len(part) - 1)), max_size=12)))
        for part in answer.parts
    ]
    whole = walk(response, answer, [[part] for part in answer.parts]).seen()
    assert walk(response, answer, chunks).seen() == whole


@pytest.mark.parametrize("server", SERVERS)
def test_one_walker_for_all_answers_of_a_connection(response: ModuleType, server: str) -> None:
    """Nothing of one answer is left in the next, the status flags aside."""
    answers = answers_of(server)
    walker = response.ResponseWalker(answers[0].capabilities)
    for answer in answers:
        walker.begin(getattr(response, answer.form))
        fresh = response.ResponseWalker(answer.capabilities)
        fresh.begin(getattr(response, answer.form))
        for index, part in enumerate(answer.parts):
            for one in (walker, fresh):
                if index:
                    one.resume_after_infile(answer.client_sequence)
                assert one.feed(part) == len(part)
        for field in (
            "errno",
            "message",
            "affected_rows",
            "result_sets",
            "rows_seen",
            "session_state",
            "columns",
        ):
            assert getattr(walker, field) == getattr(fresh, field), (answer.name, field)
        assert walker.done
