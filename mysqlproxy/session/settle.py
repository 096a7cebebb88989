"""What a session learns from an answer: its state, its GTID position, and why it must keep the connection.

Called by the engine when the whole answer has been passed on. Trusts the server's status flags and trackers
first, and the verdict for what they do not show.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from mysqlproxy.config.schema import AutocommitReads, Consistency
from mysqlproxy.errors import MalformedPacket
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import OF_LAST_STATEMENT, STAY, Keep
from mysqlproxy.protocol.capabilities import (
    STATUS_ANSI_QUOTES,
    STATUS_AUTOCOMMIT,
    STATUS_CURSOR_EXISTS,
    STATUS_IN_TRANS,
    STATUS_IN_TRANS_READONLY,
    STATUS_LAST_ROW_SENT,
    STATUS_NO_BACKSLASH_ESCAPES,
)
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.response import ResponseWalker
from mysqlproxy.protocol.tracking import is_statement_id, parse_session_state
from mysqlproxy.routing.offload import ALL, OF_THE_TRANSACTION
from mysqlproxy.routing.route import Why
from mysqlproxy.session import diagnostics, freshness, last_statement, transfer
from mysqlproxy.session.request import Request
from mysqlproxy.sql import sequences
from mysqlproxy.sql.definition import names_defined
from mysqlproxy.sql.leading import UNKNOWN_WORD
from mysqlproxy.sql.verdict import LAST_INSERT, OTHER, READ, WRITE, Effect, Kind, Verdict

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

log = logging.getLogger("mysqlproxy.session")

_KEEP_FOR: tuple[tuple[int, int], ...] = (
    (Effect.USER_VARIABLES, Keep.USER_VARIABLES),
    (Effect.TEMPORARY_TABLE, Keep.TEMPORARY_TABLE),
    (Effect.TABLE_LOCK, Keep.TABLE_LOCK),
    (Effect.NAMED_LOCK, Keep.NAMED_LOCK),
    (Effect.PREPARED, Keep.PREPARED),
    (Effect.ONE_TRANSACTION, Keep.ONE_TRANSACTION),
    (Effect.UNTRACKED, Keep.UNTRACKED),
    (Effect.FOUND_ROWS, Keep.FOUND_ROWS),
)
_OF_THE_MOMENT: Final = Keep.TRANSACTION | Keep.AUTOCOMMIT_OFF | OF_LAST_STATEMENT
# Reasons that a plain read can be the end of.
_MAY_END: Final = Keep.ONE_TRANSACTION | Keep.CURSOR | OF_LAST_STATEMENT
# Flags of the session; the others are of the statement they came with.
_STANDING: Final = (
    STATUS_IN_TRANS
    | STATUS_AUTOCOMMIT
    | STATUS_NO_BACKSLASH_ESCAPES
    | STATUS_IN_TRANS_READONLY
    | STATUS_ANSI_QUOTES
)
_SELECT: Final = ("SELECT ", "select ")
MAX_REASON = 300  # characters of why a session stays, in the log
_PAST_THE_LOG = frozenset(("sql_log_bin", "skip_replication"))
# What prepares or resets a statement has none of the effects of its execution.
_ABOUT_A_STATEMENT: Final = frozenset((Command.STMT_PREPARE, Command.STMT_RESET))
_NOTHING = Verdict(Kind.OTHER, ("executes nothing",))
# The server knows no such statement either: a word was mistyped. (ER_PARSE_ERROR, ER_SYNTAX_ERROR; other statements
# can end with these numbers when a text that they execute is wrong, and SIGNAL with any.)
_NOT_PARSED: Final = frozenset((1064, 1149))
_LOGINS = Effect.LOGINS | Effect.UNTRACKED  # what is not understood may hold a SET GLOBAL
_PLAIN: Final = (
    Effect.DDL
    | Effect.INSERT
    | Effect.SEQUENCE
    | Effect.SCHEMA
    | Effect.VARIABLES
    | Effect.TRANSACTION
    | Effect.ROLE
    | Effect.LOGINS
)

# What the trackers leave out of SET NAMES x COLLATE y: MariaDB's the collation, both servers' that the results have
# it, too, which clients see in column definitions. In any other position a COLLATE cannot be told.
_COLLATE = re.compile(rb"\bcollate\b", re.IGNORECASE)
_SET_NAMES = re.compile(
    rb"\s*set\s+names\s+['\"]?(\w+)['\"]?\s+collate\s+['\"]?(\w+)['\"]?\s*;?\s*\Z", re.IGNORECASE
)
_MAY_SET_ROLE = Effect.ROLE | Effect.UNTRACKED
# No server reports roles. Names that every client character set writes alike, and nothing else behind them.
_SET_ROLE = re.compile(rb"(?:\x00\x01)?\s*(set\s+role\s+[\w'\"`@%.,\s-]+);?\s*\Z", re.IGNORECASE)


def settle(session: Session, connection: ServerConnection, request: Request) -> None:
    walker = connection.walker
    verdict = request.verdict
    if request.code in _ABOUT_A_STATEMENT or (walker.errno in _NOT_PARSED and _is_one_unknown(verdict)):
        verdict = _NOTHING
    status = walker.status  # an ERR has none: what was open before is taken to be open still
    if (
        verdict.kind is READ
        and status == connection.status
        and not walker.errno
        and not walker.warnings
        and not verdict.effects
        and not connection.keep & _MAY_END
        and (not walker.state_changed or is_statement_id(walker.session_state))
        and request.hint is None
        and (request.prepared is None or not (status & STATUS_CURSOR_EXISTS or connection.cursors))
        and (status & STATUS_IN_TRANS or not session.position.wrote)
    ):
        # A plain read that left everything as it was: most statements.
        if session.stay.last_server != connection.name or session.stay.apart:
            rows = verdict.digest[:7] in _SELECT or last_statement.counts_rows(connection, verdict)
            last_statement.is_last(session, connection, request, rows=rows)
        session.position.has_read(connection.name, session.since)
        if session.relay.altered:
            session.status = session.relay.told(status) & _STANDING
        return
    if request.code == Command.INIT_DB and connection.old_warnings:
        walker.warnings = 0  # it tells those that stood there, and leaves them
    connection.status = status
    session.status = session.relay.told(status) & _STANDING
    if walker.session_state or verdict.effects & (Effect.VARIABLES | Effect.ROLE):
        _learn_state(session, connection, request, verdict)
    if walker.session_state:
        connection.untold_since = 0.0
    elif walker.state_changed and not connection.untold_since:
        connection.untold_since = request.started
    _learn_position(session, connection, request, verdict, status)
    tracked = not connection.keep & Keep.UNTRACKED
    keep = _keep(connection, verdict, walker, status)
    if connection.keep & Keep.WARNINGS and last_statement.leaves_warnings(connection, request):
        keep |= Keep.WARNINGS
    connection.keep = keep
    if request.assigns:
        diagnostics.learn(session, connection, request.assigns)
    if connection.was_manager and verdict is not _NOTHING:
        session.offload.settle(verdict, status, walker.errno)
    if verdict.effects & Effect.INSERT or walker.last_insert_id:
        connection.inserted = True
    if walker.warnings or walker.errno or not (connection.mariadb or request.code == Command.INIT_DB):
        # MariaDB keeps them until a statement uses tables, or has some itself.
        connection.old_warnings = False
    if verdict.effects & _MAY_SET_ROLE:
        connection.role_set = True
    if (verdict.effects & Effect.SEQUENCE or verdict.needs is LAST_INSERT) and not walker.errno:
        named, known = (
            sequences.named(verdict.digest, session.context.schema),
            connection.sequences or frozenset(),
        )
        if (named or verdict.effects & Effect.SEQUENCE) and len(known) < sequences.MAX_SEQUENCES:
            connection.sequences = known | named
    if walker.last_insert_id:
        session.state.id_lost = False
    if verdict.effects & Effect.DDL:
        if session.state.last_values:
            unseen = verdict.effects & Effect.UNTRACKED
            session.state.last_values = (
                {} if unseen else sequences.without(session.state.last_values, verdict.digest)
            )
        doubt(session, verdict, bool(walker.result_sets))
    if verdict.effects & _LOGINS:
        session.services.pools.outdate()
    if request.prepared is not None:
        _learn_prepared(session, connection, request, status)
    if session.state.uncarried:
        connection.keep |= Keep.UNTRACKED
    if (
        tracked and connection.keep & Keep.UNTRACKED and not connection.keep & Keep.HOP
    ):  # there it stays anyway
        why = session.state.uncarried or "; ".join(verdict.reasons)[:MAX_REASON]
        log.info("the session stays on %s: %s", connection.name, why, extra={"session": session.id})
    if session.stay.last_server != connection.name or session.stay.apart:
        last_statement.is_last(
            session, connection, request, rows=last_statement.counts_rows(connection, verdict)
        )
    _remember_stay(session, connection)


def _is_one_unknown(verdict: Verdict) -> bool:
    return verdict.statements == 1 and verdict.reasons == (UNKNOWN_WORD,)


def doubt(session: Session, verdict: Verdict, result_set: bool = False) -> None:
    """What a definition names may mean something else from now on, even when it failed."""
    reader = session.services.catalog
    reader.doubt(names_defined(verdict, reader.catalog, session.context.schema, result_set=result_set))


def _learn_state(session: Session, connection: ServerConnection, request: Request, verdict: Verdict) -> None:
    state = session.state
    before = state.version
    try:
        for change in parse_session_state(connection.walker.session_state):
            if change.name in _PAST_THE_LOG:
                session.position.unlogged = True
            if gtids := state.learn(change):
                freshness.told(session, gtids, connection, request)
    except (MalformedPacket, ValueError):
        state.uncarried = "a tracker's report that is not understood"
    if verdict.trackers and not connection.walker.errno:
        session.trackers.ask(verdict.trackers)
    text = request.raw[5:] if request.prepared is None else request.prepared.request[1:]
    if verdict.effects & Effect.VARIABLES and _COLLATE.search(text):
        named = _SET_NAMES.search(text)
        if named is not None and not connection.walker.errno:
            state.set_names(named[1].decode(), named[2].decode())
        else:
            state.uncarried = "a COLLATE that is not reported"
    errno = connection.walker.errno
    if verdict.effects & Effect.ROLE and (not errno or verdict.statements > 1):
        if not errno and (role := _SET_ROLE.match(text)) is not None:
            state.set_role(role[1])
        else:
            state.uncarried = "a role"
    if state.version != before:
        # The connection it happened on has it already; the others follow when they are used.
        if connection.synced == before:
            connection.synced = state.version
        connection.schema = state.schema
        session.context_changed()


def _learn_position(
    session: Session, connection: ServerConnection, request: Request, verdict: Verdict, status: int
) -> None:
    position, now = session.position, session.since
    before = position.unknown_since
    manager = session.services.view.manager
    there = None if manager is None else manager.position
    told = position.settle(
        verdict,
        connection.walker,
        status,
        on_manager=connection.was_manager,
        # Not on a connection on which anything may have been set, also the trackers; nor within SET STATEMENT.
        tells=there is not None
        and there.place is None
        and not connection.keep & Keep.UNTRACKED
        and verdict.digest[:14].upper() != "SET STATEMENT ",
        now=now,
    )
    if position.unknown_since > before:
        session.services.position.unknown_since = now
    hint = request.hint  # a read that asks for less than the others is not what they must not be behind of
    forgotten = hint is not None and hint.consistency is Consistency.EVENTUAL
    walker = connection.walker
    # A write that changed nothing has seen what is there: a key that is taken, a row that is as it should be.
    met = verdict.kind is WRITE and not told and (walker.errno or not walker.affected_rows)
    if (met or (walker.result_sets and not walker.errno)) and not forgotten:
        position.has_read(connection.name, now)
        if hint is not None and hint.consistency is not None and session.consistency is Consistency.EVENTUAL:
            position.unknown_since = now  # the account's own reads do not keep what it has seen


def _keep(connection: ServerConnection, verdict: Verdict, walker: ResponseWalker, status: int) -> int:
    keep = connection.keep & ~_OF_THE_MOMENT
    if status & STATUS_IN_TRANS:
        keep |= Keep.TRANSACTION
    elif keep & Keep.ONE_TRANSACTION and verdict.kind is not OTHER and verdict.tables and not walker.errno:
        keep &= ~Keep.ONE_TRANSACTION  # the one transaction it was for has ended
    if not status & STATUS_AUTOCOMMIT:
        keep |= Keep.AUTOCOMMIT_OFF
    if walker.warnings or walker.errno:  # SHOW WARNINGS tells errors, too
        keep |= Keep.WARNINGS
    effects = verdict.effects
    if effects & ~_PLAIN:
        if effects & Effect.UNLOCK_TABLES and not walker.errno:
            keep &= ~Keep.TABLE_LOCK
        if effects & Effect.UNLOCK_NAMES and not walker.errno:
            keep &= ~Keep.NAMED_LOCK
        for effect, reason in _KEEP_FOR:
            if effects & effect:
                keep |= reason
    return keep


def _learn_prepared(session: Session, connection: ServerConnection, request: Request, status: int) -> None:
    prepared = request.prepared
    walker = connection.walker
    assert prepared is not None
    if request.code == Command.STMT_PREPARE:
        if not walker.errno:
            prepared.parameters = walker.parameters
            connection.statements[prepared.id] = walker.statement_id
            session.prepared.add(prepared)
    elif request.code in (Command.STMT_EXECUTE, Command.STMT_FETCH, Command.STMT_RESET):
        open_cursor = bool(status & STATUS_CURSOR_EXISTS) and not status & STATUS_LAST_ROW_SENT
        if request.code == Command.STMT_RESET or walker.errno or not open_cursor:
            connection.cursors.discard(prepared.id)
        else:
            connection.cursors.add(prepared.id)
        if connection.cursors:
            connection.keep |= Keep.CURSOR
        else:
            connection.keep &= ~Keep.CURSOR
        if request.carried:
            transfer.forget(session, prepared)  # it was for this once


def _remember_stay(session: Session, connection: ServerConnection) -> None:
    stay = session.stay
    remember_server(session)
    stay.manager_reads = manager_reads(session)
    if not any(held.keep & Keep.TRANSACTION for held in session.held.values()):
        session.transaction_since = 0.0
    elif not session.transaction_since:
        session.transaction_since = session.since


def forget_connection(session: Session, connection: ServerConnection) -> bool:
    """A connection is the session's no more; False when it was not."""
    if session.held.get(connection.name) is not connection:
        return False
    del session.held[connection.name]
    if connection.inserted:
        session.state.id_lost = True
    if connection.inserted or connection.sequences is not None:
        session.state.last_values = {}
        session.state.sequences_lost = True
        session.state.drawn_lost |= connection.sequences is not None
    session.state.assigned.pop(connection.name, None)
    if session.stay.last_server == connection.name:
        session.stay.last_server = None
    if session.stay.rows_server == connection.name:
        session.stay.rows_server = None
        session.stay.apart = True
    if session.stay.warned_server == connection.name:
        session.stay.warned_server = ""
    return True


def remember_server(session: Session) -> None:
    """Which server's connection the session must stay on, of those it still has."""
    stay = session.stay
    stay.server = next((name for name, held in session.held.items() if held.keep & STAY), "")
    stay.reads_leave = False
    if stay.server and session.offload.reads_may_leave:
        held = session.held[stay.server]
        stay.reads_leave = held.was_manager and held.keep & STAY == Keep.TRANSACTION


def manager_reads(session: Session) -> str | None:
    """Why this session's reads must go to the manager for now."""
    if session.position.unlogged:
        return Why.UNLOGGED
    offload = session.offload
    if session.status & STATUS_AUTOCOMMIT or offload.reads_may_leave:
        return None
    if offload.accepted or offload.setting is AutocommitReads.STRICT:
        return Why.AUTOCOMMIT_OFF  # it begins a transaction, which may go on to write
    return Why.ISOLATION


def alter_flags(session: Session, connection: ServerConnection, request: Request) -> None:
    """Have the client told the status flags of one connection to the manager, whoever answers; and those of its
    transaction by what runs beside that.
    """
    if session.stay.server not in ("", connection.name) and not session.offload.accepted:
        session.relay.tell(ALL & ~OF_THE_TRANSACTION, session.status & OF_THE_TRANSACTION)
        return
    session.relay.tell(
        *session.offload.flags(
            request.verdict,
            executes=request.code not in _ABOUT_A_STATEMENT,
            told=session.status,
            manager=connection.status if connection.was_manager else None,
        )
    )
