"""Digests: what is folded, and the rule that equal digests in equal contexts have equal verdicts."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.digest import is_special, normaliser, plain_digest, shown
from mysqlproxy.sql.lexer import Token, TokenKind, digest_lexer, text_lexer
from mysqlproxy.sql.verdict import SqlContext, Verdict
from tests.unit.verdict_corpus import CASES

normalise = normaliser(False, False)


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("SELECT 1", "SELECT ?"),
        ("select a,b from t where c=5", "select a,b from t where c=?"),
        ("SELECT 'a', \"b\", N'c', x'41'", "SELECT '?', '?', N'?', x'?'"),
        ('SELECT N"c", x"41", an"c"', "SELECT N '?', x '?', an '?'"),
        ("SELECT 'it''s', 'it\\'s', ''", "SELECT '?', '?', '?'"),
        ("SELECT 1.5, .5, 1e3, 1.5E-3, 0x1F, 0b01", "SELECT ?, .?, ?, ?, ?, ?"),
        ("SELECT a1, t1.2b, 3c, t.5, @1", "SELECT a1, t1.2b, 3c, t.5, @1"),
        ("a = -5 AND b=-1.5 AND (-3) AND c - 5 AND c -5", "a = ? AND b=? AND (?) AND c - ? AND c -?"),
        ("a  \n\t b", "a b"),
        ("  a  ", "a"),
        ("a/*x*/b -- c\n d # e", "a b d"),
        ("a/* x */ /* y */\nb", "a b"),
        ("`a  1` 'b  1'", "`a  1` '?'"),
        ("a IN (1, 2, 'x', -3)", "a IN (...)"),
        ("a in(1)", "a in(...)"),
        ("a IN (?, ?)", "a IN (...)"),
        ("a IN (1, b)", "a IN (?, b)"),
        ("a IN ((1, 2), (3, 4))", "a IN ((?, ?), (?, ?))"),
        ("min(1, 2) OR xin (1, 2)", "min(?, ?) OR xin (?, ?)"),
        ("VALUES (1, 'a'), (2, 'b') , (3,'c')", "VALUES (...)"),
        ("VALUES (1, NOW()), (2, 'b')", "VALUES (?, NOW()), (?, '?')"),
        ("f(1, 2, 3)", "f(?, ?, ?)"),
        ("a --/**/1", "a -- ?"),
        ("a/*!1*/", "a/*!?*/"),
        ("a /*+ b */", "a /*+ b */"),
        ("'abc", "'"),
        ("1.union select", "?union select"),
        ("größe = 'ä'", "größe = '?'"),
        ("", ""),
    ],
)
def test_digest(text: str, digest: str) -> None:
    assert normalise(text.encode()).decode() == digest


def test_sql_modes() -> None:
    assert normaliser(True, False)(b"\"a  1\" 'b  1'  c") == b"\"a  1\" '?' c"
    assert normaliser(False, True)(rb"'a\' 1") == b"'?' ?"


def test_shown_and_special() -> None:
    assert shown(b"SELECT '?', ? FROM t WHERE a IN (...)") == "SELECT ?, ? FROM t WHERE a IN (...)"
    assert len(shown(b"x" * 10_000)) == 2048
    assert is_special(normalise(b"SELECT /*!1 */ 1")) and not is_special(normalise(b"SELECT /* 1 */ 1"))


STRINGS = st.text(alphabet="ab'\\\"`;*/-#@(é", max_size=8).map(
    lambda body: "'" + body.replace("\\", "\\\\").replace("'", "''") + "'"
)
NUMBERS = st.from_regex(r"\A(?:[0-9]{1,5}|[0-9]{1,3}\.[0-9]{0,3}|[0-9]e[0-9]{1,2}|0x[0-9a-f]{1,4})\Z")
GAPS = st.lists(
    st.sampled_from([" ", "\n", "\t", "\r\n", "/**/", "/* x ' */", "-- y '\n", "#;\n", "--\n", "/*'*/"]),
    min_size=1,
    max_size=3,
).map("".join)
TEXTS = st.sampled_from([case.text.decode("utf-8", "replace") for case in CASES])
CONTEXTS = st.builds(
    replace,
    st.just(SqlContext()),
    mariadb=st.booleans(),
    ansi_quotes=st.booleans(),
    no_backslash_escapes=st.booleans(),
    ignore_space=st.booleans(),
)


def without_spans(verdict: Verdict) -> Verdict:
    return replace(verdict, connection_ids=())


def mutated(data: st.DataObject, text: str, context: SqlContext) -> str:
    """``text`` with other literals and other white space, as its own tokens tell."""
    raw = text.encode()
    parts: list[str] = []
    for token in text_lexer(context.ansi_quotes, context.no_backslash_escapes)(raw):
        written = raw[token.start : token.end].decode("utf-8", "replace")
        if token.spaced:
            # White space behind two minus signs would make a comment of them and of all that follows.
            parts.append("/**/" if parts and parts[-1] == "-" else data.draw(GAPS))
        if token.kind is TokenKind.STRING and written[0] == "'" and not context.no_backslash_escapes:
            written = data.draw(STRINGS)
        elif token.kind is TokenKind.NUMBER and written.isdigit():
            written = data.draw(NUMBERS)
        parts.append(written)
    return "".join(parts)


@settings(max_examples=1500, deadline=None)
@given(st.data(), TEXTS, CONTEXTS)
def test_equal_digest_equal_verdict(data: st.DataObject, text: str, context: SqlContext) -> None:
    other = mutated(data, text, context)
    digests = {
        normaliser(context.ansi_quotes, context.no_backslash_escapes)(t.encode()) for t in (text, other)
    }
    first, second = classify(text.encode(), context), classify(other.encode(), context)
    if len(digests) == 1 and not is_special(digests.pop()) and first.cacheable:
        assert without_spans(first) == without_spans(second)


@settings(max_examples=500, deadline=None)
@given(st.data(), TEXTS)
def test_other_literals_and_white_space_do_not_change_what_a_statement_is(
    data: st.DataObject, text: str
) -> None:
    context = SqlContext()
    if any(token.kind is TokenKind.BAD for token in text_lexer()(text.encode())):
        return  # white space is not where it seems to be
    other = mutated(data, text, context)
    first, second = classify(text.encode(), context), classify(other.encode(), context)
    if first.cacheable and not is_special(normalise(text.encode())):
        assert (first.kind, first.effects, first.needs) == (second.kind, second.effects, second.needs), other


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [*"aN1.-/*#!+'\"`\\ \n(),;=@$?", "IN (", "/*", "*/", "-- ", "é", "0x", "e5", "VALUES ("]
        ),
        max_size=25,
    ).map("".join),
    st.booleans(),
    st.booleans(),
)
def test_a_digest_has_the_tokens_of_its_text(text: str, ansi: bool, no_backslash: bool) -> None:
    raw = text.encode()
    digest = normaliser(ansi, no_backslash)(raw)
    if is_special(digest) or b"..." in digest or b"?" in raw:
        return
    seen = text_lexer(ansi, no_backslash)(raw)
    bad = next((i for i, token in enumerate(seen) if token.kind in {TokenKind.BAD, TokenKind.SPECIAL}), None)
    kept = digest_lexer(ansi)(digest)

    def shape(tokens: list[Token]) -> str:
        literals = {TokenKind.NUMBER, TokenKind.STRING}
        # The sign of a number may have gone.
        return re.sub(
            r"([=(,<>]) - \?", r"\1 ?", " ".join("?" if t.kind in literals else t.text for t in tokens)
        )

    if bad is None:
        assert shape(kept) == shape(seen)
    else:
        # Up to there they agree, and the digest is no more understood than the text.
        assert any(token.kind in {TokenKind.BAD, TokenKind.SPECIAL} for token in kept)


MODES = [normaliser(ansi, escapes) for ansi in (False, True) for escapes in (False, True)]
PIECES = [
    "a", "N", "$", "_", "1", "0", "9", "x", "e", "'", '"', "`", "\\", "(", ")", "*", "+", ",", "-", ".", "/", ";",
    "<", "=", ">", "?", "!", "%", "@", "#", ":", "|", "\n", "\t", "\0", "\x7f", "é", " ", "  ", "in",
    "IN (", "values", "VALUES(", "0x1", "1.5", ".5", "1e5", "1a", "t.5", "''", "'a'", "'é'", "--", "/*", "*/", "sum(",
    "then (",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12))
@settings(max_examples=2000)
def test_a_plain_digest_is_the_digest(pieces: list[str]) -> None:
    text = "".join(pieces).encode()
    digest = plain_digest(text)
    if digest is not None:
        assert [mode(text) for mode in MODES] == [digest] * len(MODES)
        assert not is_special(digest)
        assert text.isascii()
        assert b"\0" not in text


def test_every_short_text_that_is_plain_has_its_digest() -> None:
    for size in range(1, 4):
        for pieces in product(PIECES, repeat=size):
            text = "".join(pieces).encode()
            assert plain_digest(text) in (None, normalise(text))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT c FROM sbtest1 WHERE id=5044",
        "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 5 AND 104 ORDER BY c",
        "UPDATE sbtest1 SET c='07-x', k = k+1 WHERE id=7;",
        "SELECT * FROM t WHERE a > 1 AND b <= 'x' LIMIT 10 , 5",
        "COMMIT",
    ],
)
def test_what_most_applications_send_is_plain(text: str) -> None:
    assert plain_digest(text.encode()) == normalise(text.encode())
