"""Where a statement goes, and why. Called by the session engine for each statement and by ``explain``.

Pure: a verdict, what the session says of itself, and the view of the cluster give a server and a reason. The order
of the questions is the product's promise, so it stands in one function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mysqlproxy.cluster.view import ClusterView, Role, ServerView
from mysqlproxy.config.schema import Consistency, Strategy
from mysqlproxy.errors import NoServer
from mysqlproxy.routing import offload
from mysqlproxy.routing.strategies import CHOOSE, Balance
from mysqlproxy.sql.hints import Hint
from mysqlproxy.sql.verdict import ANY, LAST_INSERT, LAST_STATEMENT, READ, WRITE, Effect, Kind, Verdict


class Why:
    """The reason for a choice: the ``reason`` label of reads that stayed on the manager."""

    WRITE: Final = "write"
    KEPT: Final = "kept"  # the session must stay on its connection: transaction, lock, temporary table, ...
    STRATEGY: Final = "strategy"
    DIRECT: Final = "direct"
    AUTOCOMMIT_OFF: Final = "autocommit_off"
    ISOLATION: Final = "isolation"  # autocommit_reads allows it, but not at this isolation level
    NO_WORKER: Final = "no_worker"
    ASKED_AGAIN: Final = "asked_again"  # the workers that could take it failed it, or refused it
    CONSISTENCY: Final = "consistency"
    POSITION_UNKNOWN: Final = "position_unknown"
    BEHIND: Final = "behind"
    CATALOG: Final = "catalog"  # what the names in FROM mean is not known: a view may do anything
    UNLOGGED: Final = "unlogged"  # the session has written past the binary log
    LAST_STATEMENT: Final = "last_statement"
    LAST_INSERT: Final = "last_insert"
    HINT: Final = "hint"
    NO_MANAGER: Final = "no_manager"  # session state set on a reader while the manager is gone


# In the place of a server's name.
NO_ROWS: Final = " "
RECALLED: Final = "  "


@dataclass(slots=True)
class Stay:
    """What the session says of itself: why it cannot leave the manager, or must go back to one connection.

    Attributes:
        server: name of the server whose connection it must stay on, "" when free.
        reads_leave: plain reads need not stay there: what keeps the others is a transaction that has only read.
        manager_reads: a reason why its reads go to the manager, or None.
        last_server: name of the server that ran its last statement; "" before the first, None when the connection
            it ran on was given up.
        rows_server: likewise of the last statement with rows, when later ones without any ran elsewhere; "" when
            that is ``last_server``, too; ``NO_ROWS`` before the first; ``RECALLED`` when ``found_rows`` is known.
        warned_server: name of the server whose warnings a statement that ran elsewhere has left standing, else "".
        apart: one of these two says something.
    """

    server: str = ""
    reads_leave: bool = False
    manager_reads: str | None = None
    last_server: str | None = ""
    rows_server: str | None = NO_ROWS
    warned_server: str = ""
    found_rows: int = 0
    apart: bool = True

    @property
    def found_on(self) -> str | None:
        """Where FOUND_ROWS() is of this session's statement: as ``rows_server``, but never "" for ``last_server``."""
        return self.last_server if self.rows_server == "" else self.rows_server


# For the path of every statement, as in ``sql.verdict``.
_DIRECT: Final = Strategy.DIRECT
_EVENTUAL: Final = Consistency.EVENTUAL

_SESSION_STATE = Effect.VARIABLES | Effect.SCHEMA
_HARMLESS: Final = _SESSION_STATE | Effect.FOUND_ROWS | Effect.ASKS_UNSEEN
_OF_TRANSACTIONS: Final = (Why.AUTOCOMMIT_OFF, Why.ISOLATION)
_MAY_COME_WITH_IT = Effect.TRANSACTION  # SET autocommit


def route(
    verdict: Verdict,
    view: ClusterView,
    stay: Stay,
    strategy: Strategy,
    consistency: Consistency,
    balance: Balance,
    excluded: frozenset[str] = frozenset(),
    hint: Hint | None = None,
) -> tuple[ServerView, str]:
    """The server for a statement.

    Args:
        excluded: names of servers that were tried for this statement and failed.
        hint: what the statement asks for itself; what cannot be, is ignored.

    Raises:
        NoServer: no server can take it now; the message says why.
    """
    if stay.server and not (stay.reads_leave and _may_leave(verdict, view, stay)):
        return unless_it_writes(verdict, view, _by_name(view, stay.server)), Why.KEPT
    if verdict.needs is LAST_STATEMENT and (last := last_server(verdict, stay)) in view.by_name:
        return unless_it_writes(verdict, view, view.by_name[last]), Why.LAST_STATEMENT
    if verdict.kind is READ and verdict.needs is ANY:
        if hint is not None:
            strategy, consistency = _hinted_strategy(hint, view, strategy), hint.consistency or consistency
        held_back = _manager_reads(view, stay, strategy, consistency)
        if held_back is not None:
            return _home(view, stay), held_back
        readers = view.readers if consistency is _EVENTUAL else view.complete
        if excluded:
            readers = tuple(server for server in readers if server.name not in excluded)
        if hint is not None:
            if _asks_manager(hint, view) and view.manager is not None:
                return _home(view, stay), Why.HINT
            readers = _named(hint, view, readers) or readers
        if readers:
            server = readers[0] if len(readers) == 1 else CHOOSE[strategy](readers, balance)
            return server, Why.NO_WORKER if server is view.manager else Why.STRATEGY
        if stay.server:
            return _by_name(view, stay.server), Why.NO_WORKER
        manager = view.manager
        if manager is not None and manager.name not in excluded:
            return manager, Why.ASKED_AGAIN if excluded else Why.NO_WORKER
        why = f": {view.no_manager}" if manager is None and view.no_manager else "; try again later"
        raise NoServer(f"no server can take reads now{why}")
    if (view.manager is None or view.manager.name in excluded) and only_session_state(verdict):
        for reader in view.readers:
            if reader.name not in excluded:
                return reader, Why.NO_MANAGER
    return _manager(view), Why.LAST_INSERT if verdict.needs is LAST_INSERT else Why.WRITE


def may_answer(verdict: Verdict, view: ClusterView, stay: Stay, last: str) -> bool:
    """Whether a statement can run where the last one did."""
    if stay.server not in ("", last) and not stay.reads_leave:
        return False
    server = view.by_name[last]
    if server is view.manager or server.writable:
        return True
    not_there = Effect.USER_VARIABLES | Effect.ASKS_MANAGER if verdict.statements == 1 else ~_HARMLESS
    return verdict.kind is not WRITE and not verdict.effects & not_there


def last_server(verdict: Verdict, stay: Stay) -> str | None:
    """Where that is what the statement asks for of those before it: FOUND_ROWS() is of the last one with rows, and
    not every one forgets the warnings before it."""
    functions = verdict.functions
    if "found_rows" in functions:
        return stay.found_on
    return stay.warned_server if stay.warned_server and "row_count" not in functions else stay.last_server


def _hinted_strategy(hint: Hint, view: ClusterView, strategy: Strategy) -> Strategy:
    """Who asks for a worker that there is does not mean ``direct``."""
    if hint.strategy is not None or strategy is not Strategy.DIRECT:
        return hint.strategy or strategy
    asks_worker = bool(hint.server) or hint.role == Role.WORKER.value
    return Strategy.RANDOM if asks_worker and _named(hint, view, view.readers) else strategy


def _asks_manager(hint: Hint, view: ClusterView) -> bool:
    if hint.server:
        return view.manager is not None and hint.server == view.manager.name
    return hint.role == Role.MANAGER.value


def _named(hint: Hint, view: ClusterView, readers: tuple[ServerView, ...]) -> tuple[ServerView, ...]:
    """Those of the readers that the hint allows."""
    if hint.server:
        return tuple(server for server in readers if server.name == hint.server)
    if hint.role == Role.WORKER.value:
        return tuple(server for server in readers if server is not view.manager)
    return readers


def _may_leave(verdict: Verdict, view: ClusterView, stay: Stay) -> bool:
    """Whether a statement need not run where the open transaction is."""
    if verdict.needs is LAST_STATEMENT:
        return last_server(verdict, stay) in view.by_name
    return verdict.kind is READ and verdict.needs is ANY


def _home(view: ClusterView, stay: Stay) -> ServerView:
    return _by_name(view, stay.server) if stay.server else _manager(view)


def _manager_reads(view: ClusterView, stay: Stay, strategy: Strategy, consistency: Consistency) -> str | None:
    held_back = stay.manager_reads
    if held_back in _OF_TRANSACTIONS and view.manager is None and not stay.server:
        held_back = None  # nobody could write: a transaction that only reads is better than none
    if held_back is not None:
        return held_back
    if strategy is _DIRECT:
        return Why.DIRECT
    return None


def only_session_state(verdict: Verdict) -> bool:
    """Clients begin with SET NAMES and the like; without a manager they must get as far as their first read.

    So do those that end with COMMIT or ROLLBACK what they have only read; the caller knows that nothing is open.
    """
    return offload.ends(verdict) or (
        verdict.kind is Kind.OTHER
        and bool(verdict.effects & _SESSION_STATE)
        and not verdict.effects & ~(_SESSION_STATE | _MAY_COME_WITH_IT)
    )


def unless_it_writes(verdict: Verdict, view: ClusterView, server: ServerView) -> ServerView:
    """What binds a session to a server brings no write, nor a variable that must live on the manager, to a worker.

    A manager that is drained is still writable: what is open there may end.
    """
    writes = verdict.kind is WRITE or verdict.effects & Effect.USER_VARIABLES
    if writes and server is not view.manager and not server.writable:
        raise NoServer(f"this statement needs the manager, and the session's state is on {server.name}")
    return server


def _manager(view: ClusterView) -> ServerView:
    if view.manager is None:
        raise NoServer(f"no manager takes statements now: {view.no_manager or 'none is known'}")
    return view.manager


def _by_name(view: ClusterView, name: str) -> ServerView:
    try:
        return view.by_name[name]
    except KeyError:
        raise NoServer("the server that holds this session's state is no longer configured") from None
