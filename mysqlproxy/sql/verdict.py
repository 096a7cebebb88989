"""The verdict: what one text of SQL does, decided once per digest and then only read.

Made by ``sql.classify``; read by the session engine (routing, state) and by ``explain``. A value; never
changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from mysqlproxy.sql.catalog import NO_CATALOG, Catalog


class Kind(Enum):
    """What the statement does to data. The values are the metric's ``kind`` label."""

    READ = "read"  # positively understood as a plain read: any server that is fresh enough; Needs.ANY always
    WRITE = "write"  # changes data or schema, or is not understood: manager
    # session and administration (SET, USE, BEGIN, COMMIT, ...), and reads with Needs (SHOW that differs by
    # server, @@variables, LAST_INSERT_ID(), ...): manager
    OTHER = "other"

    __hash__ = object.__hash__  # looked up for every statement; Enum's own is a Python function


# For the path of every statement: the member of an Enum is looked up through its metaclass.
READ: Final = Kind.READ
WRITE: Final = Kind.WRITE
OTHER: Final = Kind.OTHER


class Effect:
    """What the statement leaves behind in its connection, beyond data; a union over all statements of the
    text. Plain integers, as every statement is tested for several of them: an IntFlag's ``&`` costs a call.
    """

    NONE: Final = 0
    DDL: Final = 1  # changes the schema: names may mean something else now
    VARIABLES: Final = 2  # SET of session variables, NAMES, CHARACTER SET: the trackers report the new values
    USER_VARIABLES: Final = (
        4  # assigns @variables: the connection must be kept (those that read one: manager)
    )
    TEMPORARY_TABLE: Final = (
        8  # may create a temporary table: reads stay on the manager until the session is reset
    )
    TABLE_LOCK: Final = 16  # LOCK TABLES, FLUSH TABLES ... WITH READ LOCK, BACKUP LOCK, HANDLER ... OPEN
    NAMED_LOCK: Final = 32  # GET_LOCK
    PREPARED: Final = 64  # PREPARE: a statement by name lives in the connection
    ONE_TRANSACTION: Final = (
        128  # SET TRANSACTION without SESSION or GLOBAL: holds for the next transaction only
    )
    UNTRACKED: Final = (
        256  # anything may have happened to the session (CALL, EXECUTE, sql_log_bin, timestamp, ...)
    )
    UNLOCK_TABLES: Final = 512  # ends TABLE_LOCK
    SCHEMA: Final = 1024  # USE
    ROLE: Final = 2048  # SET ROLE
    TRANSACTION: Final = 4096  # BEGIN, COMMIT, ROLLBACK, SAVEPOINT, XA: the status flags say where it led
    INSERT: Final = 8192  # may set LAST_INSERT_ID
    FOUND_ROWS: Final = 32768  # SQL_CALC_FOUND_ROWS: FOUND_ROWS() is about to be asked for
    SEQUENCE: Final = 65536  # NEXTVAL(): LASTVAL() is known on this connection alone
    UNLOCK_NAMES: Final = 16384  # exactly RELEASE_ALL_LOCKS(), hence surely executed: ends NAMED_LOCK
    LOGINS: Final = 131072  # what a new login begins with (global variables, accounts) may have changed
    # a routine, view, block or dynamic text asks for what the last statement or insert has left
    ASKS_UNSEEN: Final = 262144
    ASKS_MANAGER: Final = (
        524288  # beside the last statement's, something that only the manager's connection knows
    )


class Needs(Enum):
    """A connection the statement's answer depends on."""

    ANY = "any"
    LAST_INSERT = "last insert"  # LAST_INSERT_ID(), @@identity, LASTVAL(): the manager's connection
    # FOUND_ROWS(), ROW_COUNT(), SHOW WARNINGS, @@warning_count, GET DIAGNOSTICS
    LAST_STATEMENT = "last statement"
    # the answer differs from server to server, or depends on state that only the manager's connection holds
    MANAGER = "manager"


ANY: Final = Needs.ANY
LAST_STATEMENT: Final = Needs.LAST_STATEMENT
LAST_INSERT: Final = Needs.LAST_INSERT


class KillTarget(Enum):
    CONNECTION = "connection"
    QUERY = "query"


@dataclass(frozen=True)
class Kill:
    """KILL [HARD|SOFT] [CONNECTION|QUERY] id, of one literal id (KILL QUERY ID and KILL USER: ``id`` is
    None).
    """

    target: KillTarget
    id: int | None


@dataclass(frozen=True)
class Verdict:
    """What a text of SQL does.

    Attributes:
        kind: READ only when every statement of the text was positively understood as a plain read.
        reasons: why, in words for ``explain``; the first is the deciding one. Never holds a literal.
        digest: the normalised text, literals replaced by ``?``; safe to log. Cut at 2048 characters.
        tables, functions: as named, schema-qualified where they were, sorted; empty when not parsed.
        effects, needs: see above.
        statements: how many statements the text holds (multi-statements).
        kill: set when the text is exactly one KILL of the form we handle.
        local_files: names in LOAD DATA LOCAL INFILE (decoded bytes), the only files a server may ask for.
        connection_ids: spans (start, end, number_only) of CONNECTION_ID() calls or @@pseudo_thread_id in the
            text, as byte offsets; ``number_only`` tells that no expression may stand there. Offsets are per
            text: such texts are never cached by digest.
        edits: (start, end, replacement) in the text: ``sql.unscoped``, ``sql.trackers``, ``sql.connections``.
        trackers: what it asks of the session trackers: ``sql.trackers``.
        cacheable: equal digest (in an equal context) means an equal verdict.
        notes: what others found out about it and keep with it, by who they are; bounded by them.
    """

    kind: Kind
    reasons: tuple[str, ...]
    digest: str = ""
    tables: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    effects: int = Effect.NONE
    needs: Needs = Needs.ANY
    statements: int = 1
    kill: Kill | None = None
    local_files: tuple[bytes, ...] = ()
    connection_ids: tuple[tuple[int, int, bool], ...] = ()
    edits: tuple[tuple[int, int, bytes], ...] = ()
    trackers: tuple[tuple[str, str], ...] = ()
    cacheable: bool = True
    notes: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class SqlContext:
    """All that could change the verdict of the same digest. Equal contexts share a cache.

    Attributes:
        mariadb: which dialect's executable comments and functions apply.
        version: (major, minor, patch) of the lowest server.
        ansi_quotes, no_backslash_escapes, pipes_as_concat, ignore_space, oracle: from sql_mode.
        charset: the client's character set name, lower case.
        schema: the default schema or "".
        lower_case_table_names: 0, 1 or 2.
        catalog: what the names of tables, views and functions mean; each generation is another key. Sessions
            leave it out: ``Classifier`` puts in the one it was given last.
    """

    mariadb: bool = True
    version: tuple[int, int, int] = (10, 11, 0)
    ansi_quotes: bool = False
    no_backslash_escapes: bool = False
    pipes_as_concat: bool = False
    ignore_space: bool = False
    oracle: bool = False
    charset: str = "utf8mb4"
    schema: str = ""
    lower_case_table_names: int = 0
    catalog: Catalog = NO_CATALOG
