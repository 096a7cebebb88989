"""Gatekeeper, trusted host and proxy in a row: everything works through them as through one daemon."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.support.chain import PASSWORDS, ChainOfDaemons, standing_chain
from tests.support.raw import BASE, RESET_CONNECTION, RawClient, proxied
from tests.support.sessions import ask, errno, value
from tests.support.waiting import eventually

RULES = """
[[rule]]
name = "no-sleep"
functions = ["sleep"]
accounts = ["other"]
action = "deny"
"""
ENDLESS = "WITH RECURSIVE seq AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM seq WHERE n < 2000000000)"


@pytest.fixture(scope="module")
def chain(
    session_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChainOfDaemons]:
    rules = tmp_path_factory.mktemp("rules") / "rules.toml"
    rules.write_text(RULES)
    inner = rules.with_name("inner.toml")
    inner.write_text(RULES.replace("sleep", "benchmark"))
    changes = {
        "gatekeeper": {"routing": {"rules": [str(rules)]}},
        "proxy": {
            "limits": {"max_packet": 30 << 20},
            "routing": {"rules": [str(inner)], "consistency_wait": 0.0},
            "monitor": {"max_replica_lag": 3600.0},
        },
    }
    with standing_chain(session_cluster, **changes) as chain:
        yield chain


@pytest.fixture
def tables(cluster: LocalCluster, chain: ChainOfDaemons) -> LocalCluster:
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, a LONGTEXT)")
    cluster.wait_in_sync()
    return cluster


@pytest.fixture
def connection(chain: ChainOfDaemons) -> Iterator[Any]:
    with chain.gatekeeper.connect(
        database="app", local_infile=True, client_flag=CLIENT.MULTI_STATEMENTS
    ) as connection:
        yield connection


@pytest.fixture
def raw(chain: ChainOfDaemons) -> Iterator[RawClient]:
    with proxied(chain.gatekeeper, schema="app") as client:
        yield client


def test_the_client_program_logs_in_and_selects(chain: ChainOfDaemons) -> None:
    port, password = chain.gatekeeper.port, PASSWORDS["app"]
    done = subprocess.run(
        ["mariadb", "-h127.0.0.1", f"-P{port}", "-uapp", f"-p{password}", "-Nse", "SELECT 40 + 2"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr


def test_the_passwords_are_the_gatekeepers_and_the_servers_are_the_proxys(
    chain: ChainOfDaemons, cluster: LocalCluster, connection: Any
) -> None:
    at_the_server = cluster.passwords["app"]
    assert value(connection, "SELECT CURRENT_USER()") == "app@%"
    with pytest.raises(pymysql.OperationalError) as refused:
        chain.gatekeeper.connect(password=at_the_server)
    assert errno(refused.value) == 1045
    for role in ("gatekeeper", "trusted_host"):
        text = chain.daemons[role].config_path.read_text()
        assert at_the_server not in text
        assert not any(server.address in text for server in cluster.servers)
    assert PASSWORDS["app"] not in chain.trusted_host.config_path.read_text()
    assert PASSWORDS["app"] not in chain.proxy.config_path.read_text()


def test_one_id_is_the_clients_and_that_of_all_three_logs(chain: ChainOfDaemons, connection: Any) -> None:
    number = connection.thread_id()
    assert value(connection, "SELECT CONNECTION_ID()") == number
    for daemon in chain.daemons.values():
        assert re.search(rf" \[{number}\] login of app from 127\.0\.0\.1$", daemon.log(), re.MULTILINE)


def test_writes_go_to_the_manager_and_reads_to_workers(
    chain: ChainOfDaemons, tables: LocalCluster, connection: Any
) -> None:
    workers = [server.name for server in tables.workers]

    def read_by_workers() -> float:
        metrics = chain.proxy.metrics()
        name = "mysqlproxy_statements_total"
        return sum(metrics.total(name, server=worker, kind="read") for worker in workers)

    def write_and_read() -> bool:
        before = read_by_workers()
        ask(connection, "INSERT INTO t (a) VALUES ('x')")
        written = value(connection, "SELECT LAST_INSERT_ID()")
        assert value(connection, "SELECT COUNT(*) FROM t") == written  # its own write, wherever it reads
        return read_by_workers() > before

    eventually(
        write_and_read, what="a worker reads"
    )  # a name that is new counts as no plain read for a moment


def test_a_packet_of_more_than_16_mib_both_ways(tables: LocalCluster, connection: Any) -> None:
    large = "x" * ((1 << 24) + 1000)
    ask(connection, f"INSERT INTO t VALUES (1, '{large}')")
    ask(connection, "COMMIT")
    assert value(connection, "SELECT a FROM t WHERE id = 1") == large


@pytest.mark.parametrize("size", [3, 6, 20, 31])
def test_who_refuses_a_packet_is_heard_through_the_chain(
    cluster: LocalCluster, chain: ChainOfDaemons, size: int
) -> None:
    """The server skips up to twice its limit, resets the connection above, or gives up between two frames; at 31 MiB
    it is the proxy. Each time the error races against a reset, which must not overtake it."""
    for server in cluster.servers:
        server.query("SET GLOBAL max_allowed_packet = 2097152")
    for _ in range(3 if size < 16 else 1):
        with proxied(chain.gatekeeper) as client:
            answer = client.query(b"SELECT LENGTH('" + b"x" * (size << 20) + b"')")
            assert answer.err is not None and answer.err.errno == 1153, answer.err
    with proxied(chain.gatekeeper) as client:
        assert client.query("SELECT 1").value == b"1"


def test_a_file_is_loaded(tables: LocalCluster, connection: Any, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("".join(f"{number}\n" for number in range(100_000)))
    ask(connection, "LOAD DATA LOCAL INFILE %s INTO TABLE t (a)", (str(file),))
    assert tables.manager.value("SELECT COUNT(*) FROM app.t") == 100_000
    assert value(connection, "SELECT 1") == 1


def test_several_results(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1; SELECT 2; DO 0; SELECT 3")
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
    assert [rows for rows in found if rows] == [((1,),), ((2,),), ((3,),)]


def test_prepared_statements_long_data_and_cursors(tables: LocalCluster, raw: RawClient) -> None:
    insert = raw.prepare("INSERT INTO t VALUES (?, ?)")
    assert insert.parameters == 2
    for number in range(50):
        assert raw.execute(insert.id, [b"%d" % (number + 1), b"row"], types=number == 0).ok.affected_rows == 1
    for _ in range(100):
        raw.long_data(insert.id, 1, b"y" * 10_000)
    raw.execute(insert.id, [b"99", b""])
    assert tables.manager.value("SELECT LENGTH(a) FROM app.t WHERE id = 99") == 1_000_000
    raw.close_statement(insert.id)
    select = raw.prepare("SELECT id FROM t ORDER BY id")
    raw.execute(select.id, cursor=True)
    assert len(raw.fetch(select.id, 20).rows) == 20
    assert len(raw.fetch(select.id, 100).rows) == 31


def test_kill_through_the_chain(chain: ChainOfDaemons, connection: Any) -> None:
    with chain.gatekeeper.connect() as victim:
        ended: list[BaseException] = []

        def sleep() -> None:
            try:
                ask(victim, "SELECT SLEEP(60)")
            except pymysql.MySQLError as error:
                ended.append(error)

        thread = threading.Thread(target=sleep)
        thread.start()
        eventually(lambda: chain.proxy.metrics().total("mysqlproxy_server_connections", state="used"))
        ask(connection, f"KILL QUERY {victim.thread_id()}")
        thread.join(20)
        assert [errno(error) for error in ended] in ([1317], [])  # SLEEP may say it with a row, too
        assert value(victim, "SELECT 7") == 7
        ask(connection, f"KILL {victim.thread_id()}")
        with pytest.raises(pymysql.MySQLError):
            ask(victim, "SELECT 1")
        assert value(connection, "SELECT 8") == 8
    with pytest.raises(pymysql.MySQLError) as unknown:
        ask(connection, f"KILL {(1 << 32) - 5}")
    assert errno(unknown.value) == 1094


def test_kill_by_a_client_of_another_gatekeeper(
    chain: ChainOfDaemons, connection: Any, daemons: Factory, free_port: Callable[[], int]
) -> None:
    listen = {"mysql": [f"127.0.0.1:{free_port()}"], "http": f"127.0.0.1:{free_port()}"}
    second = daemons.start({**chain.gatekeeper.config, "listen": listen})
    with second.connect() as elsewhere:
        assert elsewhere.thread_id() != connection.thread_id()
        ask(elsewhere, f"KILL {connection.thread_id()}")
        with pytest.raises(pymysql.MySQLError):
            ask(connection, "SELECT 1")
        assert value(elsewhere, "SELECT 1") == 1


def test_state_is_kept_and_a_reset_ends_it(chain: ChainOfDaemons, raw: RawClient) -> None:
    raw.query("SET @a = 5, time_zone = '+03:00'")
    raw.query("CREATE TEMPORARY TABLE mine (id INT)")
    assert raw.query("SELECT @a + COUNT(*) FROM mine").value == b"5"
    assert raw.query("SELECT GET_LOCK('chain', 0)").value == b"1"
    before = logins(chain)
    raw.command(RESET_CONNECTION)
    assert logins(chain) == before, "a reset is no login"
    with chain.gatekeeper.connect() as other:
        assert value(other, "SELECT IS_FREE_LOCK('chain')") == 1
    assert raw.query("SELECT @a").value is None
    assert raw.query("SELECT DATABASE()").value == b"app"
    assert raw.query("SELECT @@time_zone").value != b"+03:00"


def logins(chain: ChainOfDaemons) -> dict[str, float]:
    return {role: it.metrics().total("mysqlproxy_logins_total") for role, it in chain.daemons.items()}


def test_another_user_on_an_open_connection(chain: ChainOfDaemons, raw: RawClient) -> None:
    raw.query("SET @a = 5")
    before = raw.query("SELECT CONNECTION_ID()").value
    raw.change_user("other", PASSWORDS["other"], "app")
    assert raw.query("SELECT @a").value is None
    assert raw.query("SELECT CONNECTION_ID()").value == before
    eventually(lambda: f"[{before.decode()}] login of other from 127.0.0.1" in chain.proxy.log())


def test_the_proxy_judges_by_the_clients_own_address(chain: ChainOfDaemons) -> None:
    with chain.gatekeeper.connect("near", bind_address="127.0.0.7") as connection:
        assert value(connection, "SELECT 1") == 1
    with pytest.raises(pymysql.OperationalError) as refused:
        chain.gatekeeper.connect("near", bind_address="127.0.0.8")
    assert errno(refused.value) == 1045
    assert "'near'@'127.0.0.8'" in str(refused.value)
    logs = [daemon.log() for daemon in chain.daemons.values()]
    numbers = [re.findall(r"\[(\d+)\] login \w+ from 127\.0\.0\.8: ", log) for log in logs]
    assert [len(found) for found in numbers] == [1, 1, 1] and len(set(map(tuple, numbers))) == 1


def test_who_is_no_account_of_the_proxy_is_refused(chain: ChainOfDaemons) -> None:
    with pytest.raises(pymysql.OperationalError) as refused:
        chain.gatekeeper.connect("stranger")
    assert errno(refused.value) == 1045
    assert "unknown account" in chain.proxy.log()


def test_limits_of_the_gatekeeper(chain: ChainOfDaemons) -> None:
    with chain.gatekeeper.connect("single"):
        with pytest.raises(pymysql.OperationalError) as refused:
            chain.gatekeeper.connect("single")
        assert errno(refused.value) == 1226
    eventually(lambda: chain.gatekeeper.connect("single").open)
    chain.gatekeeper.disconnect()


def test_limits_and_rules_of_the_proxy_are_for_the_client_itself(chain: ChainOfDaemons) -> None:
    with chain.gatekeeper.connect("hasty") as hasty, chain.gatekeeper.connect() as patient:
        ask(hasty, "SET max_recursive_iterations = 4000000000")
        with pytest.raises(pymysql.MySQLError) as ended:
            ask(hasty, f"{ENDLESS} SELECT COUNT(*) FROM seq")
        assert errno(ended.value) == 1317
        assert value(patient, "SELECT SLEEP(0.6)") == 0
        assert value(patient, "SELECT BENCHMARK(1, 1)") == 0
    with chain.gatekeeper.connect("other") as other:
        with pytest.raises(pymysql.MySQLError) as refused:
            ask(other, "SELECT BENCHMARK(1, 1)")
        assert errno(refused.value) == 1227
    denied = chain.proxy.metrics().total(
        "mysqlproxy_denied_statements_total", account="other", rule="no-benchmark"
    )
    assert denied == 1


def test_reads_see_their_sessions_writes_while_no_worker_has_them(
    chain: ChainOfDaemons, tables: LocalCluster
) -> None:
    count = "SELECT COUNT(*) FROM t"

    def reads_at_a_worker(client: Any) -> bool:
        ask(client, count)
        return not tables.manager.served("FROM t")

    with (
        chain.gatekeeper.connect(database="app") as strict,
        chain.gatekeeper.connect("loose", database="app") as loose,
    ):
        eventually(lambda: tables.manager.general_log.mark() or reads_at_a_worker(loose))
        for worker in tables.workers:
            worker.query("STOP SLAVE SQL_THREAD")
        try:
            for number in range(1, 4):
                ask(strict, "INSERT INTO t (a) VALUES ('x')")
                assert value(strict, count) == number
        finally:
            for worker in tables.workers:
                worker.query("START SLAVE SQL_THREAD")


def test_the_gatekeepers_firewall_reads_as_the_session_is_read_behind_it(chain: ChainOfDaemons) -> None:
    before = chain.trusted_host.metrics().total("mysqlproxy_statements_total")
    with chain.gatekeeper.connect("other", database="app") as connection:
        assert value(connection, r"SELECT 'a\', SLEEP(0), '") == "a', SLEEP(0), "
        ask(connection, "SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
        with pytest.raises(pymysql.OperationalError) as refused:
            ask(connection, r"SELECT 'a\', SLEEP(0), 'b'")
        assert errno(refused.value) == 1227
        sent = chain.trusted_host.metrics().total("mysqlproxy_statements_total") - before
        assert value(connection, "SELECT 1") == 1
    assert chain.trusted_host.metrics().total("mysqlproxy_statements_total") - before == sent + 1


def test_the_firewall_reads_by_the_servers_own_sql_mode(cluster: LocalCluster, chain: ChainOfDaemons) -> None:
    """It comes through the chain with the answers to the gatekeeper's probes."""
    for server in cluster.servers:
        server.query("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")

    def denied() -> bool:
        with chain.gatekeeper.connect("other", sql_mode=None) as connection:
            try:
                ask(connection, r"SELECT 'a\', SLEEP(0), 'b'")
            except pymysql.MySQLError as error:
                return errno(error) == 1227
        return False

    eventually(denied)


def test_each_hop_counts_every_statement(chain: ChainOfDaemons, raw: RawClient) -> None:
    def counts() -> dict[str, float]:
        found = chain.daemons.items()
        return {role: daemon.metrics().total("mysqlproxy_statements_total") for role, daemon in found}

    before = counts()
    for _ in range(10):
        raw.query("SELECT 1")
    after = counts()
    assert {role: after[role] - before[role] for role in after} == dict.fromkeys(before, 10)


def test_clients_that_leave_leave_nothing_behind(chain: ChainOfDaemons) -> None:
    def connections(name: str) -> float:
        return sum(daemon.metrics().total(name) for daemon in chain.daemons.values())

    victims = [chain.gatekeeper.connect() for _ in range(5)]
    assert connections("mysqlproxy_client_connections") >= 15
    for victim in victims:
        victim.close()
    eventually(lambda: connections("mysqlproxy_client_connections") == 0)


def test_capabilities_are_those_of_the_cluster(chain: ChainOfDaemons, raw: RawClient) -> None:
    assert raw.capabilities & BASE == BASE
    assert "MariaDB" in raw.greeting.version
    assert raw.query("SELECT 'x'").value == b"x"
