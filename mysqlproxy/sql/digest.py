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

from mysqlproxy.sql.patterns import GAP, NUMBER, NUMBER_TAIL, SPACE, WORD_CLASS, quoted

MAX_TEXT = 16 * 1024
"""Bytes; a longer text is not cached by its digest."""

MAX_SHOWN = 2048
"""Characters of a digest in logs and metrics."""


def normaliser(ansi_quotes: bool, no_backslash_escapes: bool) -> Callable[[bytes], bytes]:
    """The function that makes digests under this sql_mode; linear in the length of its argument."""
    return _normaliser(ansi_quotes, no_backslash_escapes)


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
