"""The packets of prepared statements: ids replaced, parameter types read and put back.

Called by the session's prepared statements, when a statement moves to another connection: the server there
gave it another id and has not yet seen its parameter types, which drivers send only once. Never decodes a
value.

Manual: page_protocol_com_stmt_prepare.html and page_protocol_com_stmt_execute.html below
https://dev.mysql.com/doc/dev/mysql-server/latest/; https://mariadb.com/kb/en/com_stmt_bulk_execute/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol.capabilities import QUERY_ATTRIBUTES
from mysqlproxy.protocol.codec import read_bytes, read_int, read_lenenc, skip_lenenc_bytes
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.framing import HEADER

LAST_PREPARED: Final = 0xFFFFFFFF  # MariaDB: the statement prepared last on this connection

_CURSOR: Final = 0x07  # CURSOR_TYPE_READ_ONLY, FOR_UPDATE, SCROLLABLE
_PARAMETER_COUNT_AVAILABLE: Final = 0x08
_BULK_SEND_TYPES: Final = 128
_EXECUTE_HEAD: Final = 10  # command, id, flags, iteration count
_BULK_HEAD: Final = 7  # command, id, flags


@dataclass(frozen=True, slots=True)
class PrepareOk:
    """What COM_STMT_PREPARE is answered with first; ``columns`` and ``parameters`` are their numbers."""

    statement_id: int
    columns: int
    parameters: int
    warnings: int


def parse_prepare_ok(payload: bytes) -> PrepareOk:
    """COM_STMT_PREPARE_OK.

    Raises:
        MalformedPacket: none.
    """
    if payload[:1] != b"\x00":
        raise MalformedPacket("Malformed packet: a COM_STMT_PREPARE_OK expected")
    statement, position = read_int(payload, 1, 4)
    columns, position = read_int(payload, position, 2)
    parameters, position = read_int(payload, position, 2)
    # A filler byte, then the warnings: both are missing in the answer of old servers.
    warnings = read_int(payload, position + 1, 2)[0] if len(payload) > position else 0
    return PrepareOk(statement, columns, parameters, warnings)


def statement_id(raw: bytes) -> int:
    """The statement's id in a request packet given with its header.

    Raises:
        MalformedPacket: it is cut off.
    """
    return read_int(raw, HEADER + 1, 4)[0]


def with_statement_id(raw: bytes, statement_id: int) -> bytes:
    """A request packet with its header, for another statement id.

    All of EXECUTE, FETCH, CLOSE, RESET, SEND_LONG_DATA and BULK_EXECUTE have it in the same place.

    Raises:
        MalformedPacket: the packet is too short to hold an id.
    """
    end = HEADER + 5
    if len(raw) < end:
        raise MalformedPacket("Malformed packet: no statement id")
    return raw[: HEADER + 1] + statement_id.to_bytes(4, "little") + raw[end:]


def cursor_requested(payload: bytes) -> bool:
    """Whether a COM_STMT_EXECUTE asks the server to keep the rows for COM_STMT_FETCH."""
    return len(payload) > 5 and payload[0] == Command.STMT_EXECUTE and payload[5] & _CURSOR != 0


def parameter_types(payload: bytes, parameters: int, capabilities: int) -> bytes | None:
    """The types a COM_STMT_EXECUTE or COM_STMT_BULK_EXECUTE carries, to put into a later one without.

    Args:
        payload: with the command byte.
        parameters: how many the statement has, from its PrepareOk.
        capabilities: as negotiated with the client.

    Returns:
        The block as it is (under QUERY_ATTRIBUTES with names), or None when the packet refers to earlier
        types or has no parameters.

    Raises:
        MalformedPacket: lengths that do not fit.
    """
    layout = _layout(payload, parameters, capabilities)
    if layout is None or not layout.bound:
        return None
    end = _skip_types(payload, layout.types, layout.count, layout.named)
    return payload[layout.types : end]


def with_parameter_types(payload: bytes, parameters: int, types: bytes, capabilities: int) -> bytes:
    """The payload with the types put in where it refers to earlier ones; else as it is.

    Args:
        payload, parameters, capabilities: as for ``parameter_types``.
        types: what ``parameter_types`` returned for an earlier execution of the same statement.

    Raises:
        MalformedPacket: lengths that do not fit, or types of another number of parameters.
    """
    layout = _layout(payload, parameters, capabilities)
    if layout is None or layout.bound:
        return payload
    if _skip_types(types, 0, layout.count, layout.named) != len(types):
        raise MalformedPacket("Malformed packet: parameters without their types")
    flag = payload[layout.flag] | layout.mark
    between = payload[layout.flag + 1 : layout.types]
    return b"".join((payload[: layout.flag], bytes((flag,)), between, types, payload[layout.types :]))


class _Layout:
    """Of each execution, therefore a class of the plainest kind: where things are in an execution with parameters.

    Attributes:
        flag: position of the byte that tells whether types follow.
        mark: the bit of it.
        bound: whether they do.
        types: where they are, or would be.
        count: how many parameters, query attributes included.
        named: each type is followed by a name.
    """

    __slots__ = ("bound", "count", "flag", "mark", "named", "types")

    def __init__(self, flag: int, mark: int, bound: bool, types: int, count: int, named: bool) -> None:
        self.flag = flag
        self.mark = mark
        self.bound = bound
        self.types = types
        self.count = count
        self.named = named


def _layout(payload: bytes, parameters: int, capabilities: int) -> _Layout | None:
    code = payload[0] if payload else -1
    if code == Command.STMT_BULK_EXECUTE:
        bulk_flags, _ = read_int(payload, 5, 2)
        bound = bulk_flags & _BULK_SEND_TYPES != 0
        return _Layout(5, _BULK_SEND_TYPES, bound, _BULK_HEAD, parameters, False) if parameters else None
    if code != Command.STMT_EXECUTE:
        raise MalformedPacket("Malformed packet: no execution of a statement")
    head, position = read_bytes(payload, 0, _EXECUTE_HEAD)
    named = capabilities & QUERY_ATTRIBUTES != 0
    if named and (parameters or head[5] & _PARAMETER_COUNT_AVAILABLE):
        parameters, position = read_lenenc(payload, position)
    if not parameters:
        return None
    _, position = read_bytes(payload, position, (parameters + 7) // 8)
    bound_flag, types = read_int(payload, position, 1)
    return _Layout(position, 1, bound_flag == 1, types, parameters, named)


def _skip_types(data: bytes, position: int, count: int, named: bool) -> int:
    if not named:
        return read_bytes(data, position, 2 * count)[1]
    for _ in range(count):
        _, position = read_bytes(data, position, 2)
        position = skip_lenenc_bytes(data, position)
    return position
