"""Which texts can be read byte by byte under the client's character set. Called by ``sql.classify`` and
``sql.classifier``.

The servers' lexer goes by characters, ours by bytes. The two agree for ASCII, for UTF-8 (no byte of a
multi-byte character is below 0x80, and inside of quotes the servers step over a byte that begins no character;
drivers put binary values there) and for the single-byte sets inside of quotes. They do not for sets
whose second byte may be a backslash or a quote (sjis, cp932, big5, gbk, gb18030), and nobody knows for sets
that are not named here. See https://dev.mysql.com/doc/refman/8.4/en/charset-charsets.html.
"""

from __future__ import annotations

from mysqlproxy.sql.unquoted import MAX_UNQUOTED, unquoter
from mysqlproxy.sql.verdict import SqlContext
from mysqlproxy.sql.words import words

UTF8 = frozenset({"utf8", "utf8mb3", "utf8mb4"})

SINGLE_BYTE = words(
    """
        armscii8 ascii binary cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 dec8 geostd8 greek hebrew
        hp8 keybcs2 koi8r koi8u latin1 latin2 latin5 latin7 macce macroman tis620
        """
)

# Bytes below 0x80 mean something else in these, or they are no client character sets at all.
NOT_ASCII = frozenset({"swe7", "ucs2", "utf16", "utf16le", "utf32"})


def unreadable(text: bytes, context: SqlContext) -> str:
    """Why ``text`` cannot be lexed by bytes, or "" when it can."""
    charset = context.charset
    if charset in NOT_ASCII:
        return "is in a character set that does not extend ASCII"
    if charset not in UTF8 and charset not in SINGLE_BYTE and not text.isascii():
        return "holds multi-byte characters in which a quote may hide"
    if 0 in text and (
        len(text) > MAX_UNQUOTED or b"\0" in unquoter(context.ansi_quotes, context.no_backslash_escapes)(text)
    ):
        return "holds a NUL byte outside of its strings"
    return ""


def names_readable(digest: bytes, charset: str) -> bool:
    """Whether what is left outside of string literals can be read: valid UTF-8, or ASCII alone."""
    if digest.isascii():
        return True
    if charset not in UTF8:
        return False
    try:
        digest.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
