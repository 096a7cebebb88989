"""One sweep over all sessions for every deadline there is, instead of a timer for each. Called by ``app`` on a tick.

Resolution is the tick. A session is told once; what follows (a KILL, a close) is ordinary.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mysqlproxy.config.schema import Limits
from mysqlproxy.errors import ClientFault
from mysqlproxy.session import ending, waiting
from mysqlproxy.session.request import Request
from mysqlproxy.session.services import Services

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

TICK = 0.25  # seconds
_AGAIN = 1.0  # seconds

log = logging.getLogger("mysqlproxy.session")

# ER_CLIENT_INTERACTION_TIMEOUT is what MySQL says before it closes; older clients only see the close, as ever.
_IDLE = ClientFault("The client was disconnected because of inactivity", errno=4031, sqlstate="HY000")
_HALF = ClientFault("Got timeout reading communication packets", errno=1159, sqlstate="08S01")
# ER_QUERY_INTERRUPTED; no server has a number for a transaction that took too long.
_TRANSACTION = ClientFault(
    "The transaction exceeded transaction_timeout and was rolled back", errno=1317, sqlstate="70100"
)


def sweep(services: Services, now: float) -> None:
    """Look at every session's deadlines.

    Args:
        now: loop time.
    """
    limits = services.config.limits
    for session in list(services.sessions.values()):
        if session.login_packets is None and not session.gone:
            _look_at(session, now, limits)
            if not session.gone:
                _look_at_socket(session, now, limits)


def _look_at_socket(session: Session, now: float, limits: Limits) -> None:
    """Whether a packet goes on arriving that has begun to, and whether the client takes what is sent to it."""
    client = session.client
    if client.upload is not None:  # unless it is the server that is slow
        size = 0 if client.held_back else client.uploaded + 1
    else:
        size = 0 if session.busy or not client.writable else client.reader.pending
    if size != client.receiving[0] or not size:
        client.receiving = (size, now)
    elif now - client.receiving[1] > limits.read_timeout:
        _close(session, "read_timeout", _HALF)
        return
    size = 0 if client.writable or client.transport is None else client.transport.get_write_buffer_size()
    if size != client.sending[0] or not size:
        client.sending = (size, now)
    elif now - client.sending[1] > limits.write_timeout:
        log.warning("write_timeout: the client is closed", extra={"session": session.id})
        session.services.counters.denied("write_timeout")
        client.abort()  # there is no room for a word
        ending.end(session)


def _look_at(session: Session, now: float, limits: Limits) -> None:
    account = session.account
    request = session.request
    if request is None:
        idle = now - session.since
        limit = account.idle_transaction_timeout
        if session.services.draining and ending.may_end(session):
            ending.shut_down(session)
        elif idle > limits.idle_timeout and not session.busy:
            _close(session, "idle_timeout", _IDLE)
        elif limit is not None and session.transaction_since and idle > limit and not session.busy:
            _close(session, "idle_transaction_timeout", _IDLE)
    elif request.interrupted:
        _look_at_killed(session, request, now, limits.read_timeout)
    elif account.statement_timeout is not None and now - request.started > account.statement_timeout:
        log.warning("statement_timeout: killed: %s", request.verdict.digest, extra={"session": session.id})
        session.services.counters.killed("statement_timeout")
        waiting.interrupt(session, request)
    limit = account.transaction_timeout
    if (
        limit is not None
        and session.transaction_since
        and now - session.transaction_since > limit
        and not session.gone
    ):
        _close(session, "transaction_timeout", _TRANSACTION)


def _look_at_killed(session: Session, request: Request, now: float, patience: float) -> None:
    """What goes on is killed again: the KILL may have failed, or overtaken the statement, when it hits nothing.

    A server that goes on for longer, or is silent, is broken: its connection is dropped.
    """
    connection = session.active
    if not request.interrupted_since:
        request.interrupted_since = request.killed_at = now
    elif connection is None:
        return
    elif now - request.interrupted_since > patience:
        name = connection.name
        log.warning("server %s does not end what was killed; dropped", name, extra={"session": session.id})
        request.retained = False  # it is not asked of another one
        connection.abort()
    elif now - request.killed_at > _AGAIN and connection.pinging is None:
        request.killed_at = now
        waiting.interrupt(session, request)


def _close(session: Session, why: str, error: ClientFault) -> None:
    """Nothing of an open transaction stays: what the session held is reset, and what runs is killed."""
    log.warning("%s: the client is closed", why, extra={"session": session.id})
    session.services.counters.denied(why)
    ending.refuse_and_close(session, error)
