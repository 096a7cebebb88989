"""Packets and their headers: a stream of bytes into logical packets, and payloads into frames.

Called by both sides' protocols (before and after login) and by everything that builds a packet. Never looks
into a payload. A logical packet of 16 MiB - 1 bytes and more travels as several frames; here it is one unit,
headers kept, so that it can be relayed as the bytes it came in. Compiled by mypyc.

Manual: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
"""

from __future__ import annotations

from typing import Final

from mysqlproxy.errors import MalformedPacket, PacketTooLarge

HEADER: Final = 4
MAX_PAYLOAD: Final = 0xFFFFFF


def frame(payload: bytes, sequence: int = 0) -> bytes:
    """The payload with its header; split at 16 MiB - 1, an exact multiple of which ends in an empty frame.

    Args:
        payload: a logical packet's content.
        sequence: the sequence id of the first frame (modulo 256).
    """
    size = len(payload)
    if size < MAX_PAYLOAD:
        return size.to_bytes(3, "little") + (sequence & 0xFF).to_bytes(1, "little") + payload
    parts: list[bytes] = []
    position = 0
    while True:
        length = min(size - position, MAX_PAYLOAD)
        parts.append(length.to_bytes(3, "little") + (sequence & 0xFF).to_bytes(1, "little"))
        parts.append(payload[position : position + length])
        position += length
        sequence += 1
        if length < MAX_PAYLOAD:
            return b"".join(parts)


def payload_of(raw: bytes) -> bytes:
    """The content of one logical packet given with its headers (as ``PacketReader.next`` returns it).

    Raises:
        MalformedPacket: the bytes are not exactly one logical packet.
    """
    if len(raw) >= HEADER and _declared(raw, 0) == len(raw) - HEADER < MAX_PAYLOAD:
        return raw[HEADER:]
    parts: list[bytes] = []
    position = 0
    while True:
        if position + HEADER > len(raw):
            raise MalformedPacket("Malformed packet: a header is cut off")
        length = _declared(raw, position)
        position += HEADER
        parts.append(raw[position : position + length])
        position += length
        if position > len(raw):
            raise MalformedPacket("Malformed packet: a frame is cut off")
        if length < MAX_PAYLOAD:
            break
    if position != len(raw):
        raise MalformedPacket("Malformed packet: bytes behind the last frame")
    return b"".join(parts)


class PacketReader:
    """Splits a stream into logical packets.

    Feed what was read, then call ``next`` until it returns None. Holds at most ``limit`` bytes of one packet
    plus what was fed; whoever feeds stops reading while packets wait (``pending``: how many bytes are held).

    Attributes:
        limit: the largest content of a logical packet in bytes; may be changed between packets (64 KiB before
            login, max_packet after).
        pending: bytes held.
    """

    def __init__(self, max_packet: int) -> None:
        self.limit: int = max_packet
        self.pending: int = 0
        self._buffer: bytes = b""
        self._position: int = 0
        # Bytes fed while _buffer was in use: a bytearray, so that a large packet in many small reads costs
        # neither a copy per read nor an object per read.
        self._tail: bytearray = bytearray()
        self._moved: int = 0

    def feed(self, data: bytes) -> None:
        """Adds bytes of the stream."""
        if self.pending == 0:
            self._buffer = data
            self._position = 0
        else:
            self._tail += data
        self.pending += len(data)

    def next(self) -> bytes | None:
        """One complete logical packet with all its headers, or None when more bytes are needed.

        Raises:
            PacketTooLarge: as soon as the declared lengths add up to more than ``limit``.
            MalformedPacket: frames of one packet are out of sequence (ER_NET_PACKETS_OUT_OF_ORDER).
        """
        size = self._complete()
        if size == 0:
            return None
        start = self._position
        self.pending -= size
        if self.pending == 0:
            buffer = self._buffer
            self._buffer = b""
            self._position = 0
            if start == 0:
                return buffer  # the common case: one read, one packet, no copy
            return buffer[start:]
        self._position = start + size
        return self._buffer[start : start + size]

    @property
    def partial(self) -> bool:
        """A packet has begun and is not complete."""
        return self.pending > 0 and self._complete() == 0

    def take_rest(self) -> bytes:
        """Hands over all bytes not returned as packets (they belong to TLS, or are to be dropped)."""
        rest = self._buffer[self._position :]
        if self._tail:
            rest += bytes(self._tail)
        self._buffer = b""
        self._position = 0
        self._tail = bytearray()
        self.pending = 0
        return rest

    def _complete(self) -> int:
        """The size of the complete packet at the front of ``_buffer``, headers included, or 0.

        Takes the tail into the buffer only when that completes the packet or its next header.
        """
        scan = self._position
        total = 0
        sequence = -1
        while True:
            if len(self._buffer) < scan + HEADER:
                if not self._take_tail(scan + HEADER):
                    return 0
                scan -= self._moved
            length = _declared(self._buffer, scan)
            total += length
            if total > self.limit:
                raise PacketTooLarge("Got a packet bigger than 'max_allowed_packet' bytes")
            number = self._buffer[scan + 3]
            if sequence >= 0 and number != (sequence + 1) & 0xFF:
                raise MalformedPacket("Got packets out of order", errno=1156, sqlstate="08S01")
            sequence = number
            scan += HEADER + length
            if len(self._buffer) < scan:
                if not self._take_tail(scan):
                    return 0
                scan -= self._moved
            if length < MAX_PAYLOAD:
                return scan - self._position

    def _take_tail(self, end: int) -> bool:
        """Appends the tail to the buffer if that reaches ``end``; ``_moved``: how far positions shifted."""
        if self.pending < end - self._position:
            return False
        self._moved = self._position
        self._buffer = self._buffer[self._position :] + bytes(self._tail)
        self._position = 0
        self._tail = bytearray()
        return True


def _declared(data: bytes, position: int) -> int:
    return data[position] | data[position + 1] << 8 | data[position + 2] << 16
