"""Tokens of a text or of a digest. Called by ``sql.classify``; never fails: what is no token becomes one of
kind BAD.

``text_lexer`` reads what a client sent, ``digest_lexer`` what ``sql.digest`` made of it: there a literal is
``?``, ``'?'`` or ``(...)``, and nothing is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from mysqlproxy.sql.patterns import COMMENT, NUMBER, SPACE, WORD_CLASS, quoted


class TokenKind(Enum):
    WORD = "word"  # a keyword or an unquoted identifier
    QUOTED = "quoted"  # an identifier in backticks, or in double quotes under ANSI_QUOTES
    NUMBER = "number"
    STRING = "string"
    OPERATOR = "operator"  # punctuation too
    SPECIAL = (
        "special"  # where executable code or hints in a comment begin and end: /*! /*M! /*+ */; or an open /*
    )
    BAD = "bad"


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: see above.
        text: as written; a quoted identifier without its quotes. Decoded as Latin-1 where it is a literal.
        upper: upper case for a WORD, the text of an OPERATOR, "" for all others: what keywords are compared
            with.
        start, end: byte offsets.
        spaced: white space or a comment stands before it.
    """

    kind: TokenKind
    text: str
    upper: str
    start: int
    end: int
    spaced: bool


class Measure(NamedTuple):
    """The size of a text in tokens and the depth of its parentheses (CASE counts as one)."""

    tokens: int
    depth: int


MAX_TOKENS = 16 * 1024
"""Of one text; what follows them is not read. What is parsed never has more (``sql.digest.MAX_TEXT`` bytes)."""

Lexer = Callable[[bytes], list[Token]]

_OPERATORS = rb"(?:<=>|->>|:=|->|<<|>>|<=|>=|<>|!=|\|\||&&|@@|[-+*/%^&|~!=<>(),;.@:{}\[\]])"
_KINDS = (
    TokenKind.BAD,
    TokenKind.SPECIAL,
    TokenKind.SPECIAL,
    TokenKind.QUOTED,
    TokenKind.STRING,
    TokenKind.NUMBER,
    TokenKind.WORD,
    TokenKind.OPERATOR,
    TokenKind.BAD,
    TokenKind.BAD,
)


def text_lexer(ansi_quotes: bool = False, no_backslash_escapes: bool = False) -> Lexer:
    """The lexer for a client's texts under this sql_mode; comments are white space."""
    return _text_lexer(ansi_quotes, no_backslash_escapes)


def digest_lexer(ansi_quotes: bool = False) -> Lexer:
    """The lexer for digests."""
    return _digest_lexer(ansi_quotes)


def measure(tokens: Sequence[Token]) -> Measure:
    """How much work a parser would have, at least; linear."""
    depth = deepest = 0
    for token in tokens:
        if token.upper in {"(", "CASE", "[", "{"}:
            depth += 1
            deepest = max(deepest, depth)
        elif token.upper in {")", "END", "]", "}"}:
            depth -= 1
    return Measure(len(tokens), deepest)


@lru_cache(maxsize=4)
def _text_lexer(ansi_quotes: bool, no_backslash_escapes: bool) -> Lexer:
    single = rb"'" + quoted(rb"'", not no_backslash_escapes) + rb"'"
    double = rb'"' + quoted(rb'"', not no_backslash_escapes) + rb'"'
    # In t.5, @5 and @.5 the digits are a name; in 1..5 they are none.
    number = rb"(?:(?<!@)(?:(?<![" + WORD_CLASS + rb"`\"@]\.)|(?=\.))" + NUMBER + rb")"
    prefix = rb"(?:[nNxXbB]" + single + rb")|"
    string = prefix + single if ansi_quotes else prefix + single + rb"|" + double
    return _lexer(rb"(?:" + SPACE + rb"|" + COMMENT + rb")++", string, number, ansi_quotes)


@lru_cache(maxsize=2)
def _digest_lexer(ansi_quotes: bool) -> Lexer:
    lex = lru_cache(maxsize=1)(_lexer(rb"\x20++", rb"[nNxXbB]?'\?'", rb"\.?\?", ansi_quotes))
    return lambda digest: list(lex(digest))  # the firewall asks for it, too, right behind the verdict


def _lexer(gap: bytes, string: bytes, number: bytes, ansi_quotes: bool) -> Lexer:
    name = rb"`[^`]*+(?:``[^`]*+)*+`"
    if ansi_quotes:
        name += rb'|"[^"]*+(?:""[^"]*+)*+"'
    word = rb"[" + WORD_CLASS + rb"]++"
    pattern = re.compile(
        rb"(?P<gap>" + gap + rb")?+(?:(/\*(?:[!+]|[Mm]!)|\*/(?!\*))"
        rb"|(/\*).*+"  # one that does not end, with all that follows: to look for its end again takes a square
        rb"|(" + name + rb")"
        rb"|(" + string + rb")"
        rb"|(" + number + rb")"
        rb"|(" + word + rb")"
        rb"|(\.\.\.|" + _OPERATORS + rb")"
        rb"|([`'\"]).*+"  # the same
        rb"|(.)|\Z)",
        re.DOTALL,
    )

    # Group 1 is the gap; the others follow in the order of _KINDS.
    def lex(text: bytes) -> list[Token]:
        tokens: list[Token] = []
        for match in islice(pattern.finditer(text), MAX_TOKENS):
            group = match.lastindex or 1
            if group == 1:
                break  # the end, perhaps behind a comment
            kind = _KINDS[group - 1]
            start, end = match.span(group)
            raw = match[group]
            upper = ""
            if kind is TokenKind.WORD:
                value = raw.decode("utf-8", "replace")
                # Only ASCII letters: to the servers no other letter is equal to one.
                upper = raw.upper().decode("utf-8", "replace")
                if value[0] == "$":
                    kind, upper = TokenKind.BAD, ""
            elif kind is TokenKind.QUOTED:
                quote = raw[:1]
                value = raw[1:-1].replace(quote * 2, quote).decode("utf-8", "replace")
            else:
                value = raw.decode("latin-1")
                if kind is TokenKind.OPERATOR:
                    upper = value
            tokens.append(Token(kind, value, upper, start, end, match[1] is not None))
        return tokens

    return lex
