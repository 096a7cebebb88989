"""Statements that are told by their first words: everything but queries and EXPLAIN. Called by
``sql.statement``.

A statement that begins with a word not listed here is taken to do anything at all.
https://mariadb.com/kb/en/sql-statements/, https://dev.mysql.com/doc/refman/8.4/en/sql-statements.html
"""

from __future__ import annotations

from collections.abc import Callable

from mysqlproxy.sql import calls, setting, show, unseen
from mysqlproxy.sql.finding import Finding, Tokens, simple, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext

UNKNOWN_WORD = "begins with no word that is known here"

_ROUTINES = frozenset({"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"})
_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})
_ACCOUNTS = frozenset({"USER", "ROLE"})
_MODIFIERS = frozenset({"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE", "INTO"})
_ANYTHING = Effect.UNTRACKED | Effect.DDL | Effect.INSERT
_MANAGER = Needs.MANAGER


def judge(tokens: Tokens, context: SqlContext) -> Finding:
    """The finding of a statement by its first words and by what its expressions call."""
    handler = _HANDLERS.get(word(tokens, 0))
    if handler is None:
        finding = simple(Kind.WRITE, UNKNOWN_WORD, _ANYTHING)
        unseen.add(finding, unseen.asked(tokens))  # IF, CASE and loops outside of routines
        return finding
    return handler(tokens, context)


def is_routine(tokens: Tokens) -> bool:
    """Whether this defines a stored program, whose body may hold semicolons."""
    if word(tokens, 0) not in {"CREATE", "ALTER"}:
        return False
    return any(token.upper in _ROUTINES for token in tokens[1:12])


def _write(tokens: Tokens, context: SqlContext) -> Finding:
    verb = word(tokens, 0)
    finding = simple(Kind.WRITE, f"{verb} changes data")
    start = 1
    if verb in {"INSERT", "REPLACE"}:
        finding.effects |= Effect.INSERT
        start = after_target(tokens)
    calls.scan(tokens, finding, context, start)
    return finding


def after_target(tokens: Tokens) -> int:
    """Where the table's name ends in ``INSERT INTO schema.table (columns)``: it calls nothing."""
    index = 1
    while word(tokens, index) in _MODIFIERS:
        index += 1
    while index + 1 < len(tokens) and word(tokens, index + 1) == ".":
        index += 2
    return index + 1 if index < len(tokens) and tokens[index].kind in _NAMES else index


def _ddl(tokens: Tokens, context: SqlContext) -> Finding:
    verb = word(tokens, 0)
    finding = simple(Kind.WRITE, f"{verb} changes the schema", Effect.DDL)
    words = [token.upper for token in tokens[:5]]
    if verb == "CREATE" and "TEMPORARY" in words:
        finding.effects |= Effect.TEMPORARY_TABLE
    if _ACCOUNTS.intersection(words):
        finding.effects |= Effect.LOGINS
    if verb == "DROP" and "PREPARE" in words[:2]:
        return simple(Kind.OTHER, "drops a prepared statement", Effect.PREPARED)
    if not is_routine(tokens) and any(token.upper == "SELECT" for token in tokens):
        finding.effects |= Effect.INSERT
        called = Finding(kind=Kind.WRITE)
        calls.scan(tokens, called, context, 1)
        # Names before parentheses are mostly columns and indexes here: only what is known to have an effect
        # counts.
        finding.effects |= called.effects & ~Effect.UNTRACKED
        if "TABLE" in words:
            finding.functions |= called.functions
            finding.stored |= called.stored
            finding.require(called.needs, "stores what depends on the connection")
        finding.cacheable = called.cacheable
    return finding


def _load(tokens: Tokens, context: SqlContext) -> Finding:
    if word(tokens, 1) == "INDEX":
        return simple(Kind.OTHER, "loads an index into memory")
    finding = simple(Kind.WRITE, "LOAD changes data", Effect.INSERT)
    for index in range(2, len(tokens)):
        if tokens[index].upper == "SET" and word(tokens, index - 1) not in {"CHARACTER", "CHAR"}:
            calls.scan(tokens, finding, context, index + 1)
            break
    # The list of columns may name user variables.
    if any(token.upper == "@" for token in tokens):
        finding.effects |= Effect.USER_VARIABLES
    if any(token.upper == "LOCAL" for token in tokens[1:4]):
        finding.cacheable = False
    return finding


def _do(tokens: Tokens, context: SqlContext) -> Finding:
    finding = simple(Kind.WRITE, "DO evaluates expressions for their effects")
    calls.scan(tokens, finding, context, 1)
    return finding


def _begin(tokens: Tokens, context: SqlContext) -> Finding:
    if len(tokens) == 1 or (len(tokens) == 2 and word(tokens, 1) == "WORK"):
        return simple(Kind.OTHER, "begins a transaction", Effect.TRANSACTION)
    finding = simple(Kind.WRITE, "a block of statements", _ANYTHING | Effect.TRANSACTION)
    unseen.add(finding, unseen.asked(tokens))
    return finding


def _prepare(tokens: Tokens, context: SqlContext) -> Finding:
    """What a text in a variable does, its execution will show; what it asks for must be there then."""
    finding = simple(Kind.OTHER, "prepares a statement by name", Effect.PREPARED)
    finding.cacheable = False
    if tokens[-1].upper == "@" or word(tokens, len(tokens) - 2) == "@":
        finding.effects |= Effect.UNTRACKED
        finding.reasons.append("which is in a variable")
    return finding


def _call(tokens: Tokens, context: SqlContext) -> Finding:
    """The body tells what it leaves behind, where it is known: ``sql.stored``."""
    schema, at = context.schema, 1
    if word(tokens, 2) == "." and tokens[1].kind in _NAMES:
        schema, at = tokens[1].text, 3
    name = tokens[at].text if len(tokens) > at and tokens[at].kind in _NAMES else ""
    plain = at + 1 == len(tokens) or word(tokens, at + 1) == "("
    if not plain or context.catalog.procedure(schema, name) is None:
        finding = simple(Kind.WRITE, "calls a procedure, which may do anything", _ANYTHING)
        if context.catalog.words_of(context.catalog.procedures, (schema, name)) is not None:
            finding.procedures.add((schema, name))
        return finding
    finding = simple(Kind.WRITE, "calls a procedure", Effect.DDL | Effect.INSERT)
    if any(token.upper == "@" for token in tokens):
        finding.effects |= Effect.USER_VARIABLES  # for OUT parameters
    calls.scan(tokens, finding, context, at + 1)
    finding.procedures.add((schema, name))
    return finding


def _start(tokens: Tokens, context: SqlContext) -> Finding:
    if word(tokens, 1) == "TRANSACTION":
        return simple(Kind.OTHER, "begins a transaction", Effect.TRANSACTION)
    return simple(Kind.OTHER, "administers replication", needs=_MANAGER)


def _handler(tokens: Tokens, context: SqlContext) -> Finding:
    effects = Effect.TABLE_LOCK if any(token.upper == "OPEN" for token in tokens) else Effect.NONE
    finding = simple(Kind.OTHER, "HANDLER belongs to one connection", effects, _MANAGER)
    calls.scan(tokens, finding, context, 3)
    return finding


def _unlock(tokens: Tokens, context: SqlContext) -> Finding:
    ends = word(tokens, 1) in {"TABLES", "TABLE"}
    return simple(Kind.OTHER, "unlocks tables", Effect.UNLOCK_TABLES if ends else Effect.NONE, _MANAGER)


def _flush(tokens: Tokens, context: SqlContext) -> Finding:
    holds = any(token.upper in {"LOCK", "EXPORT"} for token in tokens)
    return simple(
        Kind.WRITE, "FLUSH is written to the binary log", Effect.TABLE_LOCK if holds else Effect.LOGINS
    )


def _get(tokens: Tokens, context: SqlContext) -> Finding:
    finding = simple(
        Kind.OTHER, "reads the last statement's diagnostics", Effect.USER_VARIABLES, Needs.LAST_STATEMENT
    )
    if any(token.upper == "ROW_COUNT" for token in tokens):
        finding.functions.add("row_count")
    return finding


def _uncached(kind: Kind, reason: str, effects: int, needs: Needs = Needs.ANY) -> _Handler:
    def handler(tokens: Tokens, context: SqlContext) -> Finding:
        finding = simple(kind, reason, effects, needs)
        finding.cacheable = False
        return finding

    return handler


def _always(kind: Kind, reason: str, effects: int = Effect.NONE, needs: Needs = Needs.ANY) -> _Handler:
    def handler(tokens: Tokens, context: SqlContext) -> Finding:
        return simple(kind, reason, effects, needs)

    return handler


_Handler = Callable[[Tokens, SqlContext], Finding]

_ends_transaction = _always(Kind.OTHER, "ends a transaction", Effect.TRANSACTION)
_savepoint = _always(Kind.OTHER, "marks a place in a transaction", Effect.TRANSACTION)
_maintains = _always(Kind.WRITE, "maintains tables and is written to the binary log")
_grants = _always(Kind.WRITE, "changes accounts", Effect.LOGINS)
_administers = _always(Kind.OTHER, "administers one server", needs=_MANAGER)
_installs = _always(Kind.WRITE, "installs software into the server", Effect.DDL)

_HANDLERS: dict[str, _Handler] = {
    "INSERT": _write,
    "REPLACE": _write,
    "UPDATE": _write,
    "DELETE": _write,
    "LOAD": _load,
    "DO": _do,
    "CALL": _call,
    "EXECUTE": _uncached(Kind.WRITE, "runs a statement that is not in the text", _ANYTHING),
    "IMPORT": _ddl,
    "CREATE": _ddl,
    "ALTER": _ddl,
    "DROP": _ddl,
    "TRUNCATE": _ddl,
    "RENAME": _ddl,
    "OPTIMIZE": _maintains,
    "REPAIR": _maintains,
    "CHECK": _maintains,
    "ANALYZE": _maintains,
    "CHECKSUM": _always(Kind.OTHER, "looks into one server's files", needs=_MANAGER),
    "GRANT": _grants,
    "REVOKE": _grants,
    "INSTALL": _installs,
    "UNINSTALL": _installs,
    "BINLOG": _always(Kind.WRITE, "replays events", _ANYTHING),
    "SET": setting.judge,
    "USE": _uncached(Kind.OTHER, "changes the default schema", Effect.SCHEMA),
    "BEGIN": _begin,
    "START": _start,
    "COMMIT": _ends_transaction,
    "ROLLBACK": _ends_transaction,
    "SAVEPOINT": _savepoint,
    "RELEASE": _savepoint,
    "XA": _uncached(Kind.OTHER, "a distributed transaction", Effect.TRANSACTION),
    "PREPARE": _prepare,
    "DEALLOCATE": _always(Kind.OTHER, "drops a prepared statement", Effect.PREPARED),
    "HANDLER": _handler,
    "LOCK": _always(Kind.OTHER, "locks tables", Effect.TABLE_LOCK, _MANAGER),
    "UNLOCK": _unlock,
    "FLUSH": _flush,
    "BACKUP": _always(Kind.OTHER, "holds a backup lock", Effect.TABLE_LOCK, _MANAGER),
    "KILL": _uncached(Kind.OTHER, "ends a statement or a connection", Effect.NONE),
    "SHOW": show.judge_show,
    "HELP": _administers,
    "GET": _get,
    "SIGNAL": _always(Kind.OTHER, "raises a condition"),
    "RESIGNAL": _always(Kind.OTHER, "raises a condition"),
    "CACHE": _administers,
    "CHANGE": _administers,
    "CLONE": _administers,
    "PURGE": _administers,
    "RESET": _administers,
    "RESTART": _administers,
    "SHUTDOWN": _administers,
    "STOP": _administers,
}

KNOWN = frozenset(_HANDLERS) | {"SELECT", "WITH", "TABLE", "VALUES", "(", "EXPLAIN", "DESCRIBE", "DESC"}
"""First words that are judged here or by ``sql.statement``; any other may begin anything."""
