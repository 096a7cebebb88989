"""The lexer: where tokens begin and end is what the servers see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.sql.lexer import TokenKind, digest_lexer, measure, text_lexer

LETTER = {
    TokenKind.WORD: "w",
    TokenKind.QUOTED: "q",
    TokenKind.NUMBER: "n",
    TokenKind.STRING: "s",
    TokenKind.OPERATOR: "o",
    TokenKind.SPECIAL: "!",
    TokenKind.BAD: "?",
}


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("SELECT a", ["SELECT", "a"]),
        ("a--b", ["a", "-", "-", "b"]),
        ("a-- b\nc", ["a", "c"]),
        ("a--", ["a"]),
        ("a--\x01b\nc", ["a", "c"]),
        ("a#b\rc\nd", ["a", "d"]),
        ("a/*b*/c", ["a", "c"]),
        ("a/*/b*/c", ["a", "c"]),
        ("a/**/b", ["a", "b"]),
        ("a/* /* */b", ["a", "b"]),
        ("a/*!b*/c", ["a", "/*!", "b", "*/", "c"]),
        ("a/*M!50000 b*/", ["a", "/*M!", "50000", "b", "*/"]),
        ("a/*+b*/", ["a", "/*+", "b", "*/"]),
        ("a/* b 'c", ["a", "/*"]),
        ("'a''b' 'c\\'d' \"e\"", ["'a''b'", "'c\\'d'", '"e"']),
        ("`a``b`", ["a`b"]),
        ("x'41'b'1'n'a'xy'a'", ["x'41'", "b'1'", "n'a'", "xy", "'a'"]),
        (
            "1a 12 1.5 .5 1.5a 1e5 1e+5 1e 0x1f 0x1g 0b1 0b2",
            ["1a", "12", "1.5", ".5", "1.5", "a", "1e5", "1e+5", "1e", "0x1f", "0x1g", "0b1", "0b2"],
        ),
        ("1.union", ["1.", "union"]),
        ("t.1a t.5", ["t", ".", "1a", "t", ".", "5"]),
        ("`t`.5", ["t", ".", "5"]),
        ("a:=@b<=>c->>d", ["a", ":=", "@", "b", "<=>", "c", "->>", "d"]),
        ("größe", ["größe"]),
        ("a\u00a0b", ["a\u00a0b"]),
        ("a\u3000b", ["a\u3000b"]),
        ("2*/*x*/3", ["2", "*", "3"]),
        ("@1", ["@", "1"]),
        ("1..1", ["1.", ".1"]),
        ("", []),
        (" -- x", []),
    ],
)
def test_text(text: str, tokens: list[str]) -> None:
    assert [token.text for token in text_lexer()(text.encode())] == tokens


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("SELECT `a`, 'b', 1", "wqoson"),
        ("'abc 1", "?"),
        ('"abc 1', "?"),
        ("`abc 1", "?"),
        ("$$ $a a$", "??w"),
        ("\\N", "?w"),
        ("\x01", "?"),
        ("/* x", "!"),
    ],
)
def test_kinds(text: str, kinds: str) -> None:
    assert "".join(LETTER[token.kind] for token in text_lexer()(text.encode())) == kinds


def test_sql_modes_change_quotes() -> None:
    assert [t.kind for t in text_lexer(ansi_quotes=True)(b'"a""b"')] == [TokenKind.QUOTED]
    assert [t.text for t in text_lexer(ansi_quotes=True)(b'"a""b"')] == ['a"b']
    assert [t.text for t in text_lexer(no_backslash_escapes=True)(rb"'a\' b")] == [r"'a\'", "b"]
    assert text_lexer()(rb"'a\' b")[0].kind is TokenKind.BAD


def test_a_digest_has_no_comments() -> None:
    assert [token.text for token in digest_lexer()(b"a -- ? # b")] == ["a", "-", "-", "?", "#", "b"]
    assert [token.kind.value for token in digest_lexer()(b"'?' ? (...)")] == [
        "string",
        "number",
        "operator",
        "operator",
        "operator",
    ]


def test_offsets_are_bytes_of_the_text() -> None:
    text = "SELECT 'ä', /* ö */ ü".encode()
    for token in text_lexer()(text):
        assert text[token.start : token.end].decode() == token.text or token.kind is TokenKind.STRING
    assert [token.spaced for token in text_lexer()(b"a b/**/c(")] == [False, True, True, False]


def test_measure() -> None:
    assert measure(text_lexer()(b"SELECT ((1)), CASE WHEN 1 THEN (2) END")) == (15, 2)
    assert measure([]) == (0, 0)


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_bytes_have_tokens_that_cover_them_in_order(text: bytes, ansi: bool, no_backslash: bool) -> None:
    end = 0
    for token in text_lexer(ansi, no_backslash)(text):
        assert end <= token.start < token.end <= len(text)
        end = token.end
