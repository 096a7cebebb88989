"""What views and stored functions do is told by their bodies; what is not known goes to the manager."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mysqlproxy.sql import catalog
from mysqlproxy.sql.catalog import Catalog, Relation, Routine, What, doubting, make, names_in
from mysqlproxy.sql.classifier import Classifier
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.definition import names_defined
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext, Verdict

BEGIN = "BEGIN DECLARE x, y INT DEFAULT 0; DECLARE s VARCHAR(10) DEFAULT (SELECT MAX(a) FROM t); "

READS = {
    "constant": "RETURN 5",
    "expression": "RETURN n * (2 + ABS(n)) -- a comment",
    "subquery": "RETURN (SELECT MAX(a) FROM t WHERE id = n)",
    "calls_another": "RETURN constant() + app.expression(1)",
    "reads_a_view": "RETURN EXISTS (SELECT 1 FROM v)",
    "block": BEGIN + "SET x = n, y = (SELECT COUNT(*) FROM app.t); RETURN x + y; END",
    "selects_into": BEGIN + "SELECT a, id INTO x, y FROM t ORDER BY id LIMIT 1; RETURN x; END",
    "selects_into_last": BEGIN + "SELECT a FROM t WHERE id = n INTO x; RETURN x; END",
    "branches": BEGIN + "IF n > 1 THEN SET x = 1; ELSEIF CASE WHEN n THEN 1 ELSE 0 END THEN RETURN 3; "
    "ELSE BEGIN DECLARE z INT; SET z = 4; RETURN z; END; END IF; RETURN IF(x, 1, 2); END",
    "loops": BEGIN + "WHILE x < 10 DO SET x = x + 1; END WHILE; RETURN x; END",
    "named_like_its_case": "RETURN CONSTANT()",
}

# The body, and what it is said to do.
NO_READS = {
    "inserts": ("BEGIN INSERT INTO t VALUES (1, 1); RETURN 1; END", "not understood"),
    "calls_a_procedure": ("BEGIN CALL p(); RETURN 1; END", "not understood"),
    "locks_rows": ("RETURN (SELECT a FROM t FOR UPDATE)", "row locks"),
    "locks_a_name": ("RETURN GET_LOCK('x', 1)", "get_lock"),
    "sets_a_user_variable": ("BEGIN SET @x = 1; RETURN 1; END", "not understood"),
    "sets_a_variable": ("BEGIN SET sort_buffer_size = 100; RETURN 1; END", "not understood"),
    "sets_a_variable_after_the_block": (
        "BEGIN BEGIN DECLARE sql_mode INT; SET sql_mode = 1; END; SET sql_mode = 0; RETURN 1; END",
        "not understood",
    ),
    "assigns": ("RETURN (@x := 1)", "user variable"),
    "writes_a_file": (
        "BEGIN DECLARE dumpfile INT; SELECT a FROM t INTO DUMPFILE '/tmp/x'; RETURN 1; END",
        "not understood",
    ),
    "into_a_user_variable": ("BEGIN SELECT a FROM t INTO @x; RETURN 1; END", "not understood"),
    "has_a_handler": (
        "BEGIN DECLARE CONTINUE HANDLER FOR NOT FOUND SET @x = 1; RETURN 1; END",
        "not understood",
    ),
    "has_a_cursor": ("BEGIN DECLARE c CURSOR FOR SELECT 1; RETURN 1; END", "not understood"),
    "makes_a_temporary_table": ("BEGIN CREATE TEMPORARY TABLE x (a INT); RETURN 1; END", "not understood"),
    "hides_code": ("RETURN 1 /*!50000 + GET_LOCK('x', 1) */", "not understood"),
    "hides_code_from_a_block": ("BEGIN /*! INSERT INTO t VALUES (1, 1); */ RETURN 1; END", "not understood"),
    "uses_a_sequence": ("RETURN NEXTVAL(app.s)", "nextval"),
    "calls_one_that_inserts": ("RETURN inserts()", "inserts"),
    "calls_nothing_known": ("RETURN nowhere()", "nowhere"),
    "reads_nothing_known": ("RETURN (SELECT 1 FROM nowhere)", "nowhere"),
    "reads_a_writing_view": ("RETURN (SELECT MAX(a) FROM writing_view)", "writing_view"),
    "calls_itself": ("RETURN calls_itself()", "uses itself"),
    "ping": ("RETURN pong()", "pong"),
    "pong": ("RETURN ping()", "ping"),
    "unread": (None, "may not be read"),
    "large": (f"RETURN 1 {'+ 1' * 10000}", "not understood"),
    "connection": ("RETURN CONNECTION_ID()", "connection"),
    "of_a_server": ("RETURN @@server_id", "server_id"),
    "of_the_last_insert": ("RETURN LAST_INSERT_ID()", "last_insert_id"),
    "labelled": ("a: BEGIN LEAVE a; END", "not understood"),
    "loadable": ("RETURN 1", "no built-in function"),
    "get_lock": ("RETURN 1", "get_lock"),
}

# The body, and what a call leaves behind besides DDL and INSERT, which any CALL may.
PROCEDURES: dict[str, tuple[str | None, int]] = {
    "writes": (
        "BEGIN INSERT INTO t SELECT * FROM u; UPDATE t SET a = constant(); SELECT a FROM t; END",
        Effect.NONE,
    ),
    "one_statement": ("DELETE FROM t WHERE a = n", Effect.NONE),
    "transacts": ("BEGIN START TRANSACTION; DELETE FROM t; COMMIT; END", Effect.TRANSACTION),
    "branches_and_calls": (
        BEGIN
        + "IF n THEN CALL writes(); ELSE CALL app.one_statement(n); END IF; WHILE x < 3 DO SET x = x + 1; "
        "END WHILE; SELECT MAX(a) INTO y FROM t; END",
        Effect.NONE,
    ),
    "keeps_a_variable": ("BEGIN SET @x = 1; END", Effect.USER_VARIABLES),
    "takes_a_lock": ("BEGIN DO GET_LOCK('x', 1); END", Effect.NAMED_LOCK),
    "leaves_a_table": ("CREATE TEMPORARY TABLE x (a INT)", Effect.TEMPORARY_TABLE),
    "leaves_all_by_another": (
        "BEGIN CALL leaves_a_table(); CALL keeps_a_variable(); END",
        Effect.TEMPORARY_TABLE | Effect.USER_VARIABLES,
    ),
    "sets_the_session": ("BEGIN SET sql_mode = ''; END", Effect.UNTRACKED),
    "sets_a_parameter": ("SET n = 1", Effect.UNTRACKED),
    "sets_names": ("BEGIN SET NAMES latin1; END", Effect.UNTRACKED),
    "executes": ("BEGIN EXECUTE IMMEDIATE 'SET @x = 1'; END", Effect.UNTRACKED),
    "prepares": ("BEGIN PREPARE s FROM 'SELECT 1'; END", Effect.UNTRACKED),
    "locks_tables": ("BEGIN FLUSH TABLES WITH READ LOCK; END", Effect.UNTRACKED),
    "calls_what_is_not_known": ("BEGIN DELETE FROM t; CALL nowhere(); END", Effect.UNTRACKED),
    "calls_an_unknown_function": ("INSERT INTO t VALUES (nowhere())", Effect.UNTRACKED),
    "calls_a_bad_function": ("INSERT INTO t VALUES (inserts())", Effect.UNTRACKED),
    "calls_itself": ("BEGIN CALL calls_itself(); END", Effect.UNTRACKED),
    "has_a_handler": (
        "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION SET @x = 1; DELETE FROM t; END",
        Effect.UNTRACKED,
    ),
    "hides_code": ("BEGIN DELETE FROM t /*! WHERE GET_LOCK('x', 1) */; END", Effect.UNTRACKED),
    "may_not_be_read": (None, Effect.UNTRACKED),
}

VIEWS: dict[str, str | None] = {
    "v": "select `app`.`t`.`a` AS `a`,'it\\'s' AS `s` from `app`.`t`",
    "over_v": "select `app`.`v`.`a` AS `a`,`app`.`constant`() AS `c` from (`app`.`v` join `app`.`t` on(1 = 1))",
    "writing_view": "select `app`.`inserts`() AS `a`",
    "over_writing": "select `app`.`writing_view`.`a` AS `a` from `app`.`writing_view`",
    "unread_view": None,
    "invalid_view": "select `app`.`gone`.`a` AS `a` from `app`.`gone`",
    "view_of_itself": "select 1 AS `1` from `app`.`view_of_itself`",
    "view_of_the_server": "select @@server_id AS `x`",
}


def catalog_of(**options: object) -> Catalog:
    functions = {**READS, **{name: body for name, (body, _) in NO_READS.items()}}
    return make(
        [
            *(("app", name, catalog.table()) for name in ("t", "T2", "u")),
            *(("app", name, Relation(What.VIEW, body)) for name, body in VIEWS.items()),
            ("app", "s", Relation(What.OTHER)),
        ],
        [
            *(("app", name, Routine(body)) for name, body in functions.items()),
            ("app", "oracle", Routine("RETURN 1", "PIPES_AS_CONCAT,ORACLE")),
            ("app", "ansi", Routine('RETURN (SELECT "a" FROM "t")', "ANSI_QUOTES")),
        ],
        [
            ("app", "harmless", Routine("BEGIN INSERT INTO t SELECT * FROM u; SELECT 1; END")),
            (
                "app",
                "temporary",
                Routine("BEGIN CREATE TEMPORARY TABLE x (a INT); DROP TEMPORARY TABLE x; END"),
            ),
            ("app", "renames", Routine("BEGIN RENAME TABLE `T2` TO t3; END")),
            ("app", "dynamic", Routine("BEGIN EXECUTE IMMEDIATE a; END")),
            ("app", "hidden", Routine(None)),
            *(("app", name, Routine(body)) for name, (body, _) in PROCEDURES.items()),
        ],
        loadable=["LOADABLE"],
        **options,  # type: ignore[arg-type]
    )


CONTEXT = SqlContext(schema="app", catalog=catalog_of())


def verdict(sql: str, context: SqlContext = CONTEXT) -> Verdict:
    return classify(sql.encode(), context)


@pytest.mark.parametrize("name", READS)
def test_a_function_is_a_read_when_its_body_is(name: str) -> None:
    for sql in (f"SELECT {name}(1)", f"SELECT a FROM t WHERE app.{name}(a) = 1", f"SELECT `app`.`{name}`(1)"):
        found = verdict(sql)
        assert found.kind is Kind.READ, found.reasons
        assert found.effects == Effect.NONE
        assert name in {function.removeprefix("app.") for function in found.functions}


@pytest.mark.parametrize("name", NO_READS)
def test_a_function_is_none_when_its_body_is_not_surely_one(name: str) -> None:
    found = verdict(f"SELECT {name}(1) FROM t")
    assert found.kind is not Kind.READ
    assert any(NO_READS[name][1] in reason for reason in found.reasons), found.reasons
    assert "a plain read" not in found.reasons


@pytest.mark.parametrize("name", PROCEDURES)
def test_a_call_leaves_behind_what_the_body_does(name: str) -> None:
    left = PROCEDURES[name][1]
    for sql in (f"CALL {name}(1)", f"CALL app.{name}", f"call `app`.`{name.upper()}` (2)"):
        found = verdict(sql)
        assert found.kind is Kind.WRITE
        assert found.needs is Needs.ANY
        assert found.effects & (left | Effect.UNTRACKED) == left, found.reasons
        if not left & Effect.UNTRACKED:
            assert found.effects == left | Effect.DDL | Effect.INSERT


def test_what_stands_in_the_call_itself_counts_too() -> None:
    assert verdict("CALL writes(@x)").effects & Effect.USER_VARIABLES
    assert verdict("CALL writes(GET_LOCK('x', 1))").effects & Effect.NAMED_LOCK
    for sql in ("CALL writes(nowhere())", "CALL other.writes()", "CALL writes.app()", "CALL app.writes.x()"):
        assert verdict(sql).effects & Effect.UNTRACKED, sql
    assert verdict("CALL writes()", replace(CONTEXT, schema="")).effects & Effect.UNTRACKED
    doubtful = replace(CONTEXT, catalog=doubting(CONTEXT.catalog, frozenset({"writes"}), 2))
    for sql in ("CALL writes()", "CALL branches_and_calls(1)"):
        assert verdict(sql, doubtful).effects & Effect.UNTRACKED, sql


@pytest.mark.parametrize("name", ["v", "over_v"])
def test_a_view_is_a_read_when_its_body_is(name: str) -> None:
    assert verdict(f"SELECT * FROM {name}").kind is Kind.READ


@pytest.mark.parametrize(
    ("name", "kind", "effects"),
    [
        ("writing_view", Kind.WRITE, Effect.UNTRACKED),
        ("over_writing", Kind.WRITE, Effect.UNTRACKED),
        ("unread_view", Kind.WRITE, Effect.UNTRACKED),
        ("invalid_view", Kind.WRITE, Effect.ASKS_UNSEEN),
        ("view_of_itself", Kind.WRITE, Effect.UNTRACKED),
        ("view_of_the_server", Kind.OTHER, Effect.NONE),
        ("s", Kind.WRITE, Effect.NONE),
    ],
)
def test_a_view_does_what_its_body_does(name: str, kind: Kind, effects: int) -> None:
    found = verdict(f"SELECT * FROM app.{name}")
    assert (found.kind, found.effects) == (kind, effects), found.reasons


def test_a_name_that_is_not_known_is_asked_of_the_manager() -> None:
    found = verdict("SELECT * FROM nowhere")
    assert found.kind is Kind.WRITE
    assert found.effects == Effect.ASKS_UNSEEN, "it may be a view of FOUND_ROWS()"
    assert found.reasons[0] == "nowhere is not a table or view that is known"
    assert verdict("SELECT * FROM t", replace(CONTEXT, schema="other")).kind is Kind.WRITE


def test_other_statements_that_call_a_function_leave_what_its_body_leaves() -> None:
    for sql in ("INSERT INTO t SELECT {}(1), 2", "DO {}(1)", "SET @x = {}(1)", "EXPLAIN SELECT {}(1)"):
        read, write = verdict(sql.format("constant")), verdict(sql.format("inserts"))
        assert not read.effects & Effect.UNTRACKED, sql
        assert write.effects & Effect.UNTRACKED, sql
    assert verdict("EXPLAIN SELECT constant() FROM v").kind is Kind.READ
    assert verdict("SELECT locks_a_name()").effects is Effect.NAMED_LOCK


def test_a_cte_is_not_looked_up() -> None:
    assert verdict("WITH nowhere AS (SELECT * FROM t) SELECT * FROM nowhere").kind is Kind.READ
    assert verdict("WITH writing_view AS (SELECT 1) SELECT * FROM writing_view").kind is Kind.READ
    assert verdict("WITH x AS (SELECT * FROM writing_view) SELECT * FROM x").kind is Kind.WRITE


def test_system_schemas_are_judged_as_without_a_catalog() -> None:
    assert verdict("SELECT * FROM information_schema.VIEWS").kind is Kind.READ
    assert verdict("SELECT * FROM mysql.user").needs is Needs.MANAGER
    assert verdict("SELECT 1 FROM DUAL").kind is Kind.READ


def test_without_a_catalog_names_are_believed_and_functions_are_not() -> None:
    without = SqlContext(schema="app")
    assert verdict("SELECT * FROM writing_view, nowhere", without).kind is Kind.READ
    assert verdict("SELECT constant()", without).kind is Kind.WRITE


def test_a_body_is_read_under_its_own_sql_mode() -> None:
    assert verdict("SELECT ansi()").kind is Kind.READ
    assert verdict("SELECT constant()", replace(CONTEXT, ansi_quotes=True)).kind is Kind.READ
    assert verdict("SELECT oracle()").kind is Kind.WRITE


def test_a_loadable_function_comes_before_a_stored_one() -> None:
    assert verdict("SELECT app.loadable()").kind is Kind.READ
    assert verdict("SELECT loadable()").kind is Kind.WRITE
    nobody_knows = replace(CONTEXT.catalog, loadable=None)
    assert verdict("SELECT constant()", replace(CONTEXT, catalog=nobody_knows)).kind is Kind.WRITE


def test_a_built_in_function_comes_before_a_stored_one() -> None:
    for sql in ("SELECT get_lock('a', 1)", "SELECT `get_lock`('a', 1)", "SELECT get_lock ('a', 1)"):
        assert verdict(sql).kind is Kind.WRITE
    assert verdict("SELECT app.get_lock('a', 1)").kind is Kind.READ


def test_names_are_compared_as_the_server_does() -> None:
    assert verdict("SELECT * FROM T2").kind is Kind.READ
    assert verdict("SELECT * FROM t2").kind is Kind.WRITE
    folding = replace(CONTEXT, catalog=catalog_of(lower_case_table_names=1))
    assert verdict("SELECT * FROM APP.t2, T", folding).kind is Kind.READ


def test_all_spellings_of_a_name_are_judged_once() -> None:
    context = replace(CONTEXT, catalog=catalog_of(lower_case_table_names=1))
    for sql in ("SELECT Constant() FROM V", "SELECT CONSTANT() FROM v", "SELECT APP.constant() FROM app.V"):
        assert verdict(sql, context).kind is Kind.READ
    assert len(context.catalog.judgements) == 2


def test_names_that_are_one_when_folded_are_not_known() -> None:
    both = make([("app", "a", catalog.table()), ("app", "A", catalog.table())], lower_case_table_names=1)
    assert both.relation("app", "a") is None


def test_the_number_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MAX_NAMES", 10)
    bounded = make(
        (("app", f"t{number}", catalog.table()) for number in range(20)), [("app", "f", Routine("RETURN 1"))]
    )
    assert len(bounded.relations) == 10
    assert bounded.functions == {}


def test_a_long_chain_of_views_takes_bounded_work() -> None:
    chain = [
        ("app", f"v{n}", Relation(What.VIEW, f"select 1 AS `a` from `app`.`v{n + 1}`")) for n in range(500)
    ]
    context = replace(CONTEXT, catalog=make([*chain, ("app", "v500", catalog.table())]))
    found = verdict("SELECT * FROM v0", context)
    assert found.kind is Kind.WRITE
    assert any("more views" in reason for reason in found.reasons), found.reasons
    assert not found.cacheable
    assert verdict("SELECT * FROM v490", context).kind is Kind.READ


def test_names_in_doubt_may_mean_anything_and_leave_nothing_in_the_session() -> None:
    doubtful = replace(CONTEXT, catalog=doubting(CONTEXT.catalog, frozenset({"t", "constant"}), 2))
    for sql in ("SELECT * FROM t", "SELECT constant()", "SELECT * FROM over_v", "SELECT calls_another()"):
        found = verdict(sql, doubtful)
        assert (found.kind, found.effects & ~Effect.ASKS_UNSEEN) == (Kind.WRITE, Effect.NONE), (
            sql,
            found.reasons,
        )
    assert verdict("SELECT * FROM u", doubtful).kind is Kind.READ
    assert verdict("SELECT branches(1)", replace(doubtful, schema="app")).kind is Kind.WRITE  # it reads t
    everything = replace(CONTEXT, catalog=doubting(CONTEXT.catalog, None, 3))
    assert verdict("SELECT * FROM u", everything).kind is Kind.WRITE


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("CREATE OR REPLACE VIEW `V``1` AS SELECT 1", {"v`1"}),
        ("RENAME TABLE a TO b, app.c TO d", {"a", "b", "app", "c", "d"}),
        ("DROP TABLE t; SELECT 1", {"t"}),
        ("/*!50001 CREATE VIEW hidden AS SELECT 1 */", {"hidden"}),
        ("CALL renames()", {"t2", "t3"}),
    ],
)
def test_a_definition_puts_what_it_names_in_doubt(sql: str, names: set[str]) -> None:
    found = names_defined(verdict(sql), CONTEXT.catalog, "app")
    assert found is not None
    assert names <= found


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMPORARY TABLE t (a INT)",
        "DROP TEMPORARY TABLE t",
        "TRUNCATE TABLE t",
        "CREATE INDEX i ON t (a)",
        "INSERT INTO t VALUES (1)",
        "SELECT 1",
        "CALL harmless()",
        "CALL app.temporary()",
        "CALL `app`.`harmless`",
    ],
)
def test_what_defines_nothing_puts_nothing_in_doubt(sql: str) -> None:
    assert names_defined(verdict(sql), CONTEXT.catalog, "app") == frozenset()


@pytest.mark.parametrize(
    "sql",
    ["CALL dynamic()", "CALL hidden()", "CALL nowhere()", "CALL other.harmless()", "EXECUTE s", "SPLIT a b"],
)
def test_what_cannot_be_read_puts_everything_in_doubt(sql: str) -> None:
    assert names_defined(verdict(sql), CONTEXT.catalog, "app") is None


def test_an_execute_that_answered_with_rows_defined_nothing() -> None:
    assert names_defined(verdict("EXECUTE s"), CONTEXT.catalog, "app", result_set=True) == frozenset()


def test_names_in_any_quotes() -> None:
    assert names_in('a `b c` "D" é.f') == {"a", "b c", "d", "é", "f"}


def test_the_cache_forgets_with_the_catalog_and_remembers_with_it() -> None:
    classifier = Classifier()
    context = SqlContext(schema="app")
    text = b"SELECT a FROM v WHERE id = 1"
    assert classifier.verdict(text, context).reasons == ("a plain read",)  # a name is believed
    first = catalog_of()
    classifier.see(first)
    assert classifier.verdict(text, context).kind is Kind.READ
    assert (classifier.hits, classifier.misses) == (0, 2)
    doubtful = doubting(first, frozenset({"v"}), 2)
    classifier.see(doubtful)
    assert classifier.verdict(text, context).kind is Kind.WRITE
    classifier.see(first)  # nothing had changed
    assert classifier.verdict(text, context).kind is Kind.READ
    assert (classifier.hits, classifier.misses) == (1, 3)
    classifier.see(catalog_of())
    assert classifier.verdict(text, context).kind is Kind.READ
    assert (classifier.hits, classifier.misses) == (1, 4)
