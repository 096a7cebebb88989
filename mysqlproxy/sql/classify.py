"""From a text to its verdict. Called by ``sql.classifier`` when it has none; pure.

The verdict is made from the text's digest, so that equal digests have equal verdicts. Literals count only
for statements that are marked as not cacheable. What is not positively understood goes to the manager.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from mysqlproxy.sql import (
    charsets,
    connections,
    leading,
    literals,
    special,
    statement,
    stored,
    trackers,
    unscoped,
    unseen,
)
from mysqlproxy.sql.catalog import Catalog
from mysqlproxy.sql.digest import MAX_TEXT, is_special, normaliser, shown
from mysqlproxy.sql.finding import Finding, Tokens, simple, stronger, word, worst
from mysqlproxy.sql.lexer import MAX_TOKENS, digest_lexer, text_lexer
from mysqlproxy.sql.patterns import GAP, WORD_CLASS
from mysqlproxy.sql.unquoted import MAX_UNQUOTED, unquoter
from mysqlproxy.sql.verdict import Effect, Kill, Kind, Needs, SqlContext, Verdict

MAX_NORMALISED = 256 * 1024
"""Bytes; of a longer text only the first word is read, and marks outside of its strings."""

_FIRST_WORD = re.compile(GAP + rb"{0,64}+([A-Za-z]++)")
# What a SET of these changes, texts are read by.
_READ_BY = frozenset({"SQL_MODE", "NAMES", "CHARACTER", "CHAR", "CHARSET", "CHARACTER_SET_CLIENT"})
# What asks for the last statement, behind such as leave that as it is: FOUND_ROWS() and, on MariaDB, warnings.
_UNCOUNTED = r"(?:(?:{})\b(?:(?!\bSELECT\b)[^;])*; ?)+SELECT\b(?:(?!\bSELECT\b)[^;])*\bFOUND_ROWS\b"
_WITHOUT_TABLES = (
    r"(?:(?:BEGIN|COMMIT|DO|RELEASE|ROLLBACK|SAVEPOINT|SELECT|SET|START|USE)\b(?:(?!\b(?:FROM|TABLE)\b)[^;])*; ?)+"
    r"(?:GET\b|SHOW (?:WARN|ERR|COUNT)|SELECT\b[^;]*@@[^;]*\b(?:warning|error)_count\b)"
)
_BEHIND = {
    True: (
        re.compile(
            _UNCOUNTED.format("BEGIN|COMMIT|DELETE|DO|INSERT|REPLACE|SET|START|UPDATE|USE"), re.IGNORECASE
        ),
        re.compile(_WITHOUT_TABLES, re.IGNORECASE),
    ),
    False: (
        re.compile(_UNCOUNTED.format("BEGIN|COMMIT|DELETE|INSERT|REPLACE|SET|START|USE"), re.IGNORECASE),
    ),
}
_LAST_VALUE = re.compile(r"\blastval ?\(|\bprevious value for\b", re.IGNORECASE)
_COUNTS = re.compile(
    rb"(?:found_rows|row_count)(?=\s*\()|@@(?:session\.|local\.)?(?:warning|error)_count", re.IGNORECASE
)
_MAY_SET_ID = frozenset({b"INSERT", b"REPLACE", b"LOAD"})
_LEAVES_NOTHING = frozenset({b"UPDATE", b"DELETE", b"SELECT", b"WITH"})
# Words and marks without which a statement that begins as above leaves nothing behind.
_SUSPICIOUS = (
    *(b";", b":=", b"/*!", b"/*M!", b"GET_LOCK", b"LAST_INSERT_ID", b"@"),
    *(b"NEXTVAL", b"LASTVAL", b"VALUE FOR"),
)
# A name has at most 64 characters; each byte is looked at once.
_CALLED = re.compile(rb"(?:`([^`]{1,256}+)`|(?<![" + WORD_CLASS + rb"])([" + WORD_CLASS + rb"]++))\s*+\(")


def classify(text: bytes, context: SqlContext) -> Verdict:
    """The verdict of ``text`` under ``context``. Never raises; takes bounded time, whatever the text."""
    if len(text) > MAX_TEXT:
        return _large(text, context)
    why = charsets.unreadable(text, context)
    digest = b"" if why else normaliser(context.ansi_quotes, context.no_backslash_escapes)(text)
    if not why and not charsets.names_readable(digest, context.charset):
        why = "has names in a character set that is not understood"
    if why:
        finding = _unread(f"the text {why}", text, context)
        return _verdict([finding], "")
    return classify_digest(digest, text, context)


def classify_digest(digest: bytes, text: bytes, context: SqlContext) -> Verdict:
    """The verdict of ``text``, which has this digest and can be read under ``context``."""
    if is_special(digest):
        tokens = text_lexer(context.ansi_quotes, context.no_backslash_escapes)(text)
        return _verdict(special.judge(text, tokens, context), shown(digest), text, context)
    parts = statement.split(digest_lexer(context.ansi_quotes)(digest))
    findings = statement.judge_each(parts, context)
    if _is_read_anew(parts, text) or _fires_its_own(parts):
        findings[0].effects |= Effect.UNTRACKED
    count = 1 if parts and leading.is_routine(parts[0]) else len(parts)
    return _verdict(findings, shown(digest), text, context, count)


def _is_read_anew(parts: list[Tokens], text: bytes) -> bool:
    """Whether the server may see other statements behind a SET than we do: their quotes may begin elsewhere."""
    if len(parts) < 2 or (b"\\" not in text and b'"' not in text and text.isascii()):
        return False
    return any(
        part[0].upper == "SET" and any(token.upper in _READ_BY for token in part) for part in parts[:-1]
    )


def _fires_its_own(parts: list[Tokens]) -> bool:
    """Whether a trigger is defined and something else, or its body, stands behind it."""
    return len(parts) > 1 and any(
        word(part, 0) == "CREATE" and any(token.upper == "TRIGGER" for token in part[1:12])
        for part in parts[:-1]
    )


def _verdict(
    findings: list[Finding],
    digest: str,
    text: bytes | None = None,
    context: SqlContext | None = None,
    statements: int | None = None,
) -> Verdict:
    """The union of the findings; what depends on literals is read from ``text``."""
    if not findings:
        return Verdict(Kind.OTHER, ("is empty",), digest, statements=0)
    literal = _Literal()
    cacheable = all(finding.cacheable for finding in findings)
    if not cacheable and text is not None and context is not None:
        literal = _from_text(text, context)
        for finding, asked in zip(findings, literal.asked, strict=False):
            unseen.add(finding, asked)
            if finding.needs is Needs.LAST_STATEMENT and finding.effects & Effect.PREPARED:
                # Its execution does not say so: it stays where the last statement is then.
                finding.effects |= Effect.UNTRACKED
                finding.raise_to(Kind.WRITE, unseen.REASON)
    kind = worst(finding.kind for finding in findings)
    needs = _needs(findings)
    if context is not None and any(behind.match(digest) for behind in _BEHIND[context.mariadb]):
        needs = Needs.LAST_STATEMENT  # of what came before the text
    if kind is Kind.WRITE and needs is Needs.MANAGER:
        needs = Needs.ANY  # a write goes there anyway
    if kind is not Kind.READ and needs in {Needs.ANY, Needs.MANAGER} and _LAST_VALUE.search(digest):
        needs = Needs.LAST_INSERT
    effects = _effects(findings) | literal.effects
    if needs is Needs.LAST_STATEMENT and _asks_manager(findings):
        effects |= Effect.ASKS_MANAGER
    deciding = next(finding for finding in findings if finding.kind is kind)
    reasons = list(dict.fromkeys(deciding.reasons + [r for finding in findings for r in finding.reasons]))
    return Verdict(
        kind=kind,
        reasons=tuple(reasons[:20]),
        digest=digest,
        tables=tuple(sorted(set().union(*(finding.tables for finding in findings)))),
        functions=tuple(sorted(set().union(*(finding.functions for finding in findings)))),
        effects=effects,
        needs=needs,
        statements=len(findings) if statements is None else statements,
        kill=literal.kill,
        local_files=literal.files,
        connection_ids=literal.spans,
        edits=literal.edits,
        trackers=literal.wishes,
        cacheable=cacheable,
    )


def _effects(findings: list[Finding]) -> int:
    effects = Effect.NONE
    for finding in findings:
        effects |= finding.effects
    # Within one text an end counts only when nothing begins.
    if effects & Effect.TABLE_LOCK:
        effects &= ~Effect.UNLOCK_TABLES
    if effects & (Effect.NAMED_LOCK | Effect.UNTRACKED):
        effects &= ~Effect.UNLOCK_NAMES
    return effects


def _needs(findings: list[Finding]) -> Needs:
    """What the first statement needs; for the others the statement before them stands in the text."""
    needs = findings[0].needs
    for finding in findings[1:]:
        own = Needs.MANAGER if finding.needs is Needs.LAST_STATEMENT else finding.needs
        needs = stronger(needs, own)
    return needs


def _asks_manager(findings: list[Finding]) -> bool:
    """Whether one statement asks for what is not known where the last statement before the text ran."""
    return any(finding.needs in {Needs.MANAGER, Needs.LAST_INSERT} for finding in findings)


class _Literal(NamedTuple):
    """What depends on the literals of a text, or on places in it."""

    kill: Kill | None = None
    files: tuple[bytes, ...] = ()
    spans: tuple[connections.Span, ...] = ()
    edits: tuple[trackers.Edit, ...] = ()
    wishes: tuple[tuple[str, str], ...] = ()
    effects: int = Effect.NONE
    asked: tuple[unseen.Asked, ...] = ()  # of each statement


def _from_text(text: bytes, context: SqlContext) -> _Literal:
    tokens = text_lexer(context.ansi_quotes, context.no_backslash_escapes)(text)
    parts: list[Tokens] = statement.split(tokens)
    cut = len(tokens) >= MAX_TOKENS  # a hostile one: what stands behind may be anything
    kill = literals.kill_of(parts[0]) if len(parts) == 1 else None
    files = [literals.local_file_of(part, text, context.no_backslash_escapes) for part in parts]
    ids = [connections.find(part, text) for part in parts]
    sets = [] if leading.is_routine(parts[0]) else [special.code(part) for part in parts]
    edits = [edit for part in sets for edit in unscoped.edits(part)] if context.mariadb else []
    asked = [trackers.asked(part, text, context) for part in sets]
    return _Literal(
        kill=kill,
        files=tuple(file for file in files if file is not None),
        spans=tuple(span for one in ids for span in one.spans),
        edits=(
            *edits,
            *(edit for one in asked for edit in one.edits),
            *(edit for one in ids for edit in one.aliases),
        ),
        wishes=tuple(wish for one in asked for wish in one.wishes),
        effects=Effect.UNTRACKED if cut or any(one.blind for one in asked) else Effect.NONE,
        asked=tuple(unseen.dynamic(part, text, context) for part in parts),
    )


def _large(text: bytes, context: SqlContext) -> Verdict:
    """Never a plain read. What it leaves behind is read from its digest where that is short, as with large
    values.
    """
    readable = not charsets.unreadable(text, context)
    if len(text) <= MAX_NORMALISED and readable:
        digest = normaliser(context.ansi_quotes, context.no_backslash_escapes)(text)
        if len(digest) <= MAX_TEXT and not is_special(digest):
            parts = statement.split(digest_lexer(context.ansi_quotes)(digest))
            findings = statement.judge_each(parts, context, parse=False)
            for finding in findings:
                finding.raise_to(Kind.WRITE, "too large to be parsed")
            return replace(_verdict(findings, shown(digest), text, context), cacheable=False)
    bare = text
    if readable and len(text) <= MAX_UNQUOTED:
        bare = unquoter(context.ansi_quotes, context.no_backslash_escapes)(text)
    finding = _unread("too large to be parsed", bare, context)
    lead = _FIRST_WORD.match(text, 0, 4096)
    return _verdict([finding], lead[1].decode("ascii").upper() + " ..." if lead else "...")


def _may_call(text: bytes, catalog: Catalog) -> bool:
    """Whether a stored function may be called, of any schema."""
    if not catalog.functions and not catalog.doubtful and not catalog.all_doubtful:
        return False
    known = {name for _, name in catalog.functions} | catalog.doubtful
    called = {(back or plain).decode("utf-8", "replace").lower() for back, plain in _CALLED.findall(text)}
    return catalog.all_doubtful or not called.isdisjoint(known)


def _unread(why: str, text: bytes, context: SqlContext) -> Finding:
    """The finding of a text that is not lexed."""
    finding = simple(Kind.WRITE, why, _effects_unread(text, context))
    finding.cacheable = False
    asked = frozenset(match[0].decode().lower() for match in _COUNTS.finditer(text))
    unseen.add(finding, unseen.Asked(Needs.LAST_STATEMENT if asked else Needs.ANY, asked))
    return finding


def _effects_unread(text: bytes, context: SqlContext) -> int:
    """Effects by the first word of a text that is not lexed. With anything suspicious in it: all."""
    lead = _FIRST_WORD.match(text, 0, 4096)
    verb = lead[1].upper() if lead else b""
    folded = text.upper()
    if verb in _MAY_SET_ID | _LEAVES_NOTHING and not any(mark in folded for mark in _SUSPICIOUS):
        fires = verb != b"SELECT" and stored.some_trigger_leaves_state(context)
        if fires or _may_call(text, context.catalog):
            return Effect.UNTRACKED | Effect.INSERT
        return Effect.INSERT if verb in _MAY_SET_ID else Effect.NONE
    return Effect.UNTRACKED | Effect.DDL | Effect.INSERT
