"""What a client sets holds on every server that its session uses, however it was set.

@@variables themselves are asked of the manager; so the reads are such that workers serve and that show the values'
effects. The servers' general logs tell where each ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.integration.test_listeners_and_greeting import mysql_config
from tests.support.mysql import MysqlPair
from tests.support.raw import INIT_DB, RESET_CONNECTION, RawClient, proxied

Proxy = Callable[..., Daemon]


@pytest.fixture
def client(cluster: LocalCluster, proxy: Proxy) -> Iterator[RawClient]:
    """Its reads alternate between the workers."""
    for sql in (
        "CREATE TABLE app.t (a INT, moment TIMESTAMP, word VARCHAR(20))",
        "INSERT INTO app.t VALUES (1, FROM_UNIXTIME(1000000000), 'ä')",
        "CREATE DATABASE other",
        "CREATE TABLE other.t AS SELECT 2 AS a",
        "GRANT ALL ON other.* TO app@'%'",
        "CREATE ROLE insider",
        "GRANT insider TO app@'%'",
        "CREATE DATABASE hidden",
        "CREATE TABLE hidden.t AS SELECT 3 AS a",
        "GRANT SELECT ON hidden.* TO insider",
        "CREATE PROCEDURE app.set_zone() SET time_zone = '+07:00'",
        "CREATE PROCEDURE app.set_two() BEGIN SET lc_time_names = 'de_DE'; SET @@time_zone = '+08:00'; END",
    ):
        cluster.manager.query(sql)
    cluster.wait_in_sync()
    daemon = proxy(routing={"strategy": "round_robin", "read_consistency": "eventual"})
    with proxied(daemon, schema="app") as client:
        yield client


@pytest.fixture
def on_workers(cluster: LocalCluster, client: RawClient) -> Callable[[str], bytes | None]:
    """The value of a read, the same on both workers, and served by both."""

    def ask(sql: str) -> bytes | None:
        for server in cluster.servers:
            server.general_log.mark()
        values = {client.query(f"{sql} /* asked */").value for _ in range(2)}
        assert [len(server.served("asked")) for server in cluster.servers] == [0, 1, 1], sql
        assert len(values) == 1, (sql, values)
        return values.pop()

    return ask


Ask = Callable[[str], bytes | None]
HOUR = "SELECT HOUR(moment) FROM t"  # 01:46:40 UTC
CONCAT = "SELECT 'a' || 'b' FROM t"
QUOTED = 'SELECT "a" + 0 FROM t'  # a column, or text


def test_time_zone(client: RawClient, on_workers: Ask) -> None:
    for number, sql in enumerate(
        (
            "SET time_zone = '+0{}:00'",
            "SET SESSION time_zone = '+0{}:00'",
            "SET @@time_zone = '+0{}:00'",
            "SET @@session.time_zone := '+0{}:00'",
            "set local time_zone='+0{}:00'",
            "SET group_concat_max_len = 99999, time_zone = '+0{}:00', @x = 1",
            "DO 1; SET time_zone = '+0{}:00'; DO 2",
            "/*!40103 SET @@time_zone = '+0{}:00' */",
            "SET @zone = '+0{}:00'; SET time_zone = @zone",
            "SET STATEMENT max_statement_time = 5 FOR SET time_zone = '+0{}:00'",
        )
    ):
        answer = client.query(sql.format(number))
        if answer.err is None:
            assert on_workers(HOUR) == b"%d" % (1 + number), sql


def test_settings_made_in_a_procedure(client: RawClient) -> None:
    """What else a CALL left behind nobody tells: such a session stays where it is, with the right values."""
    client.query("CALL set_zone()").check()
    assert [client.query(HOUR).value for _ in range(3)] == [b"8"] * 3
    client.query("CALL set_two()").check()
    assert [client.query(HOUR).value for _ in range(3)] == [b"9"] * 3


def test_settings_made_by_a_prepared_statement(client: RawClient, on_workers: Ask) -> None:
    prepared = client.prepare("SET time_zone = ?")
    client.execute(prepared.id, [b"+05:00"]).check()
    assert on_workers(HOUR) == b"6"


def test_sql_mode(client: RawClient, on_workers: Ask) -> None:
    assert on_workers(CONCAT) == b"0"
    client.query("SET sql_mode = 'PIPES_AS_CONCAT'").check()
    assert on_workers(CONCAT) == b"ab"
    assert on_workers(QUOTED) == b"0"
    client.query("SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')").check()
    assert on_workers(CONCAT) == b"ab"
    assert on_workers(QUOTED) == b"1"
    client.query("SET sql_mode = DEFAULT").check()
    assert on_workers(CONCAT) == b"0"


def test_set_names(client: RawClient, on_workers: Ask) -> None:
    """The character sets of client, connection and results, and the collation."""
    client.query("SET NAMES latin1").check()
    assert on_workers("SELECT word FROM t") == b"\xe4"
    assert on_workers("SELECT COLLATION('x') FROM t") == b"latin1_swedish_ci"
    client.query("SET NAMES utf8mb4").check()
    assert on_workers("SELECT word FROM t") == b"\xc3\xa4"
    assert on_workers("SELECT COLLATION('x') FROM t") == b"utf8mb4_general_ci"
    client.query("SET NAMES utf8mb4 COLLATE utf8mb4_bin").check()
    assert on_workers("SELECT COLLATION('x') FROM t") == b"utf8mb4_bin"
    assert on_workers("SELECT 'a' = 'A' FROM t") == b"0"
    client.query("SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_ci'").check()
    assert on_workers("SELECT COLLATION('x') FROM t") == b"utf8mb4_unicode_ci"
    client.query("SET CHARACTER SET latin1").check()
    assert on_workers("SELECT word FROM t") == b"\xe4"
    client.query("SET NAMES utf8mb4").check()
    client.query("SET collation_connection = utf8mb4_bin").check()
    assert on_workers("SELECT COLLATION('x') FROM t") == b"utf8mb4_bin"
    client.query("SET character_set_results = NULL").check()
    assert on_workers("SELECT CONVERT(word USING latin1) FROM t") == b"\xe4"


def test_variables_that_bound_a_statement(client: RawClient, on_workers: Ask) -> None:
    client.query("SET sql_select_limit = 0, wait_timeout = 1234, max_statement_time = 2.5").check()
    client.query("SET group_concat_max_len = 4").check()
    client.query("SET sql_select_limit = 1").check()
    assert on_workers(
        "SELECT GROUP_CONCAT(x) FROM (SELECT 'abc' AS x FROM t UNION ALL SELECT 'def') AS u"
    ) in (
        b"abc,",
        b"def,",
    )
    assert client.query("SELECT @@wait_timeout, @@max_statement_time").texts() == [[b"1234", b"2.500000"]]


def test_every_servers_own_connection_has_the_values(
    cluster: LocalCluster, client: RawClient, on_workers: Ask
) -> None:
    client.query("SET lc_time_names = 'de_DE', time_zone = '-03:00', div_precision_increment = 2").check()
    assert on_workers("SELECT DAYNAME(moment) FROM t") == b"Samstag"  # Saturday evening there
    assert on_workers("SELECT 1/3 + 0 * a FROM t") == b"0.33"
    client.query("SET lc_time_names = DEFAULT").check()
    assert on_workers("SELECT DAYNAME(moment) FROM t") == b"Saturday"


def test_the_default_schema(client: RawClient, on_workers: Ask) -> None:
    assert on_workers("SELECT a FROM t") == b"1"
    client.query("USE other").check()
    assert on_workers("SELECT a FROM t") == b"2"
    client.command(INIT_DB, b"app").check()
    assert on_workers("SELECT a FROM t") == b"1"
    client.query("DO 1; USE other").check()
    assert on_workers("SELECT a FROM t") == b"2"
    assert client.command(INIT_DB, b"nowhere").err is not None
    assert client.query("USE nowhere").err is not None
    assert on_workers("SELECT a FROM t") == b"2"


def test_a_role(client: RawClient, on_workers: Ask) -> None:
    client.query("SET ROLE 'insider'").check()
    client.query("USE hidden").check()
    assert on_workers("SELECT a FROM t") == b"3"
    client.query("USE app").check()
    client.query("SET ROLE NONE").check()
    refused = client.query("SELECT a FROM hidden.t").err
    assert refused is not None and refused.errno == 1142
    client.query("SET ROLE insider").check()
    client.command(RESET_CONNECTION).check()
    assert client.query("SELECT CURRENT_ROLE()").value is None
    assert on_workers("SELECT a FROM app.t") == b"1"


def test_a_value_that_was_refused_changes_nothing(client: RawClient, on_workers: Ask) -> None:
    client.query("SET time_zone = '+01:00'").check()
    on_workers(HOUR)
    assert client.query("SET time_zone = '+02:00', sql_mode = 'NO_SUCH_MODE'").err is not None
    assert on_workers(HOUR) == b"2"


def test_a_reset_and_a_change_of_user_forget_everything_everywhere(
    cluster: LocalCluster, client: RawClient, on_workers: Ask
) -> None:
    for forget in (
        lambda: client.command(RESET_CONNECTION),
        lambda: client.change_user("app", cluster.passwords["app"], "app"),
    ):
        client.query("SET time_zone = '+04:00', sql_mode = 'PIPES_AS_CONCAT'; SET @x = 1; USE other").check()
        assert client.query("SELECT HOUR(moment) FROM app.t").value == b"5"
        client.query("CREATE TEMPORARY TABLE gone (a INT)").check()
        forget().check()
        assert client.query("SELECT DATABASE()").value == b"app"
        assert on_workers(HOUR) == b"1"
        assert on_workers(CONCAT) == b"0"
        assert client.query("SELECT @x").value is None
        missing = client.query("SELECT * FROM gone").err
        assert missing is not None and missing.errno == 1146


def test_when_a_reset_is_answered_its_locks_have_ended(cluster: LocalCluster, client: RawClient) -> None:
    with cluster.manager.connect("root") as root, root.cursor() as cursor:
        for _ in range(20):
            assert client.query("SELECT GET_LOCK('mine', 0)").value == b"1"
            client.command(RESET_CONNECTION).check()
            cursor.execute("SELECT IS_FREE_LOCK('mine')")
            assert cursor.fetchone() == (1,)


def test_change_user_to_another_account_and_schema(cluster: LocalCluster, proxy: Proxy) -> None:
    cluster.manager.query("CREATE DATABASE other")
    cluster.manager.query("CREATE USER reader@'%' IDENTIFIED BY 'reader'")
    cluster.manager.query("GRANT SELECT ON other.* TO reader@'%'")
    cluster.wait_in_sync()
    password = cluster.passwords["app"]
    daemon = proxy(users=[{"name": "app", "password": password}, {"name": "reader", "password": "reader"}])
    with proxied(daemon, schema="app") as client:
        client.change_user("reader", "reader", "other").check()
        assert client.query("SELECT CURRENT_USER(), DATABASE()").texts() == [[b"reader@%", b"other"]]
        assert client.query("SELECT CONNECTION_ID()").value == b"%d" % client.greeting.connection_id
        client.change_user("app", password).check()
        assert client.query("SELECT CURRENT_USER(), DATABASE()").texts() == [[b"app@%", None]]
        refused = client.change_user("reader", "wrong").err
        assert refused is not None and refused.errno == 1045
        assert client.ended()


@pytest.mark.parametrize("schema", ["nowhere", "mysql"])
def test_change_user_to_a_schema_that_cannot_be_is_the_servers_error(
    cluster: LocalCluster, proxy: Proxy, schema: str
) -> None:
    with proxied(proxy(), schema="app") as client:
        refused = client.change_user("app", cluster.passwords["app"], schema).err
        assert refused is not None and refused.errno in (1044, 1049)


def test_a_default_schema_that_the_session_drops_is_gone_everywhere(
    cluster: LocalCluster, client: RawClient, on_workers: Ask
) -> None:
    client.query("USE other").check()
    assert on_workers("SELECT a FROM t") == b"2"  # each connection has it now
    client.query("DROP DATABASE other").check()
    cluster.wait_in_sync()
    assert client.query("SELECT DATABASE()").value is None
    assert on_workers("SELECT COALESCE(DATABASE(), 'none') FROM app.t") == b"none"
    for _ in range(3):
        error = client.query("SELECT a FROM t").err
        assert error is not None and (error.errno, error.sqlstate) == (1046, "3D000")
    client.query("USE app").check()
    assert on_workers("SELECT a FROM t") == b"1"


def test_a_statement_prepared_before_a_setting_keeps_its_meaning_everywhere(
    cluster: LocalCluster, client: RawClient
) -> None:
    """It is prepared anew where it is executed: as the text was read when the client prepared it."""
    texts = {
        "SELECT 'a' || 'b' FROM t": "SET sql_mode = 'PIPES_AS_CONCAT'",
        "SELECT \"a\" = 'a' FROM t": "SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')",
        "SELECT COLLATION('x') FROM t": "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "SELECT COLLATION('y') FROM t": "SET collation_connection = utf8mb4_unicode_ci",
        "SELECT COLLATION('z') FROM t": "SET NAMES utf8mb3",
    }
    for sql, setting in texts.items():
        first = client.execute(client.prepare(sql).id).rows
        prepared = client.prepare(sql)  # on one worker only
        client.query(setting).check()
        for server in cluster.servers:
            server.general_log.mark()
        for _ in range(4):
            assert client.execute(prepared.id).rows == first, (sql, setting)
        assert all(worker.served(commands=frozenset({"Execute"})) for worker in cluster.workers)
        fresh = client.execute(client.prepare(sql).id).rows
        assert fresh != first, "the setting matters, and holds again"
        for _ in range(2):
            assert client.execute(client.prepare(sql).id).rows == fresh


def test_on_mysql_a_prepared_statement_keeps_its_meaning(
    mysql97: MysqlPair, daemons: Factory, free_port: Callable[[], int]
) -> None:
    mysql97.source.query("CREATE TABLE app.t AS SELECT 1 AS a")
    mysql97.wait_in_sync()
    with proxied(daemons.start(mysql_config(mysql97, free_port)), schema="app") as client:
        for sql, setting in {
            "SELECT 'a' || 'b'": "SET sql_mode = 'PIPES_AS_CONCAT'",
            "SELECT COLLATION('x')": "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
            "SELECT COLLATION('y')": "SET NAMES latin1",
        }.items():
            first = client.execute(client.prepare(sql).id).rows
            prepared = client.prepare(sql)  # on the replica
            client.query(setting).check()
            client.query("BEGIN").check()  # from here on at the source
            client.query("UPDATE t SET a = a + 1").check()
            assert client.execute(prepared.id).rows == first, sql
            assert client.execute(client.prepare(sql).id).rows != first
            client.query("ROLLBACK").check()
            assert client.execute(prepared.id).rows == first
