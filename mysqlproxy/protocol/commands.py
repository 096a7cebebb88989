"""Command codes, and where the SQL begins in a COM_QUERY.

Called by the session engine for each command, and by the metrics for names. Never decodes a parameter's
value: it is only stepped over.

Manual: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html,
page_protocol_com_query.html, and https://mariadb.com/kb/en/com_stmt_bulk_execute/.
"""

from __future__ import annotations

from typing import Final

from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol.capabilities import QUERY_ATTRIBUTES
from mysqlproxy.protocol.codec import read_bytes, read_lenenc, skip_lenenc_bytes


class Command:
    """The first byte of a command's payload."""

    SLEEP: Final = 0
    QUIT: Final = 1
    INIT_DB: Final = 2
    QUERY: Final = 3
    FIELD_LIST: Final = 4
    CREATE_DB: Final = 5
    DROP_DB: Final = 6
    REFRESH: Final = 7
    SHUTDOWN: Final = 8
    STATISTICS: Final = 9
    PROCESS_INFO: Final = 10
    CONNECT: Final = 11
    PROCESS_KILL: Final = 12
    DEBUG: Final = 13
    PING: Final = 14
    TIME: Final = 15
    DELAYED_INSERT: Final = 16
    CHANGE_USER: Final = 17
    BINLOG_DUMP: Final = 18
    TABLE_DUMP: Final = 19
    CONNECT_OUT: Final = 20
    REGISTER_SLAVE: Final = 21
    STMT_PREPARE: Final = 22
    STMT_EXECUTE: Final = 23
    STMT_SEND_LONG_DATA: Final = 24
    STMT_CLOSE: Final = 25
    STMT_RESET: Final = 26
    SET_OPTION: Final = 27
    STMT_FETCH: Final = 28
    DAEMON: Final = 29
    BINLOG_DUMP_GTID: Final = 30
    RESET_CONNECTION: Final = 31
    CLONE: Final = 32
    SUBSCRIBE_GROUP_REPLICATION_STREAM: Final = 33
    STMT_BULK_EXECUTE: Final = 250  # MariaDB
    MULTI: Final = 254  # MariaDB 10.2 to 10.3


_NAMES: Final[dict[int, str]] = {
    code: f"COM_{name}" for name, code in vars(Command).items() if name.isupper() and isinstance(code, int)
}


def name_of(code: int) -> str:
    """The manual's name of a command code, ``COM_QUERY``; of an unknown one ``COM_`` and its number."""
    return _NAMES.get(code) or f"COM_{code}"


# Bytes of a value in the binary protocol by column type; strings and temporal values carry their length.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html
_FIXED: Final[dict[int, int]] = {
    1: 1,  # TINY
    244: 1,  # BOOL
    2: 2,  # SHORT
    13: 2,  # YEAR
    3: 4,  # LONG
    9: 4,  # INT24
    4: 4,  # FLOAT
    8: 8,  # LONGLONG
    5: 8,  # DOUBLE
    6: 0,  # NULL
}
_WITH_LENGTH: Final = frozenset(
    (
        0,  # DECIMAL
        7,  # TIMESTAMP
        10,  # DATE
        11,  # TIME
        12,  # DATETIME
        15,  # VARCHAR
        16,  # BIT
        242,  # VECTOR
        245,  # JSON
        246,  # NEWDECIMAL
        247,  # ENUM
        248,  # SET
        249,  # TINY_BLOB
        250,  # MEDIUM_BLOB
        251,  # LONG_BLOB
        252,  # BLOB
        253,  # VAR_STRING
        254,  # STRING
        255,  # GEOMETRY
    )
)


def skip_value(data: bytes, position: int, column_type: int) -> int:
    """The position behind a parameter's value in the binary protocol.

    Raises:
        MalformedPacket: it does not fit, or no parameter has this type.
    """
    size = _FIXED.get(column_type)
    if size is not None:
        if size > len(data) - position:
            raise MalformedPacket("Malformed packet: a parameter is cut off")
        return position + size
    if column_type in _WITH_LENGTH:
        return skip_lenenc_bytes(data, position)
    raise MalformedPacket("Malformed packet: a parameter of unknown type")


def statement_offset(data: bytes, base: int, capabilities: int) -> int:
    """Where the SQL of a COM_QUERY begins in ``data``: behind the command byte and the query attributes.

    Args:
        data: the payload, or the packet with its header. Attributes that reach beyond the first frame of a
            packet of several are only found in its payload.
        base: where the command byte is: 0 in a payload, 4 in a packet of one frame.
        capabilities: as negotiated with the client.

    Returns:
        An offset into ``data``; ``len(data)`` when there is no SQL.

    Raises:
        MalformedPacket: attributes that do not fit.
    """
    position = base + 1
    if not capabilities & QUERY_ATTRIBUTES:
        return min(position, len(data))
    if data[position : position + 2] == b"\x00\x01":  # no attributes, one set: nearly always
        return position + 2
    count, position = read_lenenc(data, position)
    sets, position = read_lenenc(data, position)
    if sets != 1:
        raise MalformedPacket("Malformed packet: one set of query attributes expected")
    if count == 0:
        return position
    return _skip_attributes(data, position, count)


def _skip_attributes(data: bytes, position: int, count: int) -> int:
    """The position behind the null bitmap, the types with their names, and the values."""
    nulls, position = read_bytes(data, position, (count + 7) // 8)
    bound, position = read_bytes(data, position, 1)
    if bound != b"\x01":
        raise MalformedPacket("Malformed packet: query attributes without their types")
    types = bytearray()
    for _ in range(count):
        kind, position = read_bytes(data, position, 2)
        types.append(kind[0])
        position = skip_lenenc_bytes(data, position)
    for index in range(count):
        if not nulls[index >> 3] & 1 << (index & 7):
            position = skip_value(data, position, types[index])
    return position
