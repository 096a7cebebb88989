"""Each statement of the corpus has its verdict, and the parts of a verdict that depend on literals."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from mysqlproxy.sql import rewrite
from mysqlproxy.sql.classifier import Classifier
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.uses import uses_of
from mysqlproxy.sql.verdict import Effect, Kill, KillTarget, Kind, Needs, SqlContext
from tests.support.steps import steps
from tests.unit.verdict_corpus import CASES, MYSQL, Case

CONTEXT = SqlContext()


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.sql)[:80])
def test_verdict(case: Case) -> None:
    verdict = classify(case.text, case.under)
    assert verdict.kind is case.kind, verdict.reasons
    assert verdict.effects == case.effects
    assert verdict.needs is case.needs
    assert any(case.reason in reason for reason in verdict.reasons), verdict.reasons
    if verdict.kind is Kind.READ:
        assert verdict.needs is Needs.ANY and not verdict.effects & ~Effect.FOUND_ROWS


def test_the_cache_gives_the_same_verdicts() -> None:
    classifier = Classifier()
    for _ in range(2):
        for case in CASES:
            assert classifier.verdict(case.text, case.under) == classify(case.text, case.under)
    assert classifier.hits >= len(CASES)
    assert classifier.misses <= len(CASES)


def test_the_deciding_reason_stands_first() -> None:
    assert classify(b"SELECT @@hostname, f(1), a FROM t FOR UPDATE", CONTEXT).reasons[0].startswith("calls f")


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT * FROM a, app.b JOIN (SELECT * FROM c) AS d", ("a", "app.b", "c")),
        ("WITH x AS (SELECT * FROM a) SELECT * FROM x, b", ("a", "b")),
        # Not recursive: inside of it the name is the table's.
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", ("a",)),
        ("WITH RECURSIVE a AS (SELECT 1 UNION SELECT * FROM a) SELECT * FROM a", ()),
        ("SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS y, x", ("x",)),
        ("SELECT * FROM app.x, (WITH x AS (SELECT 1) SELECT * FROM x) AS y", ("app.x",)),
        ("WITH x AS (SELECT * FROM y), y AS (SELECT 1) SELECT * FROM x, y", ("y",)),
        ("SELECT 1 FROM DUAL", ()),
        ("EXPLAIN SELECT * FROM `A b`", ("A b",)),
        ("DESCRIBE app.t", ("app.t",)),
    ],
)
def test_tables(sql: str, tables: tuple[str, ...]) -> None:
    verdict = classify(sql.encode(), CONTEXT)
    assert verdict.kind is Kind.READ
    assert verdict.tables == tables


def test_functions_are_named_as_qualified() -> None:
    verdict = classify(b"SELECT app.F(MAX(a)), `g`(1) FROM t", CONTEXT)
    assert verdict.functions == ("app.F", "g", "max")


@pytest.mark.parametrize(
    ("sql", "kill"),
    [
        ("KILL 5", Kill(KillTarget.CONNECTION, 5)),
        ("kill connection 2147483648", Kill(KillTarget.CONNECTION, 2147483648)),
        ("KILL QUERY 5;", Kill(KillTarget.QUERY, 5)),
        ("KILL SOFT QUERY /* now */ 5", Kill(KillTarget.QUERY, 5)),
        ("KILL HARD CONNECTION 18446744073709551615", Kill(KillTarget.CONNECTION, 2**64 - 1)),
        ("KILL 18446744073709551616", Kill(KillTarget.CONNECTION, None)),
        ("KILL 99999999999999999999999999999", Kill(KillTarget.CONNECTION, None)),
        ("KILL QUERY ID 5", Kill(KillTarget.QUERY, None)),
        ("KILL USER x", Kill(KillTarget.CONNECTION, None)),
        ("KILL 5 + 1", Kill(KillTarget.CONNECTION, None)),
        ("KILL 0x5", Kill(KillTarget.CONNECTION, None)),
        ("KILL CONNECTION_ID()", Kill(KillTarget.CONNECTION, None)),
        ("KILL 5; KILL 6", None),
        ("SELECT 5", None),
    ],
)
def test_kill(sql: str, kill: Kill | None) -> None:
    verdict = classify(sql.encode(), CONTEXT)
    assert verdict.kill == kill
    assert verdict.cacheable == (not sql.upper().startswith("KILL"))


@pytest.mark.parametrize(
    ("sql", "files", "no_backslash_escapes"),
    [
        (r"LOAD DATA LOCAL INFILE 'a.txt' INTO TABLE t", (b"a.txt",), False),
        (r"LOAD DATA CONCURRENT LOCAL INFILE 'a\\b\'c''d\n' INTO TABLE t", (b"a\\b'c'd\n",), False),
        (r"LOAD DATA LOCAL INFILE 'C:\a' INTO TABLE t", (rb"C:\a",), True),
        (r'LOAD XML LOW_PRIORITY LOCAL INFILE "x.xml" INTO TABLE t', (b"x.xml",), False),
        ("LOAD DATA LOCAL INFILE 'ä' INTO TABLE t", ("ä".encode(),), False),
        (
            "LOAD DATA LOCAL INFILE 'a' INTO TABLE t; LOAD DATA LOCAL INFILE 'b' INTO TABLE t",
            (b"a", b"b"),
            False,
        ),
        ("LOAD DATA /* LOCAL INFILE 'x' */ INFILE 'a' INTO TABLE t", (), False),
        ("LOAD DATA LOCAL INFILE x INTO TABLE t", (), False),
        ("SELECT 'LOAD DATA LOCAL INFILE ''a'' INTO TABLE t'", (), False),
    ],
)
def test_local_files(sql: str, files: tuple[bytes, ...], no_backslash_escapes: bool) -> None:
    verdict = classify(sql.encode(), SqlContext(no_backslash_escapes=no_backslash_escapes))
    assert verdict.local_files == files
    assert not (files and verdict.cacheable)


@pytest.mark.parametrize(
    ("sql", "rewritten"),
    [
        ("SELECT CONNECTION_ID()", "SELECT {} AS `CONNECTION_ID()`"),
        ("SELECT connection_id ( ), 1", "SELECT {} AS `connection_id ( )`, 1"),
        ("SELECT 1, CONNECTION_ID(), 2;", "SELECT 1, {} AS `CONNECTION_ID()`, 2;"),
        ("SELECT CONNECTION_ID() AS id", "SELECT {} AS id"),
        ("SELECT CONNECTION_ID() id", "SELECT {} id"),
        ("SELECT CONNECTION_ID() 'id'", "SELECT {} 'id'"),
        ("SELECT CONNECTION_ID() + 1", "SELECT {} + 1 AS `CONNECTION_ID() + 1`"),
        ("SELECT DISTINCT 1 + CONNECTION_ID()", "SELECT DISTINCT 1 + {} AS `1 + CONNECTION_ID()`"),
        ("SELECT CONNECTION_ID()*t.a FROM t", "SELECT {}*t.a AS `CONNECTION_ID()*t.a` FROM t"),
        ("SELECT CONNECTION_ID() + 1 n FROM t", "SELECT {} + 1 n FROM t"),
        ("SELECT GREATEST(1, CONNECTION_ID())", "SELECT GREATEST(1, {}) AS `GREATEST(1, CONNECTION_ID())`"),
        (
            "SELECT (SELECT CONNECTION_ID() FROM t WHERE a = CONNECTION_ID())",
            "SELECT (SELECT {} AS `CONNECTION_ID()` FROM t WHERE a = {}) AS "
            "`(SELECT CONNECTION_ID() FROM t WHERE a = CONNECTION_ID())`",
        ),
        (
            "SELECT a FROM t WHERE a = CONNECTION_ID() UNION SELECT 5",
            "SELECT a FROM t WHERE a = {} UNION SELECT 5",
        ),
        ("SELECT a FROM t ORDER BY a, CONNECTION_ID()", "SELECT a FROM t ORDER BY a, {}"),
        ("SELECT @@pseudo_thread_id", "SELECT {} AS `@@pseudo_thread_id`"),
        ("SELECT @@session.pseudo_thread_id, 1", "SELECT {} AS `@@session.pseudo_thread_id`, 1"),
        (
            "SELECT x FROM (SELECT CONNECTION_ID()) AS y",
            "SELECT x FROM (SELECT {} AS `CONNECTION_ID()`) AS y",
        ),
        (
            "SELECT 'CONNECTION_ID()', /* CONNECTION_ID() */ 'ä', CONNECTION_ID() x",
            "SELECT 'CONNECTION_ID()', /* CONNECTION_ID() */ 'ä', {} x",
        ),
        ("SELECT CONCAT('ä', CONNECTION_ID())", "SELECT CONCAT('ä', {})"),
        ("SELECT 1; SELECT CONNECTION_ID()", "SELECT 1; SELECT {} AS `CONNECTION_ID()`"),
        ("INSERT INTO t (a) VALUES (CONNECTION_ID())", "INSERT INTO t (a) VALUES ({})"),
        ("SET @x = CONNECTION_ID()", "SET @x = {}"),
        ("KILL QUERY CONNECTION_ID()", "KILL QUERY 7"),
        ("SELECT IS_USED_LOCK('x') = CONNECTION_ID()", "SELECT IS_USED_LOCK('x') = CONNECTION_ID()"),
        (
            "SELECT INFO FROM information_schema.`processlist` WHERE ID = CONNECTION_ID()",
            "SELECT INFO FROM information_schema.`processlist` WHERE ID = CONNECTION_ID()",
        ),
        ("SET @@pseudo_thread_id = 5", "SET @@SESSION.pseudo_thread_id = 5"),
        ("CREATE VIEW w AS SELECT CONNECTION_ID()", "CREATE VIEW w AS SELECT CONNECTION_ID()"),
        ("SELECT app.CONNECTION_ID()", "SELECT app.CONNECTION_ID()"),
        ("SELECT `connection_id`()", "SELECT `connection_id`()"),
        ("SELECT @@global.pseudo_thread_id", "SELECT @@global.pseudo_thread_id"),
    ],
)
def test_connection_ids(sql: str, rewritten: str) -> None:
    text = sql.encode()
    verdict = classify(text, CONTEXT)
    sent = rewrite.rewritten(text, verdict.connection_ids, verdict.edits, 7).decode()
    assert sent == rewritten.replace("{}", "CAST(7 AS UNSIGNED)")
    assert not (verdict.connection_ids and verdict.cacheable)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SET @@time_zone = 'x'", "SET @@SESSION.time_zone = 'x'"),
        ("set  @@Sql_Mode:=@@sql_mode", "set  @@SESSION.Sql_Mode:=@@sql_mode"),
        (
            "SET a = 1, @@b = 2, @c = @@d, @@`e` = (@@f = 3)",
            "SET a = 1, @@SESSION.b = 2, @c = @@d, @@SESSION.`e` = (@@f = 3)",
        ),
        (
            "DO 1; SET @@a = CONNECTION_ID(); SET @@b = 1",
            "DO 1; SET @@SESSION.a = CAST(7 AS UNSIGNED); SET @@SESSION.b = 1",
        ),
        ("/*!40101 SET @@a = 1 */", "/*!40101 SET @@SESSION.a = 1 */"),
        ("SET @@session.a = 1, @@global.b = 2, @@local.c = 3", None),
        ("SET @@cache1.key_buffer_size = 1", None),
        ("SET @@tx_isolation = 'SERIALIZABLE'", None),
        ("SET @x = '@@a = 1', y = \"@@b\"", None),
        ("SELECT @@a = 1", None),
        ("UPDATE t SET a = @@b = 1", None),
    ],
)
def test_set_names_its_scope_for_mariadbs_trackers(sql: str, expected: str | None) -> None:
    """MariaDB does not report SET @@name = ..., which means SET @@session.name = ..."""
    for mariadb in (True, False):
        verdict = Classifier().verdict(sql.encode(), replace(CONTEXT, mariadb=mariadb))
        wanted = expected if mariadb and expected else sql.replace("CONNECTION_ID()", "CAST(7 AS UNSIGNED)")
        text = rewrite.rewritten(sql.encode(), verdict.connection_ids, verdict.edits, 7)
        assert text.decode() == wanted


LIST = "session_track_system_variables"


@pytest.mark.parametrize(
    ("sql", "sent", "wishes"),
    [
        (f"SET {LIST} = 'a,b'", f"SET {LIST} = '*'", [(LIST, "a,b")]),
        (f"SET {LIST} = ''", f"SET {LIST} = '*'", [(LIST, "")]),
        (f"SET @@session.{LIST} := DEFAULT", f"SET @@session.{LIST} := '*'", [(LIST, "\1")]),
        (
            f"SET autocommit=1,{LIST}=CONCAT(@@{LIST},',a'),b=2",
            f"SET autocommit=1,{LIST}='*',b=2",
            [(LIST, "\0,a")],
        ),
        (f"SET {LIST}=CONCAT(@@global.{LIST}, ',', 'a')", f"SET {LIST}='*'", [(LIST, "\1,a")]),
        (
            f"SET session_track_schema= ON;SET {LIST}='a'",
            f"SET session_track_schema= 1;SET {LIST}='*'",
            [("session_track_schema", "1"), (LIST, "a")],
        ),
        (
            "SET SESSION session_track_schema = 'off'",
            "SET SESSION session_track_schema = 1",
            [("session_track_schema", "")],
        ),
        (
            "SET session_track_gtids = OFF, session_track_state_change = 1",
            "SET session_track_gtids = 'OWN_GTID', session_track_state_change = 1",
            [("session_track_gtids", "")],
        ),
    ],
)
def test_the_daemon_s_trackers_stay_on(sql: str, sent: str, wishes: list[tuple[str, str]]) -> None:
    verdict = Classifier().verdict(sql.encode(), replace(CONTEXT, mariadb=False))
    assert rewrite.rewritten(sql.encode(), (), verdict.edits, 7).decode() == sent
    assert list(verdict.trackers) == wishes
    assert not verdict.effects & Effect.UNTRACKED


@pytest.mark.parametrize(
    "sql",
    [
        f"SET {LIST} = REPEAT('a', 2)",
        f"SET {LIST} = @x",
        f"SET {LIST} = NULL",
        f"SET {LIST} = CONCAT(@@{LIST}, @x)",
        f"SET {LIST} = 'a' 'b'",
        "SET session_track_schema = 1 - 1",
        "SET session_track_gtids = ALL_GTIDS",
    ],
)
def test_trackers_set_to_what_cannot_be_read_here_keep_the_session(sql: str) -> None:
    verdict = Classifier().verdict(sql.encode(), replace(CONTEXT, mariadb=False))
    assert verdict.effects & Effect.UNTRACKED
    assert rewrite.rewritten(sql.encode(), (), verdict.edits, 7).decode() == sql


@pytest.mark.parametrize(
    "sql",
    [
        f"SET GLOBAL {LIST} = ''",
        f"SET @@persist.{LIST} = ''",
        f"CREATE PROCEDURE p() BEGIN DO 1; SET {LIST} = ''; END",
        f"SELECT '; SET {LIST} = 1'",
        "SET session_track_transaction_info = 'STATE'",
    ],
)
def test_other_sets_are_sent_as_they_are(sql: str) -> None:
    verdict = Classifier().verdict(sql.encode(), replace(CONTEXT, mariadb=False))
    assert not verdict.edits and not verdict.trackers


@pytest.mark.parametrize(
    "sql",
    [
        "SET NAMES utf8mb4",
        "USE app",
        "KILL 5",
        "XA START 'x'",
        "PREPARE q FROM 'SELECT 1'",
        "SELECT CONNECTION_ID()",
        "LOAD DATA LOCAL INFILE 'a' INTO TABLE t",
        "SELECT /*!40001 SQL_NO_CACHE */ 1",
        "SELECT /*+ NO_BNL(t) */ a FROM t",
        "SELECT 1 /*",
        "SELECT 1; SET @x = 1",
    ],
)
def test_what_depends_on_literals_is_not_cached_by_digest(sql: str) -> None:
    assert not classify(sql.encode(), CONTEXT).cacheable


@pytest.mark.parametrize(
    ("sql", "kind", "effects"),
    [
        ("SELECT '" + "x" * 20_000 + "'", Kind.WRITE, Effect.NONE),
        ("SELECT a FROM t WHERE id IN (" + "1," * 10_000 + "1)", Kind.WRITE, Effect.NONE),
        ("INSERT INTO t VALUES ('" + "x;" * 20_000 + "')", Kind.WRITE, Effect.INSERT),
        (
            "INSERT INTO t VALUES ('" + "x" * 20_000 + "'); SET @x = 1",
            Kind.WRITE,
            Effect.INSERT | Effect.USER_VARIABLES,
        ),
        ("INSERT INTO t VALUES ('" + "x" * 500_000 + "')", Kind.WRITE, Effect.INSERT),
        (
            "INSERT INTO t VALUES ('" + "x" * 500_000 + "'); SELECT 1",
            Kind.WRITE,
            Effect.UNTRACKED | Effect.DDL | Effect.INSERT,
        ),
        ("UPDATE t SET c = '" + "x" * 500_000 + "'", Kind.WRITE, Effect.NONE),
        ("UPDATE t SET c = '" + "@;/*!" * 100_000 + "', d = \"it's; @\"", Kind.WRITE, Effect.NONE),
        (
            "UPDATE t SET c = '" + "x" * 500_000 + "', d = @x := 1",
            Kind.WRITE,
            Effect.UNTRACKED | Effect.DDL | Effect.INSERT,
        ),
        (
            "UPDATE t SET c = '" + "x" * 500_000 + "', d = 'does not end; @",
            Kind.WRITE,
            Effect.UNTRACKED | Effect.DDL | Effect.INSERT,
        ),
        ("FROBNICATE " + "x" * 500_000, Kind.WRITE, Effect.UNTRACKED | Effect.DDL | Effect.INSERT),
        ("SELECT " + "(" * 101 + "1" + ")" * 101, Kind.WRITE, Effect.NONE),
        ("SELECT " + "+".join(["a"] * 3000), Kind.WRITE, Effect.NONE),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else str(value),
)
def test_large_texts_go_to_the_manager_unparsed(sql: str, kind: Kind, effects: int) -> None:
    verdict = classify(sql.encode(), CONTEXT)
    assert (verdict.kind, verdict.effects) == (kind, effects)
    assert any("too large to be parsed" in reason for reason in verdict.reasons)
    assert len(verdict.digest) <= 2048


@pytest.mark.parametrize("size", [1, 200, 2000])
def test_a_binary_value_leaves_nothing_behind(size: int) -> None:
    """Drivers put it between quotes as it is, but for quotes and backslashes."""
    value = bytes(range(256)) * size
    for byte, escaped in ((b"\\", b"\\\\"), (b"'", b"\\'")):
        value = value.replace(byte, escaped)
    for prefix in (b"", b"_binary"):
        text = b"INSERT INTO t (a) VALUES (%s'%s')" % (prefix, value)
        verdict = classify(text, CONTEXT)
        assert (verdict.kind, verdict.effects) == (Kind.WRITE, Effect.INSERT), verdict.reasons


@pytest.mark.parametrize(
    "text",
    [b"SELECT 1\0", b"SELECT `\0`", b"SELECT 1 -- \0 @x := 1", b"SELECT '\0", b"SELECT 1 /* ' \0 */, '"],
)
def test_a_nul_outside_of_strings_is_not_understood(text: bytes) -> None:
    verdict = classify(text, CONTEXT)
    assert verdict.kind is Kind.WRITE
    assert "NUL" in " ".join(verdict.reasons)


def test_a_nul_in_a_string_is_nothing_special() -> None:
    assert classify(b"SELECT a FROM t WHERE b = '\0'", CONTEXT).kind is Kind.READ


# What sqlglot alone takes minutes or years for, beside what is only long.
HOSTILE = {
    "joins without ON": "SELECT * FROM " + "a JOIN " * 60 + "a",
    "left joins without ON": "SELECT * FROM " + "a LEFT JOIN " * 60 + "a",
    "types": "SELECT " + "DECIMAL( " * 60 + "a" + ")" * 60,
    "binary": "SELECT " + "( BINARY " * 60 + "1" + ")" * 60,
    "limits": "SELECT * FROM t " + "LIMIT a (" * 60 + ")" * 60,
    "unions": "SELECT a FROM t WHERE " + "UNION ( " * 60 + ")" * 60,
    "timestamps": "SELECT " + "( TIMESTAMP " * 60 + "1" + ")" * 60,
    "types of others": "SELECT " + "OBJECT (" * 60 + "1" + ")" * 60,
    "changes of data": "UPDATE t SET a = " + "STRUCT (" * 60 + "1" + ")" * 60,
    "from": "SELECT id" + " FROM" * 2500 + " t",
    "joined from": "SELECT * FROM t" + " NATURAL JOIN FROM t" * 700,
    "dots": "SELECT app" + ".abs(1)" * 571,
    "many comments": "CALL p SELECT a FROM t /*" * 8000,
    "comments in lines": "SELECT 1\n/*" * 1400,
    "open strings": "SET autocommit=0 SELECT 'it''s" + "\\'s" * 60_000,
    "open names": "SET autocommit=0, " + "`a` " * 60_000 + "`" + "'\"" * 500,
    "parentheses": "SELECT " + "(" * 8000 + "1" + ")" * 8000,
    "many parentheses": "SELECT " + "(" * 200_000,
    "case": "SELECT " + "CASE WHEN " * 1500 + "1",
    "not": "SELECT " + "NOT " * 3900 + "1",
    "minus": "SELECT " + "- " * 3900 + "1",
    "join": "SELECT * FROM " + "a JOIN " * 1900 + "a",
    "union": "SELECT 1" + " UNION SELECT 1" * 1000,
    "interval": "SELECT " + "INTERVAL " * 1800 + "1",
    "subqueries": "SELECT * FROM " + "(SELECT * FROM " * 99 + "t" + ")" * 99,
    "parenthesised joins": "SELECT * FROM " + "(" * 99 + "t" + ")" * 99,
    "functions": "SELECT " + "ABS(" * 99 + "1" + ")" * 99,
    "comments": "SELECT " + "/**/" * 4000 + "1",
    "open comments": "SELECT " + "/*" * 8000,
    "quotes": "SELECT " + "'" * 16_001,
    "backslashes": "SELECT '" + "\\" * 16_001,
    "backticks": "SELECT " + "`" * 16_001,
    "dashes": "SELECT " + "-" * 16_000,
    "in lists": "SELECT 1 " + "IN (1," * 2500,
    "commas": "SELECT 1 IN (" + "1," * 8000,
    "values": "VALUES (" + "1),(" * 4000,
    "blanks": "SELECT 1" + " " * 16_000 + "x",
    "semicolons": ";" * 16_000,
    "statements": "SELECT 1;" * 1800,
    "with": "WITH " + "a AS (SELECT 1), " * 900,
    "explain": "EXPLAIN " * 2000,
    "executable": "/*! " * 4000,
    "large statements": "INSERT INTO t VALUES " + "(1,'a')," * 30_000,
    "long": "SELECT '" + "x" * 5_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("judge", [classify, uses_of], ids=["verdict", "firewall"])
def test_hostile_texts_cost_bounded_work(judge: Callable[[bytes, SqlContext], object], name: str) -> None:
    text = HOSTILE[name].encode()
    # Some forty for each byte that is lexed at all, and not more for a text that is longer.
    assert steps(lambda: judge(text, CONTEXT)) < 1_000_000


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_said_of_hostile_texts_is_bounded(name: str) -> None:
    verdict = classify(HOSTILE[name].encode(), CONTEXT)
    assert len(verdict.digest) <= 2048
    assert len(verdict.reasons) <= 20


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        ("INSERT INTO t VALUES (1,'a')" + ",(1,'a')" * 30_000, Effect.INSERT),
        ("SELECT a FROM t WHERE a IN (1" + ",1" * 100_000 + ")", Effect.NONE),
    ],
)
def test_many_values_are_not_lexed(text: str, effects: int) -> None:
    """What drivers and dumps send all day: it keeps nobody waiting."""
    assert classify(text.encode(), CONTEXT).effects == effects
    assert steps(lambda: classify(text.encode(), CONTEXT)) < 2_000
    assert steps(lambda: uses_of(text.encode(), CONTEXT)) < 2_000


def test_what_stands_behind_more_values_than_are_lexed_may_be_anything() -> None:
    text = "INSERT INTO t VALUES (1,'a')" + ",(1,'a')" * 30_000 + ",(CONNECTION_ID())"
    assert classify(text.encode(), CONTEXT).effects == Effect.INSERT | Effect.UNTRACKED
    assert uses_of(b"/*! " + text.encode() + b" */", CONTEXT).each[0].unknown


def test_no_literal_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for sql in (
        "CALL secret('hunter2')",
        "LOCK TABLES hunter2 READ",
        "SELECT 'hunter2' FROM (",
        "SELECT a FROM t WHERE a IN ('hunter2', 1)",
        "SET PASSWORD = 'hunter2'",
        "SELECT 'hunter2",
        "INSERT INTO t VALUES ('hunter2'), ('x')",
        "SELECT N'hunter2', \"hunter2\", -1.5e3",
    ):
        verdict = classify(sql.encode(), CONTEXT)
        if "LOCK" not in sql:
            assert "hunter2" not in " ".join((verdict.digest, *verdict.reasons))
    assert "hunter2" not in caplog.text


def test_statements_are_counted() -> None:
    counts = {
        b"": 0,
        b" ; -- x": 0,
        b"SELECT 1;": 1,
        b"SELECT 1; SELECT ';'; /* ; */": 2,
        b"CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END": 1,
    }
    assert {text: classify(text, CONTEXT).statements for text in counts} == counts


class TestClassifier:
    def test_hits_by_text_and_by_digest(self) -> None:
        classifier = Classifier()
        first = classifier.verdict(b"SELECT a FROM t WHERE id = 1", CONTEXT)
        assert (classifier.hits, classifier.misses) == (0, 1)
        assert classifier.verdict(b"SELECT a FROM t WHERE id = 1", CONTEXT) is first
        assert classifier.verdict(b"SELECT a  FROM t /* x */ WHERE id = 2", CONTEXT) is first
        assert (classifier.hits, classifier.misses) == (2, 1)

    def test_contexts_are_kept_apart(self) -> None:
        classifier = Classifier()
        text = b'SELECT "a" FROM user'
        assert classifier.verdict(text, SqlContext()).kind is Kind.READ
        assert classifier.verdict(text, SqlContext(schema="mysql")).kind is Kind.OTHER
        assert classifier.verdict(text, SqlContext()).kind is Kind.READ
        assert (classifier.hits, classifier.misses) == (1, 2)

    def test_what_depends_on_a_literal_is_made_anew(self) -> None:
        classifier = Classifier()
        assert classifier.verdict(b"KILL 5", CONTEXT).kill == Kill(KillTarget.CONNECTION, 5)
        assert classifier.verdict(b"KILL 6", CONTEXT).kill == Kill(KillTarget.CONNECTION, 6)

    def test_it_is_bounded(self) -> None:
        classifier = Classifier(max_entries=100)
        for number in range(1000):
            classifier.verdict(b"SELECT a%d FROM t" % number, CONTEXT)
            assert len(classifier) <= 202
        for number in range(3000):
            classifier.verdict(b"SET x = %d" % number, SqlContext(schema=f"s{number}"))
        assert len(classifier) <= 202

    def test_what_is_used_stays(self) -> None:
        classifier = Classifier(max_entries=100)
        for number in range(1000):
            classifier.verdict(b"SELECT a%d FROM t" % number, CONTEXT)
            classifier.verdict(b"SELECT a FROM t WHERE id = %d" % number, CONTEXT)
        assert classifier.misses == 1001

    def test_clear(self) -> None:
        classifier = Classifier()
        classifier.verdict(b"SELECT 1", CONTEXT)
        classifier.clear()
        assert len(classifier) == 0
        classifier.verdict(b"SELECT 1", MYSQL)
        assert (classifier.hits, classifier.misses) == (0, 2)
