"""What runs unseen and asks for what was left before it: a routine's body, a block, dynamic SQL. Called by
``sql.stored``, ``sql.leading`` and ``sql.classify``.

Told by words alone, as such a text need not be understood. What a body asks for behind statements of its own is
theirs; it counts only so that no other session's number is in their place.
"""

from __future__ import annotations

from typing import NamedTuple

from mysqlproxy.sql import variables
from mysqlproxy.sql.calls import variable_at
from mysqlproxy.sql.finding import Finding, Tokens, stronger, word
from mysqlproxy.sql.functions import LAST_STATEMENT, OF_THE_PAST
from mysqlproxy.sql.lexer import TokenKind, text_lexer
from mysqlproxy.sql.literals import unquote
from mysqlproxy.sql.verdict import Effect, Needs, SqlContext

FUNCTIONS = frozenset(("@@warning_count", *(name.lower() for name in OF_THE_PAST)))
_DIAGNOSTICS = frozenset({"WARNINGS", "ERRORS", "COUNT"})
# Between statements, as far as words tell.
_BOUNDARIES = frozenset({";", "THEN", "ELSE", "DO", "BEGIN", "LOOP", "REPEAT"})
_FIND_ROWS = frozenset({"SELECT", "CALL", "EXECUTE", "FETCH", "OPEN", "TABLE", "VALUES"})
_COUNT = _FIND_ROWS | {"INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "HANDLER"}
_HANDLER = frozenset({"HANDLER"})
_INSERT = frozenset({"INSERT", "REPLACE", "LOAD", "CALL", "EXECUTE"})
_DRAW = _INSERT | {"NEXTVAL", "NEXT"}


class Asked(NamedTuple):
    """What it asks of those before it, and by which functions; these also of its own statements."""

    needs: Needs
    functions: frozenset[str]


NOTHING = Asked(Needs.ANY, frozenset())
REASON = "runs what asks for what the last statement or insert has left"


def asked(tokens: Tokens) -> Asked:
    """What a text asks for."""
    needs = Needs.ANY
    functions: set[str] = set()
    own: set[str] = set()
    current: set[str] = set()
    declares = False
    for index, token in enumerate(tokens):
        upper = token.upper
        if upper in _BOUNDARIES:
            own |= current & _HANDLER if declares else current
            current, declares = set(), False
        elif upper == "DECLARE":
            declares = True  # a cursor's SELECT has not run yet
        elif upper in _COUNT or upper in _DRAW:
            current.add(upper)
        name, need = _asked_at(tokens, index)
        if name:
            functions.add(name)
            if own.isdisjoint(_OWN.get(name, _COUNT)):
                needs = stronger(needs, need)
    return Asked(needs, frozenset(functions))


_OWN = {"found_rows": _FIND_ROWS, "last_insert_id": _INSERT, "lastval": _DRAW}


def dynamic(statement: Tokens, text: bytes, context: SqlContext) -> Asked:
    """What ``PREPARE name FROM 'text'`` and ``EXECUTE IMMEDIATE 'text' USING ...`` ask for, in all their literals.

    Args:
        statement: tokens of ``text``.
    """
    leads = [token.upper for token in statement]
    if leads[:2] == ["SET", "STATEMENT"]:
        leads = leads[leads.index("FOR") + 1 :] if "FOR" in leads else []
    if leads[:2] != ["EXECUTE", "IMMEDIATE"] and leads[:1] != ["PREPARE"]:
        return NOTHING
    literals = (
        unquote(text[token.start : token.end], context.no_backslash_escapes)
        for token in statement
        if token.kind is TokenKind.STRING
    )
    lex = text_lexer(context.ansi_quotes, context.no_backslash_escapes)
    needs, functions = asked(statement)
    for one in [asked(lex(inner)) for inner in literals if inner]:
        needs, functions = stronger(needs, one.needs), functions | one.functions
    return Asked(needs, functions)


def add(finding: Finding, what: Asked) -> None:
    """Raise ``finding``, which is at the manager, by what a text asks for that it runs."""
    if not what.functions:
        return
    finding.effects |= Effect.ASKS_UNSEEN
    finding.functions |= what.functions
    if what.needs is not Needs.ANY:
        finding.require(what.needs, REASON)


def _asked_at(tokens: Tokens, index: int) -> tuple[str, Needs]:
    token, following = tokens[index], word(tokens, index + 1)
    upper = token.text.upper() if token.kind is TokenKind.QUOTED else token.upper
    if upper in OF_THE_PAST and following == "(" and word(tokens, index - 1) != ".":
        return upper.lower(), Needs.LAST_STATEMENT if upper in LAST_STATEMENT else Needs.LAST_INSERT
    if upper == "PREVIOUS" and following == "VALUE":
        return "lastval", Needs.LAST_INSERT
    if upper == "SHOW" and following in _DIAGNOSTICS:
        return "@@warning_count", Needs.LAST_STATEMENT
    if upper == "GET" and following in {"DIAGNOSTICS", "CURRENT"}:
        return "@@warning_count", Needs.LAST_STATEMENT
    if upper == "@@":
        name, _ = variable_at(tokens, index + 1)
        need = variables.needs_of(name)
        if need is Needs.LAST_INSERT:
            return "last_insert_id", need
        if need is Needs.LAST_STATEMENT:
            return "@@warning_count", need
    return "", Needs.ANY
