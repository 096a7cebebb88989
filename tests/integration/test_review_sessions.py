"""What a session may rely on when connections are shared, reloads happen and clients pipeline.

The daemon of most tests has one connection to the manager, so that any other client's statement takes it away.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import merge
from tests.support.raw import EXECUTE, PREPARE, QUERY, proxied
from tests.support.sessions import all_left, ask, only_manager, reload, servers, standing, threads, value
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def one_daemon(session_cluster: LocalCluster) -> Iterator[Daemon]:
    with standing(session_cluster, **only_manager(session_cluster)) as daemon:
        session_cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
        session_cluster.manager.query("CREATE TABLE app.n (v INT)")
        session_cluster.wait_in_sync()
        yield daemon


@pytest.fixture
def narrow(one_daemon: Daemon, session_cluster: LocalCluster) -> Iterator[Daemon]:
    yield one_daemon
    all_left(one_daemon)


def take_away(daemon: Daemon) -> None:
    """Another client gets the one connection."""
    with daemon.connect() as other:
        assert value(other, "SELECT 1") == 1


def variables(connection: Any) -> dict[str, str]:
    """All session variables but those that count, measure or name something."""
    changing = (
        "timestamp",
        "pseudo_thread_id",
        "last_insert_id",
        "identity",
        "last_gtid",
        "gtid_",
        "rand_seed",
    )
    rows = ask(connection, "SHOW SESSION VARIABLES")
    return {name: text for name, text in rows if not name.startswith(changing)}


SETTINGS = [
    "SET NAMES latin1",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "set names 'utf8mb4' collate 'utf8mb4_unicode_ci'",
    "SET CHARACTER SET latin1",
    "SET CHARSET utf8mb3",
    "SET collation_connection = utf8mb4_bin",
    "SET character_set_results = NULL",
    "SET character_set_client = latin2, sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'",
    "SET @@session.sql_mode = DEFAULT",
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')",
    "SET time_zone = '+03:00'; SELECT 1; SET lc_time_names = 'de_DE'",
    "SET @@local.max_statement_time = 12.5",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION group_concat_max_len = 12345, sort_buffer_size = 1048576, optimizer_switch = 'mrr=on'",
    "SET foreign_key_checks = 0, unique_checks = 0",
    "SET sql_select_limit = 7",
    "SET default_storage_engine = MyISAM",
    "SET SESSION wait_timeout = 100, interactive_timeout = 101, lock_wait_timeout = 3",
    "SET sql_safe_updates = 1",
    "SET max_error_count = 0",
    "SET auto_increment_increment = 5, auto_increment_offset = 3",
    "SET big_tables = ON",
]


@pytest.mark.parametrize("prepared", [False, True], ids=["text", "prepared"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_carried_to_the_next_connection(narrow: Daemon, setting: str, prepared: bool) -> None:
    if prepared and ";" in setting:
        pytest.skip("one statement can be prepared at a time")
    client = narrow.connect(client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS)
    if prepared:
        client._execute_command(PREPARE, setting)  # type: ignore[no-untyped-call]
        number = client._read_packet().get_all_data()[1:5]
        client._execute_command(EXECUTE, number + b"\0\1\0\0\0")  # type: ignore[no-untyped-call]
        assert client._read_packet().is_ok_packet()
    else:
        with client.cursor() as cursor:
            cursor.execute(setting)
            while cursor.nextset():
                pass
    before = variables(client)
    take_away(narrow)
    assert variables(client) == before


def test_preparing_a_setting_sets_nothing(narrow: Daemon) -> None:
    client = narrow.connect()
    before = variables(client)
    client._execute_command(PREPARE, "SET NAMES utf8mb4 COLLATE utf8mb4_bin")  # type: ignore[no-untyped-call]
    client._read_packet()
    take_away(narrow)
    assert variables(client) == before


@pytest.mark.parametrize(
    "statement",
    ["CREATE TEMPORARY TABLE app.mine (a INT)", "SET @a = 1", "SELECT GET_LOCK('x', 1)", "CALL app.p()"],
)
def test_preparing_keeps_no_connection(narrow: Daemon, statement: str) -> None:
    with proxied(narrow) as client:
        client.prepare(statement)
        client.query("SELECT 1").check()
        take_away(narrow)


def test_preparing_unlock_tables_gives_no_lock_up(narrow: Daemon, session_cluster: LocalCluster) -> None:
    session_cluster.manager.query("GRANT LOCK TABLES ON app.* TO app@'%'")
    with proxied(narrow) as client:
        client.query("LOCK TABLES app.t WRITE").check()
        unlock = client.prepare("UNLOCK TABLES")
        with pytest.raises(pymysql.OperationalError, match="1040"):
            take_away(narrow)
        client.query("INSERT INTO app.t (v) VALUES (1)").check()
        client.execute(unlock.id).check()
        take_away(narrow)


def test_preparing_does_not_use_the_next_transactions_isolation_up(narrow: Daemon) -> None:
    with proxied(narrow) as client:
        client.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").check()
        client.prepare("SELECT v FROM app.t")
        with pytest.raises(pymysql.OperationalError, match="1040"):
            take_away(narrow)


def test_closing_a_statement_ends_its_cursor(narrow: Daemon) -> None:
    with proxied(narrow, schema="app") as client:
        statement = client.prepare("SELECT seq FROM seq_1_to_1000")
        client.execute(statement.id, cursor=True).check()
        client.fetch(statement.id, 1).check()
        with pytest.raises(pymysql.OperationalError, match="1040"):
            take_away(narrow)
        client.close_statement(statement.id)
        take_away(narrow)
        assert client.query("SELECT 1").value == b"1"


def test_a_session_whose_schema_was_dropped_by_another_goes_on(
    narrow: Daemon, session_cluster: LocalCluster
) -> None:
    session_cluster.manager.query("CREATE DATABASE app_short")
    session_cluster.manager.query("GRANT ALL ON app_short.* TO app@'%'")
    client = narrow.connect(database="app_short")
    take_away(narrow)
    session_cluster.manager.query("DROP DATABASE app_short")
    assert ask(client, "SELECT COUNT(*) FROM app.n") == [(0,)]
    ask(client, "USE app")
    assert ask(client, "SELECT COUNT(*) FROM n") == [(0,)]


def test_the_next_user_of_a_connection_finds_nothing_of_the_last(narrow: Daemon) -> None:
    plain = narrow.connect()
    before = variables(plain), ask(plain, "SELECT DATABASE(), @a, LAST_INSERT_ID(), CURRENT_ROLE()")
    plain.close()
    other = narrow.connect(database="app")
    ask(other, "SET sql_mode='ANSI_QUOTES', time_zone='+05:00', autocommit=0")
    ask(other, "INSERT INTO t (v) VALUES (1)")
    ask(other, "SET @a = 5")
    ask(other, "CREATE TEMPORARY TABLE n (left_behind INT)")
    other.close()
    plain = narrow.connect()
    assert (variables(plain), ask(plain, "SELECT DATABASE(), @a, LAST_INSERT_ID(), CURRENT_ROLE()")) == before
    assert ask(plain, "SELECT COUNT(*) FROM app.n") == [(0,)]


class TestAClientThatPipelines:
    def test_a_large_command_behind_a_slow_one_is_answered(self, narrow: Daemon) -> None:
        with proxied(narrow) as client:
            large = b"SELECT LENGTH('" + b"x" * (3 << 20) + b"')"
            slow = client.query_payload("SELECT SLEEP(0.3)")
            sender = threading.Thread(
                target=lambda: (client.send(slow), client.send(bytes((QUERY,)) + large))
            )
            sender.start()
            assert client.read_results().value == b"0"
            assert client.read_results().value == b"%d" % (3 << 20)
            sender.join()

    def test_what_follows_an_error_is_run(self, narrow: Daemon) -> None:
        with proxied(narrow) as client:
            for sql in ("SELECT nothing", "SELECT 1", "bogus", "SELECT 2"):
                client.send(client.query_payload(sql))
            answers = [client.read_results() for _ in range(4)]
            assert [answer.err is None for answer in answers] == [False, True, False, True]
            assert [answers[1].value, answers[3].value] == [b"1", b"2"]

    def test_executing_the_last_statement_after_a_failed_prepare_runs_nothing(
        self, narrow: Daemon, session_cluster: LocalCluster
    ) -> None:
        """MariaDB's connectors send PREPARE and EXECUTE of -1 together."""
        with proxied(narrow) as client:
            assert client.prepare("INSERT INTO app.n VALUES (1)").id
            client.send(bytes((PREPARE,)) + b"INSERT INTO app.none VALUES (2)")
            client.send(client.execute_payload(0xFFFFFFFF))
            assert client.read_results().err is not None
            answer = client.read_results()
            assert answer.err is not None and answer.err.errno == 1243
        assert session_cluster.manager.value("SELECT COUNT(*) FROM app.n") == 0


class TestAfterAReload:
    @pytest.fixture
    def daemon(self, cluster: LocalCluster, proxy: Callable[..., Daemon]) -> Daemon:
        cluster.manager.query("CREATE TABLE app.t (a INT PRIMARY KEY) ENGINE=InnoDB")
        cluster.wait_in_sync()
        return proxy(routing={"strategy": "round_robin"})

    def test_that_removes_a_worker_its_open_cursor_is_read_to_the_end(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        with proxied(daemon, schema="app") as client:
            statement = client.prepare("SELECT seq FROM seq_1_to_50")
            client.execute(statement.id, cursor=True).check()
            assert len(client.fetch(statement.id, 10).rows) == 10
            holder = next(s for s in cluster.workers if s.served("seq_1_to_50"))
            left = [entry for entry in servers(cluster) if entry["name"] != holder.name]
            daemon.write(merge(daemon.config, {"servers": left}))
            reload(daemon)
            assert len(client.fetch(statement.id, 100).rows) == 40
            assert client.query("SELECT COUNT(*) FROM t").value == b"0"

    @pytest.mark.parametrize("way", ["removed", "moved"])
    def test_a_transaction_on_a_server_that_went_ends_with_its_client(
        self, cluster: LocalCluster, daemon: Daemon, way: str
    ) -> None:
        """It holds locks: nobody else gets at them before the server knows that it is over."""
        client = daemon.connect(database="app")
        ask(client, "BEGIN")
        ask(client, "INSERT INTO t VALUES (1)")
        if way == "removed":
            left = servers(cluster, worker1={"role": "manager"})[1:]
        else:
            left = servers(cluster, manager={"address": cluster.manager.address, "tls": "off"})
        daemon.write(merge(daemon.config, {"servers": left}))
        reload(daemon)
        client.close()
        eventually(lambda: not threads(cluster.manager), what="no connection of the client is left")
        assert cluster.manager.value("SELECT COUNT(*) FROM app.t") == 0

    def test_a_session_without_autocommit_follows_to_another_manager_configuration(
        self, cluster: LocalCluster, daemon: Daemon
    ) -> None:
        client = daemon.connect(database="app", autocommit=False)
        assert ask(client, "SELECT COUNT(*) FROM t") == [(0,)]
        ask(client, "COMMIT")
        daemon.write(merge(daemon.config, {"servers": servers(cluster, manager={"tls": "off"})}))
        reload(daemon)
        eventually(lambda: daemon.metrics().total("mysqlproxy_server_manager", server="manager") == 1)
        ask(client, "INSERT INTO t VALUES (1)")
        ask(client, "COMMIT")
        assert cluster.manager.value("SELECT COUNT(*) FROM app.t") == 1


class TestAWriteThatAsksForTheLastStatement:
    @pytest.fixture
    def daemon(self, cluster: LocalCluster, proxy: Callable[..., Daemon]) -> Daemon:
        cluster.manager.query("CREATE TABLE app.t (a INT)")
        for server in cluster.servers:
            server.query("SET SESSION sql_log_bin = 0")
        cluster.wait_in_sync()
        return proxy(routing={"strategy": "round_robin"})

    @pytest.mark.parametrize(
        "statement",
        ["INSERT INTO t VALUES (FOUND_ROWS())", "SET @a = FOUND_ROWS()", "SELECT FOUND_ROWS() INTO @a"],
    )
    def test_is_run_by_no_worker(self, cluster: LocalCluster, daemon: Daemon, statement: str) -> None:
        client = daemon.connect(database="app")
        ask(client, "INSERT INTO t VALUES (4), (4)")
        assert ask(client, "SELECT a FROM t LIMIT 1") == [(4,)]
        ask(client, statement)
        assert not any(worker.served(r"(INSERT|SET|INTO).*FOUND_ROWS") for worker in cluster.workers)
        assert ask(client, "SELECT COUNT(*), @a FROM t WHERE a = 1 OR @a = 1") in ([(1, None)], [(2, 1)])

    def test_is_run_where_that_ran(self, cluster: LocalCluster, daemon: Daemon) -> None:
        client = daemon.connect(database="app")
        ask(client, "INSERT INTO t VALUES (1), (2)")
        ask(client, "INSERT INTO t VALUES (ROW_COUNT())")
        assert cluster.manager.query("SELECT SUM(a) AS s FROM app.t") == [{"s": 5}]


def test_overlapping_kills_hit_one_statement(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> None:
    daemon = proxy(routing={"strategy": "direct"})
    with contextlib.ExitStack() as clients:
        killers = [clients.enter_context(proxied(daemon)) for _ in range(6)]
        victim = clients.enter_context(proxied(daemon))
        number = victim.greeting.connection_id
        for _ in range(5):
            victim.send(victim.query_payload("SELECT SLEEP(20)"))
            eventually(
                lambda: any("SLEEP(20)" in (row["INFO"] or "") for row in threads(cluster.manager).values()),
                what="the statement runs",
            )
            daemon.signal(signal.SIGSTOP)  # so that all of them are there before the first one is done
            for killer in killers:
                killer.send(killer.query_payload(f"KILL QUERY {number}"))
            daemon.signal(signal.SIGCONT)
            first = victim.read_results()
            assert first.err is not None or first.value == b"1"
            assert [victim.query("SELECT SLEEP(0.02)").value for _ in range(10)] == [b"0"] * 10
            for killer in killers:
                killer.read_results().check()
