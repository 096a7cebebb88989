"""One sweep over all sessions for every deadline there is, instead of a timer for each. Called by ``app`` on a tick.

Resolution is the tick. A session is told once; what follows (a KILL, a close) is ordinary.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mysqlproxy.errors import ClientFault
from mysqlproxy.session import kill, lifecycle
from mysqlproxy.session.services import Services

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

TICK = 0.25  # seconds

log = logging.getLogger("mysqlproxy.session")

# ER_CLIENT_INTERACTION_TIMEOUT is what MySQL says before it closes; older clients only see the close, as ever.
_IDLE = ClientFault("The client was disconnected because of inactivity", errno=4031, sqlstate="HY000")
# ER_QUERY_INTERRUPTED; no server has a number for a transaction that took too long.
_TRANSACTION = ClientFault(
    "The transaction exceeded transaction_timeout and was rolled back", errno=1317, sqlstate="70100"
)


def sweep(services: Services, now: float) -> None:
    """Look at every session's deadlines.

    Args:
        now: loop time.
    """
    idle_timeout = services.config.limits.idle_timeout
    for session in list(services.sessions.values()):
        if session.login_packets is None and not session.gone:
            _look_at(session, now, idle_timeout)


def _look_at(session: Session, now: float, idle_timeout: float) -> None:
    account = session.account
    request = session.request
    if request is None:
        idle = now - session.since
        limit = account.idle_transaction_timeout
        if idle > idle_timeout and not session.busy:
            _close(session, "idle_timeout", _IDLE)
        elif limit is not None and session.transaction_since and idle > limit and not session.busy:
            _close(session, "idle_transaction_timeout", _IDLE)
    elif (
        account.statement_timeout is not None
        and now - request.started > account.statement_timeout
        and not request.interrupted
    ):
        log.warning("statement_timeout: killed: %s", request.verdict.digest, extra={"session": session.id})
        session.services.counters.killed("statement_timeout")
        kill.interrupt(session, request)
    limit = account.transaction_timeout
    if (
        limit is not None
        and session.transaction_since
        and now - session.transaction_since > limit
        and not session.gone
    ):
        _close(session, "transaction_timeout", _TRANSACTION)


def _close(session: Session, why: str, error: ClientFault) -> None:
    """Nothing of an open transaction stays: what the session held is reset, and what runs is killed."""
    log.warning("%s: the client is closed", why, extra={"session": session.id})
    session.services.counters.denied(why)
    lifecycle.refuse_and_close(session, error)
