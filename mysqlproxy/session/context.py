"""What the verdicts of a session depend on besides the text. Made anew when some of it changes; pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mysqlproxy.cluster.view import ClusterView, version_of
from mysqlproxy.protocol.capabilities import IGNORE_SPACE
from mysqlproxy.protocol.mimic import charset_name
from mysqlproxy.routing.offload import ISOLATION
from mysqlproxy.sql.verdict import SqlContext

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session


def sql_context(session: Session) -> SqlContext:
    """All that the verdicts of this session depend on."""
    view, state = session.services.view, session.state
    return context_of(
        view,
        (state.schema or b"").decode("utf-8", "surrogateescape"),
        sql_mode=state.variables.get("sql_mode", view.sql_mode),
        charset=state.charset or charset_name(session.charset) or "utf8mb4",
        ignore_space=bool(session.capabilities & IGNORE_SPACE),
    )


def context_of(
    view: ClusterView,
    schema: str,
    *,
    sql_mode: str | None = None,
    charset: str = "utf8mb4",
    ignore_space: bool = False,
) -> SqlContext:
    """What statements are read by.

    Args:
        sql_mode: None for the servers' own.
        ignore_space: the client asked for it at its login.
    """
    server = view.manager or (view.readers[0] if view.readers else None)
    return _context(
        view.mariadb,
        view.version,
        None if server is None else server.lower_case_table_names,
        view.sql_mode if sql_mode is None else sql_mode,
        charset,
        schema,
        ignore_space,
    )


@lru_cache(maxsize=256)  # each login asks, and most ask for the same
def _context(
    mariadb: bool,
    version: str,
    lower_case_table_names: int | None,
    sql_mode: str,
    charset: str,
    schema: str,
    ignore_space: bool,
) -> SqlContext:
    modes = frozenset(sql_mode.upper().split(","))
    usual = SqlContext()
    return SqlContext(
        mariadb=mariadb,
        version=version_of(version) if version else usual.version,
        ansi_quotes="ANSI_QUOTES" in modes,
        no_backslash_escapes="NO_BACKSLASH_ESCAPES" in modes,
        pipes_as_concat="PIPES_AS_CONCAT" in modes,
        ignore_space="IGNORE_SPACE" in modes or ignore_space,
        oracle="ORACLE" in modes,
        charset=charset.lower(),
        schema=schema,
        lower_case_table_names=usual.lower_case_table_names
        if lower_case_table_names is None
        else lower_case_table_names,
    )


def isolation(session: Session) -> str:
    """The isolation level of the session's transactions, as in "READ-COMMITTED"; "" when nobody knows.

    What init_connect sets, no tracker tells; and a change of the global level does not meet who was there before.
    """
    view = session.services.view
    manager, inherited = view.manager, session.offload.inherited
    known = manager is not None and not manager.init_connect and view.isolation == inherited
    return set_last(session, ISOLATION) or (inherited if known else "")


def set_last(session: Session, names: tuple[str, ...]) -> str:
    """The value of the variable that has these names, "" when the session has not set it."""
    variables = session.state.variables
    return next((variables[name] for name in reversed(variables) if name in names), "")
