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
    if context.catalog.triggers is None or not _tables(tokens, finding, context):
        finding.effects |= Effect.UNTRACKED
        finding.raise_to(Kind.WRITE, NOT_KNOWN)


def any_exist(catalog: Catalog) -> bool:
    """Whether there is any trigger, or may be."""
    return catalog.triggers is None or bool(catalog.triggers) or bool(catalog.fired_anew)


def _tables(tokens: Tokens, finding: Finding, context: SqlContext) -> bool:
    """Whether all of them are known. What a view in doubt may be of now, only ``sql.stored`` can bound."""
    catalog = context.catalog
    seen: set[Name] = set()
    waiting = _names(tokens, context.schema)
    views = 0
    while waiting:
        schema, name = waiting.pop()
        fired = catalog.may_fire(schema, name)
        if fired is None:
            return False
        if catalog.all_doubtful or name.lower() in catalog.views_anew:
            finding.fired_in_doubt = True
        for one in fired:
            if one in seen:
                continue
            seen.add(one)
            if catalog.triggers_of(one):
                finding.fired.add(one)
            view = catalog.relations.get(one)
            if view is not None and view.what is What.VIEW:
                views += 1
                body = None if view.body is None or views > MAX_VIEWS else lex(view.body, "")
                if body is None:
                    return False
                waiting |= _names(body, one[0])
    return True


def _names(tokens: Tokens, schema: str) -> set[Name]:
    """Every name, with what stands before it where that is another one and a dot, else with the default schema."""
    names: set[Name] = set()
    for index, token in enumerate(tokens):
        if token.kind in _NAMES:
            qualified = index > 1 and word(tokens, index - 1) == "." and tokens[index - 2].kind in _NAMES
            names.add((tokens[index - 2].text if qualified else schema, token.text))
    return names
