"""What a body, a block or dynamic SQL asks of the statements before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mysqlproxy.sql.catalog import Catalog, Relation, Routine, What, doubting, make, table
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext, Verdict

ROUTINES = {
    "first": "SELECT FOUND_ROWS()",
    "own": "BEGIN SELECT a FROM t; SELECT FOUND_ROWS(); END",
    "counted": "BEGIN UPDATE t SET a = 1; SELECT ROW_COUNT(); END",
    "not_understood": "BEGIN DECLARE c CURSOR FOR SELECT 1; IF FOUND_ROWS() > 0 THEN OPEN c; END IF; END",
    "own_not_understood": "BEGIN DECLARE EXIT HANDLER FOR NOT FOUND SET @n = 1; SELECT 1; SELECT FOUND_ROWS(); END",
    "inserts": "BEGIN INSERT INTO t VALUES (1); SELECT LAST_INSERT_ID(); END",
    "asks_for_id": "SELECT LAST_INSERT_ID()",
    "draws": "BEGIN DO NEXTVAL(s); SELECT LASTVAL(s); END",
    "last_value": "SELECT PREVIOUS VALUE FOR s",
    "handles": "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN GET DIAGNOSTICS @n = NUMBER; END; DO 1; END",
}
CATALOG: Catalog = make(
    [
        ("app", "t", table()),
        ("app", "w", table()),
        ("app", "asking", Relation(What.VIEW, "select found_rows() AS `n`")),
        ("app", "over_asking", Relation(What.VIEW, "select `asking`.`n` AS `n` from `app`.`asking`")),
    ],
    [("app", "f", Routine("RETURN FOUND_ROWS()"))],
    [("app", name, Routine(body)) for name, body in ROUTINES.items()],
    [("app", "w", Routine("SET NEW.a = ROW_COUNT()"))],
)
CONTEXT = SqlContext(schema="app", catalog=CATALOG)
IN_DOUBT = replace(CONTEXT, catalog=doubting(CATALOG, None, 2))


def verdict(sql: str, context: SqlContext = CONTEXT) -> Verdict:
    return classify(sql.encode(), context)


@pytest.mark.parametrize(
    ("name", "needs", "functions"),
    [
        ("first", Needs.LAST_STATEMENT, {"found_rows"}),
        ("own", Needs.ANY, {"found_rows"}),
        ("counted", Needs.ANY, {"row_count"}),
        ("not_understood", Needs.LAST_STATEMENT, {"found_rows"}),
        ("own_not_understood", Needs.ANY, {"found_rows"}),
        ("inserts", Needs.ANY, {"last_insert_id"}),
        ("asks_for_id", Needs.LAST_INSERT, {"last_insert_id"}),
        ("draws", Needs.ANY, {"lastval"}),
        ("last_value", Needs.LAST_INSERT, {"lastval"}),
        ("handles", Needs.ANY, {"@@warning_count"}),
    ],
)
def test_a_procedure_asks_for_what_its_body_asks_first(name: str, needs: Needs, functions: set[str]) -> None:
    found = verdict(f"CALL {name}()")
    assert found.needs is needs, found.reasons
    assert functions <= set(found.functions)
    assert found.effects & Effect.ASKS_UNSEEN
    assert verdict(f"CALL {name}()", IN_DOUBT).needs is needs, "most likely it still does"


@pytest.mark.parametrize("sql", ["SELECT f()", "SELECT * FROM asking", "INSERT INTO w VALUES (1)", "DO f()"])
def test_functions_views_and_triggers_do_likewise(sql: str) -> None:
    found = verdict(sql)
    assert (found.needs, bool(found.effects & Effect.ASKS_UNSEEN)) == (Needs.LAST_STATEMENT, True), (
        found.reasons
    )


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t SELECT n FROM asking",
        "UPDATE t SET a = (SELECT n FROM app.asking)",
        "SELECT n FROM over_asking FOR UPDATE",
        "SET @n = (SELECT n FROM asking)",
        "CREATE TABLE made AS SELECT * FROM asking",
    ],
)
def test_views_in_writes_are_seen_to_ask(sql: str) -> None:
    assert verdict(sql).needs is Needs.LAST_STATEMENT


def test_other_statements_about_such_a_view_ask_for_nothing() -> None:
    for sql in (
        "SHOW CREATE VIEW asking",
        "DROP VIEW asking",
        "DESCRIBE asking",
        "INSERT INTO t VALUES ('asking')",
    ):
        assert verdict(sql).needs is not Needs.LAST_STATEMENT, sql


@pytest.mark.parametrize("sql", ["SELECT f()", "SELECT * FROM asking"])
def test_in_doubt_they_most_likely_still_do(sql: str) -> None:
    found = verdict(sql, IN_DOUBT)
    assert (found.kind, found.needs) == (Kind.WRITE, Needs.LAST_STATEMENT)


@pytest.mark.parametrize(
    ("sql", "needs"),
    [
        ("EXECUTE IMMEDIATE 'SELECT FOUND_ROWS()'", Needs.LAST_STATEMENT),
        ("EXECUTE IMMEDIATE 'SELECT F\\OUND_ROWS()'", Needs.LAST_STATEMENT),
        ("EXECUTE IMMEDIATE 'SHOW WARNINGS'", Needs.LAST_STATEMENT),
        ("EXECUTE IMMEDIATE 'SELECT LASTVAL(s)' USING 1", Needs.LAST_INSERT),
        ("EXECUTE IMMEDIATE 'SELECT 1 -- FOUND_ROWS()'", Needs.ANY),
        ("EXECUTE IMMEDIATE @x", Needs.ANY),
        ("PREPARE p FROM 'SELECT LAST_INSERT_ID()'", Needs.LAST_INSERT),
        ("PREPARE p FROM 'SELECT `FOUND_ROWS`'", Needs.ANY),
        ("EXECUTE IMMEDIATE 'SELECT ' 'FOUND_ROWS()'", Needs.LAST_STATEMENT),
        ("EXECUTE IMMEDIATE 'SELECT ?' USING FOUND_ROWS()", Needs.LAST_STATEMENT),
        ("SET STATEMENT max_statement_time = 1 FOR SELECT FOUND_ROWS()", Needs.LAST_STATEMENT),
        ("SET STATEMENT max_statement_time = 1 FOR EXECUTE IMMEDIATE 'SHOW WARNINGS'", Needs.LAST_STATEMENT),
        ("IF 1 THEN SELECT FOUND_ROWS(); END IF", Needs.LAST_STATEMENT),
        ("SELECT `FOUND_ROWS`()", Needs.LAST_STATEMENT),
        ("CREATE TABLE made AS SELECT f()", Needs.LAST_STATEMENT),
        ("CREATE VIEW made AS SELECT FOUND_ROWS()", Needs.ANY),
        ("INSERT INTO t VALUES (FOUND_ROWS(), '" + "x" * 300_000 + "')", Needs.LAST_STATEMENT),
        ("INSERT INTO t VALUES (1, 'FOUND_ROWS()" + "x" * 300_000 + "')", Needs.ANY),
        ("BEGIN NOT ATOMIC SELECT @@warning_count; END", Needs.LAST_STATEMENT),
        ("BEGIN NOT ATOMIC SELECT 1; SELECT ROW_COUNT(); END", Needs.ANY),
    ],
)
def test_dynamic_texts_are_read(sql: str, needs: Needs) -> None:
    found = verdict(sql)
    assert found.needs is needs, found.reasons
    assert found.kind in (Kind.WRITE, Kind.OTHER)


def test_what_is_prepared_to_ask_for_the_last_statement_keeps_the_session() -> None:
    """Its execution does not say what it asks for."""
    found = verdict("PREPARE p FROM 'SELECT FOUND_ROWS()'")
    assert (found.kind, found.needs) == (Kind.WRITE, Needs.LAST_STATEMENT)
    assert found.effects & Effect.UNTRACKED
    assert verdict("PREPARE p FROM @text").effects & Effect.UNTRACKED
    assert not verdict("PREPARE p FROM 'SELECT 1'").effects & Effect.UNTRACKED


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FOUND_ROWS(), @a",
        "SELECT FOUND_ROWS(), @@hostname",
        "SELECT LAST_INSERT_ID(), ROW_COUNT()",
        "SELECT ROW_COUNT(); SELECT @a",
        "SELECT FOUND_ROWS(); SELECT LAST_INSERT_ID()",
    ],
)
def test_what_only_the_manager_knows_beside_it_is_seen(sql: str) -> None:
    found = verdict(sql)
    assert found.needs is Needs.LAST_STATEMENT
    assert found.effects & Effect.ASKS_MANAGER


@pytest.mark.parametrize("sql", ["SELECT FOUND_ROWS(), a FROM t", "SELECT ROW_COUNT(), @@warning_count"])
def test_what_any_server_knows_is_none(sql: str) -> None:
    assert not verdict(sql).effects & Effect.ASKS_MANAGER
