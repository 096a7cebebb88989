"""What a session's last statement left on the connection that it ran on: warnings, ROW_COUNT(), FOUND_ROWS().

Called by the engine when a statement asks for it, by ``session.transfer`` before it runs, by ``session.settle`` when
one has ended. What a server forgets when: https://mariadb.com/kb/en/show-warnings/ and
https://dev.mysql.com/doc/refman/9.0/en/show-warnings.html, seen on real ones.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mysqlproxy.cluster.view import ServerView
from mysqlproxy.config.schema import Consistency
from mysqlproxy.errors import ClientFault
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import OF_LAST_STATEMENT, Keep
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.response import ResponseWalker
from mysqlproxy.routing.route import NO_ROWS, RECALLED, Stay, last_server, may_answer
from mysqlproxy.session import diagnostics, freshness
from mysqlproxy.session.request import Request
from mysqlproxy.sql.functions import is_built_in
from mysqlproxy.sql.verdict import LAST_STATEMENT, WRITE, Effect, Verdict

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

_COUNTS = re.compile(rb"row_count|found_rows", re.IGNORECASE)
_COUNT_FUNCTIONS: Final = frozenset(("found_rows", "row_count"))
_OF_LAST: Final = frozenset(("row_count", "@@warning_count"))
UNSEEN: Final = Effect.UNTRACKED | Effect.ASKS_UNSEEN
_ROW_COUNT = re.compile("row_count", re.IGNORECASE)
_ASKED_FOR = re.compile(
    rb"(row_count)|(found_rows)|(?:warning|error)_count|\bshow\s+(?:warn|err|count)|\bdiagnostics\s+condition\b"
    rb"|@[^,=]+=\s*number\b",
    re.IGNORECASE,
)
_FOUND_ROWS = re.compile(rb"found_rows", re.IGNORECASE)
# Statements that answer with rows which FOUND_ROWS() does not count.
_ROWS_UNCOUNTED = (
    "ANALYZE",
    "CHECKSUM",
    "DESC SELECT",
    "DESCRIBE SELECT",
    "EXPLAIN",
    "SHOW CREATE",
    "SHOW ERR",
    "SHOW GRANTS",
    "SHOW WARN",
)
_TABLE_QUERY = re.compile(r"TABLE\b|(?:INSERT|REPLACE|DELETE|UPDATE)\b.*[( ]TABLE ", re.DOTALL)
_SEVERAL = re.compile(r",|\bJOIN\b|\bUSING\b")
_DELETES_FROM_ONE = re.compile(r"DELETE (?:(?:LOW_PRIORITY|QUICK|IGNORE|HISTORY) )*FROM\b")
# Errors of what did not come to run: names and rights, before anything is counted.
_NOT_EXECUTED: Final = frozenset(
    (1044, 1045, 1046, 1049, 1052, 1054, 1064, 1109, 1142, 1143, 1146, 1149, 1227, 1305, 1370)
)
# In a text of several statements, not those that its rows are of.
_NO_ROWS_EVER = ("BEGIN", "COMMIT", "DO", "ROLLBACK", "SAVEPOINT", "SET", "START", "USE")
_DIAGNOSTICS = re.compile(r"GET\b|SHOW (?:WARN|ERR|COUNT)", re.IGNORECASE)
# MariaDB: what surely opens no tables, also no derived ones and none of information_schema.
_NO_TABLES = re.compile(
    r"(?:(?:BEGIN|COMMIT|DO|GET|RELEASE|ROLLBACK|SAVEPOINT|SELECT|SET|START|USE|VALUES)\b|SHOW (?:WARN|ERR|COUNT))"
    r"(?!.*\b(?:FROM|TABLE)\b)",
    re.IGNORECASE | re.DOTALL,
)


def check(session: Session, request: Request) -> Stay:
    """Warnings keep their connection; counts do not, or every session that wrote would keep one for ever.

    Returns:
        What to route by. Where nothing was left that several statements could be told of, they go where they may; so
        does what cannot run where the last one ran, with the counts in its text: ``request.counts_of``.

    Raises:
        ClientFault: the answer is a count that went with its connection.
    """
    stay, verdict, view = session.stay, request.verdict, session.services.view
    elsewhere = Stay(stay.server, stay.reads_leave, stay.manager_reads)
    request.counts_of = None
    if request.carried:
        return elsewhere
    last = last_server(verdict, stay)
    text = request.raw if request.prepared is None else request.prepared.request
    counts = _COUNTS.search(text) is not None or not _COUNT_FUNCTIONS.isdisjoint(verdict.functions)
    if last and verdict.statements > 1 and not counts:
        held = session.held.get(last)
        if held is not None and not held.keep & Keep.WARNINGS:
            return elsewhere
    if stay.apart and len({match.lastindex for match in _ASKED_FOR.finditer(text)}) > 1:
        raise ClientFault(
            "What this text asks for (ROW_COUNT(), FOUND_ROWS(), warnings) was left by different statements, on "
            "different servers; ask for each in a statement of its own"
        )
    if last == RECALLED or last in view.by_name:
        if last != RECALLED and view.by_name[last] is not view.manager:
            diagnostics.prepare(session, request, last)
            verdict = request.verdict
        if (
            last != RECALLED
            and may_answer(verdict, view, stay, last)
            and not _must_wait(session, request, last)
        ):
            return stay
        if request.code == Command.STMT_PREPARE:
            return elsewhere
        if last != RECALLED and (request.assigns is not None or _only_shows(verdict)):
            session.relay.altered = True  # the client is told the flags of its transaction
            return replace(stay, server="")
        request.counts_of = last
        for held in session.held.values():
            if held.name != last:
                diagnostics.hold_up(session, held)
        return elsewhere
    if last in ("", NO_ROWS) or request.code == Command.STMT_PREPARE:
        return stay
    if counts and not (session.pinged > session.since and not _FOUND_ROWS.search(text)):
        raise ClientFault(
            "ROW_COUNT() and FOUND_ROWS() of the last statement are not known any more: another session needed the "
            "connection, or a statement that joins tables or failed has changed them elsewhere; ask for them in the "
            "transaction of the statement, or in its text"
        )
    return stay


def _must_wait(session: Session, request: Request, last: str) -> bool:
    """Whether it reads tables on a worker, which could not be asked to wait for others' writes without forgetting."""
    manager = session.services.view.manager
    return (
        bool(request.verdict.tables)
        and (manager is None or last != manager.name)
        and freshness.consistency(session) in (Consistency.STRONG, Consistency.GLOBAL)
    )


def _only_shows(verdict: Verdict) -> bool:
    """Whether it tells warnings and does nothing else: it may run beside a transaction."""
    return verdict.statements == 1 and not verdict.effects and verdict.digest[:5].upper() == "SHOW "


def forget_others(session: Session, server: ServerView, request: Request) -> None:
    """What the last statement had no part in is not told as its own: see ``transfer.bring_up_to_date``."""
    held = session.held.get(server.name)
    if held is not None and (
        (held.old_warnings and request.verdict.needs is LAST_STATEMENT)
        or pinged(session, request)
        or counts_no_rows(session, request)
        or runs_unseen(session, request, held)
    ):
        diagnostics.hold_up(session, held)


def pinged(session: Session, request: Request) -> bool:
    """Whether ROW_COUNT() is asked for behind a COM_PING, which makes it 0; the daemon has answered that itself."""
    asks = request.verdict.needs is LAST_STATEMENT and _ROW_COUNT.search(request.verdict.digest) is not None
    return asks and session.pinged > session.since


def keep_pinged(session: Session, walker: ResponseWalker, now: float) -> None:
    """What counts nothing has ended behind a COM_PING: that is still what ROW_COUNT() is of."""
    if (
        session.request is not None
        and session.request.counts_nothing()
        and not (walker.errno or walker.warnings)
    ):
        session.pinged = now + 1e-6  # after the end of this one


def counts_no_rows(session: Session, request: Request) -> bool:
    """Whether FOUND_ROWS() is asked for before any rows. A reset leaves what somebody else's last statement found."""
    asks = request.verdict.needs is LAST_STATEMENT and "found_rows" in request.verdict.functions
    return asks and session.stay.rows_server == NO_ROWS


def runs_unseen(session: Session, request: Request, connection: ServerConnection) -> bool:
    """Whether it may ask, unseen, for rows found on another connection; this one's last may be anybody's."""
    verdict, stay = request.verdict, session.stay
    if not verdict.effects & UNSEEN or verdict.needs is LAST_STATEMENT or connection.keep & Keep.HOP:
        return False
    if stay.found_on == connection.name:
        return False
    return connection.name != stay.last_server or not _OF_LAST.intersection(verdict.functions)


def counts_rows(connection: ServerConnection, verdict: Verdict) -> bool | None:
    """Whether FOUND_ROWS() is of this text; None when that cannot be told.

    INSERT ... SELECT sets it, INSERT ... RETURNING does not.
    """
    walker, text = connection.walker, verdict.digest.upper()
    if walker.errno:
        if walker.result_sets:
            return True
        # What a statement has read before it failed may be counted: on MySQL by the statement behind it.
        may = "SELECT" in text or _may_join(text) or (not connection.mariadb and text.startswith("UPDATE"))
        return None if may and walker.errno not in _NOT_EXECUTED else False
    if verdict.statements == 1:
        if _may_join(text):
            return None
        return _counts_rows(connection, text, walker.result_sets > 0)
    return any(_counts_rows(connection, one.lstrip(), walker.result_sets > 0) for one in text.split(";"))


def _may_join(text: str) -> bool:
    """Whether it may be an UPDATE or DELETE of several tables, which servers run as a SELECT."""
    if text.startswith("UPDATE"):
        return bool(_SEVERAL.search(text.partition(" SET ")[0]))
    return text.startswith("DELETE") and (not _DELETES_FROM_ONE.match(text) or bool(_SEVERAL.search(text)))


def _counts_rows(connection: ServerConnection, text: str, result_sets: bool) -> bool:
    if text.startswith("EXPLAIN SELECT") and connection.mariadb and " FROM " not in text:
        return True  # none
    if text.startswith(_ROWS_UNCOUNTED) or (connection.mariadb and text.startswith("VALUES")):
        return False
    if not connection.mariadb and text.startswith(("CALL", "DO", "UPDATE")):
        return True
    if not connection.mariadb and _TABLE_QUERY.match(text):
        return True
    return "SELECT" in text or (
        result_sets and not text.startswith(("INSERT", "REPLACE", "DELETE", "UPDATE", *_NO_ROWS_EVER))
    )


def leaves_warnings(connection: ServerConnection, request: Request) -> bool:
    """Whether SHOW WARNINGS still tells those of before this statement: on MariaDB while it uses no tables."""
    walker, verdict = connection.walker, request.verdict
    if request.code == Command.STATISTICS:
        return True
    if request.code == Command.INIT_DB:
        return not walker.errno and not walker.warnings
    if walker.errno or walker.warnings or verdict.tables:
        return False
    if verdict.kind is WRITE and (
        verdict.effects & ~Effect.USER_VARIABLES
        or not verdict.digest.upper().startswith(("DO ", "SELECT "))
        or not all(is_built_in(name.upper()) for name in verdict.functions)
    ):
        return False
    leaves = _NO_TABLES if connection.mariadb else _DIAGNOSTICS
    return all(leaves.match(one.lstrip()) is not None for one in verdict.digest.rstrip("; ").split(";"))


def is_last(session: Session, connection: ServerConnection, request: Request, *, rows: bool | None) -> None:
    """The last statement ran here: what the one before left elsewhere can no longer be asked for, but for warnings
    that this one leaves standing.

    Args:
        rows: FOUND_ROWS() is of it, or still of the last one with rows; None when that cannot be told.
    """
    stay, last = session.stay, session.stay.last_server
    before = session.held.get(last or "")
    if rows and not stay.apart and (before is None or not before.keep & OF_LAST_STATEMENT):
        stay.last_server = connection.name
        if before is not None and before.mariadb and request.verdict.tables:
            before.old_warnings = True  # it may have some that only looked forgotten
        return
    warned = session.held.get(stay.warned_server or last or "")
    walker = connection.walker
    if not request.counts_nothing() or walker.errno or walker.warnings:
        rows_holder = stay.found_on
        of_rows = session.held.get(stay.rows_server or "")
        stay.last_server = connection.name
        if rows or connection.name == rows_holder:
            stay.rows_server = ""
        elif rows is None:
            stay.rows_server = None
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
