"""FOUND_ROWS(), ROW_COUNT(), @@warning_count and @@error_count as numbers in the text that asks for them. Called by
``session.carry`` where a statement cannot run on the server that the one before it ran on. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from mysqlproxy.sql.calls import variable_at
from mysqlproxy.sql.connections import Edit, exchanged
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import TokenKind, text_lexer
from mysqlproxy.sql.rewrite import rewritten
from mysqlproxy.sql.statement import split
from mysqlproxy.sql.verdict import SqlContext

FOUND_ROWS, ROW_COUNT, WARNINGS, ERRORS = NAMES = ("FOUND_ROWS", "ROW_COUNT", "WARNING_COUNT", "ERROR_COUNT")

# What they define, prepare or show is not changed by a number in the text.
_OPAQUE = frozenset({"ALTER", "EXECUTE", "EXPLAIN", "GET", "PREPARE", "SHOW"})
_QUERIES = frozenset({"SELECT", "TABLE", "VALUES"})
# As wide as what it stands for.
_NUMBER = {True: b"CAST(%d|0 AS SIGNED)", False: b"CAST(%d AS SIGNED)"}
_CHANGES = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD"})
# Behind these FOUND_ROWS() is still of the statement before them, unless they have a SELECT.
_UNCOUNTED = frozenset({"BEGIN", "COMMIT", "DELETE", "INSERT", "REPLACE", "SET", "START", "USE"})
_UNCOUNTED_BY_MARIADB = _UNCOUNTED | {"DO", "UPDATE"}


def with_counts(text: bytes, context: SqlContext, counts: Mapping[str, int]) -> bytes | None:
    """``text`` with numbers for what it asks of the statement before it; columns keep their names.

    Returns:
        None for a text that asks for something that ``counts`` lacks, or in a way that no number can stand for.
    """
    tokens = text_lexer(context.ansi_quotes, context.no_backslash_escapes)(text)
    if any(
        token.kind is TokenKind.SPECIAL or (token.kind is TokenKind.BAD and token.text != "?")
        for token in tokens
    ):
        return None
    edits: list[Edit] = []
    standing = True
    for number, statement in enumerate(split(tokens)):
        found = _asked_in(statement)
        lead = word(statement, 0)
        if lead in _OPAQUE or (lead == "BEGIN" and len(statement) > 2):
            return None
        if (
            context.mariadb
            and FOUND_ROWS in found
            and sum(token.upper in {"SELECT", "VALUES"} for token in statement) > 1
        ):
            return None  # each of them has its own number there
        if lead == "SET" and word(statement, 1) == "STATEMENT":
            return None
        if lead == "CREATE" and all(token.upper != "TABLE" for token in statement[1:4]):
            return None
        if number:  # of a statement in this text, but for what those in between leave standing
            if found.keys() & {WARNINGS, ERRORS}:
                return None
            found = {FOUND_ROWS: found[FOUND_ROWS]} if standing and FOUND_ROWS in found else {}
        if not found.keys() <= counts.keys():
            return None
        # MariaDB forgets warnings when it opens tables, before it comes to what asks for them.
        forgotten = (WARNINGS, ERRORS) if context.mariadb and _uses_tables(statement) else ()
        places = {
            first: (last, _NUMBER[context.mariadb] % (0 if name in forgotten else counts[name]))
            for name, asked in found.items()
            for first, last in asked.items()
        }
        edits += exchanged(statement, text, places)
        uncounted = _UNCOUNTED_BY_MARIADB if context.mariadb else _UNCOUNTED
        standing = standing and lead in uncounted and _QUERIES.isdisjoint(token.upper for token in statement)
    return rewritten(text, (), edits, 0) if edits else None


def _uses_tables(statement: Tokens) -> bool:
    return word(statement, 0) in _CHANGES or any(token.upper in {"FROM", "TABLE"} for token in statement)


def _asked_in(statement: Tokens) -> dict[str, dict[int, int]]:
    """By what it asks for: index of the first token of each place -> that of the last one."""
    found: dict[str, dict[int, int]] = {}
    for index, token in enumerate(statement):
        name, last = token.upper, index
        if name in (FOUND_ROWS, ROW_COUNT) and word(statement, index - 1) != ".":
            if (word(statement, index + 1), word(statement, index + 2)) == ("(", ")"):
                last = index + 2
        elif name == "@@":
            last = index + 3 if word(statement, index + 2) == "." else index + 1
            name, scope = variable_at(statement, index + 1)
            name = "" if scope == "GLOBAL" else name  # there is none
        if last > index and name in NAMES:
            found.setdefault(name, {})[index] = last
    return found
