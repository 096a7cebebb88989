"""Which of MariaDB's sequences a statement draws from, and whose last values it asks for. Called by the session for
verdicts that say it does. Pure.

A sequence's last value is known to the connection that drew it, and cannot be set on another one. So when a session
has lost that connection, ``with_last_values`` puts what it knew into the statements that ask.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mysqlproxy.sql.catalog import names_in
from mysqlproxy.sql.connections import exchanged
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import TokenKind, text_lexer
from mysqlproxy.sql.rewrite import rewritten
from mysqlproxy.sql.statement import split
from mysqlproxy.sql.verdict import SqlContext

MAX_SEQUENCES = 64
"""Of one session; what comes beyond is not known when its connection is lost."""

_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED})
_NAME = r"(?:`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\"|[\w$]+)"
_NAMED = re.compile(
    rf"\b(?:(?:NEXT|LAST)VAL\s?\(|(?:NEXT|PREVIOUS)\sVALUE\sFOR\s)\s?({_NAME})(?:\s?\.\s?({_NAME}))?",
    re.IGNORECASE,
)


def named(digest: str, schema: str) -> frozenset[str]:
    """The sequences whose next or last value is asked for, as `schema`.`name`; not those of routines and defaults."""
    return frozenset(
        _quoted(_bare(match[1]), _bare(match[2])) if match[2] else _quoted(schema, _bare(match[1]))
        for match in _NAMED.finditer(digest)
    )


def asked(text: bytes, context: SqlContext) -> frozenset[str]:
    """The sequences whose last value is asked for."""
    tokens = text_lexer(context.ansi_quotes, context.no_backslash_escapes)(text)
    found = (_asked_at(tokens, index, context.schema) for index in range(len(tokens)))
    return frozenset(one[0] for one in found if one is not None)


def with_last_values(text: bytes, context: SqlContext, values: Mapping[str, int]) -> bytes | None:
    """``text`` asking for these values where the server knows none; columns keep their names. None for a text that
    cannot be changed for certain: one that is stored, of several statements, or with an executable comment.
    """
    tokens = text_lexer(context.ansi_quotes, context.no_backslash_escapes)(text)
    statements = split(tokens)
    if len(statements) != 1 or word(statements[0], 0) in {"CREATE", "ALTER", "PREPARE"}:
        return None
    if any(token.kind in {TokenKind.SPECIAL, TokenKind.BAD} for token in tokens):
        return None
    statement = statements[0]
    places = {}
    for index, token in enumerate(statement):
        name, last = _asked_at(statement, index, context.schema) or ("", 0)
        if (value := values.get(name)) is not None:
            asked_for = text[token.start : statement[last].end]
            places[index] = last, b"IFNULL(%s,%d)" % (asked_for, value)
    return rewritten(text, (), exchanged(statement, text, places), 0)


def without(values: Mapping[str, int], digest: str) -> dict[str, int]:
    """``values`` but for the sequences that a definition names: they may be new ones."""
    defined = names_in(digest)
    return {name: value for name, value in values.items() if not names_in(name) & defined}


def _asked_at(tokens: Tokens, index: int, schema: str) -> tuple[str, int] | None:
    """The sequence whose last value is asked for from this token on, and the index of the last one."""
    if word(tokens, index) == "LASTVAL" and word(tokens, index + 1) == "(" and word(tokens, index - 1) != ".":
        first, closes = index + 2, True
    elif [word(tokens, index + i) for i in range(3)] == ["PREVIOUS", "VALUE", "FOR"]:
        first, closes = index + 3, False
    else:
        return None
    last = first + 2 if word(tokens, first + 1) == "." else first
    if last >= len(tokens) or tokens[first].kind not in _NAMES or tokens[last].kind not in _NAMES:
        return None
    if closes and word(tokens, last + 1) != ")":
        return None
    qualifier = schema if last == first else tokens[first].text
    return _quoted(qualifier, tokens[last].text), last + closes


def _quoted(schema: str, name: str) -> str:
    return ".".join("`" + part.replace("`", "``") + "`" for part in (schema, name))


def _bare(name: str) -> str:
    quote = name[0]
    return name[1:-1].replace(quote * 2, quote) if quote in '`"' else name
