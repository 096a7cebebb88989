"""The way round of a statement that has to wait before a server gets it: for a connection, for the session's state
there, for a position, for a prepared statement. And how that is cut short.

Started by the engine as the session's one task; ``interrupt`` is called by KILL and by the sweep of time limits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mysqlproxy.cluster.view import ServerView
from mysqlproxy.errors import ProxyError, ServerFault
from mysqlproxy.routing.route import Why
from mysqlproxy.session import carry, faults, freshness, settle, transfer
from mysqlproxy.session.request import Request

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session


async def send_when_ready(session: Session, request: Request, server: ServerView, epoch: int) -> None:
    """Wait for all that the request needs on ``server``, then send it. Runs as the session's one task.

    Args:
        epoch: of the view by which the server was chosen.
    """
    try:
        if request.counts_of is not None:
            await carry.carry(session, request)  # before others ask for something there
        connection = await session.connection(server)
        request.check_interrupted()
        if session.recalls and faults.asks_for_last_insert(request.verdict):
            faults.recall_last_values(session, request)
        # Claimed: it waits for others' answers, too, while nothing runs on this connection.
        if not freshness.is_fresh(session, connection) and not await connection.claim(
            freshness.catch_up(session, connection)
        ):
            session.stay.manager_reads = Why.BEHIND
            try:
                server = session.choose(request)
            finally:
                session.stay.manager_reads = settle.manager_reads(session)
            behind, connection = connection, await session.connection(server)
            behind.offer()
        await transfer.bind(session, connection, request)
        request.check_interrupted()
        if connection.closed or connection.owner is not session:
            raise ServerFault("Lost connection to server")
    except (ProxyError, TimeoutError, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and not request.interrupted:
            raise
        session.task = None
        faults.not_sent(session, request, server, error)
        return
    session.task = None
    try:
        if session.services.view.epoch == epoch:
            session.send(connection, request)
        else:
            session.start(request)  # the manager it was routed to may be none any more
    except ProxyError as error:
        session.client_fault(error)


def interrupt(session: Session, request: Request) -> asyncio.Task[None] | None:
    """End a session's statement: on its server, or in what it waits for.

    Returns:
        None, or the task that kills it on its server.
    """
    request.interrupted = True
    if session.active is not None:
        return session.services.pools.kill(session.active)
    session.loop.call_soon(_stop_waiting, session, request)  # its task may not have begun yet
    return None


def _stop_waiting(session: Session, request: Request) -> None:
    """The client waits for a connection, a login, a position: not any more."""
    if session.request is not request or session.active is not None or session.task is None or session.gone:
        return
    for connection in session.held.values():
        if connection.consumer is not None and connection.pinging is None:
            # The daemon's own statement, on a connection that may hold a transaction or a cursor.
            session.services.pools.kill(connection)
            return
    session.task.cancel()
