"""Which tables' triggers a statement may fire. Called by ``sql.statement`` and ``sql.stored``; pure.

What they leave in the session (a user variable, a temporary table, a named lock) is ``sql.stored``'s to tell. Every
name in the text counts as that of a table which is written, also behind views: too many fire nothing.
"""

from __future__ import annotations

from mysqlproxy.sql.body import lex
from mysqlproxy.sql.catalog import Catalog, Name, What
from mysqlproxy.sql.finding import Finding, Tokens, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.verdict import Effect, Kind, SqlContext

MAX_VIEWS = 100
"""Looked into for one statement; behind more there may be anything."""

NOT_KNOWN = "may fire a trigger that is not known"

_CHANGES = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "WITH"})
_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})


def find(tokens: Tokens, finding: Finding, context: SqlContext) -> None:
    """Put the tables whose triggers this one statement may fire into ``finding``."""
    if word(tokens, 0) not in _CHANGES or finding.kind is not Kind.WRITE or not any_exist(context.catalog):
        return
    names = _tables(tokens, context.schema, context.catalog)
    if names is None:
        finding.effects |= Effect.UNTRACKED
        finding.raise_to(Kind.WRITE, NOT_KNOWN)
    else:
        finding.fired |= names


def any_exist(catalog: Catalog) -> bool:
    """Whether there is any trigger, or may be."""
    return catalog.triggers is None or bool(catalog.triggers) or bool(catalog.fired_anew)


def _tables(tokens: Tokens, schema: str, catalog: Catalog) -> set[Name] | None:
    """Tables with triggers; None when that cannot be told."""
    if catalog.triggers is None:
        return None
    found: set[Name] = set()
    seen: set[Name] = set()
    views = 0
    waiting = _names(tokens, schema)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        triggers = catalog.triggers_of(*name)
        if triggers is None:
            return None
        if triggers:
            found.add(name)
        relation = catalog.relation(*name)
        if relation is not None and relation.what is What.VIEW:
            views += 1
            body = None if relation.body is None or views > MAX_VIEWS else lex(relation.body, "")
            if body is None:
                return None
            waiting |= _names(body, name[0])
    return found


def _names(tokens: Tokens, schema: str) -> set[Name]:
    """Every name, with its schema; where that stands in the text, the one there."""
    names: set[Name] = set()
    for index, token in enumerate(tokens):
        if token.kind in _NAMES:
            qualified = index > 1 and word(tokens, index - 1) == "." and tokens[index - 2].kind in _NAMES
            names.add((tokens[index - 2].text if qualified else schema, token.text))
    return names
