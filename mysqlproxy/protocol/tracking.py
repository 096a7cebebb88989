"""What the session trackers report in an OK packet: changed variables, schema, GTIDs, the transaction.

Called by the session engine for each OK with a session-state block. Never keeps state; types it does not know
are skipped, because servers add some unasked.

Manual: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html (Session State
Information) and https://mariadb.com/kb/en/ok_packet/.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol.codec import lenenc_bytes, read_lenenc_bytes


class ChangeKind(Enum):
    """SESSION_TRACK_* of the manual."""

    VARIABLE = 0
    SCHEMA = 1
    STATE_CHANGE = 2
    GTIDS = 3
    TRANSACTION_CHARACTERISTICS = 4
    TRANSACTION_STATE = 5


class Change(NamedTuple):
    """One tracked change.

    Attributes:
        kind: what changed.
        name: the variable's name, lower case as servers send it; "" for all other kinds.
        value: the variable's value; the schema's name; "1" or "0" for STATE_CHANGE; a GTID set; the SQL that
            restores the transaction's characteristics; the eight letters of the transaction's state. UTF-8;
            other bytes are kept as surrogates (``errors="surrogateescape"`` gives them back).
    """

    kind: ChangeKind
    name: str
    value: str


_BY_TYPE = {kind.value: kind for kind in ChangeKind}


def parse_session_state(data: bytes) -> list[Change]:
    """The changes in the order the server reports them.

    Args:
        data: ``Ok.session_state``, or several such blocks one behind the other.

    Raises:
        MalformedPacket: lengths that do not fit.
    """
    changes: list[Change] = []
    position = 0
    while position < len(data):
        kind = _BY_TYPE.get(data[position])
        block, position = read_lenenc_bytes(data, position + 1)
        if kind is ChangeKind.VARIABLE:
            _read_variables(block, changes)
        elif kind is ChangeKind.GTIDS:
            if not block:
                raise MalformedPacket("Malformed packet: GTIDs without their encoding")
            # The first byte names the encoding; 0, text, is the only one there is.
            if block[0] == 0:
                changes.append(Change(kind, "", _only(block, 1)))
        elif kind is ChangeKind.STATE_CHANGE:
            # Unlike the others, servers put this one into its block without a length of its own.
            changes.append(Change(kind, "", _text(block)))
        elif kind is not None:
            changes.append(Change(kind, "", _only(block, 0)))
    return changes


def only_kinds(data: bytes, kinds: Collection[ChangeKind], variables: Collection[bytes] | None) -> bytes:
    """The session state with nothing but changes of these kinds and of these variables.

    Args:
        data: ``Ok.session_state``.
        variables: names, lower case; None: all.

    Raises:
        MalformedPacket: lengths that do not fit.
    """
    kept = bytearray()
    position = 0
    while position < len(data):
        kind = _BY_TYPE.get(data[position])
        block, end = read_lenenc_bytes(data, position + 1)
        if kind is ChangeKind.VARIABLE:
            if variables is not None:
                block = _only_variables(block, variables)
            if block:
                kept += data[position : position + 1] + lenenc_bytes(block)
        elif kind in kinds:
            kept += data[position:end]
        position = end
    return bytes(kept)


def is_statement_id(data: bytes) -> bool:
    """Whether nothing changed but the number of the statement, which MySQL sends with every OK."""
    return data[2:15] == b"\x0cstatement_id" and data[0] == 0 and data[1] == len(data) - 2


def _only_variables(block: bytes, names: Collection[bytes]) -> bytes:
    kept = bytearray()
    position = 0
    while position < len(block):
        name, after = read_lenenc_bytes(block, position)
        _, end = read_lenenc_bytes(block, after)
        if name.lower() in names:
            kept += block[position:end]
        position = end
    return bytes(kept)


def _read_variables(block: bytes, changes: list[Change]) -> None:
    position = 0
    while position < len(block):
        name, position = read_lenenc_bytes(block, position)
        value, position = read_lenenc_bytes(block, position)
        changes.append(Change(ChangeKind.VARIABLE, _text(name), _text(value)))


def _only(block: bytes, position: int) -> str:
    value, end = read_lenenc_bytes(block, position)
    if end != len(block):
        raise MalformedPacket("Malformed packet: bytes behind a tracked value")
    return _text(value)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
