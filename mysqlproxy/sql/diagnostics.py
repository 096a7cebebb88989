"""Which user variables a GET DIAGNOSTICS assigns. Called by ``session.diagnostics`` where it runs on a worker. Pure.

Manual: https://dev.mysql.com/doc/refman/9.0/en/get-diagnostics.html, https://mariadb.com/kb/en/get-diagnostics/
"""

from __future__ import annotations

from typing import NamedTuple

from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import TokenKind, text_lexer
from mysqlproxy.sql.statement import split
from mysqlproxy.sql.verdict import SqlContext

_NAMES = frozenset({TokenKind.WORD, TokenKind.QUOTED, TokenKind.STRING})
_UNSIGNED = frozenset({"NUMBER", "MYSQL_ERRNO", "ROW_NUMBER"})
_SIGNED = frozenset({"ROW_COUNT"})


class Target(NamedTuple):
    """A user variable, ``name`` as it was written, with its @; and what its values are."""

    name: bytes
    number: bytes  # SIGNED or UNSIGNED; b"" for a string

    def literal(self, value: bytes | None) -> bytes:
        """SQL for a value that ``shown`` has shown, of the type and collation that GET DIAGNOSTICS gives it.

        Raises:
            ValueError: it is none.
        """
        if value is None:
            return b"NULL"
        if self.number:
            return b"CAST(%d AS %s)" % (int(value), self.number)
        bytes.fromhex(value.decode("ascii"))
        return b"_utf8mb3 X'%s' COLLATE utf8mb3_general_ci" % value

    def shown(self) -> bytes:
        """SQL that shows the value in ASCII."""
        return self.name if self.number else b"HEX(%s)" % self.name


class Asked(NamedTuple):
    """What one statement assigns, by the variables' names in capitals, and which one tells it the condition."""

    targets: dict[str, Target]
    reads: str


def asked(text: bytes, context: SqlContext) -> Asked | None:
    """None for what is not one GET DIAGNOSTICS into user variables of ASCII names, or reads anything else."""
    tokens = text_lexer(context.ansi_quotes, context.no_backslash_escapes)(text)
    statements = split(tokens)
    if not text.isascii() or len(statements) != 1 or word(tokens, 0) != "GET":
        return None
    statement = statements[0]
    if word(statement, 1) == "STACKED":
        return Asked({}, "")  # outside of a handler there is none: an error anywhere
    index = 2 if word(statement, 1) == "CURRENT" else 1
    if word(statement, index) != "DIAGNOSTICS":
        return None
    index += 1
    reads = ""
    if word(statement, index) == "CONDITION":
        index += 1
        if word(statement, index) == "@":
            reads, _, index = _variable(statement, text, index)
        elif index < len(statement) and _is_literal(statement, index):
            index += 1
        else:
            return None
    targets: dict[str, Target] = {}
    while True:
        key, name, index = _variable(statement, text, index)
        item = word(statement, index + 1)
        if not key or word(statement, index) != "=" or not item:
            return None
        number = b"SIGNED" if item in _SIGNED else b"UNSIGNED" if item in _UNSIGNED else b""
        targets[key] = Target(name, number)
        index += 2
        if index >= len(statement):
            return Asked(targets, reads)
        if word(statement, index) != ",":
            return None
        index += 1


def _is_literal(statement: Tokens, index: int) -> bool:
    token = statement[index]
    return token.kind in {TokenKind.NUMBER, TokenKind.STRING} or token.upper == "NULL" or token.text == "?"


def _variable(statement: Tokens, text: bytes, index: int) -> tuple[str, bytes, int]:
    """Name in capitals, name as written, and the index behind it, of the user variable whose @ is at ``index``."""
    if word(statement, index) != "@":
        return "", b"", index
    first = last = index + 1
    while word(statement, last + 1) == "." and not statement[last + 1].spaced:
        last += 2
    parts = statement[first : last + 1 : 2]
    if (
        not parts
        or last >= len(statement)
        or any(part.kind not in _NAMES and part.text[0] != "$" for part in parts)
    ):
        return "", b"", index
    if any(token.spaced for token in statement[first : last + 1]) or b"\\" in text:
        return "", b"", index
    name = text[statement[index].start : statement[last].end]
    plain = (part.text[1:-1] if part.kind is TokenKind.STRING else part.text for part in parts)
    return ".".join(plain).upper(), name, last + 1
