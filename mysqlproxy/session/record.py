"""What is counted and logged of a statement that has ended. Called by the engine once per statement."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mysqlproxy.metrics.counters import StatementCell
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import Keep, kept_for
from mysqlproxy.routing.route import Why
from mysqlproxy.session import hinting
from mysqlproxy.session.request import Request
from mysqlproxy.sql.verdict import READ, WRITE, Kind

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

slow_log = logging.getLogger("mysqlproxy.slow")


class Cells:
    """A session's counters for one server, by the kind of statement; None before the first."""

    __slots__ = ("other", "read", "write")

    def __init__(self) -> None:
        self.read: StatementCell | None = None
        self.write: StatementCell | None = None
        self.other: StatementCell | None = None

    def keep(self, kind: Kind, cell: StatementCell) -> None:
        if kind is READ:
            self.read = cell
        elif kind is WRITE:
            self.write = cell
        else:
            self.other = cell


def record(session: Session, connection: ServerConnection, request: Request, seconds: float) -> None:
    """Count a statement, and log it, as its digest, when it was slow.

    Args:
        seconds: from the request's arrival to the answer's last byte.
    """
    kind = request.verdict.kind
    count(session, connection, kind, seconds)
    if kind is READ and connection.was_manager and not connection.keep & Keep.HOP:
        why = session.why
        session.services.counters.reads_on_manager(kept_for(connection.keep) if why == Why.KEPT else why)
    if request.hint is not None:
        hinting.record(session, connection, request)
    if seconds >= session.services.slow_statement:
        slow_log.warning(
            "%.3f s on %s: %s",
            seconds,
            connection.name,
            request.verdict.digest,
            extra={"session": session.id},
        )


def count(session: Session, connection: ServerConnection, kind: Kind, seconds: float) -> None:
    """Count a statement of this kind that ended on ``connection``."""
    server = connection.name
    cells = session.cells.get(server)
    if cells is None:
        cells = session.cells[server] = Cells()
    cell = cells.read if kind is READ else cells.write if kind is WRITE else cells.other
    if cell is None:
        cell = session.services.counters.statement(server, kind.value, session.strategy.value)
        cells.keep(kind, cell)
    cell.observe(seconds)
    if connection.walker.errno:
        cell.errors += 1
