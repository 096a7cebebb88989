"""SET in all its forms. Called by ``sql.leading``.

https://mariadb.com/kb/en/set/, https://dev.mysql.com/doc/refman/8.4/en/set-statement.html
"""

from __future__ import annotations

from mysqlproxy.sql import calls, variables
from mysqlproxy.sql.finding import Finding, Tokens, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext

_SESSION = frozenset({"SESSION", "LOCAL"})
_SERVER_WIDE = frozenset({"GLOBAL", "PERSIST", "PERSIST_ONLY"})
_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})


def judge(tokens: Tokens, context: SqlContext) -> Finding:
    """The finding of a SET statement; SET STATEMENT ... FOR is none of them (``sql.statement``)."""
    finding = Finding()
    finding.cacheable = False
    # A password changes every server's grants by replication, a default role too.
    if word(tokens, 1) == "PASSWORD" or (word(tokens, 1), word(tokens, 2)) == ("DEFAULT", "ROLE"):
        finding.raise_to(Kind.WRITE, "sets a password or a default role")
        finding.effects |= Effect.LOGINS
        if word(tokens, 1) == "DEFAULT":
            # New logins of the account begin with that role, this one did not.
            finding.effects |= Effect.UNTRACKED
        return finding
    finding.raise_to(Kind.OTHER, "sets session state")
    if word(tokens, 1) == "ROLE":
        finding.effects |= Effect.ROLE
    elif word(tokens, 1) == "RESOURCE":
        finding.effects |= Effect.UNTRACKED
    else:
        for assignment in assignments(tokens):
            finding.effects |= _assignment(assignment)
            _value(assignment, finding, context)
    return finding


def assignments(tokens: Tokens) -> list[Tokens]:
    """What stands between the commas behind the first token, outside of parentheses."""
    tokens = tokens[1:]
    parts: list[Tokens] = []
    depth = begin = 0
    for index, token in enumerate(tokens):
        if token.upper == "(":
            depth += 1
        elif token.upper == ")":
            depth -= 1
        elif token.upper == "," and depth == 0:
            parts.append(tokens[begin:index])
            begin = index + 1
    parts.append(tokens[begin:])
    return parts


def _assignment(tokens: Tokens) -> int:
    first, second = word(tokens, 0), word(tokens, 1)
    if first == "@":
        return Effect.USER_VARIABLES
    scope = ""
    if first == "@@":
        name, scope = calls.variable_at(tokens, 1)
    else:
        index = 0
        if first in _SESSION | _SERVER_WIDE and second not in {"=", ":=", "."}:
            scope, index = first, 1
        if word(tokens, index) == "TRANSACTION" and word(tokens, index + 1) in {"ISOLATION", "READ"}:
            if scope in _SERVER_WIDE:
                return Effect.LOGINS
            return Effect.VARIABLES if scope in _SESSION else Effect.ONE_TRANSACTION
        if word(tokens, index) in {"NAMES", "CHARSET", "CHARACTER", "CHAR"}:
            return Effect.VARIABLES
        name, dotted = calls.variable_at(tokens, index)
        scope = dotted or scope
    if scope in _SERVER_WIDE:
        return Effect.LOGINS
    if not name:
        # A structured variable (hot_cache.key_buffer_size), NEW.column, or nothing known.
        return Effect.VARIABLES | Effect.UNTRACKED
    return variables.effect_of_setting(name, scope in _SESSION)


def _value(tokens: Tokens, finding: Finding, context: SqlContext) -> None:
    """What the expression behind the equals sign does. That it reads variables needs no other connection."""
    equals = next((i for i, token in enumerate(tokens) if token.upper in {"=", ":="}), -1)
    value = Finding(kind=Kind.OTHER)
    calls.scan(tokens, value, context, start=equals + 1)
    finding.effects |= value.effects
    finding.functions |= value.functions
    finding.stored |= value.stored
    if value.needs is Needs.LAST_STATEMENT:
        finding.needs = value.needs
    if value.kind is Kind.WRITE:
        finding.raise_to(Kind.WRITE, value.reasons[0])
