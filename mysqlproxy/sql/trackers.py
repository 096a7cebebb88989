"""What a SET asks of the session trackers. Called by ``sql.classify``; what it asks for is for ``session.trackers``.

The daemon needs its own trackers on every connection, so the servers never see what the client sets: the value is
replaced, and the daemon shows the client what it asked for. That takes values that can be read here: words, strings,
and CONCAT of strings and ``@@session_track_system_variables``, which is what drivers send. (A server keeps
session_track_state_change and session_track_transaction_info for itself: the daemon has no use for them.)
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mysqlproxy.sql.calls import variable_at
from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.literals import unquote
from mysqlproxy.sql.setting import assignments
from mysqlproxy.sql.verdict import SqlContext

Edit = tuple[int, int, bytes]

VARIABLES: Final = "session_track_system_variables"
SCHEMA: Final = "session_track_schema"
GTIDS: Final = "session_track_gtids"
CURRENT, DEFAULT = "\0", "\1"  # in a value of VARIABLES: its value so far, the servers' default

_ON, _OFF = frozenset({"ON", "TRUE", "1"}), frozenset({"OFF", "FALSE", "0"})
_SCOPES = frozenset({"SESSION", "LOCAL", "GLOBAL", "PERSIST", "PERSIST_ONLY"})


class Asked(NamedTuple):
    """Of one statement.

    Attributes:
        edits: what must be replaced in the text.
        wishes: (variable, value); the value is "" for off, of ``VARIABLES`` the list with placeholders.
        blind: some value cannot be read here: the server takes it, and the daemon knows nothing any more.
    """

    edits: list[Edit]
    wishes: list[tuple[str, str]]
    blind: bool


def asked(statement: Tokens, text: bytes, context: SqlContext) -> Asked:
    """What one statement of ``text`` asks for; nothing unless it is a SET of one of the three variables."""
    found, blind = Asked([], [], False), False
    if word(statement, 0) != "SET" or word(statement, 1) == "STATEMENT":
        return found
    for assignment in assignments(statement):
        index = 1 if word(assignment, 0) == "@@" else 0
        scope = ""
        if word(assignment, 0) in _SCOPES and word(assignment, 1) not in {"=", ":=", "."}:
            scope, index = word(assignment, 0), 1
        name, dotted = variable_at(assignment, index)
        name = name.lower()
        if (dotted or scope) not in {"", "SESSION", "LOCAL"} or name not in _VALUES:
            continue
        if name == GTIDS and context.mariadb:
            continue  # it has none: its error is the answer
        equals = next(
            (i for i, token in enumerate(assignment) if token.upper in {"=", ":="}), len(assignment)
        )
        value = assignment[equals + 1 :]
        wish = _VALUES[name](value, text, context) if value else None
        if wish is None:
            blind = True
            found.wishes.append((name, "*"))  # what the server sends then is what the client asked for
        else:
            found.wishes.append((name, wish))
            found.edits.append((value[0].start, value[-1].end, _OURS[name]))
    return found._replace(blind=blind)


def _schema(value: Tokens, text: bytes, context: SqlContext) -> str | None:
    said = _said(value, text, context)
    return "1" if said in _ON or said == "DEFAULT" else "" if said in _OFF else None


def _gtids(value: Tokens, text: bytes, context: SqlContext) -> str | None:
    said = _said(value, text, context)
    return "1" if said in {"OWN_GTID", "1"} else "" if said in {"OFF", "0", "DEFAULT"} else None


def _said(value: Tokens, text: bytes, context: SqlContext) -> str:
    """The one word, number or string of the value, upper case; "" when it is anything else."""
    if len(value) != 1:
        return ""
    return (_string(value, text, context) or value[0].text).upper()


def _variables(value: Tokens, text: bytes, context: SqlContext) -> str | None:
    if len(value) == 1 and word(value, 0) == "DEFAULT":
        return DEFAULT
    parts = [value]
    if word(value, 0) == "CONCAT" and word(value, 1) == "(" and value[-1].upper == ")":
        parts = assignments(value[1:-1])
    pieces = [_piece(part, text, context) for part in parts]
    return None if None in pieces else "".join(piece for piece in pieces if piece is not None)


def _piece(part: Tokens, text: bytes, context: SqlContext) -> str | None:
    if word(part, 0) == "@@":
        name, scope = variable_at(part, 1)
        if name.lower() != VARIABLES or len(part) != (4 if scope else 2):
            return None
        return DEFAULT if scope == "GLOBAL" else CURRENT
    return _string(part, text, context)


def _string(part: Tokens, text: bytes, context: SqlContext) -> str | None:
    if len(part) != 1 or part[0].kind is not TokenKind.STRING:
        return None
    value = unquote(text[part[0].start : part[0].end], context.no_backslash_escapes)
    return (
        value.decode("ascii")
        if value is not None and value.isascii() and min(value, default=32) > 1
        else None
    )


_VALUES = {VARIABLES: _variables, SCHEMA: _schema, GTIDS: _gtids}
_OURS = {VARIABLES: b"'*'", SCHEMA: b"1", GTIDS: b"'OWN_GTID'"}
