"""OK, ERR and EOF: the control packets, parsed, built, and translated for a client that lacks SESSION_TRACK.

Called by both logins, the session's relay and everything that answers a client itself. Never sees rows.

Manual: page_protocol_basic_ok_packet.html, page_protocol_basic_err_packet.html and
page_protocol_basic_eof_packet.html below https://dev.mysql.com/doc/dev/mysql-server/latest/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol.capabilities import (
    PROTOCOL_41,
    SESSION_TRACK,
    STATUS_AUTOCOMMIT,
    STATUS_SESSION_STATE_CHANGED,
)
from mysqlproxy.protocol.codec import (
    lenenc,
    lenenc_bytes,
    read_bytes,
    read_int,
    read_lenenc,
    read_lenenc_bytes,
)

_EOF_SIZE: Final = 5
MAX_MESSAGE: Final = 512  # bytes of an error message, the server's MYSQL_ERRMSG_SIZE


@dataclass(frozen=True, slots=True)
class Ok:
    """An OK packet.

    Attributes:
        status: status flags.
        warnings: their number.
        info: text for people, "Records: 2  Duplicates: 0  Warnings: 0".
        session_state: the block for ``tracking.parse_session_state``; empty without SESSION_TRACK.
    """

    affected_rows: int = 0
    last_insert_id: int = 0
    status: int = STATUS_AUTOCOMMIT
    warnings: int = 0
    info: bytes = b""
    session_state: bytes = b""


@dataclass(frozen=True, slots=True)
class Err:
    """An ERR packet; ``message`` is UTF-8, what is not is replaced."""

    errno: int
    sqlstate: str
    message: str


def _split_ok(payload: bytes, capabilities: int) -> tuple[Ok, int]:
    """The packet, and where its status flags are."""
    if payload[:1] not in (b"\x00", b"\xfe"):
        raise MalformedPacket("Malformed packet: an OK expected")
    affected_rows, position = read_lenenc(payload, 1)
    last_insert_id, position = read_lenenc(payload, position)
    at_status = position
    status, position = read_int(payload, position, 2)
    warnings, position = read_int(payload, position, 2)
    info = b""
    session_state = b""
    if capabilities & SESSION_TRACK:
        # Servers leave the info out when there is neither text nor state.
        if position < len(payload):
            info, position = read_lenenc_bytes(payload, position)
        if status & STATUS_SESSION_STATE_CHANGED and position < len(payload):
            session_state, position = read_lenenc_bytes(payload, position)
    else:
        info = _info_to_the_end(payload, position)
    return Ok(affected_rows, last_insert_id, status, warnings, info, session_state), at_status


def _info_to_the_end(payload: bytes, position: int) -> bytes:
    """The manual says string<EOF>; servers send a length in front in this form, too."""
    try:
        info, end = read_lenenc_bytes(payload, position)
    except MalformedPacket:
        return payload[position:]
    return info if end == len(payload) else payload[position:]


def parse_ok(payload: bytes, capabilities: int) -> Ok:
    """An OK packet with either header (0x00, or 0xFE at the end of a result set under DEPRECATE_EOF).

    Raises:
        MalformedPacket: no OK packet.
    """
    return _split_ok(payload, capabilities)[0]


def build_ok(ok: Ok, capabilities: int, header: int = 0x00) -> bytes:
    """The payload for a receiver with these capabilities.

    Without SESSION_TRACK the state is left out and its status flag cleared; with it the flag follows from the
    state.

    Args:
        ok: the packet.
        capabilities: the receiver's.
        header: 0x00, or 0xFE at the end of a result set.
    """
    state = ok.session_state if capabilities & SESSION_TRACK else b""
    status = ok.status & ~STATUS_SESSION_STATE_CHANGED
    if state:
        status |= STATUS_SESSION_STATE_CHANGED
    parts = [
        bytes((header,)),
        lenenc(ok.affected_rows),
        lenenc(ok.last_insert_id),
        status.to_bytes(2, "little"),
        ok.warnings.to_bytes(2, "little"),
    ]
    if ok.info or state:
        parts.append(lenenc_bytes(ok.info))
    if state:
        parts.append(lenenc_bytes(state))
    return b"".join(parts)


def translate_ok(payload: bytes, to_client_caps: int) -> bytes:
    """An OK or EOF packet as it came under SESSION_TRACK, for a client with these capabilities.

    The same bytes for a client that tracks too; otherwise without the state and its status flag.

    Raises:
        MalformedPacket: no OK packet.
    """
    if to_client_caps & SESSION_TRACK:
        return payload
    if len(payload) == _EOF_SIZE and payload[0] == 0xFE:
        status = int.from_bytes(payload[3:], "little") & ~STATUS_SESSION_STATE_CHANGED
        return build_eof(status, int.from_bytes(payload[1:3], "little"))
    ok, at_status = _split_ok(payload, SESSION_TRACK)
    if not ok.session_state and not ok.status & STATUS_SESSION_STATE_CHANGED and ok.info:
        return payload
    status = ok.status & ~STATUS_SESSION_STATE_CHANGED
    head = payload[:at_status] + status.to_bytes(2, "little") + ok.warnings.to_bytes(2, "little")
    return head + lenenc_bytes(ok.info) if ok.info else head


def with_session_state(payload: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """An OK packet under SESSION_TRACK with another session state; an EOF, which has none, without its flag.

    Raises:
        MalformedPacket: no OK packet, or what ``change`` raises.
    """
    if len(payload) == _EOF_SIZE and payload[0] == 0xFE:
        return translate_ok(payload, 0)
    ok, at_status = _split_ok(payload, SESSION_TRACK)
    if not ok.status & STATUS_SESSION_STATE_CHANGED:
        return payload
    state = change(ok.session_state)
    status = ok.status if state else ok.status & ~STATUS_SESSION_STATE_CHANGED
    head = payload[:at_status] + status.to_bytes(2, "little") + ok.warnings.to_bytes(2, "little")
    if not state:
        return head + lenenc_bytes(ok.info) if ok.info else head
    return head + lenenc_bytes(ok.info) + lenenc_bytes(state)


def parse_err(payload: bytes, capabilities: int) -> Err:
    """An ERR packet; before 4.1 and in some greetings it has no SQLSTATE, then it is HY000.

    Raises:
        MalformedPacket: no ERR packet.
    """
    if payload[:1] != b"\xff":
        raise MalformedPacket("Malformed packet: an ERR expected")
    errno, position = read_int(payload, 1, 2)
    sqlstate = "HY000"
    if capabilities & PROTOCOL_41 and payload[position : position + 1] == b"#":
        state, position = read_bytes(payload, position + 1, 5)
        sqlstate = state.decode("ascii", "replace")
    return Err(errno, sqlstate, payload[position:].decode("utf-8", "replace"))


def build_err(errno: int, sqlstate: str, message: str) -> bytes:
    """The payload; the message is cut at 512 bytes, between characters.

    Raises:
        ValueError: an SQLSTATE that is not five ASCII characters.
    """
    state = sqlstate.encode("ascii", "replace")
    if len(state) != 5:
        raise ValueError(f"SQLSTATE must have five characters: {sqlstate!r}")
    text = message.encode("utf-8", "replace")[:MAX_MESSAGE].decode("utf-8", "ignore").encode()
    return b"\xff" + errno.to_bytes(2, "little") + b"#" + state + text


def build_eof(status: int, warnings: int = 0) -> bytes:
    """The payload of an EOF packet (for receivers without DEPRECATE_EOF)."""
    return b"\xfe" + warnings.to_bytes(2, "little") + status.to_bytes(2, "little")
