"""What asks for the last values of sequences, and how what is known of them gets into a text."""

from __future__ import annotations

import pytest

from mysqlproxy.sql.sequences import asked, named, with_last_values, without
from mysqlproxy.sql.verdict import SqlContext

CONTEXT = SqlContext(schema="app")
VALUES = {"`app`.`s`": 5, "`b``c`.`d.e`": 7}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT LASTVAL(s)", "SELECT IFNULL(LASTVAL(s),5) AS `LASTVAL(s)`"),
        (
            "select lastval ( app . s ) + 1, 2",
            "select IFNULL(lastval ( app . s ),5) + 1 AS `lastval ( app . s ) + 1`, 2",
        ),
        ("SELECT LASTVAL(s) AS x", "SELECT IFNULL(LASTVAL(s),5) AS x"),
        (
            "SELECT (LASTVAL(s)) x, 'LASTVAL(s)' -- LASTVAL(s)",
            "SELECT (IFNULL(LASTVAL(s),5)) x, 'LASTVAL(s)' -- LASTVAL(s)",
        ),
        (
            "SELECT PREVIOUS VALUE FOR s FROM t",
            "SELECT IFNULL(PREVIOUS VALUE FOR s,5) AS `PREVIOUS VALUE FOR s` FROM t",
        ),
        (
            "SELECT LASTVAL(`b``c`.`d.e`)",
            "SELECT IFNULL(LASTVAL(`b``c`.`d.e`),7) AS `LASTVAL(``b````c``.``d.e``)`",
        ),
        ("INSERT INTO t VALUES (LASTVAL(s));", "INSERT INTO t VALUES (IFNULL(LASTVAL(s),5));"),
        ("SELECT a FROM t WHERE a = LASTVAL(s)", "SELECT a FROM t WHERE a = IFNULL(LASTVAL(s),5)"),
    ],
)
def test_what_is_known_stands_where_it_is_asked_for(text: str, expected: str) -> None:
    assert with_last_values(text.encode(), CONTEXT, VALUES).decode() == expected


@pytest.mark.parametrize(
    "text",
    [
        "SELECT LASTVAL(r), LASTVAL(none), b.LASTVAL(s), `LASTVAL`(s), LASTVAL, LASTVAL(s, 1), LASTVAL(a.b.s)",
        "SELECT PREVIOUS VALUE FOR",
        "SELECT LASTVAL(",
    ],
)
def test_nothing_else_is_changed(text: str) -> None:
    assert with_last_values(text.encode(), CONTEXT, VALUES) == text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE t AS SELECT LASTVAL(s)",
        "PREPARE p FROM 'SELECT LASTVAL(s)'",
        "USE b; SELECT LASTVAL(s)",
        "SELECT /*!99999 LASTVAL(s), */ 1",
        "",
    ],
)
def test_what_cannot_be_changed_for_certain_is_not(text: str) -> None:
    assert with_last_values(text.encode(), CONTEXT, VALUES) is None


def test_a_definition_forgets_what_it_names() -> None:
    assert without(VALUES, "CREATE OR REPLACE SEQUENCE s") == {"`b``c`.`d.e`": 7}
    assert without(VALUES, "CREATE TABLE other (a INT)") == VALUES


def test_the_sequences_of_a_text() -> None:
    text = "SELECT NEXTVAL(s), LASTVAL(b.`x``y`), PREVIOUS VALUE FOR r, NEXT VALUE FOR app.q, ?"
    assert asked(text.encode(), CONTEXT) == {"`b`.`x``y`", "`app`.`r`"}
    assert named(text, "app") == {"`app`.`s`", "`b`.`x``y`", "`app`.`r`", "`app`.`q`"}
    assert named('SELECT LASTVAL("a""b"), SETVAL(s, ?)', "app") == {'`app`.`a"b`'}
