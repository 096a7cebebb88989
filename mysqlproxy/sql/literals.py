"""What a verdict takes from the literals of a text: the id of KILL, the files of LOAD DATA LOCAL. Called by
``sql.classify``.

Such statements are never cached by digest. Tokens given here are of the text, not of a digest.
"""

from __future__ import annotations

import re

from mysqlproxy.sql.finding import Tokens, word
from mysqlproxy.sql.lexer import TokenKind
from mysqlproxy.sql.verdict import Kill, KillTarget

_MAX_ID = 2**64 - 1
# https://dev.mysql.com/doc/refman/8.4/en/string-literals.html
_ESCAPES = {
    b"0": b"\0",
    b"b": b"\b",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"Z": b"\x1a",
    b"%": b"\\%",
    b"_": b"\\_",
}


def kill_of(tokens: Tokens) -> Kill | None:
    """The target of ``KILL [HARD|SOFT] [CONNECTION|QUERY] id``, or None for what is no KILL.

    The id is None unless it is written as one decimal number: KILL QUERY ID, KILL USER, expressions.
    """
    if word(tokens, 0) != "KILL":
        return None
    index = 2 if word(tokens, 1) in {"HARD", "SOFT"} else 1
    target = KillTarget.CONNECTION
    if word(tokens, index) in {"CONNECTION", "QUERY"}:
        target = KillTarget[tokens[index].upper]
        index += 1
    if len(tokens) == index + 1 and tokens[index].kind is TokenKind.NUMBER:
        digits = tokens[index].text
        if digits.isdigit() and len(digits) <= 20 and int(digits) <= _MAX_ID:
            return Kill(target, int(digits))
    return Kill(target, None)


def local_file_of(tokens: Tokens, text: bytes, no_backslash_escapes: bool) -> bytes | None:
    """The file of ``LOAD {DATA|XML} [LOW_PRIORITY|CONCURRENT] LOCAL INFILE 'file'``; None for all else."""
    if word(tokens, 0) != "LOAD" or word(tokens, 1) not in {"DATA", "XML"}:
        return None
    index = 3 if word(tokens, 2) in {"LOW_PRIORITY", "CONCURRENT"} else 2
    if (word(tokens, index), word(tokens, index + 1)) != ("LOCAL", "INFILE") or len(tokens) < index + 3:
        return None
    name = tokens[index + 2]
    if name.kind is not TokenKind.STRING:
        return None
    return unquote(text[name.start : name.end], no_backslash_escapes)


def unquote(literal: bytes, no_backslash_escapes: bool) -> bytes | None:
    """The bytes that a string literal stands for; None when it has a prefix."""
    quote = literal[:1]
    if quote not in (b"'", b'"'):
        return None
    body = literal[1:-1]
    if no_backslash_escapes:
        return body.replace(quote * 2, quote)

    def plain(match: re.Match[bytes]) -> bytes:
        escaped = match[1]
        return quote if escaped is None else _ESCAPES.get(escaped, escaped)

    return re.sub(rb"\\(.)|" + quote * 2, plain, body, flags=re.DOTALL)
