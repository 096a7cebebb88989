"""A text without its string literals: one that is too long for a digest, or that holds NUL. Called by
``sql.classify`` and ``sql.charsets``.

A large statement is nearly always one with large values, and in a binary value every mark occurs that would mean
something outside of quotes. Not every driver escapes NUL there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from mysqlproxy.sql.patterns import OPEN_COMMENT, quoted

MAX_UNQUOTED = 16 * 1024 * 1024
"""Bytes; the pass takes some 4 ns for each, and nothing else runs meanwhile."""

MAX_STRINGS = 100_000
"""What follows these many strings, names and comments stays as it is."""


@lru_cache(maxsize=4)
def unquoter(ansi_quotes: bool, no_backslash_escapes: bool) -> Callable[[bytes], bytes]:
    """The function that takes strings and comments out under this sql_mode; linear in the length of its argument.

    Quoted names and executable comments stay, and so does all from a string that does not end. Comments with a NUL
    stay: it ends some of them.
    """
    # Each alternative begins with a byte of its own, by which the engine tells quickly that none begins here.
    strings = [rb"'" + quoted(rb"'", not no_backslash_escapes) + rb"'"]
    comments = [
        rb"/\*(?![!+]|[Mm]!)[^*]*+(?:\*(?!/)[^*]*+)*+\*/",
        rb"--(?=[\x00-\x20\x7f]|\Z)[^\n]*+",
        rb"\#[^\n]*+",
    ]
    kept = [rb"`[^`]*+(?:``[^`]*+)*+`"]
    if ansi_quotes:
        kept.append(rb'"[^"]*+(?:""[^"]*+)*+"')
    else:
        strings.append(rb'"' + quoted(rb'"', not no_backslash_escapes) + rb'"')
    kept += [rb"'.*+", rb'".*+', rb"`.*+", OPEN_COMMENT]  # what does not end
    pattern = rb"|".join(
        [*strings, *(comment + rb"()" for comment in comments), *(name + rb"()" for name in kept)]
    )
    substitute = re.compile(pattern, re.DOTALL).sub
    last_comment = len(comments)

    def replace(match: re.Match[bytes]) -> bytes:
        group = match.lastindex
        if group is None or (group <= last_comment and b"\0" not in match[0]):
            return b" "
        return match[0]

    return lambda text: substitute(replace, text, count=MAX_STRINGS)
