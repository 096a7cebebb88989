"""What is counted and logged of a statement that has ended. Called by the engine once per statement."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import Keep, kept_for
from mysqlproxy.routing.route import Why
from mysqlproxy.session import hinting
from mysqlproxy.session.request import Request
from mysqlproxy.sql.verdict import READ

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

slow_log = logging.getLogger("mysqlproxy.slow")


def record(session: Session, connection: ServerConnection, request: Request, seconds: float) -> None:
    """Count a statement, and log it, as its digest, when it was slow.

    Args:
        seconds: from the request's arrival to the answer's last byte.
    """
    server, kind = connection.name, request.verdict.kind
    cell = session.cells.get((server, kind))
    if cell is None:
        cell = session.services.counters.statement(server, kind.value, session.strategy.value)
        session.cells[server, kind] = cell
    cell.observe(seconds)
    if connection.walker.errno:
        cell.errors += 1
    if kind is READ and connection.was_manager and not connection.keep & Keep.HOP:
        why = session.why
        session.services.counters.reads_on_manager(kept_for(connection.keep) if why == Why.KEPT else why)
    if request.hint is not None:
        hinting.record(session, connection, request)
    if seconds >= session.services.slow_statement:
        slow_log.warning(
            "%.3f s on %s: %s", seconds, server, request.verdict.digest, extra={"session": session.id}
        )
