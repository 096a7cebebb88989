"""What a lost server means to a session: ask elsewhere, an error, or the end. Called by the engine.

The rules, in the order of the questions: what cannot be replaced (a transaction, a lock, a temporary table, a cursor)
ends the session, because half a transaction must not be committed on another connection. A write in flight ends it
too: nobody knows whether it happened. A read of which nothing has reached the client is asked of another server.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from mysqlproxy.cluster.view import ServerView
from mysqlproxy.errors import (
    ClientFault,
    Interrupted,
    ProxyError,
    ServerFault,
    SessionLost,
    TooManyConnections,
)
from mysqlproxy.pool.connection import ServerConnection, fault_of
from mysqlproxy.pool.keep import IRREPLACEABLE, Keep, names
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.packets import build_err
from mysqlproxy.routing.route import only_session_state
from mysqlproxy.session import ending, settle
from mysqlproxy.session.request import Request
from mysqlproxy.sql import sequences
from mysqlproxy.sql.verdict import LAST_INSERT, Effect, Kind, Verdict

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

log = logging.getLogger("mysqlproxy.session")

_MAX_TRIES = 4  # servers asked for one read

# A worker says so when a read would write, or when replication has not brought it yet what the manager has:
# the manager's answer counts (ER_OPTION_PREVENTS_STATEMENT, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION,
# ER_READ_ONLY_MODE; ER_NO_SUCH_TABLE, ER_BAD_FIELD_ERROR, ER_BAD_DB_ERROR, ER_SP_DOES_NOT_EXIST, ER_VIEW_INVALID,
# ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR, ER_DBACCESS_DENIED_ERROR, ER_PROCACCESS_DENIED_ERROR;
# ER_ACCESS_DENIED_ERROR meets the daemon at its login to the worker).
_MANAGER_DECIDES = frozenset((1290, 1792, 1836, 1146, 1054, 1049, 1305, 1356, 1142, 1143, 1044, 1370))

_ASKS_FOR_ID = re.compile(r"\b(?:last_insert_id|identity)\b", re.IGNORECASE)

_LASTVAL_LOST = ClientFault(
    "LASTVAL() is not known any more: another session needed the connection; ask for it in the transaction of the "
    "statement"
)
LOST = ServerFault("Lost connection to server during query")


def not_sent(session: Session, request: Request, server: ServerView, error: BaseException) -> None:
    """No connection could be had, or not in the session's state: nothing has been sent."""
    if session.gone:
        return
    for connection in session.held.values():
        connection.offer()
    if request.interrupted:
        session.refuse(Interrupted())  # whatever else went wrong on the way
        return
    fault = error
    if not isinstance(fault, ProxyError):
        fault = fault_of(error)
        fault.__cause__ = error
    held = session.held.get(server.name)
    if isinstance(error, SessionLost):
        end(session, error)
    elif held is not None and held.closed and held.keep & IRREPLACEABLE:
        end(session, LOST)
    elif _may_ask_elsewhere(session, request, server.name) and not isinstance(fault, TooManyConnections):
        broke = fault.errno == ServerFault.default_errno and not isinstance(fault.__cause__, OSError)
        _ask_elsewhere(session, request, server.name, broke=broke)
    elif fault.errno == ServerFault.default_errno and (
        _may_be_set_elsewhere(session, request, server) or _may_be_sent_yet(session, request, server, fault)
    ):
        request.excluded |= {server.name}
        session.start(request)
    else:
        session.refuse(fault)


def server_gone(session: Session) -> None:
    """The connection broke while it ran the session's statement."""
    connection, request = session.active, session.request
    if connection is None or request is None:
        return
    session.leave(connection)
    settle.forget_connection(session, connection)
    if request.verdict.effects & Effect.DDL:
        settle.doubt(session, request.verdict)
    if session.gone:
        return
    settle.remember_server(session)
    kept = connection.keep & IRREPLACEABLE
    session.client.upload = None
    if request.relayed:
        end(session, None)  # in the middle of an answer there is no room for an error
    elif not kept and request.retained and _may_ask_elsewhere(session, request, connection.name):
        _ask_elsewhere(session, request, connection.name, broke=True)
    elif kept or request.verdict.kind is not Kind.READ:
        end(session, LOST)
    else:
        session.refuse(LOST)


def idle_connection_lost(session: Session, connection: ServerConnection) -> None:
    """A connection broke between statements."""
    settle.forget_connection(session, connection)
    settle.remember_server(session)
    if session.gone or session.active is connection:
        return
    if connection.keep & Keep.HOP and session.login_packets is None:
        ending.hop_lost(session, connection)
    elif connection.keep & IRREPLACEABLE:
        log.warning(
            "server %s is lost, and with it %s; the client is closed",
            connection.name,
            names(connection.keep),
            extra={"session": session.id},
        )
        # No command waits for an answer: closing is what the server itself does when it dies.
        end(session, LOST if session.request is not None and not session.request.relayed else None)


def still_valid(session: Session, connection: ServerConnection) -> ServerConnection | None:
    """The connection, if the view still agrees with what it was taken for; None when a new one is needed.

    Raises:
        SessionLost: its state cannot be replaced.
    """
    view = session.services.view
    is_manager = view.manager is not None and view.manager.name == connection.name
    # The session has dropped its default schema; no command takes that from a connection that has it still.
    dropped = session.state.schema is None and connection.schema and not connection.keep & IRREPLACEABLE
    same_role = connection.epoch == view.epoch or is_manager == connection.was_manager
    if not connection.closed and same_role and not dropped:
        connection.epoch = view.epoch
        return connection
    if connection.keep & IRREPLACEABLE:
        raise SessionLost("The server that held this session's state has changed its role; connect again")
    settle.forget_connection(session, connection)
    connection.close()
    return None


def roles_changed(session: Session) -> None:
    """Another manager, or none: what an idle session has open on the old one ends at once, and with it its locks."""
    session.epoch = session.services.view.epoch
    try:
        for connection in [held for held in session.held.values() if held.was_manager]:
            still_valid(session, connection)
    except SessionLost as error:
        log.warning("%s; the client is closed", error, extra={"session": session.id})
        end(session, None)  # no command waits for an answer


def is_bound(session: Session, name: str) -> bool:
    """Whether what binds the session to the server is still there.

    Raises:
        SessionLost: it is not, and cannot be replaced.
    """
    connection = session.held.get(name)
    if connection is not None and still_valid(session, connection) is not None:
        return True
    settle.remember_server(session)
    return False


def asks_for_last_insert(verdict: Verdict) -> bool:
    """Beside the last statement's counts, too."""
    return verdict.needs is LAST_INSERT or bool(verdict.effects & Effect.ASKS_MANAGER)


def recall_last_values(session: Session, request: Request) -> None:
    """LASTVAL() cannot be set on another connection: what it was on the one that was taken away goes into the text.

    Raises:
        ClientFault: it, or LAST_INSERT_ID(), went with its connection (a default or a routine had drawn it, or the
            server was lost), or cannot be put into this text.
    """
    state = session.state
    executes = request.code != Command.STMT_PREPARE
    if state.id_lost and executes and _ASKS_FOR_ID.search(request.verdict.digest):
        raise ClientFault(
            "LAST_INSERT_ID() is not known any more: the connection to the server was lost; take it from the answer "
            "to the INSERT"
        )
    if not state.sequences_lost:
        return
    if (
        state.drawn_lost
        and request.verdict.effects & Effect.ASKS_UNSEEN
        and "lastval" in request.verdict.functions
        and executes
    ):
        raise _LASTVAL_LOST
    packet, offset, context = request.statement(session.capabilities, session.context)
    text = packet[offset:]
    asked = sequences.asked(text, context)
    manager = session.services.view.manager
    held = None if manager is None else session.held.get(manager.name)
    known = (None if held is None else held.sequences) or frozenset()
    values, changed = state.last_values, text
    lost = any(name not in known and name not in values for name in asked)
    if not lost and any(name in values for name in asked):
        with_values = sequences.with_last_values(text, context, values)
        lost, changed = with_values is None, with_values or text
    if lost and executes:
        raise _LASTVAL_LOST
    if changed is not text and not (executes and request.prepared is not None):
        request.raw = frame(packet[:offset] + changed)


def asks_manager_instead(session: Session, errno: int) -> bool:
    """Whether a worker's error is not the last word; ``answered`` then asks the manager."""
    connection, request = session.active, session.request
    assert connection is not None and request is not None
    view = session.services.view
    return (
        errno in _MANAGER_DECIDES
        and not connection.was_manager
        and view.manager is not None
        and request.verdict.kind is Kind.READ
        and request.retained
        and not request.pinned
        and connection.name not in request.excluded
    )


def _may_ask_elsewhere(session: Session, request: Request, failed: str) -> bool:
    return (
        request.verdict.kind is Kind.READ
        and (not session.stay.server or session.stay.reads_leave)
        and not request.pinned
        and failed not in request.excluded  # where only one server may answer
        and len(request.excluded) + 1 < _MAX_TRIES
    )


def _may_be_set_elsewhere(session: Session, request: Request, server: ServerView) -> bool:
    """SET NAMES and the like, which clients begin with: as when the manager is known to be gone."""
    view = session.services.view
    return (
        only_session_state(request.verdict)
        and not session.stay.server
        and view.manager is not None
        and view.manager.name == server.name
        and any(reader.name != server.name for reader in view.readers)
    )


def _may_be_sent_yet(session: Session, request: Request, server: ServerView, fault: ProxyError) -> bool:
    """The connection was closed on the way, as when its server was restarted. Where none can be had, none is."""
    return (
        not isinstance(fault.__cause__, OSError)
        and not session.stay.server
        and not request.pinned
        and server.name not in request.excluded
    )


def _ask_elsewhere(session: Session, request: Request, failed: str, *, broke: bool) -> None:
    session.services.counters.retried("server_lost")
    log.info("a read is asked again: %s failed", failed, extra={"session": session.id})
    if broke and not request.again and _is_the_last_reader(session, request, failed):
        request.again = True  # a connection that broke may be of before a restart that nobody had noticed yet
    else:
        request.excluded |= {failed}
    session.start(request)


def _is_the_last_reader(session: Session, request: Request, failed: str) -> bool:
    view = session.services.view
    manager = "" if view.manager is None else view.manager.name
    others = {reader.name for reader in view.readers} | {manager}
    return failed != manager and not others - request.excluded - {failed, ""}


def end(session: Session, error: ProxyError | None) -> None:
    """Close the client, after ``error`` in the place of an answer."""
    if error is not None:
        sequence = 1 if session.request is None else session.request.answer_sequence()
        session.client.write(frame(build_err(error.errno, error.sqlstate, str(error)), sequence))
    ending.close(session)
