"""A connection after a reset (the daemon's or the client's) equals a new login, in everything that can be asked.

Each kind of reset leaves the server connection that a first session has filled with all the state there is to
somebody new; what that one sees is compared with a session on a connection of its own.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo import local
from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.raw import Answer, RawClient
from tests.support.sessions import ask, errno, only_manager, servers, standing
from tests.support.waiting import eventually

# What differs between any two logins.
_OF_THE_MOMENT = {
    "last_gtid", "pseudo_thread_id", "timestamp", "rand_seed1", "rand_seed2", "error_count", "warning_count",
    "insert_id", "last_insert_id", "identity", "statement_id", "in_transaction", "gtid_executed",
    "gtid_binlog_pos", "gtid_binlog_state", "gtid_current_pos",
}  # fmt: skip

FILL = (
    "SET NAMES latin1 COLLATE latin1_german1_ci",
    "SET sql_mode = 'ANSI_QUOTES', time_zone = '+05:30', lock_wait_timeout = 77, sql_big_selects = 0",
    "SET lc_messages = 'de_DE'",
    "SET collation_database = latin1_bin",
    "SET character_set_results = NULL",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET autocommit = 0",
    "SET @mine = 'left behind'",
    "CREATE TEMPORARY TABLE app.left_behind (a INT)",
    "PREPARE left_behind FROM 'SELECT 1'",
    "SELECT GET_LOCK('left behind', 0)",
    "USE app",
    "SET ROLE NONE",
    "INSERT INTO app.t (v) VALUES (4242)",
)


@dataclass
class Place:
    """A daemon with a place for one connection to the manager, and that server.

    Attributes:
        ask_server: one statement as root on the server.
    """

    daemon: Daemon
    password: str
    ask_server: Callable[[str], Any]
    settle: Callable[[], None]
    mariadb: bool

    def client(self, schema: str = "", charset: int = 45) -> RawClient:
        return RawClient(
            ("127.0.0.1", self.daemon.port), "app", self.password, schema=schema, charset=charset
        )

    def threads(self) -> list[int]:
        rows = self.ask_server("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'app'")
        return [row["ID"] for row in rows]


@pytest.fixture(scope="module")
def mariadb(session_cluster: LocalCluster) -> Iterator[Place]:
    limited = servers(session_cluster, manager={"max_connections": 1})
    with standing(session_cluster, servers=limited, routing={"strategy": "direct"}) as daemon:
        yield Place(
            daemon,
            session_cluster.passwords["app"],
            session_cluster.manager.query,
            session_cluster.wait_in_sync,
            mariadb=True,
        )


@pytest.fixture(scope="module")
def mysql(mysql_pair: MysqlPair) -> Iterator[Place]:
    mysql_pair.reset()
    directory = Path(tempfile.mkdtemp(prefix="mysqlproxy-test-"))
    factory = Factory(directory, local.free_port)
    try:
        yield Place(
            factory.start(mysql_config(mysql_pair, max_connections=1)),
            mysql_pair.passwords["app"],
            mysql_pair.source.query,
            mysql_pair.wait_in_sync,
            mariadb=False,
        )
        factory.check()
    finally:
        factory.kill()
        shutil.rmtree(directory, ignore_errors=True)


def mysql_config(pair: MysqlPair, **server: Any) -> dict[str, Any]:
    return {
        "listen": {"mysql": [f"127.0.0.1:{local.free_port()}"], "http": f"127.0.0.1:{local.free_port()}"},
        "limits": {"drain_timeout": 5.0},
        "routing": {"strategy": "direct"},
        "monitor": {"user": "monitor", "password": pair.passwords["monitor"], "interval": 0.25},
        "servers": [{"name": "source", "address": pair.source.address, "role": "manager", **server}],
        "users": [{"name": "app", "password": pair.passwords["app"]}],
    }


@pytest.fixture(params=["mariadb", "mysql"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    found.ask_server("DROP TABLE IF EXISTS app.t")
    found.ask_server("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
    return found


def all_there_is(client: RawClient, place: Place) -> dict[str, Any]:
    """Everything of a session that can be asked."""
    rows = client.query("SHOW SESSION VARIABLES").texts()
    found: dict[str, Any] = {(name or b"").decode(): setting for name, setting in rows}
    found = {name: setting for name, setting in found.items() if name not in _OF_THE_MOMENT}
    assert len(found) > 400
    for expression in (
        "DATABASE()", "CURRENT_ROLE()", "CHARSET('x')", "COLLATION('x')", "@mine", "@@autocommit", "LAST_INSERT_ID()",
        "IS_USED_LOCK('left behind')", "USER()", "CURRENT_USER()", "@@in_transaction", "@@collation_database",
        "(SELECT COUNT(*) FROM app.t)", "CAST('ä' AS BINARY)", "ROW_COUNT()",
    ):  # fmt: skip
        if expression == "@@in_transaction" and not place.mariadb:
            continue
        found[expression] = client.query(f"SELECT {expression}").value
    found["status"] = client.query("DO 1").ok.status
    for statement in ("SELECT * FROM app.left_behind", "EXECUTE left_behind"):
        err = client.query(statement).err
        found[statement] = None if err is None else err.errno
    return found


def fill(client: RawClient) -> None:
    for statement in FILL:
        client.query(statement).check()
    assert client.query("SELECT @mine").value == b"left behind"


def fresh(place: Place) -> dict[str, Any]:
    """What a session on a connection of its own sees."""
    place.daemon.disconnect()
    for thread in place.threads():
        with contextlib.suppress(pymysql.OperationalError):  # it may end by itself meanwhile
            place.ask_server(f"KILL {thread}")
    eventually(lambda: not place.threads())
    with place.client() as client:
        return all_there_is(client, place)


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        name: (before.get(name), after.get(name))
        for name in before | after
        if before.get(name) != after.get(name)
    }


def test_after_the_sessions_end_the_next_finds_nothing_left(place: Place) -> None:
    expected = fresh(place)
    with place.client() as client:
        fill(client)
        (thread,) = place.threads()
    with place.client() as client:
        assert differences(expected, all_there_is(client, place)) == {}
        assert place.threads() == [thread], "it is the same connection"


def test_after_it_was_given_up_the_next_finds_nothing_left(place: Place) -> None:
    expected = fresh(place)
    with place.client() as first, place.client() as second:
        first.query("SET NAMES latin1 COLLATE latin1_german1_ci")
        first.query("SET sql_mode = 'ANSI_QUOTES', time_zone = '+05:30', lock_wait_timeout = 77").check()
        first.query("USE app").check()
        first.query("INSERT INTO t (v) VALUES (1)").check()
        first.query("DELETE FROM t").check()
        (thread,) = place.threads()
        assert differences(expected, all_there_is(second, place)) == {}
        assert place.threads() == [thread], "it is the same connection"


def test_after_the_clients_reset_it_finds_nothing_left(place: Place) -> None:
    expected = fresh(place)
    with place.client() as client:
        fill(client)
        client.command(0x1F).ok  # noqa: B018 - COM_RESET_CONNECTION
        assert differences(expected, all_there_is(client, place)) == {}


def test_after_com_change_user_it_finds_nothing_left(place: Place) -> None:
    expected = fresh(place)
    with place.client() as client:
        fill(client)
        client.change_user("app", place.password).ok  # noqa: B018
        assert differences(expected, all_there_is(client, place)) == {}


def test_after_the_clients_reset_the_schema_is_that_of_the_login(place: Place) -> None:
    place.ask_server("CREATE TABLE IF NOT EXISTS app.other (a INT)")
    with place.client(schema="app") as client:
        client.query("USE information_schema").check()
        client.command(0x1F).ok  # noqa: B018
        assert client.query("SELECT DATABASE()").value == b"app"
        client.change_user("app", place.password).ok  # noqa: B018
        assert client.query("SELECT DATABASE()").value is None
        client.change_user("app", place.password, "app").ok  # noqa: B018
        assert client.query("SELECT DATABASE()").value == b"app"


def test_prepared_statements_of_the_protocol_are_gone_after_the_clients_reset(place: Place) -> None:
    with place.client() as client:
        resets: tuple[Callable[[], Answer], ...] = (
            lambda: client.command(0x1F),
            lambda: client.change_user("app", place.password),
        )
        for reset in resets:
            prepared = client.prepare("SELECT 1")
            assert client.execute(prepared.id).err is None
            reset().ok  # noqa: B018
            err = client.execute(prepared.id).err
            assert err is not None
            assert err.errno == 1243  # ER_UNKNOWN_STMT_HANDLER


@pytest.mark.parametrize("charset", [8, 33, 45, 224])
def test_the_charset_of_the_login_holds_after_each_reset(place: Place, charset: int) -> None:
    asked = "SELECT @@character_set_client, @@character_set_results, @@collation_connection"
    with place.client(charset=charset) as client:
        expected = client.query(asked).texts()
        client.query("SET NAMES utf8mb4 COLLATE utf8mb4_bin").check()
        client.command(0x1F).ok  # noqa: B018
        assert client.query(asked).texts() == expected
        with place.client(charset=63) as other:
            other.query("SELECT 1").check()
        assert client.query(asked).texts() == expected


def test_a_default_role_is_active_after_each_reset(place: Place) -> None:
    if place.mariadb:
        setup = ["CREATE ROLE reader", "GRANT SELECT ON mysql.* TO reader", "GRANT reader TO app@'%'",
                 "SET DEFAULT ROLE reader FOR app@'%'"]  # fmt: skip
        undo = ["DROP ROLE reader"]
    else:
        setup = ["CREATE ROLE reader", "GRANT SELECT ON mysql.* TO reader", "GRANT reader TO app@'%'",
                 "ALTER USER app@'%' DEFAULT ROLE reader"]  # fmt: skip
        undo = ["DROP ROLE reader"]
    for statement in setup:
        place.ask_server(statement)
    try:
        expected = fresh(place)
        assert b"reader" in expected["CURRENT_ROLE()"]
        with place.client() as client:
            fill(client)
            assert client.query("SELECT CURRENT_ROLE()").value in (None, b"NONE")
        with place.client() as client:
            assert differences(expected, all_there_is(client, place)) == {}
            fill(client)
            client.command(0x1F).ok  # noqa: B018
            assert differences(expected, all_there_is(client, place)) == {}
            fill(client)
            client.change_user("app", place.password).ok  # noqa: B018
            assert differences(expected, all_there_is(client, place)) == {}
    finally:
        for statement in undo:
            place.ask_server(statement)


def test_init_connect_has_run_after_each_reset(place: Place) -> None:
    place.ask_server("SET GLOBAL init_connect = 'SET @mine = 7, time_zone = \"+03:00\"'")
    try:
        eventually(lambda: initialised(place), what="the monitor notices init_connect")
        expected = fresh(place)
        assert expected["@mine"] == b"7"
        with place.client() as client:
            fill(client)
        with place.client() as client:
            assert differences(expected, all_there_is(client, place)) == {}
            fill(client)
            client.command(0x1F).ok  # noqa: B018
            assert differences(expected, all_there_is(client, place)) == {}
            client.change_user("app", place.password).ok  # noqa: B018
            assert differences(expected, all_there_is(client, place)) == {}
    finally:
        place.ask_server("SET GLOBAL init_connect = ''")
        eventually(lambda: is_shared(place), what="the monitor notices that it is gone")


def is_shared(place: Place) -> bool:
    """Whether a session gets the connection of the one before it."""
    threads = []
    for _ in range(2):
        with place.client() as client:
            client.query("SELECT 1").check()
            threads.append(place.threads())
    return threads[0] == threads[1]


def initialised(place: Place) -> bool:
    """Whether a session after another one has what init_connect sets."""
    with place.client() as client:
        client.query("SET time_zone = '+01:00'").check()
    with place.client() as client:
        return bool(client.query("SELECT @mine").value == b"7")


def test_tracking_works_after_each_reset(place: Place) -> None:
    """What a session writes and sets is still learned: it is carried over to the next connection."""
    with place.client() as client, place.client() as other:
        resets: tuple[Callable[[], Answer], ...] = (
            lambda: other.query("SELECT 1"),
            lambda: client.command(0x1F),
            lambda: client.change_user("app", place.password),
        )
        for reset in resets:
            reset().check()
            client.query("SET time_zone = '+02:00'").check()
            client.query("USE app").check()
            other.query("SELECT 1").check()
            assert client.query("SELECT @@time_zone, DATABASE()").texts() == [[b"+02:00", b"app"]]


def test_a_role_ends_with_its_session(place: Place) -> None:
    for statement in ("CREATE ROLE guest", "GRANT SELECT ON mysql.* TO guest", "GRANT guest TO app@'%'"):
        place.ask_server(statement)
    try:
        with place.client() as client:
            client.query("SET ROLE guest").check()
            client.query("SELECT COUNT(*) FROM mysql.db").check()
            (thread,) = place.threads()
        with place.client() as client:
            err = client.query("SELECT COUNT(*) FROM mysql.db").err
            assert err is not None and err.errno == 1142
            assert client.query("SELECT CURRENT_ROLE()").value in (None, b"NONE")
            assert place.threads() == [thread]
    finally:
        place.ask_server("DROP ROLE guest")


def test_an_account_gets_no_default_role_of_another(
    cluster: LocalCluster, proxy: Callable[..., Daemon]
) -> None:
    for statement in (
        "CREATE ROLE guest",
        "GRANT SELECT ON mysql.* TO guest",
        "GRANT guest TO app@'%'",
        "SET DEFAULT ROLE guest FOR app@'%'",
        "CREATE USER stranger@'%' IDENTIFIED BY 'stranger'",
    ):
        cluster.manager.query(statement)
    password = cluster.passwords["app"]
    users = [{"name": "app", "password": password}, {"name": "stranger", "password": "stranger"}]
    daemon = proxy(users=users, **only_manager(cluster))
    ask(daemon.connect(), "SELECT COUNT(*) FROM mysql.db")
    stranger = daemon.connect("stranger", password="stranger")
    with pytest.raises(pymysql.OperationalError) as caught:
        ask(stranger, "SELECT COUNT(*) FROM mysql.db")
    assert errno(caught.value) == 1142


def test_replicas_keep_no_temporary_table_of_a_session_that_has_ended(
    cluster: LocalCluster, shared_proxy: Callable[..., Daemon]
) -> None:
    """What the next one does to a table of that name, they must do to that table."""
    cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
    daemon = shared_proxy(**only_manager(cluster))
    for begin in ("BEGIN", "SET autocommit = 0"):
        first = daemon.connect(autocommit=None)
        for statement in (begin, "CREATE TEMPORARY TABLE app.t (v INT)", "INSERT INTO app.t VALUES (1)"):
            ask(first, statement)
        first.close()
        second = daemon.connect(autocommit=True)
        ask(second, "INSERT INTO app.t (v) VALUES (2)")
        second.close()
    cluster.wait_in_sync()
    for server in cluster.servers:
        assert server.query("SELECT v FROM app.t") == [{"v": 2}, {"v": 2}], server.name
