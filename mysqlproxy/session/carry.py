"""FOUND_ROWS(), ROW_COUNT() and the numbers of warnings, carried from the connection of the last statement to the one
that must run what asks for them. Called by ``session.waiting``; ``session.last_statement`` says when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mysqlproxy.errors import ClientFault, MalformedPacket, ProxyError
from mysqlproxy.protocol.capabilities import DEPRECATE_EOF
from mysqlproxy.protocol.codec import read_lenenc_bytes
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.framing import frame, payload_of
from mysqlproxy.protocol.prepared import cursor_requested
from mysqlproxy.routing.route import RECALLED
from mysqlproxy.session.request import Request
from mysqlproxy.sql import counts
from mysqlproxy.sql.verdict import Effect

if TYPE_CHECKING:
    from mysqlproxy.pool.connection import ServerConnection
    from mysqlproxy.session.engine import Session

_EXECUTE = frozenset((Command.QUERY, Command.STMT_EXECUTE))
# None of them changes what another one of them is. But MySQL warns of FOUND_ROWS().
_COLUMNS = (b"FOUND_ROWS()", b"ROW_COUNT()", b"@@warning_count", b"@@error_count")

_NULL = b"\xfb"  # in a row

_CANNOT = ClientFault(
    "What the last statement left (FOUND_ROWS(), ROW_COUNT(), warnings) is on another server than this one must run "
    "on; ask for it in a statement of its own before this one"
)


async def carry(session: Session, request: Request) -> None:
    """Put the numbers that the request asks for into its text.

    Raises:
        ClientFault: they are not known any more, or cannot stand in this text.
    """
    name, stay = request.counts_of, session.stay
    request.counts_of = None
    assert name is not None
    if request.code not in _EXECUTE or request.verdict.effects & Effect.ASKS_UNSEEN:
        raise _CANNOT
    if request.prepared is not None and cursor_requested(payload_of(request.raw)):
        raise _CANNOT  # its rows would be fetched from a statement that is no more
    packet, offset, context = request.statement(session.capabilities, session.context)
    text = packet[offset:]
    if counts.with_counts(text, context, dict.fromkeys(counts.NAMES, 0)) is None:
        raise _CANNOT  # before asking changes anything
    known = {counts.FOUND_ROWS: stay.found_rows}
    if name != RECALLED:
        connection = session.held.get(name)
        rows = session.context.mariadb or b"found_rows" in text.lower()
        known = {} if connection is None else await _counts(session, connection, rows=rows)
        if session.pinged > session.since:
            known[counts.ROW_COUNT] = 0
        if connection is not None and name == stay.found_on:
            # Asking was a statement with one row there.
            stay.found_rows, stay.apart = known.get(counts.FOUND_ROWS, 0), True
            stay.rows_server = RECALLED if rows else None
    changed = counts.with_counts(text, context, known)
    if changed is None:
        raise _CANNOT
    if request.prepared is None:
        request.raw = frame(packet[:offset] + changed)
    else:
        request.prepared = session.prepared.once(request.prepared, packet[:offset] + changed)
    request.carried = True


async def _counts(session: Session, connection: ServerConnection, *, rows: bool) -> dict[str, int]:
    columns = _COLUMNS if rows else (b"NULL", *_COLUMNS[1:])
    try:
        values = await ask(session, connection, columns)
        return {
            name: int(value) for name, value in zip(counts.NAMES, values, strict=True) if value is not None
        }
    except (ProxyError, TimeoutError, ValueError) as error:
        raise _CANNOT from error
    finally:
        connection.offer()


async def ask(session: Session, connection: ServerConnection, columns: Sequence[bytes]) -> list[bytes | None]:
    """What the expressions are on this connection; each of them is ASCII, or NULL.

    Raises:
        ServerFault, MalformedPacket, TimeoutError: it does not tell.
    """
    while connection.pinging is not None:
        await connection.claim(asyncio.wait([connection.pinging]))
    async with asyncio.timeout(session.services.config.limits.connect_timeout):
        query = connection.query(b"SELECT " + b",".join(columns) + b" LIMIT 1")
        packets = (await connection.claim(query)).raise_error().packets()
    head = len(columns) + (1 if connection.capabilities & DEPRECATE_EOF else 2)
    if len(packets) <= head:
        raise MalformedPacket("a SELECT without tables has no row")
    row, at = packets[head], 0
    values: list[bytes | None] = []
    for _ in columns:
        if row[at : at + 1] == _NULL:
            values.append(None)
            at += 1
            continue
        value, at = read_lenenc_bytes(row, at)
        values.append(value.replace(b"\0", b""))  # character_set_results may be UTF-16
    return values
