"""Texts with executable comments or optimizer hints. Called by ``sql.classify``; never cached by digest.

``/*! code */``, ``/*!NNNNN code */``, ``/*M! code */`` and ``/*M!NNNNNN code */`` are code to some servers
and comments to others, so such a text is never a plain read, and what it leaves behind is what either
reading would. https://dev.mysql.com/doc/refman/8.4/en/comments.html,
https://mariadb.com/kb/en/comment-syntax/
"""

from __future__ import annotations

import re

from mysqlproxy.sql import statement
from mysqlproxy.sql.finding import Finding, Tokens, simple
from mysqlproxy.sql.lexer import Token, TokenKind
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext

# Hints whose end no lexer could see elsewhere: no quote, no further comment.
_HINT = re.compile(rb"/\*\+[^'\"`/*#-]*+\*/")

# Comments that do no more than tune a SELECT.
_HARMLESS = re.compile(
    rb"/\*!\d*+\s++(?:(?:SQL_NO_CACHE|SQL_CACHE|STRAIGHT_JOIN|HIGH_PRIORITY)\s++)++\*/", re.IGNORECASE
)


def judge(text: bytes, tokens: list[Token], context: SqlContext) -> list[Finding]:
    """The findings of the statements of a text in which ``/*!``, ``/*M!`` or ``/*+`` may occur; at least
    one.
    """
    opening = [token for token in tokens if token.kind is TokenKind.SPECIAL and token.text != "*/"]
    if any(token.text == "/*" for token in opening):
        return _uncached([simple(Kind.WRITE, "has a comment without an end", Effect.UNTRACKED)])
    if any("!" in token.text for token in opening):
        return _uncached(_executable(text, tokens, context))
    return _uncached(_hinted(text, tokens, opening, context))


def _hinted(text: bytes, tokens: list[Token], opening: list[Token], context: SqlContext) -> list[Finding]:
    covered = _hints(text, opening)
    if covered is None:
        return [simple(Kind.WRITE, "has optimizer hints that are not understood", Effect.UNTRACKED)]
    outside = [t for t in tokens if not any(start <= t.start < end for start, end in covered)]
    inside = {t.upper for t in tokens if any(start <= t.start < end for start, end in covered)}
    findings = statement.judge_each(statement.split(outside), context)
    for finding in findings:
        if "SET_VAR" in inside or "RESOURCE_GROUP" in inside:
            finding.require(Needs.MANAGER, "sets variables in an optimizer hint")
        elif opening:
            finding.reasons.append("has optimizer hints")
    return findings


def _executable(text: bytes, tokens: list[Token], context: SqlContext) -> list[Finding]:
    if all(_HARMLESS.match(text, t.start) for t in tokens if t.kind is TokenKind.SPECIAL and t.text != "*/"):
        kept = [t for t in code(tokens) if t.upper not in {"SQL_CACHE", "SQL_NO_CACHE"}]
        findings = statement.judge_each(statement.split(kept), context, parse=False)
    elif _each_whole(text, tokens):
        # Each statement is either executed or not: what mysqldump and mariadb-dump write.
        findings = statement.judge_each(statement.split(code(tokens)), context, parse=False)
    else:
        findings = statement.judge_each(statement.split(code(tokens)), context, parse=False)
        findings.append(simple(Kind.WRITE, "", Effect.UNTRACKED))
        for finding in findings:
            finding.raise_to(Kind.WRITE, "")
    for finding in findings:
        if finding.kind is Kind.READ:
            finding.kind = Kind.WRITE
        finding.reasons = ["has an executable comment", *(reason for reason in finding.reasons if reason)]
    return findings


def _hints(text: bytes, opening: list[Token]) -> list[tuple[int, int]] | None:
    """Where the optimizer hints stand; None when one has no clear end."""
    found = [_HINT.match(text, token.start) for token in opening]
    spans = [hint.span() for hint in found if hint is not None]
    return spans if len(spans) == len(found) else None


def outside_of_hints(text: bytes, tokens: Tokens) -> list[Token] | None:
    """The tokens outside of optimizer hints; None when something else than those is in a comment."""
    opening = [token for token in tokens if token.kind is TokenKind.SPECIAL and token.text != "*/"]
    covered = _hints(text, opening)
    if covered is None or not opening:
        return None
    outside = [t for t in tokens if not any(start <= t.start < end for start, end in covered)]
    return None if any(token.kind is TokenKind.SPECIAL for token in outside) else outside


def ends_clearly(text: bytes, tokens: Tokens) -> bool:
    """Whether what is behind each such comment is the same to who reads it as code and to who skips it.

    It is not when its end stands in what would be a string, a name or a further comment, if it were code.
    """
    ends = {token.start for token in tokens if token.kind is TokenKind.SPECIAL and token.text == "*/"}
    last = -1
    for token in tokens:
        if token.kind is not TokenKind.SPECIAL or token.text == "*/":
            continue
        end = text.find(b"*/", token.end)
        if end not in ends or token.start < last:
            return False
        last = end
    return True


def code(tokens: Tokens) -> list[Token]:
    """All tokens but the comments' beginnings, their versions and their ends."""
    found: list[Token] = []
    for index, token in enumerate(tokens):
        if token.kind is TokenKind.SPECIAL:
            continue
        before = tokens[index - 1] if index else None
        versioned = before is not None and before.kind is TokenKind.SPECIAL and before.end == token.start
        if versioned and token.kind is TokenKind.NUMBER:
            continue
        found.append(token)
    return found


def _each_whole(text: bytes, tokens: list[Token]) -> bool:
    """Whether every executable comment holds whole statements, and ends where every server sees its end."""
    for part in statement.split(tokens):
        if not any(token.kind is TokenKind.SPECIAL for token in part):
            continue
        specials = [token for token in part if token.kind is TokenKind.SPECIAL]
        whole = len(specials) == 2 and part[0] is specials[0] and part[-1] is specials[1]
        if not whole or text.find(b"*/", part[0].end) != part[-1].start:
            return False
        if any(token.kind is TokenKind.BAD for token in part):
            return False
    return True


def _uncached(findings: list[Finding]) -> list[Finding]:
    for finding in findings:
        finding.cacheable = False
    return findings
