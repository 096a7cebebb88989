"""A write to a table with a trigger leaves in the session what the trigger's body does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mysqlproxy.sql import catalog
from mysqlproxy.sql.catalog import UNREAD, Catalog, Relation, Routine, What, doubting, make, names_in
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.definition import names_defined
from mysqlproxy.sql.verdict import Effect, Kind, SqlContext, Verdict

# The body, and what a write that may fire it leaves behind.
TRIGGERS: dict[str, tuple[str | None, int]] = {
    "stamped": ("SET NEW.a = NOW(), NEW.b = COALESCE(NEW.b, (SELECT MAX(a) FROM plain))", Effect.NONE),
    "audited": ("INSERT INTO plain VALUES (OLD.id, NEW.a, USER())", Effect.NONE),
    "checked": (
        "IF NEW.a < 0 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'negative'; END IF",
        Effect.NONE,
    ),
    "counted": ("BEGIN UPDATE plain SET n = n + 1; DELETE FROM plain WHERE n > 9; END", Effect.NONE),
    "kept": ("SET @last = NEW.id", Effect.USER_VARIABLES),
    "shadowed": ("BEGIN CREATE TEMPORARY TABLE plain (a INT); END", Effect.TEMPORARY_TABLE),
    "locked": ("DO GET_LOCK('x', 1)", Effect.NAMED_LOCK),
    "drawn": ("SET NEW.id = NEXT VALUE FOR s", Effect.SEQUENCE),
    "calling": ("CALL keeps(NEW.id)", Effect.USER_VARIABLES),
    "chained": ("INSERT INTO kept VALUES (NEW.id)", Effect.USER_VARIABLES),
    "archived": ("INSERT INTO archive.archived SELECT * FROM plain", Effect.NONE),
    "setting": ("SET sql_mode = ''", Effect.UNTRACKED),
    "hiding": ("SET NEW.a = 1 /*! + GET_LOCK('x', 1) */", Effect.UNTRACKED),
    "unread": (None, Effect.UNTRACKED),
    "oracle": ("BEGIN NULL; END", Effect.UNTRACKED),
}
VIEWS = {
    "over_kept": "select `app`.`kept`.`a` AS `a` from `app`.`kept`",
    "over_over_kept": "select `app`.`over_kept`.`a` AS `a` from `app`.`over_kept`",
    "over_plain": "select `app`.`plain`.`a` AS `a` from `app`.`plain`",
    "unread_view": None,
}


def catalog_of(**options: int) -> Catalog:
    tables = (*TRIGGERS, "plain")
    return make(
        [
            *(("app", name, catalog.table()) for name in tables),
            *(("app", name, Relation(What.VIEW, body)) for name, body in VIEWS.items()),
            ("archive", "archived", catalog.table()),
        ],
        procedures=[
            ("app", "keeps", Routine("SET @last = n")),
            ("app", "writes", Routine("BEGIN INSERT INTO kept VALUES (1); END")),
        ],
        triggers=[
            *(
                ("app", name, Routine(body, "ORACLE" if name == "oracle" else ""))
                for name, (body, _) in TRIGGERS.items()
            ),
            ("app", "plain", Routine("SET NEW.a = 1")),
            ("app", "chained", Routine("SET NEW.a = 1")),
        ],
        **options,
    )


CATALOG = catalog_of()
CONTEXT = SqlContext(schema="app", catalog=CATALOG)


def left(sql: str, context: SqlContext = CONTEXT) -> int:
    """What stays behind, beside a new LAST_INSERT_ID."""
    return classify(sql.encode(), context).effects & ~Effect.INSERT & ~Effect.DDL


@pytest.mark.parametrize("table", TRIGGERS)
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {} VALUES (1)",
        "REPLACE app.{} SET id = 1",
        "INSERT INTO {} SELECT 1 ON DUPLICATE KEY UPDATE a = 1",
        "UPDATE plain JOIN `{}` AS x USING (id) SET x.a = 1",
        "DELETE FROM {} WHERE id = 1",
        "WITH c AS (SELECT 1 AS id) DELETE {} FROM {} JOIN c USING (id)",
        "LOAD DATA INFILE 'x' INTO TABLE {}",
        "EXPLAIN ANALYZE UPDATE {} SET a = 1",
        "SELECT 1; DELETE FROM {}",
    ],
)
def test_a_write_leaves_what_its_triggers_do(table: str, sql: str) -> None:
    verdict = classify(sql.replace("{}", table).encode(), CONTEXT)
    assert verdict.kind is Kind.WRITE
    assert verdict.effects & ~Effect.INSERT == TRIGGERS[table][1]
    if TRIGGERS[table][1]:
        assert any("trigger of app." in reason for reason in verdict.reasons), verdict.reasons


@pytest.mark.parametrize(
    ("sql", "effects"),
    [
        ("DELETE FROM over_over_kept", Effect.USER_VARIABLES),
        ("DELETE FROM over_plain", Effect.NONE),
        ("DELETE FROM unread_view", Effect.UNTRACKED),
        ("CALL writes()", Effect.USER_VARIABLES),
        ("SELECT a FROM kept", Effect.NONE),
        ("DELETE FROM archive.kept", Effect.NONE),
        ("USE app; DELETE FROM kept", Effect.USER_VARIABLES | Effect.SCHEMA),
        ("INSERT INTO .kept VALUES (1)", Effect.USER_VARIABLES),
        ("DELETE FROM KEPT", Effect.NONE),
        ("SET STATEMENT max_statement_time = 1 FOR DELETE FROM kept", Effect.USER_VARIABLES),
        ("DELETE FROM plain WHERE a = '" + "x" * 300_000 + "'", Effect.UNTRACKED),
    ],
)
def test_which_tables_a_statement_writes_to(sql: str, effects: int) -> None:
    assert left(sql) == effects


def test_a_trigger_and_what_fires_it_in_one_text() -> None:
    assert left(
        "CREATE TRIGGER x BEFORE INSERT ON plain FOR EACH ROW SET @a = 5; INSERT INTO plain VALUES (1)"
    ) & (Effect.UNTRACKED)


def test_a_name_in_doubt_may_be_a_view_of_any_table() -> None:
    doubtful = replace(CONTEXT, catalog=doubting(CATALOG, names_in("CREATE VIEW fresh AS SELECT ?"), 2))
    assert left("INSERT INTO fresh VALUES (1)", doubtful) == Effect.UNTRACKED
    doubtful = replace(CONTEXT, catalog=doubting(CATALOG, names_in("CREATE TABLE fresh (a INT)"), 2))
    assert left("INSERT INTO fresh VALUES (1)", doubtful) == Effect.NONE
    assert left("INSERT INTO plain VALUES (1)", replace(CONTEXT, catalog=doubting(CATALOG, None, 2))) == (
        Effect.UNTRACKED
    )
    harmless = make(
        [("app", "plain", catalog.table())], triggers=[("app", "plain", Routine("SET NEW.a = 1"))]
    )
    doubtful = replace(CONTEXT, catalog=doubting(harmless, None, 2))
    assert left("INSERT INTO fresh VALUES (1)", doubtful) == Effect.NONE


def test_a_default_that_draws_from_a_sequence_is_like_a_trigger() -> None:
    drawing = make([("app", "u", catalog.table())], triggers=[("app", "u", Routine("DO nextval(`app`.`s`)"))])
    context = replace(CONTEXT, catalog=drawing)
    assert left("UPDATE u SET id = DEFAULT", context) == Effect.SEQUENCE
    assert left("UPDATE u SET id = '" + "x" * 300_000 + "'", context) == Effect.NONE


def test_a_large_statement_leaves_nothing_where_no_trigger_does() -> None:
    harmless = make(
        [("app", "plain", catalog.table())], triggers=[("app", "plain", Routine("SET NEW.a = 1"))]
    )
    assert (
        left("DELETE FROM plain WHERE a = '" + "x" * 300_000 + "'", replace(CONTEXT, catalog=harmless)) == 0
    )


@pytest.mark.parametrize(
    ("sql", "effects"),
    [
        ("SELECT f(), LENGTH('{}')", Effect.UNTRACKED),
        ("UPDATE t SET a = `f`(1) WHERE b = '{}'", Effect.UNTRACKED),
        ("INSERT INTO t (a, b) VALUES (NOW(), '{}')", Effect.NONE),
        ("UPDATE t SET a = NEXTVAL(s) WHERE b = '{}'", Effect.UNTRACKED),
    ],
)
def test_a_stored_function_in_a_large_statement_may_leave_anything(sql: str, effects: int) -> None:
    known = make([("app", "t", catalog.table())], [("app", "f", Routine("BEGIN SET @a = 1; RETURN 1; END"))])
    assert left(sql.replace("{}", "x" * 300_000), replace(CONTEXT, catalog=known)) == effects


@pytest.mark.parametrize("text", ["UPDATE t SET a = " + part * 300_000 for part in ("x", "`", "f(", "` ")])
def test_looking_for_calls_in_a_large_statement_ends(text: str) -> None:
    known = make([("app", "t", catalog.table())], [("app", "f", Routine("RETURN 1"))])
    classify(text.encode(), replace(CONTEXT, catalog=known))


def test_names_of_tables_fold_as_the_servers_do() -> None:
    assert left("DELETE FROM KEPT", replace(CONTEXT, catalog=catalog_of(lower_case_table_names=1)))


def test_where_triggers_may_not_be_seen_every_write_may_fire_one() -> None:
    for unseen in (UNREAD, make([("app", "plain", catalog.table())], triggers=None)):
        context = replace(CONTEXT, catalog=unseen)
        assert left("DELETE FROM plain", context) == Effect.UNTRACKED
        assert left("SELECT a FROM plain", context) == Effect.NONE


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE TRIGGER tr BEFORE INSERT ON fresh FOR EACH ROW SET @x = 1",
        "CREATE DEFINER = `a`@`b` TRIGGER tr BEFORE INSERT ON fresh FOR EACH ROW BEGIN "
        + "SET @x = 1; " * 900
        + "END",
        "RENAME TABLE kept TO fresh",
        "ALTER TABLE kept RENAME TO fresh",
    ],
)
def test_a_definition_that_passed_may_have_given_a_table_a_trigger(definition: str) -> None:
    known = make([("app", name, catalog.table()) for name in ("fresh", "plain")])
    names = names_defined(classify(definition.encode(), replace(CONTEXT, catalog=known)), known, "app")
    assert names is not None
    doubtful = replace(CONTEXT, catalog=doubting(known, names, 2))
    assert left("DELETE FROM fresh", doubtful) == Effect.UNTRACKED
    assert left("DELETE FROM plain", doubtful) == Effect.NONE


def test_a_new_table_has_no_trigger() -> None:
    harmless = make(
        [("app", "plain", catalog.table())], triggers=[("app", "plain", Routine("SET NEW.a = 1"))]
    )
    verdict: Verdict = classify(b"CREATE TABLE fresh (a INT)", replace(CONTEXT, catalog=harmless))
    doubtful = replace(CONTEXT, catalog=doubting(harmless, names_in(verdict.digest), 2))
    assert left("INSERT INTO fresh VALUES (1)", doubtful) == Effect.NONE


def test_a_table_of_that_name_in_another_schema_has_its_own_triggers() -> None:
    """As where each customer has a schema: a statement costs what its own tables do."""
    many = make(
        [(f"shop{number}", "orders", catalog.table()) for number in range(500)],
        triggers=[
            (f"shop{number}", "orders", Routine("SET @x = 1" if number else "SET NEW.a = 1"))
            for number in range(500)
        ],
    )
    for number, effects in ((0, Effect.NONE), (1, Effect.USER_VARIABLES)):
        assert (
            left("INSERT INTO orders VALUES (1)", SqlContext(schema=f"shop{number}", catalog=many)) == effects
        )
    assert len(many.judgements) == 2
