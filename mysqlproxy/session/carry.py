"""FOUND_ROWS(), ROW_COUNT() and the numbers of warnings, carried from the connection of the last statement to the one
that must run what asks for them. Called by ``session.waiting``; ``session.last_statement`` says when.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mysqlproxy.errors import ClientFault, MalformedPacket, ProxyError
from mysqlproxy.protocol.capabilities import DEPRECATE_EOF
from mysqlproxy.protocol.codec import read_lenenc_bytes
from mysqlproxy.protocol.commands import Command, statement_offset
from mysqlproxy.protocol.framing import frame, payload_of
from mysqlproxy.routing.route import RECALLED
from mysqlproxy.session.request import Request
from mysqlproxy.sql import counts
from mysqlproxy.sql.verdict import Effect

if TYPE_CHECKING:
    from mysqlproxy.pool.connection import ServerConnection
    from mysqlproxy.session.engine import Session

# None of them changes what another one of them is. But MySQL warns of FOUND_ROWS().
_ALL = b"SELECT FOUND_ROWS(),ROW_COUNT(),@@warning_count,@@error_count LIMIT 1"
_BUT_ROWS = b"SELECT NULL,ROW_COUNT(),@@warning_count,@@error_count LIMIT 1"

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
    packet = payload_of(request.raw)
    if request.code != Command.QUERY or request.verdict.effects & Effect.ASKS_UNSEEN:
        raise _CANNOT
    offset = statement_offset(packet, 0, session.capabilities)
    text = packet[offset:]
    if counts.with_counts(text, session.context, dict.fromkeys(counts.NAMES, 0)) is None:
        raise _CANNOT  # before asking changes anything
    known = {counts.FOUND_ROWS: stay.found_rows}
    if name != RECALLED:
        connection = session.held.get(name)
        rows = session.context.mariadb or b"found_rows" in text.lower()
        known = {} if connection is None else await _ask(session, connection, rows=rows)
        if session.pinged > session.since:
            known[counts.ROW_COUNT] = 0
        if connection is not None and name == stay.found_on:
            # Asking was a statement with one row there.
            stay.found_rows, stay.apart = known.get(counts.FOUND_ROWS, 0), True
            stay.rows_server = RECALLED if rows else None
    changed = counts.with_counts(text, session.context, known)
    if changed is None:
        raise _CANNOT
    request.raw = frame(packet[:offset] + changed)
    request.carried = True


async def _ask(session: Session, connection: ServerConnection, *, rows: bool) -> dict[str, int]:
    while connection.pinging is not None:
        await connection.claim(asyncio.wait([connection.pinging]))
    try:
        async with asyncio.timeout(session.services.config.limits.connect_timeout):
            reply = (await connection.claim(connection.query(_ALL if rows else _BUT_ROWS))).raise_error()
        row = reply.packets()[5 if connection.capabilities & DEPRECATE_EOF else 6]
        found, at = {}, 0
        for name in counts.NAMES if rows else counts.NAMES[1:]:
            value, at = read_lenenc_bytes(row, at if at or rows else 1)  # behind the NULL
            found[name] = int(value.replace(b"\0", b""))  # character_set_results may be UTF-16
    except (ProxyError, TimeoutError, MalformedPacket, IndexError, ValueError) as error:
        raise _CANNOT from error
    finally:
        connection.offer()
    return found
