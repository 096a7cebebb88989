"""The digest of a text: comments out, white space folded, literals replaced. Called by ``sql.classifier``
on every statement.

The verdict of a cacheable statement is made from its digest alone (``sql.classify``), so equal digests have
equal verdicts by construction. Two rules keep that safe:

* nothing is dropped but what every server drops: ``/*!``, ``/*M!`` and ``/*+`` stay, and make the digest
  ``special``;
* a digest holds no comment, so it is lexed without looking for any: ``--/**/1`` becomes ``-- ?``, two minus
  signs.

Numbers become ``?``, strings ``'?'`` (a string may also be an alias), a list of literals after IN or VALUES
``(...)``. Identifiers keep their case: servers may tell them apart by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mysqlproxy.sql.patterns import GAP, NUMBER, NUMBER_TAIL, OPEN_COMMENT, SPACE, WORD_CLASS, quoted

if TYPE_CHECKING:
    from mypy_extensions import i64  # known to the compiler, not needed when running

MAX_TEXT: Final = 16 * 1024
"""Bytes; a longer text is not cached by its digest."""

MAX_SHOWN = 2048
"""Characters of a digest in logs and metrics."""


# Classes of bytes outside of strings; the first two make up words.
_WORD: Final = 0
_DIGIT: Final = 1
_SPACE: Final = 2
_QUOTE: Final = 3
_OPEN: Final = 4
_END: Final = 5  # may stand right behind a number
_DOT: Final = 6
_SIGN: Final = 7
_OTHER: Final = (
    8  # quotes, backslashes, what may begin a comment or sign a number, what is no printable ASCII
)
_IN_CLASS: Final = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_$", b"0123456789", b" ", b"'", b"(", b"),;<=>", b".",
    b"*+?!%",
)  # fmt: skip
_CLASSES: Final = bytes(
    next((kind for kind, members in enumerate(_IN_CLASS) if byte in members), _OTHER) for byte in range(256)
)
_BLANK: Final = 0x20
_APOSTROPHE: Final = 0x27
_BACKSLASH: Final = 0x5C
_TILDE: Final = 0x7E
_BEFORE_LIST: Final = frozenset((b"in", b"es"))


def normaliser(ansi_quotes: bool, no_backslash_escapes: bool) -> Callable[[bytes], bytes]:
    """The function that makes digests under this sql_mode; linear in the length of its argument."""
    return _normaliser(ansi_quotes, no_backslash_escapes)


def plain_digest(text: bytes) -> bytes | None:
    """The digest of a plain text under every sql_mode; None for any text that is not plain, and for some that are.

    What most applications send most of the time: printable ASCII, single spaces, strings without backslashes and
    doubled quotes, no comment, no other quotes, no list of literals. Compiled it takes a tenth of the time that the
    expression of ``normaliser`` takes; that one is the rule, and wherever the two could differ this one gives up.
    """
    size: i64 = len(text)
    at: i64 = 0
    start: i64 = 0  # of what is taken over as it is
    parts: list[bytes] = []
    while at < size:
        kind: i64 = _CLASSES[text[at]]
        if kind == _WORD:
            at += 1
            while at < size:
                kind = _CLASSES[text[at]]
                if kind > _DIGIT:
                    break
                at += 1
        elif kind == _SPACE:
            at += 1
            if at < 2 or at >= size or _CLASSES[text[at]] == _SPACE:
                return None
        elif kind == _DIGIT:
            if at > 0 and _CLASSES[text[at - 1]] == _DOT:
                return None
            parts.append(text[start:at])
            parts.append(b"?")
            at += 1
            while at < size and _CLASSES[text[at]] == _DIGIT:
                at += 1
            start = at
            if at < size:
                kind = _CLASSES[text[at]]
                if kind != _SPACE and kind != _END:  # noqa: PLR1714 - a set would be made of objects
                    return None  # it could belong to the number
        elif kind == _QUOTE:
            parts.append(text[start:at])
            parts.append(b"'?'")
            at += 1
            while True:
                if at >= size:
                    return None
                byte: i64 = text[at]
                at += 1
                if byte == _APOSTROPHE:
                    break
                if byte < _BLANK or byte > _TILDE or byte == _BACKSLASH:
                    return None
            start = at
            if at < size and _CLASSES[text[at]] == _QUOTE:
                return None
        elif kind == _OPEN:
            if _may_begin_list(text, at):
                return None
            at += 1
        elif kind == _OTHER:
            return None
        else:
            at += 1
    if start == 0:
        return text
    parts.append(text[start:])
    return b"".join(parts)


def _may_begin_list(text: bytes, at: i64) -> bool:
    """Whether IN or VALUES stands before the parenthesis, or a name that ends as they do."""
    end: i64 = at - 1
    if end >= 0 and _CLASSES[text[end]] == _SPACE:
        end -= 1
    return end > 0 and text[end - 1 : end + 1].lower() in _BEFORE_LIST


def is_special(digest: bytes) -> bool:
    """Whether executable comments, hints or an unterminated comment are in it (or a name that looks so)."""
    return digest.find(b"/*") >= 0  # ``in`` would first take its operand for an integer, and fail


def shown(digest: bytes) -> str:
    """The digest for people: every literal a plain ``?``."""
    return digest[: MAX_SHOWN * 2].decode("utf-8", "replace").replace("'?'", "?")[:MAX_SHOWN]


@lru_cache(maxsize=4)
def _normaliser(ansi_quotes: bool, no_backslash_escapes: bool) -> Callable[[bytes], bytes]:
    single = quoted(rb"'", not no_backslash_escapes)
    double = quoted(rb'"', not no_backslash_escapes)
    string = rb"'" + single + rb"'"
    if not ansi_quotes:
        string = rb"(?:" + string + rb'|"' + double + rb'")'
    space = SPACE + rb"*+"
    literal = space + rb"(?:" + string + rb"|[+-]?" + NUMBER + rb"|\?)" + space
    items = literal + rb"(?:," + literal + rb")*+\)"
    word, digit = rb"[" + WORD_CLASS + rb"@.]", rb"[0-9]"
    any_in = (
        rb"(?<=[iI][nN]\()(?<!" + word + rb"[iI][nN]\()|(?<=[iI][nN]\x20\()(?<!" + word + rb"[iI][nN]\x20\()"
    )
    values = rb"[vV][aA][lL][uU][eE][sS]"
    any_values = (
        rb"(?<=" + values + rb"\()(?<!" + word + values + rb"\()"
        rb"|(?<=" + values + rb"\x20\()(?<!" + word + values + rb"\x20\()"
    )

    # The pattern begins with one class of bytes, so that the engine runs over all others at full speed; each
    # alternative then looks back at the byte that was taken. The empty group at its end tells which one it
    # was.
    alternatives = (
        (rb"'?'", rb"(?<=')" + single + rb"'"),
        (rb"?", rb"(?<=[0-9])(?<!" + word + digit + rb")" + NUMBER_TAIL),
        (b"", rb"(?<=`)[^`]*+(?:``[^`]*+)*+`"),
        (rb"(...)", rb"(?<=\()(?:" + any_in + rb")" + items),
        (
            rb"(...)",
            rb"(?<=\()(?:"
            + any_values
            + rb")"
            + items
            + rb"(?:"
            + space
            + rb","
            + space
            + rb"\("
            + items
            + rb")*+",
        ),
        (rb" ", rb"(?<=[\x09-\x0d])" + GAP + rb"*+"),
        # .5 becomes .? and ends where its digits do; not so t.5, which is a name.
        (
            rb"?",
            rb"(?:(?<=[^" + WORD_CLASS + rb"@`\"]\.[0-9])|(?<=\A\.[0-9]))[0-9]*+(?:[eE][+-]?[0-9]++)?+",
        ),
        # A sign belongs to the number where no operand stands before it. The space that may stand there
        # stays.
        (rb"?", rb"(?<=-)(?:(?<=[=(,<>]-)|(?<=[=(,<>]\x20-))(?=[0-9])[0-9]" + NUMBER_TAIL),
        # N"a" is the name N with an alias; N'a' would be one literal.
        *(() if ansi_quotes else ((rb" '?'", rb'(?<=[nNxXbB]")' + double + rb'"'),)),
        (b"", rb'(?<=")(?:[^"]|"")*+"') if ansi_quotes else (rb"'?'", rb'(?<=")' + double + rb'"'),
        (rb" ", rb"(?<=/)\*(?![!+]|[Mm]!)[^*]*+(?:\*(?!/)[^*]*+)*+\*/" + GAP + rb"*+"),
        (rb"/*", rb"(?<=/)" + OPEN_COMMENT[1:]),  # its text is nobody's to see
        (rb" ", rb"(?:(?<=\#)|(?<=-)-(?=[\x00-\x20\x7f]|\Z))[^\n]*+" + GAP + rb"*+"),
        (rb"'", rb"(?<=')" + single + rb"\\?\Z"),
        (rb"'", rb'(?<=")(?:[^"]|"")*+\Z' if ansi_quotes else rb'(?<=")' + double + rb"\\?\Z"),
    )
    pattern = re.compile(
        rb"['\"0-9`(\-/\#\x09-\x0d](?:" + rb"|".join(body + rb"()" for _, body in alternatives) + rb")",
        re.DOTALL,
    )
    replacements = (b"", *(replacement for replacement, _ in alternatives))
    substitute = pattern.sub
    # Runs of blanks are left to a second pass, which most texts do not need.
    fold = re.compile(rb"(`[^`]*+`" + (rb'|"[^"]*+"' if ansi_quotes else rb"") + rb")|\x20\x20++").sub

    def replace(match: re.Match[bytes]) -> bytes:
        return replacements[match.lastindex or 0] or match[0]

    def folded(match: re.Match[bytes]) -> bytes:
        return match[1] or b" "

    def normalise(text: bytes) -> bytes:
        digest = substitute(replace, text)
        if digest.find(b"  ") >= 0:
            digest = fold(folded, digest)
        return digest.strip(b" ")

    return normalise
