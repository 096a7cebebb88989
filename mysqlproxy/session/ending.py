"""How a session ends: what it held goes back to the pool, which resets it (that rolls back and unlocks), and a
statement that still runs is killed on its server.

Called by the engine, the sweep, and whoever refuses a client. A session ends exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from mysqlproxy.errors import MalformedPacket, ProxyError, ServerFault
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import Keep
from mysqlproxy.protocol.framing import frame, payload_of
from mysqlproxy.protocol.packets import build_err, parse_err

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

log = logging.getLogger("mysqlproxy.session")

SHUTDOWN: Final = ServerFault("Server shutdown in progress", errno=1053, sqlstate="08S01")
_AFTER_PING: Final = 2.0  # seconds


def release_all(session: Session) -> None:
    """All connections go back; but a hop's stays, to be reset before its next use, until the session's end."""
    held, session.held = session.held, {}
    for connection in held.values():
        if connection.keep & Keep.HOP and not session.gone and not connection.closed:
            connection.restart = True
            session.held[connection.name] = connection
            continue
        pool = session.services.pools.get(connection.name)
        if pool is not None and not connection.closed:
            pool.release(connection)
        else:
            connection.abort()


def close(session: Session) -> None:
    """Close the client after what was written to it, and end."""
    session.client.close()
    end(session)


def hop_lost(session: Session, connection: ServerConnection) -> None:
    """The next hop has gone between two statements: an idle client is told why, in that hop's last words if it had
    some.
    """
    chain = session.services.chain
    error = ServerFault(f"Lost connection to the {chain.next_hop if chain is not None else 'server'}")
    with contextlib.suppress(MalformedPacket):
        last = parse_err(payload_of(connection.last_words), session.capabilities)
        error = ServerFault(last.message, errno=last.errno, sqlstate=last.sqlstate)
    log.warning("%s; the client is closed", error, extra={"session": session.id})
    refuse_and_close(session, error)


def may_end(session: Session) -> bool:
    """Whether a session may be closed when the daemon drains: it is idle, with nothing that would be lost.

    Pools ask with COM_PING before they use a connection: who was told just now that it is good has a statement on
    its way, which would be lost for nothing.
    """
    asked = session.pinged > session.since and monotonic() - session.pinged < _AFTER_PING
    return not (session.busy or asked or session.must_stay())


def shut_down(session: Session) -> None:
    """The daemon is going down and this session must not stay."""
    refuse_and_close(session, SHUTDOWN)


def refuse_and_close(session: Session, error: ProxyError) -> None:
    """Close a client that may be in any state, with an error where the protocol has room for one.

    An idle one gets it unasked, as servers do it (MySQL's 4031, MariaDB's 1053): sequence id 0.
    """
    request, login = session.request, session.login_packets
    if request is None or not request.relayed:
        sequence = (
            login.sequence if login is not None else 0 if request is None else request.answer_sequence()
        )
        session.client.write(frame(build_err(error.errno, error.sqlstate, str(error)), sequence))
    close(session)


def end(session: Session) -> None:
    """Give everything back. Idempotent."""
    if session.gone:
        return
    session.gone = session.busy = True
    services = session.services
    services.sessions.pop(session.id, None)
    services.newcomers.gone(session.id)
    if not services.sessions:
        services.emptied.set()
    session.admitted.leave()
    for ticket in session.tickets:
        ticket.release()
    if session.task is not None and session.task is not asyncio.current_task():
        session.task.cancel()
    active = session.active
    if active is not None:
        session.held.pop(active.name, None)
        session.leave(active)
        _abandon(session, active)
    release_all(session)


def _abandon(session: Session, connection: ServerConnection) -> None:
    """Nobody waits for the statement any more: kill it, then drop its connection."""
    connection.owner = None
    connection.consumer = _NOBODY
    session.services.counters.killed("client_gone")
    session.services.pools.kill(connection, then_drop=True)


class _Nobody:
    """Takes what still comes while the KILL is on its way."""

    def server_data(self, data: bytes) -> None:
        pass

    def server_lost(self, error: Exception | None) -> None:
        pass

    def server_writable(self, writable: bool) -> None:
        pass


_NOBODY = _Nobody()
