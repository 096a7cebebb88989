"""Streams into packets: whole, byte by byte, in any pieces, and hostile."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mysqlproxy.errors import MalformedPacket, PacketTooLarge, ProxyError
from mysqlproxy.protocol.framing import HEADER, MAX_PAYLOAD, PacketReader, frame, payload_of

payloads = st.lists(st.binary(max_size=300), max_size=12)


def drain(reader: PacketReader) -> list[bytes]:
    packets = []
    while (raw := reader.next()) is not None:
        packets.append(raw)
    return packets


def header(length: int, sequence: int) -> bytes:
    return length.to_bytes(3, "little") + bytes((sequence,))


def test_one_packet_is_returned_without_a_copy() -> None:
    reader = PacketReader(1000)
    raw = frame(b"\x03select 1")
    reader.feed(raw)
    assert reader.next() is raw
    assert reader.next() is None
    assert reader.pending == 0
    assert not reader.partial


@given(payloads, st.integers(min_value=1, max_value=50))
def test_any_pieces_give_the_same_packets(contents: list[bytes], piece: int) -> None:
    stream = b"".join(frame(content, number) for number, content in enumerate(contents))
    reader = PacketReader(300)
    packets = []
    for start in range(0, len(stream), piece):
        reader.feed(stream[start : start + piece])
        packets += drain(reader)
    assert b"".join(packets) == stream
    assert [payload_of(raw) for raw in packets] == contents
    assert reader.pending == 0


def test_packets_wait_while_more_is_fed() -> None:
    """Pipelined commands: fed without being taken, then taken one at a time between further reads."""
    contents = [bytes((number,)) * number for number in range(40)]
    stream = b"".join(frame(content) for content in contents)
    reader = PacketReader(300)
    packets = []
    for start in range(0, len(stream), 7):
        reader.feed(stream[start : start + 7])
        if start % 21 == 0 and (raw := reader.next()) is not None:
            packets.append(raw)
    packets += drain(reader)
    assert [payload_of(raw) for raw in packets] == contents


def test_partial_tells_a_begun_packet_from_a_waiting_one() -> None:
    reader = PacketReader(100)
    assert not reader.partial
    reader.feed(frame(b"ab")[:3])
    assert reader.partial
    assert reader.pending == 3
    reader.feed(frame(b"ab")[3:])
    assert not reader.partial
    assert reader.pending == 6
    reader.next()
    assert not reader.partial


def test_take_rest_hands_over_what_is_no_packet() -> None:
    reader = PacketReader(100)
    reader.feed(frame(b"ssl") + b"\x16\x03")
    assert reader.next() == frame(b"ssl")
    reader.feed(b"\x01\x02")
    assert reader.take_rest() == b"\x16\x03\x01\x02"
    assert reader.pending == 0
    reader.feed(frame(b"next"))
    assert reader.next() == frame(b"next")


@pytest.mark.parametrize("size", [MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD])
def test_packets_of_16_mib_and_more(size: int) -> None:
    content = (b"\xfe\xff\x00" * (size // 3 + 1))[:size]
    raw = frame(content, 254)
    frames = size // MAX_PAYLOAD + 1
    assert len(raw) == size + HEADER * frames
    assert [raw[3 + number * (MAX_PAYLOAD + HEADER)] for number in range(frames)] == [
        (254 + number) % 256 for number in range(frames)
    ]
    assert payload_of(raw) == content
    reader = PacketReader(size)
    stream = raw + frame(b"behind")
    packets = []
    for start in range(0, len(stream), 1 << 20):
        reader.feed(stream[start : start + (1 << 20)])
        packets += drain(reader)
    assert packets == [raw, frame(b"behind")]


def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    reader = PacketReader(100)
    reader.feed(header(100, 0))
    assert reader.next() is None
    reader = PacketReader(100)
    reader.feed(header(101, 0))
    with pytest.raises(PacketTooLarge) as caught:
        reader.next()
    assert (caught.value.errno, caught.value.sqlstate) == (1153, "08S01")
    with pytest.raises(PacketTooLarge):
        reader.next()


def test_the_sum_of_the_frames_counts() -> None:
    reader = PacketReader(MAX_PAYLOAD + 10)
    reader.feed(header(MAX_PAYLOAD, 0) + bytes(MAX_PAYLOAD) + header(11, 1))
    with pytest.raises(PacketTooLarge):
        reader.next()


def test_the_limit_can_be_raised_after_login() -> None:
    reader = PacketReader(10)
    reader.feed(frame(b"login"))
    assert reader.next() is not None
    reader.limit = 1000
    reader.feed(frame(bytes(1000)))
    assert reader.next() == frame(bytes(1000))


def test_frames_out_of_sequence_are_refused() -> None:
    reader = PacketReader(1 << 26)
    reader.feed(header(MAX_PAYLOAD, 3) + bytes(MAX_PAYLOAD) + header(1, 5) + b"x")
    with pytest.raises(MalformedPacket) as caught:
        reader.next()
    assert (caught.value.errno, caught.value.sqlstate) == (1156, "08S01")


def test_a_large_packet_in_small_reads_costs_no_more_than_its_bytes() -> None:
    """Reads of 1 KiB must not copy what came before: 16 MiB that way would be 128 GiB of copying."""
    content = bytes(MAX_PAYLOAD - 1)
    raw = frame(content)
    reader = PacketReader(1 << 26)
    for start in range(0, len(raw), 1024):
        assert reader.next() is None
        reader.feed(raw[start : start + 1024])
    assert reader.next() == raw


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=40), max_size=10), st.integers(min_value=0, max_value=1 << 24))
def test_any_bytes_are_packets_or_an_error(pieces: list[bytes], limit: int) -> None:
    reader = PacketReader(limit)
    taken = 0
    for piece in pieces:
        reader.feed(piece)
        try:
            for raw in drain(reader):
                taken += len(raw)
                assert len(payload_of(raw)) <= limit
        except ProxyError:
            return
    assert taken + reader.pending == sum(map(len, pieces))


@given(st.binary(max_size=30))
def test_payload_of_any_bytes_is_a_payload_or_an_error(raw: bytes) -> None:
    try:
        content = payload_of(raw)
    except MalformedPacket:
        return
    assert len(content) == len(raw) - HEADER
