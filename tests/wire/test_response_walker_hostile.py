"""The response walker on what no server here would send: rows beyond 16 MiB, lies, and any bytes at all."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any

import pytest

from mysqlproxy.errors import InternalBug, MalformedPacket
from mysqlproxy.protocol import capabilities as cap
from tests.wire import builds
from tests.wire.answers import BASE, DEFINITION, MODERN, Client, begun, cut, end_of, eof, frames, ok

FULL = 0xFFFFFF
MORE = cap.STATUS_MORE_RESULTS_EXISTS


@pytest.fixture(params=builds.KINDS, scope="module")
def response(request: pytest.FixtureRequest) -> ModuleType:
    return builds.load(request.param)


def result(capabilities: int, *rows: bytes, status: int = 2) -> list[bytes]:
    middle = [] if capabilities & cap.DEPRECATE_EOF else [eof(status)]
    return [b"\1", DEFINITION, *middle, *rows, end_of(capabilities, status)]


def refuses(walker: Any, data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        walker.feed(data)


# Rows beyond one frame


@pytest.mark.parametrize("capabilities", [BASE, MODERN])
@pytest.mark.parametrize("first", [b"\xfe", b"\xff", b"\x00", b"\xfb"])
@pytest.mark.parametrize(
    "sizes", [(FULL, 0), (FULL, 1), (FULL, 5), (FULL, 7), (FULL, FULL, 0), (FULL, 70000)]
)
def test_rows_of_16_mib_and_more(
    response: ModuleType, capabilities: int, first: bytes, sizes: tuple[int, ...]
) -> None:
    """A row goes on in the next frame, whatever that begins with; the row itself may begin with 0xFE, too."""
    row = [b"\xfe" + bytes(sizes[0] - 1), *((first + bytes(size))[:size] for size in sizes[1:])]
    data = frames(*result(capabilities, b"\1a", *row, b"\1b"))
    walker = begun(response, capabilities=capabilities)
    held = b""
    passed = 0
    for position in range(0, len(data), 1 << 20):
        assert not walker.done
        chunk = held + data[position : position + (1 << 20)]
        count = walker.feed(chunk)
        passed += count
        held = chunk[count:]
        assert len(held) < 12  # a large row is never held
    assert walker.done and passed == len(data) and not walker.errno


def test_a_frame_of_16_mib_cut_around_its_continuation(response: ModuleType) -> None:
    head = frames(*result(BASE)[:-1])
    data = head + frames(b"\1" + bytes(FULL - 1), b"\xff\xff\xff", eof(), first=4)
    edge = len(head) + 4 + FULL
    for cuts in ([edge], [edge + 1], [edge + 3], [edge + 4], [edge + 5], [edge - 1, edge, edge + 7]):
        client = Client(begun(response))
        for chunk in cut(data, cuts):
            client.feed(chunk)
        assert client.walker.done and len(client.passed) == len(data) and not client.walker.errno


def test_what_begins_with_fe(response: ModuleType) -> None:
    nine = b"\xfe" + bytes(8)
    walker = begun(response)
    data = frames(*result(BASE, nine))
    assert walker.feed(data) == len(data) and walker.done and walker.rows_seen
    walker = begun(response, capabilities=MODERN)
    data = frames(b"\1", DEFINITION, ok(2, b"\xfe", b"\x01x"))  # 9 bytes, with an info
    assert walker.feed(data) == len(data) and walker.done and not walker.rows_seen
    refuses(begun(response), frames(*result(BASE)[:-1], b"\xfe" + bytes(7)))  # neither EOF nor row
    refuses(begun(response, capabilities=MODERN), frames(b"\1", DEFINITION, eof()))  # too short for an OK


def test_sequence_ids_wrap(response: ModuleType) -> None:
    data = frames(*result(BASE, *[b"\1x"] * 700))
    walker = begun(response)
    assert walker.feed(data) == len(data) and walker.done
    walker.begin(response.OK, 256)
    assert walker.feed(frames(ok(), first=0)) == 11 and walker.done


@pytest.mark.parametrize("index", range(5))
def test_sequence_ids_out_of_order(response: ModuleType, index: int) -> None:
    packets = result(BASE, b"\1x")
    data = b"".join(
        frames(packet, first=1 + at + (1 if at == index else 0)) for at, packet in enumerate(packets)
    )
    with pytest.raises(MalformedPacket) as caught:
        begun(response).feed(data)
    assert (caught.value.errno, caught.value.sqlstate) == (1156, "08S01")


def test_sequence_ids_out_of_order_within_a_row(response: ModuleType) -> None:
    refuses(begun(response), frames(*result(BASE)[:-1], bytes(FULL)) + frames(b"x", first=6))


# Bounds


@pytest.mark.parametrize(
    "count, good",
    [
        (b"\1", True), (b"\xfa", True), (b"\xfc\xff\xff", True), (b"\xfd\xff\xff\0", True),
        (b"\xfd\0\0\1", False), (b"\xfe" + bytes(8), False), (b"\xfe\1" + bytes(7), True), (b"\xfc\1", False),
        (b"\1\0", False), (b"\xfc\0\0", False), (b"\xfe" + b"\xff" * 8, False),
    ],
)  # fmt: skip
def test_column_counts(response: ModuleType, count: bytes, good: bool) -> None:
    walker = begun(response)
    if good:
        assert walker.feed(frames(count)) == len(frames(count))
        assert walker.result_sets == 1 and not walker.done
    else:
        refuses(walker, frames(count))


@pytest.mark.parametrize("form", ["QUERY", "PREPARE", "FIELD_LIST", "FETCH", "STRING", "OK", "CURSOR"])
def test_a_control_packet_beyond_the_bound_is_not_waited_for(response: ModuleType, form: str) -> None:
    size = response.MAX_CONTROL
    held = size.to_bytes(3, "little") + b"\1\xff"
    assert begun(response, form).feed(held) == 0
    refuses(begun(response, form), (size + 1).to_bytes(3, "little") + b"\1\xff")


def test_a_column_definition_beyond_the_bound(response: ModuleType) -> None:
    refuses(begun(response), frames(b"\1") + (response.MAX_CONTROL + 1).to_bytes(3, "little") + b"\2\3")


def test_session_state_is_bounded_over_all_ok_packets(response: ModuleType) -> None:
    block = bytes(60_000)
    tail = b"\0\xfc" + struct.pack("<H", len(block)) + block
    changed = cap.STATUS_SESSION_STATE_CHANGED | MORE
    walker = begun(response)
    sequence = 1
    for _ in range(response.MAX_SESSION_STATE // len(block)):
        packet = frames(ok(changed, tail=tail), first=sequence)
        assert walker.feed(packet) == len(packet)
        sequence += 1
    assert len(walker.session_state) == sequence * 60_000 - 60_000
    refuses(walker, frames(ok(changed, tail=tail), first=sequence))


def test_a_message_is_cut(response: ModuleType) -> None:
    walker = begun(response)
    data = frames(b"\xff\x7a\x04#42S02" + b"x" * 10_000)
    assert walker.feed(data) == len(data)
    assert (walker.errno, walker.sqlstate, len(walker.message)) == (1146, "42S02", 4096)


def test_small_ok_packets_in_one_chunk_are_walked_in_linear_time(response: ModuleType) -> None:
    """150,000 results in 2 MB, each with a byte of session state: all are walked and listed."""
    packet = ok(MORE | cap.STATUS_SESSION_STATE_CHANGED, tail=b"\0\1x")
    data = frames(*[packet] * 150_000)
    walker = begun(response)
    assert walker.feed(data) == len(data)
    assert len(walker.oks) == 150_000 and walker.session_state == b"x" * 150_000


# Packets that lie


@pytest.mark.parametrize(
    "form, packets",
    [
        ("QUERY", [b"\0\0\0\2\0\0"]),  # an OK of 6 bytes
        ("QUERY", [b"\0\xfc\1\0\2\0\0"]),  # its numbers leave no room for the flags
        ("QUERY", [b"\0\xfe" + b"\xff" * 8]),
        ("QUERY", [b"\0\xff\0\2\0\0\0"]),  # no number
        ("QUERY", [ok(cap.STATUS_SESSION_STATE_CHANGED)]),  # no session state where the flag promises it
        ("QUERY", [ok(cap.STATUS_SESSION_STATE_CHANGED, tail=b"\0\x05abc")]),
        ("QUERY", [b""]),
        ("QUERY", [b"\xff\1"]),
        ("QUERY", [b"\xff\0\0#00000"]),  # error number 0
        ("QUERY", [b"\xff\1\0#000"]),
        ("QUERY", [eof()]),
        ("QUERY", [b"\1", b""]),
        ("QUERY", [b"\1", eof()]),
        ("QUERY", [b"\1", DEFINITION, b"\1x"]),
        ("QUERY", [b"\1", DEFINITION, b"\xfe\0\0\2"]),
        ("QUERY", [b"\1", DEFINITION, eof(), b""]),
        ("PREPARE", [bytes(11)]),
        ("PREPARE", [b"\1" + bytes(11)]),
        ("PREPARE", [b"\0\1\0\0\0\0\0\1\0\0\0\0", eof()]),
        ("PREPARE", [b"\0\1\0\0\0\0\0\1\0\0\0\0", DEFINITION, ok()]),
        ("FIELD_LIST", [b""]),
        ("FETCH", [b""]),
        ("OK", [b"\1"]),
        ("OK", [b""]),
        ("OK", [b"\xfe\0\0\2"]),
    ],
)
def test_malformed(response: ModuleType, form: str, packets: list[bytes]) -> None:
    refuses(begun(response, form), frames(*packets))


def test_statistics_may_be_empty_or_fail(response: ModuleType) -> None:
    walker = begun(response, "STRING")
    assert walker.feed(b"\0\0\0\1") == 4 and walker.done
    walker.begin(response.STRING)
    assert walker.feed(frames(b"\xff\x17\x04#08S01no")) == 15 and walker.done and walker.errno == 1047


def test_an_error_may_come_at_any_place(response: ModuleType) -> None:
    error = b"\xff\x25\x05#70100Query execution was interrupted"
    for capabilities in (BASE, MODERN):
        packets = result(capabilities, b"\1x", b"\1y")
        for at in range(len(packets)):
            data = frames(*packets[:at], error)
            walker = begun(response, capabilities=capabilities)
            assert walker.feed(data) == len(data) and walker.done and walker.errno == 1317


def test_an_error_without_sqlstate(response: ModuleType) -> None:
    walker = begun(response, "OK")
    walker.feed(frames(b"\xff\x10\x04Too many connections"))
    assert (walker.errno, walker.sqlstate, walker.message) == (1040, "HY000", b"Too many connections")


def test_progress_ends_nothing_where_it_was_agreed_on(response: ModuleType) -> None:
    progress = b"\xff\xff\xff\1\1\2\0\0\0\1x"
    walker = begun(response, capabilities=BASE | cap.MARIADB_PROGRESS)
    data = frames(progress, *result(BASE)[:-1], progress, b"\1x", progress, eof())
    assert walker.feed(data) == len(data) and walker.done and not walker.errno
    walker.begin(response.QUERY)
    walker.feed(frames(b"\xff\xff\xff#45000real"))
    assert walker.done and walker.errno == 65535
    plain = begun(response)
    plain.feed(frames(progress))
    assert plain.done and plain.errno == 65535


def test_capabilities_that_change_the_bytes_are_refused(response: ModuleType) -> None:
    for unwalkable in (cap.COMPRESS, cap.OPTIONAL_RESULTSET_METADATA, cap.MARIADB_CACHE_METADATA):
        with pytest.raises(InternalBug):
            response.ResponseWalker(BASE | unwalkable)
    with pytest.raises(InternalBug):
        response.ResponseWalker(cap.SESSION_TRACK)


def test_without_session_track_the_info_is_the_rest(response: ModuleType) -> None:
    walker = begun(response, capabilities=cap.PROTOCOL_41)
    data = frames(ok(cap.STATUS_SESSION_STATE_CHANGED, tail=b"\xffno length at all"))
    assert walker.feed(data) == len(data) and walker.done and not walker.oks and not walker.session_state


# Ends


def test_a_prepare_is_done_when_its_last_definition_has_passed(response: ModuleType) -> None:
    data = frames(b"\0\1\0\0\0\1\0\1\0\0\0\0", DEFINITION, DEFINITION)
    client = Client(begun(response, "PREPARE", MODERN))
    for at in range(len(data)):
        assert not client.walker.done
        client.feed(data[at : at + 1])
    assert client.walker.done and client.passed == data


def test_a_header_waits_for_the_first_byte(response: ModuleType) -> None:
    head = frames(*result(BASE)[:-1])
    for size in range(1, 5):
        walker = begun(response)
        assert walker.feed(head + frames(b"\5abcde", first=4)[:size]) == len(head)
    walker = begun(response)
    assert walker.feed(head + frames(b"\5abcde", first=4)[:5]) == len(head) + 5


def test_only_a_cursor_ends_with_the_definitions(response: ModuleType) -> None:
    """The flag alone says nothing: MySQL sets it for a cursor inside a function, and sends rows."""
    definitions = frames(b"\1", DEFINITION, eof(2 | cap.STATUS_CURSOR_EXISTS))
    for form, done in (("CURSOR", True), ("QUERY", False)):
        walker = begun(response, form)
        assert walker.feed(definitions) == len(definitions) and walker.done is done
    called = frames(b"\1", DEFINITION, eof(2 | MORE | cap.STATUS_CURSOR_EXISTS))
    walker = begun(response, "CURSOR")
    assert walker.feed(called) == len(called) and not walker.done


def test_only_text_and_execute_have_more_results(response: ModuleType) -> None:
    for form, packets in (
        ("FETCH", [eof(MORE)]),
        ("OK", [ok(MORE)]),
        ("FIELD_LIST", [DEFINITION, eof(MORE)]),
    ):
        walker = begun(response, form)
        assert walker.feed(frames(*packets)) == len(frames(*packets)) and walker.done


def test_nothing_passes_while_a_file_is_asked_for(response: ModuleType) -> None:
    request = frames(b"\xfb/etc/passwd")
    early = frames(ok(), first=4)
    walker = begun(response)
    assert walker.feed(request + early) == len(request)
    assert walker.local_infile == b"/etc/passwd" and not walker.done
    assert walker.feed(early) == 0 and not walker.done
    with pytest.raises(InternalBug):
        begun(response).resume_after_infile(3)
    refuses(walker, bytes(response.MAX_CONTROL + 1))
    walker.resume_after_infile(3)
    assert walker.feed(early) == len(early) and walker.done and walker.local_infile is None


def test_nothing_is_walked_before_begin(response: ModuleType) -> None:
    walker = response.ResponseWalker(BASE)
    assert walker.done and walker.feed(frames(ok())) == 0
