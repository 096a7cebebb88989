"""What a client does with session_track_* changes what it is told, and nothing that the daemon knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.tracking import parse_session_state
from tests.support.raw import RESET_CONNECTION, RawClient, proxied
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
DRIVERS = {  # what these send when they connect
    "MariaDB Connector/J": "SET autocommit=1,session_track_schema=1,"
    "session_track_system_variables=CONCAT(@@session_track_system_variables,',autocommit,tx_isolation')",
    "MariaDB Connector/ODBC": "SET session_track_schema= ON;"
    "SET session_track_system_variables='autocommit,tx_isolation'",
    "MariaDB Connector/C++": "SET session_track_schema=1,"
    "session_track_system_variables='auto_increment_increment,tx_isolation'",
    "those that want none": "SET session_track_schema=0,session_track_system_variables='',"
    "session_track_state_change=0",
}


@pytest.fixture
def client(cluster: LocalCluster, shared_proxy: Proxy) -> Iterator[RawClient]:
    cluster.manager.query("CREATE TABLE app.t (a INT)")
    cluster.manager.query("INSERT INTO app.t VALUES (1)")
    cluster.wait_in_sync()
    daemon = shared_proxy(routing={"strategy": "round_robin", "read_consistency": "session"})
    with proxied(daemon, schema="app", capabilities=flags.SESSION_TRACK) as client:
        eventually(lambda: by_workers(cluster, client, "SELECT a FROM t /* a read */"))
        yield client


def by_workers(cluster: LocalCluster, client: RawClient, sql: str) -> bool:
    for server in cluster.servers:
        server.general_log.mark()
    client.query(sql).check()
    return not cluster.manager.served("a read")


def told(client: RawClient, sql: str) -> list[tuple[str, str]]:
    """(variable or "", value) of all changes that the OK reports."""
    changes = parse_session_state(client.query(sql).ok.session_state)
    return sorted((change.name, change.value) for change in changes)


@pytest.mark.parametrize("sets", DRIVERS.values(), ids=DRIVERS)
def test_drivers_that_set_trackers_read_from_workers_in_the_sessions_state(
    cluster: LocalCluster, client: RawClient, sets: str
) -> None:
    client.query(sets).check()
    client.query("SET sql_mode = 'ANSI_QUOTES', time_zone = '+05:00'").check()
    client.query("INSERT INTO t VALUES (2)").check()
    assert by_workers(cluster, client, 'SELECT "a" FROM t /* a read */')
    assert client.query('SELECT "a" FROM t LIMIT 1').value == b"1"  # without ANSI_QUOTES it would be a text
    assert client.query("SELECT COUNT(*), NOW() - INTERVAL 5 HOUR - UTC_TIMESTAMP() FROM t").texts() == [
        [b"2", b"0"]
    ]
    client.query("USE information_schema").check()
    assert client.query("SELECT DATABASE()").value == b"information_schema"


def test_a_client_is_told_what_it_asked_for_and_nothing_else(client: RawClient) -> None:
    assert told(client, "SET sql_mode = '', time_zone = '+01:00'") == [("time_zone", "+01:00")]
    assert told(client, "INSERT INTO t VALUES (2)") == []
    assert told(client, "USE app") == [("", "app")]
    client.query(
        "SET session_track_schema = 0, session_track_system_variables = 'sql_mode,last_gtid'"
    ).check()
    assert told(client, "SET sql_mode = 'ANSI_QUOTES', time_zone = '+02:00'") == [("sql_mode", "ANSI_QUOTES")]
    assert [name for name, _ in told(client, "INSERT INTO t VALUES (3)")] == ["last_gtid"]
    assert told(client, "USE app") == []
    client.command(RESET_CONNECTION).check()
    assert told(client, "USE app") == [("", "app")]
    assert told(client, "SET sql_mode = '', time_zone = '+01:00'") == [("time_zone", "+01:00")]


def test_trackers_that_the_server_keeps_go_where_the_session_goes(
    cluster: LocalCluster, client: RawClient
) -> None:
    client.query("SET session_track_state_change = 1").check()
    assert by_workers(cluster, client, "SELECT a FROM t /* a read */")
    assert told(client, "SET sql_mode = ''") == [("", "1")]
