"""SHOW, DESCRIBE and HELP. Called by ``sql.leading``.

A SHOW is a plain read when every server gives the same answer for it: what follows from the schema. Not
SHOW CREATE TABLE (its AUTO_INCREMENT), SHOW INDEX (its cardinality), SHOW TABLE STATUS.
https://mariadb.com/kb/en/show/, https://dev.mysql.com/doc/refman/8.4/en/show.html
"""

from __future__ import annotations

from mysqlproxy.sql import calls, schemas
from mysqlproxy.sql.finding import Finding, Tokens, simple, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.verdict import Kind, Needs, SqlContext

_SAME_EVERYWHERE = frozenset({"TABLES", "COLUMNS", "FIELDS", "DATABASES", "SCHEMAS", "COLLATION", "CHARSET"})
_OF_LAST_STATEMENT = frozenset({"WARNINGS", "ERRORS"})
_FILLERS = frozenset({"FULL", "EXTENDED"})


def judge_show(tokens: Tokens, context: SqlContext) -> Finding:
    """The finding of SHOW."""
    index = 1
    while word(tokens, index) in _FILLERS:
        index += 1
    what = word(tokens, index)
    if what in _OF_LAST_STATEMENT or (what == "COUNT" and any(t.upper in _OF_LAST_STATEMENT for t in tokens)):
        return simple(Kind.OTHER, "shows the last statement's warnings", needs=Needs.LAST_STATEMENT)
    finding = Finding()
    # A condition may call a function.
    calls.scan(tokens, finding, context, start=1)
    same = what in _SAME_EVERYWHERE or (what in {"CHARACTER", "CHAR"} and word(tokens, index + 1) == "SET")
    if not same:
        finding.require(Needs.MANAGER, "a SHOW whose answer may differ from server to server")
    elif any(token.upper in {"WHERE", "("} for token in tokens):
        finding.require(Needs.MANAGER, "a SHOW with a condition")
    elif not _plain_names(tokens, index + 1):
        finding.require(Needs.MANAGER, "a SHOW that is not understood")
    else:
        _tables(tokens, index, finding, context)
    return _finished(finding)


def judge_describe(tokens: Tokens, context: SqlContext) -> Finding:
    """The finding of ``DESCRIBE [schema.]table [column | 'pattern']``; ``tokens`` begins with the table."""
    finding = Finding()
    calls.scan(tokens, finding, context)
    length = 3 if word(tokens, 1) == "." else 1
    if not 1 <= len(tokens) - length + 1 <= 2 or not _plain_names(tokens, 0):
        finding.require(Needs.MANAGER, "a DESCRIBE that is not understood")
    else:
        name = ".".join(token.text for token in tokens[:length:2])
        schema = tokens[0].text if length == 3 else ""
        _table(name, schema, tokens[length - 1].text, finding, context)
    return _finished(finding)


def _tables(tokens: Tokens, index: int, finding: Finding, context: SqlContext) -> None:
    """SHOW COLUMNS {FROM|IN} table [{FROM|IN} schema]; SHOW TABLES [{FROM|IN} schema]."""
    names: list[str] = []
    for position in range(index + 1, len(tokens) - 1):
        if tokens[position].upper in {"FROM", "IN", "."}:
            names.append(tokens[position + 1].text)
    if tokens[index].upper in {"COLUMNS", "FIELDS"}:
        dotted = any(token.upper == "." for token in tokens)
        if not 1 + dotted <= len(names) <= 2:
            finding.require(Needs.MANAGER, "a SHOW that is not understood")
            return
        table, schema = (names[1], names[0]) if dotted else (names[0], names[1] if len(names) == 2 else "")
        _table(f"{schema}.{table}" if schema else table, schema, table, finding, context)


def _table(name: str, schema: str, table: str, finding: Finding, context: SqlContext) -> None:
    finding.tables.add(name)
    why = schemas.why_manager(schema, table, context.schema)
    if why:
        finding.require(Needs.MANAGER, why)


def _plain_names(tokens: Tokens, start: int) -> bool:
    kinds = (TokenKind.WORD, TokenKind.QUOTED, TokenKind.STRING)
    return all(token.kind in kinds or token.upper == "." for token in tokens[start:])


def _finished(finding: Finding) -> Finding:
    if finding.kind is Kind.READ:
        finding.reasons.append("tells of the schema, which is the same on every server")
    return finding
