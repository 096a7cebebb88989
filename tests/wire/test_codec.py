"""The basic types, at their borders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol import codec


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (250, "fa"),
        (251, "fcfb00"),
        (0xFFFF, "fcffff"),
        (0x10000, "fd000001"),
        (0xFFFFFF, "fdffffff"),
        (0x1000000, "fe0000000100000000"),
        ((1 << 64) - 1, "feffffffffffffffff"),
    ],
)
def test_lenenc_at_its_borders(value: int, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert codec.lenenc(value) == data
    assert codec.read_lenenc(data, 0) == (value, len(data))


@given(st.integers(min_value=0, max_value=(1 << 64) - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_lenenc_round_trip(value: int, before: bytes, behind: bytes) -> None:
    data = before + codec.lenenc(value) + behind
    assert codec.read_lenenc(data, len(before)) == (value, len(data) - len(behind))


@given(st.binary(max_size=70000), st.binary(max_size=3))
def test_lenenc_bytes_round_trip_and_nothing_shorter(value: bytes, behind: bytes) -> None:
    data = codec.lenenc_bytes(value)
    assert codec.read_lenenc_bytes(data + behind, 0) == (value, len(data))
    assert codec.skip_lenenc_bytes(data + behind, 0) == len(data)
    for reader in (codec.read_lenenc_bytes, codec.skip_lenenc_bytes):
        with pytest.raises(MalformedPacket):
            reader(data[:-1], 0)


@pytest.mark.parametrize("mark", [b"\xfb", b"\xff", b"\xfb12345678", b"\xff12345678", b""])
def test_null_and_err_marks_are_no_integers(mark: bytes) -> None:
    with pytest.raises(MalformedPacket):
        codec.read_lenenc(mark, 0)


def test_a_length_near_2_to_the_64_is_refused() -> None:
    data = b"\xfe" + b"\xff" * 8 + b"abc"
    with pytest.raises(MalformedPacket):
        codec.read_lenenc_bytes(data, 0)
    with pytest.raises(MalformedPacket):
        codec.skip_lenenc_bytes(data, 0)


def test_a_string_without_nul_is_refused() -> None:
    assert codec.read_nul_bytes(b"xab\0c", 1) == (b"ab", 4)
    with pytest.raises(MalformedPacket):
        codec.read_nul_bytes(b"ab\0c", 3)
    with pytest.raises(MalformedPacket):
        codec.read_nul_bytes(b"ab", 7)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_fixed_integers(size: int) -> None:
    data = bytes(range(1, size + 1))
    assert codec.read_int(data, 0, size) == (int.from_bytes(data, "little"), size)
    with pytest.raises(MalformedPacket):
        codec.read_int(data, 1, size)
