"""Make a server connection the session's: role, schema, variables, prepared statements.

Called by the engine before a statement is sent. Runs the daemon's own statements, never between a client's statement
and one that asks for its warnings or row count: those go back to the connection of the last statement, which has the
session's state already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from mysqlproxy.errors import Interrupted, MalformedPacket, ServerFault
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import Keep
from mysqlproxy.protocol import response
from mysqlproxy.protocol.capabilities import DEPRECATE_EOF, STATUS_AUTOCOMMIT
from mysqlproxy.protocol.codec import read_lenenc_bytes
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.framing import frame, payload_of
from mysqlproxy.protocol.prepared import parse_prepare_ok, with_parameter_types, with_statement_id
from mysqlproxy.session import diagnostics, last_statement
from mysqlproxy.session.prepared import Prepared
from mysqlproxy.session.request import Request
from mysqlproxy.session.state import reread
from mysqlproxy.sql.sequences import MAX_SEQUENCES, with_last_values
from mysqlproxy.sql.verdict import LAST_INSERT, LAST_STATEMENT

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session


_BAD_SCHEMA = 1049  # ER_BAD_DB_ERROR
# No rows found, no warnings, whatever stood before.
_NOTHING = b"SELECT 1 FROM information_schema.CHARACTER_SETS LIMIT 0"


async def bring_up_to_date(session: Session, connection: ServerConnection) -> None:
    """Give a connection the session's role, schema and variables.

    Raises:
        ServerFault: with the server's number: it refused a part. A worker that does is barred for the session.
    """
    state = session.state
    version = state.version
    if connection.synced != diagnostics.held_up(session):
        await _give_state(session, connection)
    if session.request is not None:
        if connection.old_warnings and session.request.verdict.needs is LAST_STATEMENT:
            await _forget_warnings(connection)
        if last_statement.pinged(session, session.request):
            (await connection.command(bytes((Command.PING,)))).raise_error()
        elif last_statement.counts_no_rows(session, session.request):
            (await connection.query(b"SELECT 1 LIMIT 0")).raise_error()
        elif last_statement.runs_unseen(session, session.request, connection):
            (await connection.query(_NOTHING)).raise_error()
        if state.assigned and connection.was_manager:
            if not diagnostics.may_be_brought(session, session.request):
                connection.synced = diagnostics.held_up(session)  # it comes with the next one
                return
            await diagnostics.bring(session, connection)
    connection.synced = version


async def _forget_warnings(connection: ServerConnection) -> None:
    """Preparing what uses a table does, and leaves FOUND_ROWS() and ROW_COUNT() as they are."""
    reply = await connection.command(bytes((Command.STMT_PREPARE,)) + _NOTHING, response.PREPARE)
    number = parse_prepare_ok(reply.raise_error().packets()[0]).statement_id
    connection.send(frame(bytes((Command.STMT_CLOSE,)) + number.to_bytes(4, "little")))
    connection.old_warnings = False


async def _give_state(session: Session, connection: ServerConnection) -> None:
    state = session.state
    if state.role is not None:  # first: it may be what lets the account into the schema
        connection.role_set = True
        try:
            (await connection.query(state.role)).raise_error()
        except ServerFault as error:
            _bar(session, connection, error)
            raise
    if state.schema is not None and state.schema != connection.schema:
        try:
            await connection.use(state.schema)
        except ServerFault as error:
            # Somebody dropped it: as on a server, what names its schemas goes on, and USE of another one.
            if (
                error.errno != _BAD_SCHEMA
                or connection.schema is not None
                or session.login_packets is not None
            ):
                raise
            if not connection.was_manager:
                raise  # not there yet: the manager knows
    try:
        leaves_nothing_open = session.offload.accepted and not connection.was_manager
        assignments = state.assignments(autocommit=leaves_nothing_open)
        if assignments is not None and connection.synced not in state.optional:
            (await connection.query(assignments)).raise_error()
        await _set_autocommit(session, connection, leaves_nothing_open)
        if state.option is not None:
            await connection.command(bytes((Command.SET_OPTION, *state.option.to_bytes(2, "little"))))
        if state.last_insert_id is not None and connection.was_manager:
            (await connection.query(b"SET last_insert_id=%d" % state.last_insert_id)).raise_error()
            state.last_insert_id = None
            connection.inserted = True
    except ServerFault as error:
        _bar(session, connection, error)
        raise


def _bar(session: Session, connection: ServerConnection, error: ServerFault) -> None:
    """A worker refused a part of the state. One that broke or was interrupted may be had for the next read."""
    if not connection.was_manager and error.errno not in (
        Interrupted.default_errno,
        ServerFault.default_errno,
    ):
        session.barred |= {connection.name}


async def _set_autocommit(session: Session, connection: ServerConnection, assigned: bool) -> None:
    """A session begins as the manager's login leaves it; every other login is made equal to that."""
    if session.login_packets is not None and connection.was_manager:
        session.login_status = session.status = STATUS_AUTOCOMMIT if connection.autocommit else 0
    wanted = assigned or bool(session.status & STATUS_AUTOCOMMIT)
    if connection.autocommit != wanted and not assigned and "autocommit" not in session.state.variables:
        (await connection.query(b"SET autocommit=%d" % wanted)).raise_error()
    connection.autocommit = wanted


# What the session has set must not change the answers: the connection is about to be reset.
_PLAINLY = b"SET sql_select_limit=DEFAULT,NAMES utf8mb4"


def recall(
    session: Session, connection: ServerConnection, values: dict[str, int]
) -> Coroutine[object, object, None]:
    """LAST_INSERT_ID() and LASTVAL() of a connection that is being taken away: statements wait until they are known.

    Args:
        values: what LASTVAL() was on connections before it.
    """
    pending: asyncio.Future[None] = session.loop.create_future()
    session.recall = pending
    return _recall(session, connection, values, pending)


async def _recall(
    session: Session,
    connection: ServerConnection,
    values: dict[str, int],
    pending: asyncio.Future[None],
) -> None:
    drawn = connection.sequences or frozenset()
    names = (
        [*drawn, *values] if len(drawn) < MAX_SEQUENCES else []
    )  # INSERT may have drawn on the latter unseen
    last_insert_id: int | None = None
    found: dict[str, int] = {}
    try:
        (await connection.query(_PLAINLY)).raise_error()
        if connection.inserted:
            reply = (await connection.query(b"SELECT LAST_INSERT_ID()")).raise_error()
            last_insert_id = single_number(reply.packets(), connection.capabilities)
        for name in list(dict.fromkeys(names))[:MAX_SEQUENCES]:
            reply = await connection.query(b"SELECT LASTVAL(%s)" % name.encode("utf-8", "surrogateescape"))
            if reply.errno:
                continue  # gone, or locked
            value = single_number(reply.packets(), connection.capabilities)
            if value is not None or name in values:
                found[name] = values[name] if value is None else value
    except BaseException:
        found = {}
        raise
    finally:
        if session.recall is pending:
            if connection.inserted:
                session.state.last_insert_id = last_insert_id
                session.state.id_lost = last_insert_id is None
            session.state.last_values = found
            session.recall = None
        pending.set_result(None)


def single_number(packets: list[bytes], capabilities: int) -> int | None:
    """The one value of a one-row, one-column text result; None when it is anything else."""
    row = 2 if capabilities & DEPRECATE_EOF else 3
    try:
        value, end = read_lenenc_bytes(packets[row], 0)
        return int(value) if end == len(packets[row]) else None
    except (IndexError, MalformedPacket, ValueError):
        return None


def is_bound(connection: ServerConnection, request: Request) -> bool:
    """Whether the connection can run the request as it is: its statement is prepared there."""
    prepared = request.prepared
    return prepared is None or request.code == Command.STMT_PREPARE or prepared.id in connection.statements


async def bind(session: Session, connection: ServerConnection, request: Request) -> None:
    """Prepare the request's statement on this connection, if it is not there yet; it means what it meant when the
    client prepared it, whatever the session has set since.

    Raises:
        ServerFault: the server refuses it.
    """
    if is_bound(connection, request):
        return
    prepared = request.prepared
    assert prepared is not None
    text = prepared.request
    if session.state.last_values and prepared.verdict.needs is LAST_INSERT:
        changed = with_last_values(text[1:], prepared.context, session.state.last_values)
        text = text if changed is None else text[:1] + changed
    current, synced, reading = connection.schema, connection.synced, session.state.reading
    if prepared.verdict.needs is LAST_STATEMENT and not prepared.verdict.tables:
        reading, current = prepared.reading, prepared.schema  # what it asks for would be of the SET
    connection.synced = -1
    if prepared.reading != reading:
        (await connection.query(reread(reading, prepared.reading, session.charset))).raise_error()
    if prepared.schema is None or current is None or prepared.schema == current:
        reply = await connection.command(text, response.PREPARE)
    else:
        await connection.use(prepared.schema)
        reply = await connection.command(text, response.PREPARE)
        await connection.use(current)
    if prepared.reading != reading:
        (await connection.query(reread(prepared.reading, reading, session.charset))).raise_error()
    connection.synced = synced
    answer = parse_prepare_ok(reply.raise_error().packets()[0])
    if answer.parameters != prepared.parameters:
        raise ServerFault("The statement needs to be prepared again", errno=1615, sqlstate="HY000")
    connection.statements[prepared.id] = answer.statement_id
    connection.bound.pop(prepared.id, None)


def send_bound(session: Session, connection: ServerConnection, request: Request) -> None:
    """Send a request about a prepared statement with the ids, types and long data this connection needs."""
    prepared = request.prepared
    assert prepared is not None
    number = connection.statements[prepared.id]
    raw = request.raw
    if request.code == Command.STMT_EXECUTE:
        if prepared.long_data:
            for packet in prepared.long_data_packets(number):
                connection.send(packet)
            prepared.reset()
            request.retained = False
        raw = _with_types(session, connection, prepared, raw)
    connection.send(with_statement_id(raw, number))


def _with_types(session: Session, connection: ServerConnection, prepared: Prepared, raw: bytes) -> bytes:
    """A client tells the parameters' types once, or anew; each connection must be told."""
    if prepared.types is None or connection.bound.get(prepared.id) == prepared.types:
        return raw
    connection.bound[prepared.id] = prepared.types
    payload = payload_of(raw)
    told = with_parameter_types(payload, prepared.parameters, prepared.types, session.capabilities)
    return raw if told is payload or told == payload else frame(told)


def forget(session: Session, prepared: Prepared) -> None:
    """COM_STMT_CLOSE on every connection that knows the statement; it has no answer."""
    for connection in session.held.values():
        number = connection.statements.pop(prepared.id, None)
        connection.bound.pop(prepared.id, None)
        connection.cursors.discard(prepared.id)
        if not connection.cursors:
            connection.keep &= ~Keep.CURSOR
        if number is not None and not connection.closed:
            connection.send(frame(bytes((Command.STMT_CLOSE,)) + number.to_bytes(4, "little")))
        connection.offer()
