"""Hints in comments narrow where a plain read may go, and do nothing else; the servers' general logs decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.raw import RawClient, proxied
from tests.support.sessions import ask, mysql_pair_config
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
LogIn = Callable[[str], RawClient]


@pytest.fixture
def daemon(cluster: LocalCluster, shared_proxy: Proxy) -> Daemon:
    password = cluster.passwords["app"]
    account = {"password": password, "server_user": "app", "server_password": password}
    users = [
        account | {"name": "app"},
        account | {"name": "direct", "strategy": "direct"},
        account | {"name": "refused", "hints": False},
        account | {"name": "eventual", "read_consistency": "eventual"},
    ]
    return shared_proxy(users=users, routing={"strategy": "round_robin", "read_consistency": "session"})


@pytest.fixture
def log_in(cluster: LocalCluster, daemon: Daemon) -> Iterator[LogIn]:
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)")
    cluster.manager.query("INSERT INTO app.t (a) VALUES (1), (2)")
    cluster.wait_in_sync()
    opened: list[RawClient] = []

    def one(user: str) -> RawClient:
        opened.append(proxied(daemon, user=user, schema="app"))
        return opened[-1]

    def table_is_known() -> bool:
        return served(cluster, opened[0], "SELECT a FROM t /* a read */")[0] == 0

    one("app")
    eventually(table_is_known)
    yield one
    for client in opened:
        client.close()


def served(cluster: LocalCluster, client: RawClient, *statements: str, what: str = "a read") -> list[int]:
    """How many of these manager, worker1 and worker2 served."""
    for server in cluster.servers:
        server.general_log.mark()
    for statement in statements:
        client.query(statement).check()
    return [len(server.served(what)) for server in cluster.servers]


def reads(hint: str, count: int = 4) -> list[str]:
    return [f"/* mysqlproxy: {hint} */ SELECT a FROM t /* a read */"] * count


def counted(daemon: Daemon) -> dict[str, float]:
    metrics = daemon.metrics()
    results = ("applied", "ignored", "refused", "wrong")
    return {result: metrics.total("mysqlproxy_hints_total", result=result) for result in results}


def since(daemon: Daemon, before: dict[str, float]) -> dict[str, float]:
    now = counted(daemon)
    return {result: now[result] - before[result] for result in now if now[result] != before[result]}


def test_a_read_goes_where_its_hint_says(cluster: LocalCluster, daemon: Daemon, log_in: LogIn) -> None:
    client, before = log_in("app"), counted(daemon)
    assert served(cluster, client, *reads("server=worker1")) == [0, 4, 0]
    assert served(cluster, client, *reads("server=worker2")) == [0, 0, 4]
    assert served(cluster, client, *reads("role=manager")) == [4, 0, 0]
    assert served(cluster, client, *reads("server=manager")) == [4, 0, 0]
    assert served(cluster, client, *reads("role=worker strategy=random"))[0] == 0
    assert served(cluster, client, *reads("strategy=direct")) == [4, 0, 0]
    assert since(daemon, before) == {"applied": 24}


def test_an_account_that_reads_from_the_manager_asks_for_a_worker(
    cluster: LocalCluster, log_in: LogIn
) -> None:
    client = log_in("direct")
    assert served(cluster, client, *reads("server=worker2")) == [0, 0, 4]
    assert served(cluster, client, *reads("role=worker"))[0] == 0
    assert served(cluster, client, *reads("server=nobody")) == [4, 0, 0]


def test_a_hint_holds_for_each_execution_of_a_prepared_statement(
    cluster: LocalCluster, log_in: LogIn
) -> None:
    client = log_in("app")
    statement = client.prepare("SELECT /* mysqlproxy: server=worker2 */ a FROM t /* a read */")
    for server in cluster.servers:
        server.general_log.mark()
    for _ in range(3):
        client.execute(statement.id).check()
    assert [len(server.served("a read", frozenset({"Execute"}))) for server in cluster.servers] == [0, 0, 3]


def test_no_hint_sends_a_write_to_a_worker(cluster: LocalCluster, daemon: Daemon, log_in: LogIn) -> None:
    client, before = log_in("app"), counted(daemon)
    for hint in ("server=worker1", "role=worker"):
        write = f"INSERT /* mysqlproxy: {hint} */ INTO t (a) VALUES (3) /* a write */"
        assert served(cluster, client, write, what="a write") == [1, 0, 0]
        lock = f"/* mysqlproxy: {hint} */ SELECT a FROM t FOR UPDATE /* a lock */"
        assert served(cluster, client, lock, what="a lock") == [1, 0, 0]
    assert since(daemon, before) == {"wrong": 4}


def test_a_session_that_must_stay_stays(cluster: LocalCluster, daemon: Daemon, log_in: LogIn) -> None:
    client = log_in("app")
    client.query("BEGIN").check()
    client.query("INSERT INTO t (a) VALUES (3)").check()
    before = counted(daemon)
    assert served(cluster, client, *reads("server=worker1")) == [4, 0, 0]
    assert since(daemon, before) == {"ignored": 4}


def test_a_wrong_hint_is_ignored_counted_and_logged_once_and_never_a_warning(
    cluster: LocalCluster, daemon: Daemon, log_in: LogIn
) -> None:
    client, before = log_in("app"), counted(daemon)
    wrong = "server=nobody tok3n=secret role=tok3n"
    for _ in range(3):
        client.query(f"/* mysqlproxy: {wrong} */ SELECT a AS once FROM t WHERE 'tok3n' = 'x'").check()
        assert client.query("SHOW COUNT(*) WARNINGS").value == b"0"
    assert since(daemon, before) == {"wrong": 9}
    lines = [line for line in daemon.log().splitlines() if "a hint is wrong" in line]
    assert len([line for line in lines if "AS once" in line]) == 3
    assert "tok3n" not in daemon.log()


def test_an_account_may_be_refused_hints(cluster: LocalCluster, daemon: Daemon, log_in: LogIn) -> None:
    client, before = log_in("refused"), counted(daemon)
    assert served(cluster, client, *reads("role=manager"))[0] == 0
    assert since(daemon, before) == {"refused": 4}


def test_a_read_that_asks_for_less_sees_the_past_and_the_next_one_does_not(
    cluster: LocalCluster, log_in: LogIn
) -> None:
    client, count = log_in("app"), "SELECT COUNT(*) FROM t"
    eventual = f"/* mysqlproxy: server=worker1 consistency=eventual */ {count}"
    with cluster.workers[0].connect("root") as holding:
        ask(holding, "FLUSH TABLES WITH READ LOCK")  # nothing is applied there
        client.query("INSERT INTO t (a) VALUES (7)").check()
        assert client.query(eventual).value == b"2"
        assert client.query(f"/* mysqlproxy: server=worker1 */ {count}").value == b"3"
        assert client.query(eventual).value == b"2"
        assert client.query(count).value == b"3"


def test_reads_that_ask_for_more_never_go_back_in_time(
    cluster: LocalCluster, daemon: Daemon, log_in: LogIn
) -> None:
    """Whatever the account's own reads have seen between them."""
    client = log_in("eventual")
    here, there = cluster.workers

    def seen(hint: str) -> bytes | None:
        return client.query(f"/* mysqlproxy: {hint} */ SELECT COUNT(*) FROM t").value

    with there.connect("root") as holding:
        ask(holding, "FLUSH TABLES WITH READ LOCK")  # nothing is applied there
        cluster.manager.query("INSERT INTO app.t (a) VALUES (3)")
        eventually(lambda: here.value("SELECT COUNT(*) FROM app.t") == 3)
        assert seen(f"server={here.name} consistency=session") == b"3"
        for _ in range(4):
            assert seen(f"server={there.name}") == b"2"
            client.query("SELECT COUNT(*) FROM t").check()
            assert seen("consistency=session") == b"3"


def test_on_mysql(mysql97: MysqlPair, daemons: Factory, free_port: Callable[[], int]) -> None:
    mysql97.source.query("CREATE TABLE app.t AS SELECT 1 AS a")
    mysql97.wait_in_sync()
    daemon = daemons.start(mysql_pair_config(mysql97, free_port, routing={"strategy": "direct"}))

    def where(client: RawClient, statement: str) -> str:
        before = {name: on(name) for name in ("source", "replica")}
        client.query(statement).check()
        return next(name for name in before if on(name) > before[name])

    def on(name: str) -> float:
        return daemon.metrics().total("mysqlproxy_statements_total", server=name)

    with proxied(daemon, schema="app") as client:
        for hint in ("role=worker", "server=replica", "strategy=random", "role=worker, consistency=global"):
            assert where(client, f"/* mysqlproxy: {hint} */ SELECT a FROM t") == "replica", hint
            assert where(client, f"SELECT /* mysqlproxy: {hint} */ /*+ NO_ICP(t) */ a FROM t") == "replica", (
                hint
            )
            for no_read in ("a FROM t FOR UPDATE", "@@server_id", "a INTO @a FROM t", "LOAD_FILE('a')"):
                assert where(client, f"SELECT /* mysqlproxy: {hint} */ {no_read}") == "source", no_read
        assert where(client, "SELECT a FROM t") == "source"
    assert counted(daemon)["applied"] == 8
