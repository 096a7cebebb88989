"""Where clients come in, what the greeting says, and what a login finds when no server is there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.greeting import Greeting, parse_greeting
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.raw import RawClient, ServerError, direct, proxied
from tests.support.relay import announcing, relay
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def greeting_of(port: int) -> Greeting:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock, sock.makefile("rb") as file:
        header = file.read(4)
        return parse_greeting(file.read(int.from_bytes(header[:3], "little")))


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_clients_come_over_ipv4_ipv6_and_a_unix_socket(
    proxy: Proxy, free_port: Callable[[], int], tmp_path: Any
) -> None:
    port, sixth, path = free_port(), free_port(), str(tmp_path / "mysql.sock")
    daemon = proxy(listen={"mysql": [f"127.0.0.1:{port}", f"[::1]:{sixth}", f"unix:{path}"]})
    for place in ({"host": "127.0.0.1", "port": port}, {"host": "::1", "port": sixth}, {"unix_socket": path}):
        with daemon.connect(**place) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 6 * 7")
            assert cursor.fetchone() == (42,)


def test_the_greeting_is_the_servers_own(cluster: LocalCluster, proxy: Proxy) -> None:
    server, ours = greeting_of(cluster.manager.port), greeting_of(proxy().port)
    assert ours.version == server.version
    assert ours.mariadb
    assert not ours.capabilities & ~server.capabilities & flags.OFFER
    never = flags.COMPRESS | flags.ZSTD_COMPRESSION_ALGORITHM | flags.MARIADB_CACHE_METADATA
    promised = flags.OFFER & server.capabilities & ~never
    assert ours.capabilities & promised == promised
    assert not ours.capabilities & never
    assert ours.connection_id >= 1 << 31


def test_mysqls_greeting_is_mysqls_own(mysql97: MysqlPair, daemons: Factory, free_port: Any) -> None:
    daemon = daemons.start(mysql_config(mysql97, free_port))
    server, ours = greeting_of(mysql97.source.port), greeting_of(daemon.port)
    assert ours.version == server.version
    assert not ours.mariadb
    assert ours.capabilities & flags.QUERY_ATTRIBUTES
    assert not ours.capabilities >> 32


def mysql_config(pair: MysqlPair, free_port: Callable[[], int]) -> dict[str, Any]:
    return {
        "listen": {"mysql": [f"127.0.0.1:{free_port()}"], "http": f"127.0.0.1:{free_port()}"},
        "monitor": {"user": "monitor", "password": pair.passwords["monitor"], "interval": 0.25},
        "servers": [
            {"name": "source", "address": pair.source.address, "role": "manager"},
            {"name": "replica", "address": pair.replica.address, "role": "worker"},
        ],
        "users": [{"name": "app", "password": pair.passwords["app"]}],
    }


def test_of_several_versions_the_greeting_has_the_lowest_and_only_what_all_can_do(
    cluster: LocalCluster, proxy: Proxy
) -> None:
    lower = "5.5.5-10.6.9-MariaDB-old"
    lacking = flags.DEPRECATE_EOF | flags.MARIADB_STMT_BULK
    with relay(cluster.workers[0].port, announcing(lower, lacking)) as old:
        servers = [
            {"name": "manager", "address": cluster.manager.address, "role": "manager"},
            {"name": "old", "address": f"127.0.0.1:{old.port}", "role": "worker"},
            {"name": "new", "address": cluster.workers[1].address, "role": "worker"},
        ]
        daemon = proxy(servers=servers)
        eventually(
            lambda: daemon.metrics().total("mysqlproxy_server_up") == 3, what="all three servers are seen"
        )
        ours = greeting_of(daemon.port)
        assert ours.version == lower
        assert not ours.capabilities & lacking
        # Nothing that was promised fails on the server that has less.
        with proxied(daemon, capabilities=lacking) as client:
            assert not client.capabilities & lacking
            assert client.query("SELECT 1 FROM information_schema.schemata LIMIT 1").value == b"1"
        daemon.stop()


def unreachable(proxy: Proxy, cluster: LocalCluster, port: int, **sections: Any) -> Daemon:
    servers = [{"name": "manager", "address": f"127.0.0.1:{port}", "role": "manager"}]
    return proxy(wait="/healthz", servers=servers, **sections)


def test_without_a_server_a_login_fails_with_a_clear_error_at_its_deadline(
    cluster: LocalCluster, proxy: Proxy, free_port: Any
) -> None:
    daemon = unreachable(proxy, cluster, free_port(), limits={"login_timeout": 1.0})
    started = time.monotonic()
    with pytest.raises(pymysql.OperationalError, match="No server of the cluster could be reached"):
        daemon.connect()
    assert 0.9 < time.monotonic() - started < 10


def test_a_login_waits_for_a_server_and_works_as_soon_as_one_is_there(
    cluster: LocalCluster, proxy: Proxy, free_port: Any
) -> None:
    """The address has nobody behind it at first; the greeting waits until there is one to speak of."""
    port = free_port()
    daemon = unreachable(proxy, cluster, port, limits={"login_timeout": 10.0})
    answers: list[Any] = []

    def ask() -> None:
        with daemon.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@port")
            answers.append(cursor.fetchone())

    client = threading.Thread(target=ask)
    client.start()
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 1)
    with relay(cluster.manager.port, port=port):
        client.join(9)
        assert answers == [(cluster.manager.port,)]
        daemon.stop()


def test_the_last_known_greeting_serves_while_no_server_can_be_reached(
    cluster: LocalCluster, proxy: Proxy
) -> None:
    daemon = proxy(limits={"login_timeout": 1.0}, monitor={"timeout": 0.5, "down_after": 1})
    known = greeting_of(daemon.port)
    for server in cluster.servers:
        server.kill()
    eventually(lambda: daemon.metrics().total("mysqlproxy_server_up") == 0)
    assert greeting_of(daemon.port).version == known.version
    with pytest.raises(ServerError) as refused:
        proxied(daemon)
    assert "No server" in refused.value.err.message
    for server in cluster.servers:
        server.spawn()
    for server in cluster.servers:
        server.wait_ready()
    eventually(lambda: daemon.metrics().total("mysqlproxy_server_up") == 3)
    with proxied(daemon) as client:
        assert client.query("SELECT 1").value == b"1"


@pytest.mark.parametrize("schema", ["nowhere", "secret"])
def test_the_schema_named_at_login_is_checked_with_the_servers_own_error(
    cluster: LocalCluster, proxy: Proxy, schema: str
) -> None:
    cluster.manager.query("CREATE DATABASE secret")
    cluster.wait_in_sync()
    daemon = proxy()
    errors = []
    for connect in (lambda: direct(cluster.manager, cluster.passwords["app"], schema=schema),
                    lambda: proxied(daemon, schema=schema)):  # fmt: skip
        with pytest.raises(ServerError) as refused:
            connect()
        errors.append(refused.value.err)
    assert errors[0] == errors[1]
    assert errors[0].errno in (1044, 1049)


def test_the_schema_named_at_login_that_the_account_may_not_see_is_1044_and_a_missing_one_1049(
    cluster: LocalCluster, proxy: Proxy
) -> None:
    cluster.manager.query("CREATE DATABASE secret")
    cluster.manager.query("CREATE USER curious@'%' IDENTIFIED BY 'curious'")
    cluster.manager.query("GRANT SELECT ON `app%`.* TO curious@'%'")
    cluster.wait_in_sync()
    daemon = proxy(users=[{"name": "curious", "password": "curious"}])
    found = {}
    for schema in ("app", "app2", "secret"):
        try:
            proxied(daemon, "curious", schema=schema).close()
            found[schema] = 0
        except ServerError as error:
            found[schema] = error.err.errno
    assert found == {"app": 0, "app2": 1049, "secret": 1044}


def test_a_schema_named_at_login_is_the_default_on_every_server(cluster: LocalCluster, proxy: Proxy) -> None:
    cluster.manager.query("CREATE TABLE app.t (a INT)")
    cluster.wait_in_sync()
    daemon = proxy(routing={"strategy": "round_robin", "read_consistency": "eventual"})
    with RawClient(("127.0.0.1", daemon.port), "app", cluster.passwords["app"], schema="app") as client:
        for _ in range(4):
            client.query("SELECT * FROM t").check()
    assert [len(worker.served(r"FROM t$")) for worker in cluster.workers] == [2, 2]
