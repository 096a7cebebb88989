"""What a session's last statement left on the connection that it ran on: warnings, ROW_COUNT(), FOUND_ROWS().

Called by the engine when a statement asks for it, by ``session.transfer`` before it runs, by ``session.settle`` when
one has ended. What a server forgets when: https://mariadb.com/kb/en/show-warnings/ and
https://dev.mysql.com/doc/refman/9.0/en/show-warnings.html, seen on real ones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mysqlproxy.cluster.view import ServerView
from mysqlproxy.config.schema import Consistency
from mysqlproxy.errors import ClientFault
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import OF_LAST_STATEMENT, Keep
from mysqlproxy.protocol.commands import Command
from mysqlproxy.routing.route import NO_ROWS, Stay, last_server
from mysqlproxy.session import freshness
from mysqlproxy.session.request import Request
from mysqlproxy.sql.verdict import LAST_STATEMENT, WRITE, Verdict

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

_COUNTS = re.compile(rb"row_count|found_rows", re.IGNORECASE)
_COUNTS_SHOWN = re.compile("row_count|found_rows", re.IGNORECASE)
_ROW_COUNT = re.compile("row_count", re.IGNORECASE)
_ASKED_FOR = re.compile(
    rb"(row_count)|(found_rows)|(?:warning|error)_count|\bshow\s+(?:warn|err|count)", re.IGNORECASE
)
_FOUND_ROWS = re.compile(rb"found_rows", re.IGNORECASE)
# Commands that leave ROW_COUNT() and FOUND_ROWS() as they are.
_COUNT_NOTHING: Final = frozenset((Command.STMT_PREPARE, Command.STATISTICS))
# Statements that answer with rows which FOUND_ROWS() does not count.
_ROWS_UNCOUNTED = ("ANALYZE", "CHECKSUM", "EXPLAIN", "SHOW CREATE", "SHOW ERR", "SHOW GRANTS", "SHOW WARN")
_DIAGNOSTICS = re.compile(r"GET\b|SHOW (?:WARN|ERR|COUNT)", re.IGNORECASE)
# MariaDB: what surely opens no tables, also no derived ones and none of information_schema.
_NO_TABLES = re.compile(
    r"(?:(?:BEGIN|COMMIT|DO|GET|RELEASE|ROLLBACK|SAVEPOINT|SELECT|SET|START|USE)\b|SHOW (?:WARN|ERR|COUNT))"
    r"(?!.*\b(?:FROM|TABLE)\b)",
    re.IGNORECASE | re.DOTALL,
)


def check(session: Session, request: Request) -> Stay:
    """Warnings keep their connection; counts do not, or every session that wrote would keep one for ever.

    Returns:
        What to route by: where nothing was left that several statements could be told of, they go where they may.

    Raises:
        ClientFault: the answer is a count that went with its connection.
    """
    stay = session.stay
    last = last_server(request.verdict, stay)
    if last not in (stay.last_server, NO_ROWS) and stay.server and not stay.reads_leave:
        last = None  # the client would be told the flags of another connection than its transaction's
    text = request.raw if request.prepared is None else request.prepared.request
    if last and request.verdict.statements > 1 and not _COUNTS.search(text):
        held = session.held.get(last)
        if held is not None and not held.keep & Keep.WARNINGS:
            return Stay(stay.server, stay.reads_leave, stay.manager_reads)
    if stay.apart and len({match.lastindex for match in _ASKED_FOR.finditer(text)}) > 1:
        raise ClientFault(
            "What this text asks for (ROW_COUNT(), FOUND_ROWS(), warnings) was left by different statements, on "
            "different servers; ask for each in a statement of its own"
        )
    manager = session.services.view.manager
    if (
        request.verdict.tables
        and last
        and (manager is None or last != manager.name)
        and freshness.consistency(session) in (Consistency.STRONG, Consistency.GLOBAL)
    ):
        raise ClientFault(
            "What the last statement left is on a worker, which cannot be asked to wait for others' writes without "
            "forgetting it; ask for it in a statement without tables"
        )
    if last in ("", NO_ROWS) or last in session.services.view.by_name or request.code == Command.STMT_PREPARE:
        return stay
    if _COUNTS.search(text) and not (session.pinged > session.since and not _FOUND_ROWS.search(text)):
        raise ClientFault(
            "ROW_COUNT() and FOUND_ROWS() of the last statement are not known any more: another session needed the "
            "connection, or a transaction began on another one; ask for them in the transaction of the statement, or "
            "in its text"
        )
    return stay


def forget_others(session: Session, server: ServerView, request: Request) -> None:
    """What the last statement had no part in is not told as its own: see ``transfer.bring_up_to_date``."""
    held = session.held.get(server.name)
    if held is not None and (
        (held.old_warnings and asks_for_warnings(request))
        or pinged(session, request)
        or counts_no_rows(session, request)
    ):
        held.synced = -1


def asks_for_warnings(request: Request) -> bool:
    """And for no count, which forgetting warnings would change."""
    return request.verdict.needs is LAST_STATEMENT and _COUNTS_SHOWN.search(request.verdict.digest) is None


def pinged(session: Session, request: Request) -> bool:
    """Whether ROW_COUNT() is asked for behind a COM_PING, which makes it 0; the daemon has answered that itself."""
    asks = request.verdict.needs is LAST_STATEMENT and _ROW_COUNT.search(request.verdict.digest) is not None
    return asks and session.pinged > session.since


def counts_no_rows(session: Session, request: Request) -> bool:
    """Whether FOUND_ROWS() is asked for before any rows. A reset leaves what somebody else's last statement found."""
    asks = request.verdict.needs is LAST_STATEMENT and "found_rows" in request.verdict.functions
    return asks and session.stay.rows_server == NO_ROWS


def counts_rows(connection: ServerConnection, verdict: Verdict) -> bool:
    """Whether FOUND_ROWS() is of this statement. INSERT ... SELECT sets it, INSERT ... RETURNING does not."""
    walker, text = connection.walker, verdict.digest.upper()
    if walker.errno:
        return bool(walker.result_sets)
    if text.startswith(_ROWS_UNCOUNTED) or (connection.mariadb and text.startswith("VALUES")):
        return False
    if not connection.mariadb and text.startswith(("CALL", "DO", "UPDATE")):
        return True
    return "SELECT" in text or (
        walker.result_sets > 0 and not text.startswith(("INSERT", "REPLACE", "DELETE"))
    )


def leaves_warnings(connection: ServerConnection, request: Request) -> bool:
    """Whether SHOW WARNINGS still tells those of before this statement: on MariaDB while it uses no tables."""
    walker, verdict = connection.walker, request.verdict
    if request.code == Command.STATISTICS:
        return True
    if walker.errno or walker.warnings or verdict.tables:
        return False
    if verdict.kind is WRITE and (
        verdict.functions or verdict.effects or verdict.digest[:3].upper() != "DO "
    ):
        return False
    return (_NO_TABLES if connection.mariadb else _DIAGNOSTICS).match(verdict.digest) is not None


def is_last(session: Session, connection: ServerConnection, request: Request, *, rows: bool) -> None:
    """The last statement ran here: what the one before left elsewhere can no longer be asked for, but for warnings
    that this one leaves standing.

    Args:
        rows: FOUND_ROWS() is of it; else still of the last one with rows.
    """
    stay, last = session.stay, session.stay.last_server
    before = session.held.get(last or "")
    if rows and not stay.apart and (before is None or not before.keep & OF_LAST_STATEMENT):
        stay.last_server = connection.name
        return
    warned = session.held.get(stay.warned_server or last or "")
    walker = connection.walker
    if request.code not in _COUNT_NOTHING or walker.errno or walker.warnings:
        of_rows = session.held.get(stay.rows_server or "")
        stay.last_server = connection.name
        if rows or connection.name == stay.rows_server:
            stay.rows_server = ""
        elif stay.rows_server == "" and last not in ("", connection.name):
            stay.rows_server = last
        for left in (before, of_rows):
            if left is not None and left is not connection and left.name != stay.rows_server:
                left.keep &= ~Keep.FOUND_ROWS
                left.offer()
    stay.warned_server = ""
    if warned is not None and warned is not connection and warned.keep & Keep.WARNINGS:
        if not leaves_warnings(connection, request):
            warned.old_warnings = True
            warned.keep &= ~Keep.WARNINGS
            warned.offer()
        elif warned.name != stay.last_server:
            stay.warned_server = warned.name
    elif warned is connection and connection.name != stay.last_server and connection.keep & Keep.WARNINGS:
        stay.warned_server = connection.name  # a PREPARE beside them
    stay.apart = stay.rows_server != "" or stay.warned_server != ""
