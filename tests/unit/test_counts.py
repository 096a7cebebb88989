"""Numbers in the place of what a text asks of the statement before it."""

from __future__ import annotations

import pytest

from mysqlproxy.sql.counts import ERRORS, FOUND_ROWS, ROW_COUNT, WARNINGS, with_counts
from mysqlproxy.sql.verdict import SqlContext
from tests.support.steps import steps

ALL = {FOUND_ROWS: 7, ROW_COUNT: -1, WARNINGS: 2, ERRORS: 1}
MARIADB, MYSQL = SqlContext(), SqlContext(mariadb=False, version=(9, 7, 0))


def changed(text: str, context: SqlContext = MARIADB, counts: dict[str, int] | None = None) -> str | None:
    found = with_counts(text.encode(), context, ALL if counts is None else counts)
    return None if found is None else found.decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SET @q = FOUND_ROWS()", "SET @q = CAST(7|0 AS SIGNED)"),
        ("set @q=found_rows ( )", "set @q=CAST(7|0 AS SIGNED)"),
        ("SELECT ROW_COUNT()", "SELECT CAST(-1|0 AS SIGNED) AS `ROW_COUNT()`"),
        ("SELECT FOUND_ROWS() AS n, @a", "SELECT CAST(7|0 AS SIGNED) AS n, @a"),
        ("SELECT FOUND_ROWS()+1, @a", "SELECT CAST(7|0 AS SIGNED)+1 AS `FOUND_ROWS()+1`, @a"),
        ("SET @w = @@warning_count", "SET @w = CAST(2|0 AS SIGNED)"),
        ("SET @w = @@session.error_count", "SET @w = CAST(1|0 AS SIGNED)"),
        ("INSERT INTO t VALUES (FOUND_ROWS())", "INSERT INTO t VALUES (CAST(7|0 AS SIGNED))"),
        ("CALL p(FOUND_ROWS())", "CALL p(CAST(7|0 AS SIGNED))"),
        (
            "SELECT FOUND_ROWS(); UPDATE t SET a = 1",
            "SELECT CAST(7|0 AS SIGNED) AS `FOUND_ROWS()`; UPDATE t SET a = 1",
        ),
        ("BEGIN; SELECT FOUND_ROWS()", "BEGIN; SELECT CAST(7|0 AS SIGNED) AS `FOUND_ROWS()`"),
        (
            "UPDATE t SET a = 'FOUND_ROWS()', b = ROW_COUNT()",
            "UPDATE t SET a = 'FOUND_ROWS()', b = CAST(-1|0 AS SIGNED)",
        ),
    ],
)
def test_numbers_stand_where_they_are_asked_for(text: str, expected: str) -> None:
    assert changed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT v FROM t; SELECT FOUND_ROWS()", None),
        (
            "SELECT FOUND_ROWS(); SELECT FOUND_ROWS()",
            "SELECT CAST(7|0 AS SIGNED) AS `FOUND_ROWS()`; SELECT FOUND_ROWS()",
        ),
        (
            "SELECT ROW_COUNT(); SELECT ROW_COUNT()",
            "SELECT CAST(-1|0 AS SIGNED) AS `ROW_COUNT()`; SELECT ROW_COUNT()",
        ),
        ("INSERT INTO t SELECT 1; SELECT FOUND_ROWS()", None),
        ("DO 1; SELECT @@warning_count", None),  # who knows whether it has warned
        ("DO 1; SHOW WARNINGS", None),
    ],
)
def test_a_statement_of_the_same_text_has_its_own(text: str, expected: str | None) -> None:
    assert changed(text) == expected


def test_what_counts_rows_differs() -> None:
    assert changed("UPDATE t SET a = 1; SELECT FOUND_ROWS()", MARIADB) is not None
    assert changed("UPDATE t SET a = 1; SELECT FOUND_ROWS()", MYSQL) is None
    assert changed("DO 1; SELECT FOUND_ROWS()", MYSQL) is None


def test_mariadb_forgets_warnings_when_it_opens_tables() -> None:
    for text in ("SELECT @@warning_count FROM t", "INSERT INTO t VALUES (@@warning_count)"):
        assert "CAST(0|0 AS" in (changed(text, MARIADB) or "")
        assert "CAST(2 AS" in (changed(text, MYSQL) or "")


@pytest.mark.parametrize(
    "text",
    [
        "SHOW WARNINGS",
        "GET DIAGNOSTICS @n = ROW_COUNT",
        "PREPARE p FROM 'SELECT FOUND_ROWS()'",
        "EXECUTE IMMEDIATE 'SELECT FOUND_ROWS()'",
        "CREATE VIEW v AS SELECT FOUND_ROWS()",
        "EXPLAIN SELECT FOUND_ROWS()",
        "SET STATEMENT max_statement_time = 1 FOR SELECT FOUND_ROWS()",
        "SELECT FOUND_ROWS() UNION SELECT 1",
        "SELECT @@global.warning_count",
        "BEGIN NOT ATOMIC SELECT FOUND_ROWS(); END",
        "SELECT FOUND_ROWS() /*!50000 + FOUND_ROWS() */",
        "SELECT 'open, FOUND_ROWS()",
        "SELECT 1",
        "SELECT s.FOUND_ROWS()",
        "",
    ],
)
def test_what_no_number_can_stand_for_is_left(text: str) -> None:
    assert changed(text) is None


def test_a_number_that_is_not_known_is_none() -> None:
    assert changed("SELECT FOUND_ROWS(), ROW_COUNT()", counts={FOUND_ROWS: 3}) is None
    assert changed("SELECT FOUND_ROWS()", counts={}) is None


def test_work_grows_with_the_text_alone() -> None:
    def work(times: int) -> int:
        return steps(lambda: changed("SELECT " + "FOUND_ROWS(), " * times + "1"))

    assert work(800) < 12 * work(100)
