"""Regular expressions for the lexical elements of MySQL and MariaDB, over bytes. Used by ``sql.digest`` and
``sql.lexer``.

One place for both, because whatever the two saw differently would be a way to smuggle a statement past the
verdict. Quantifiers that could backtrack are possessive: the time is linear in the text.

The sources of truth are the servers' ``sql/sql_lex.cc``; see
https://dev.mysql.com/doc/refman/8.4/en/language-structure.html and
https://mariadb.com/kb/en/sql-language-structure/.
"""

from __future__ import annotations

SPACE = rb"[\x09-\x0d\x20]"

# ``--`` begins a comment only before white space, a control character or the end: ``--1`` is an expression.
# Comments after # and -- end at a line feed, not at a carriage return.
LINE_COMMENT = rb"(?:\#[^\n]*+|--(?=[\x00-\x20\x7f]|\Z)[^\n]*+)"

# Not the ones with a meaning: /*! and /*M! hold code, /*+ optimizer hints. (To MySQL /*M! is a comment; not
# to us.)
BLOCK_COMMENT = rb"/\*(?![!+]|[Mm]!)[^*]*+(?:\*(?!/)[^*]*+)*+\*/"

# One that does not end, where BLOCK_COMMENT has been tried: all that follows, so that it is looked through once.
OPEN_COMMENT = rb"/\*(?![!+]|[Mm]!).*+"

COMMENT = rb"(?:" + LINE_COMMENT + rb"|" + BLOCK_COMMENT + rb")"

GAP = rb"(?:" + SPACE + rb"|" + COMMENT + rb")"

# What an unquoted identifier is made of. Bytes from 0x80 on belong to multi-byte characters of UTF-8; in
# single-byte character sets some of them are white space, therefore ``sql.charsets`` lets none of those
# through outside of quotes.
WORD_CLASS = rb"\w$\x80-\xff"

# What follows the first digit of a number. 12 is a number and 12a an identifier; 1.5a and 1e5a are a number
# and an identifier, as in ``1.union select``.
NUMBER_TAIL = (
    rb"(?:(?<=0)(?:x[0-9A-Fa-f]++|b[01]++)(?![" + WORD_CLASS + rb"])"
    rb"|[0-9]*+(?:\.[0-9]*+(?:[eE][+-]?[0-9]++)?+|[eE][+-]?[0-9]++|(?![" + WORD_CLASS + rb"])))"
)

NUMBER = rb"(?:[0-9]" + NUMBER_TAIL + rb"|(?<![" + WORD_CLASS + rb"`\"])\.[0-9]++(?:[eE][+-]?[0-9]++)?+)"


def quoted(quote: bytes, backslash: bool) -> bytes:
    """What follows an opening ``quote`` up to but without the closing one; ``backslash`` escapes if told
    so.
    """
    if backslash:
        return rb"[^%b\\]*+(?:(?:\\.|%b%b)[^%b\\]*+)*+" % (quote, quote, quote, quote)
    return rb"[^%b]*+(?:%b%b[^%b]*+)*+" % (quote, quote, quote, quote)
