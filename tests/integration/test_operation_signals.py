"""SIGTERM drains, SIGHUP reloads: on a real process."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo import local
from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import merge
from tests.support.certificates import Authority
from tests.support.sessions import all_left, ask, errno, reload, servers, standing, threads, value
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]


# --- SIGTERM --------------------------------------------------------------------------------------------------------


def ended(client: Any) -> int:
    """The error number a client gets that was closed."""
    with pytest.raises(pymysql.MySQLError) as caught:
        ask(client, "SELECT 1")
    return errno(caught.value)


def test_sigterm_ends_idle_clients_and_lets_a_transaction_finish(cluster: LocalCluster, proxy: Proxy) -> None:
    cluster.manager.query("CREATE TABLE app.t (v INT)")
    daemon = proxy(limits={"drain_timeout": 20.0})
    idle, busy = daemon.connect(), daemon.connect()
    ask(busy, "BEGIN")
    ask(busy, "INSERT INTO app.t VALUES (1)")
    daemon.signal(signal.SIGTERM)
    eventually(lambda: daemon.get("/readyz")[0] == http.client.SERVICE_UNAVAILABLE)
    assert "draining" in daemon.get("/readyz")[1]
    assert daemon.get("/healthz")[0] == http.client.OK
    assert ended(idle) in (1053, 2013, 2006)
    with pytest.raises(pymysql.OperationalError) as refused:
        pymysql.connect(host="127.0.0.1", port=daemon.port, user="app", password=cluster.passwords["app"])
    assert errno(refused.value) == 2003
    assert daemon.running
    ask(busy, "INSERT INTO app.t VALUES (2)")
    ask(busy, "COMMIT")
    eventually(lambda: not daemon.running, 5, "the last client's transaction is over")
    assert daemon.status == 0
    assert cluster.manager.value("SELECT COUNT(*) FROM app.t") == 2


def test_who_was_told_that_the_connection_is_good_may_use_it(cluster: LocalCluster, proxy: Proxy) -> None:
    """Pools send COM_PING before a statement: the statement still comes through, and then the session ends."""
    cluster.manager.query("CREATE TABLE app.t (v INT)")
    daemon = proxy(limits={"drain_timeout": 20.0})
    client, other = daemon.connect(), daemon.connect()
    client.ping(reconnect=False)
    other.ping(reconnect=False)
    daemon.signal(signal.SIGTERM)
    while daemon.get("/readyz")[0] == http.client.OK:
        client.ping(reconnect=False)
    client.ping(reconnect=False)
    ask(client, "INSERT INTO app.t VALUES (1)")
    assert ended(client) in (1053, 2013, 2006)
    eventually(lambda: not daemon.running, 10, "who asks nothing more is closed")
    assert daemon.status == 0
    assert cluster.manager.value("SELECT COUNT(*) FROM app.t") == 1


def test_a_running_statement_may_finish(proxy: Proxy) -> None:
    daemon = proxy(limits={"drain_timeout": 20.0})
    client = daemon.connect()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(value(client, "SELECT SLEEP(1) + 7")))
    thread.start()
    eventually(lambda: daemon.metrics().total("mysqlproxy_server_connections", state="used"))
    daemon.signal(signal.SIGTERM)
    thread.join(10)
    assert answers == [7]
    eventually(lambda: not daemon.running, 5)
    assert daemon.status == 0


def test_at_the_deadline_who_is_left_gets_1053_and_nothing_is_committed(
    cluster: LocalCluster, proxy: Proxy
) -> None:
    cluster.manager.query("CREATE TABLE app.t (v INT)")
    daemon = proxy(limits={"drain_timeout": 1.0})
    busy, asleep = daemon.connect(), daemon.connect()
    ask(busy, "BEGIN")
    ask(busy, "INSERT INTO app.t VALUES (1)")
    faults: list[BaseException] = []

    def sleep() -> None:
        try:
            ask(asleep, "DO SLEEP(60)")
        except pymysql.MySQLError as error:
            faults.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    eventually(lambda: daemon.metrics().total("mysqlproxy_server_connections", state="used"))
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    eventually(lambda: not daemon.running, 10)
    assert 0.9 < time.monotonic() - began < 20
    assert daemon.status == 0
    thread.join(5)
    assert [errno(error) for error in faults] == [1053]
    assert ended(busy) in (1053, 2013, 2006)
    assert "drain_timeout: 2 clients are closed" in daemon.log()
    # By itself the server would notice after five seconds that nobody waits for the SLEEP.
    eventually(lambda: not threads(cluster.manager), 3, "what ran was killed before the daemon ended")
    assert cluster.manager.value("SELECT COUNT(*) FROM app.t") == 0


def test_a_reload_while_draining_does_not_listen_again(proxy: Proxy) -> None:
    daemon = proxy(limits={"drain_timeout": 20.0})
    client = daemon.connect()
    ask(client, "BEGIN")
    daemon.signal(signal.SIGTERM)
    eventually(lambda: daemon.get("/readyz")[0] != http.client.OK)
    daemon.reload()
    ask(client, "SELECT 1")
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", daemon.port))
    ask(client, "COMMIT")
    eventually(lambda: not daemon.running, 5)


# --- SIGHUP ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_daemon(session_cluster: LocalCluster) -> Iterator[Daemon]:
    with standing(session_cluster) as daemon:
        yield daemon


@pytest.fixture
def running(one_daemon: Daemon, session_cluster: LocalCluster) -> Iterator[Daemon]:
    session_cluster.reset()
    config = dict(one_daemon.config)
    yield one_daemon
    all_left(one_daemon)
    one_daemon.write(config)
    reload(one_daemon)


def change(daemon: Daemon, **sections: Any) -> None:
    daemon.write(merge(daemon.config, sections))
    reload(daemon)


def test_a_new_user_may_log_in_and_a_removed_one_no_more(
    session_cluster: LocalCluster, running: Daemon
) -> None:
    password = session_cluster.passwords["app"]
    other = {"name": "other", "password": "pass", "server_user": "app", "server_password": password}
    old = running.connect()
    change(running, users=[other])
    assert value(running.connect("other"), "SELECT CURRENT_USER()") == "app@%"
    with pytest.raises(pymysql.OperationalError) as denied:
        running.connect(password=password)
    assert errno(denied.value) == 1045
    assert value(old, "SELECT 1") == 1, "who is logged in stays"


def test_a_changed_password_counts_for_the_next_login(running: Daemon) -> None:
    user = running.config["users"][0]
    old = running.connect()
    change(running, users=[user | {"password": "new", "server_password": user["password"]}])
    with pytest.raises(pymysql.OperationalError):
        running.connect(password=user["password"])
    assert value(running.connect(password="new"), "SELECT 1") == 1
    assert value(old, "SELECT 1") == 1


def test_a_changed_strategy_counts_for_the_next_login(session_cluster: LocalCluster, running: Daemon) -> None:
    old = running.connect()
    ask(old, "SELECT 'before'")
    change(running, routing={"strategy": "direct"})
    new = running.connect()
    ask(new, "SELECT 'new' AS strategy")
    ask(old, "SELECT 'old' AS strategy")
    assert len(session_cluster.manager.served("'new' AS strategy")) == 1
    assert not session_cluster.manager.served("'old' AS strategy")


def test_a_server_comes_and_goes(session_cluster: LocalCluster, running: Daemon) -> None:
    client = running.connect()
    change(running, servers=servers(session_cluster)[:2])
    session_cluster.workers[1].general_log.mark()
    eventually(lambda: not threads(session_cluster.workers[1]))
    for number in range(10):
        ask(client, f"SELECT {number} AS gone")
    assert not session_cluster.workers[1].served("AS gone")
    assert not running.metrics().total("mysqlproxy_server_up", server="worker2")
    change(running, servers=servers(session_cluster), routing={"strategy": "round_robin"})
    eventually(lambda: running.metrics().total("mysqlproxy_server_up", server="worker2"))
    client = running.connect()

    def served() -> int:
        ask(client, "SELECT 'again' AS back")
        return len(session_cluster.workers[1].served("AS back"))

    eventually(served)


def test_addresses_come_and_go(running: Daemon) -> None:
    old = running.connect()
    first, second = running.config["listen"]["mysql"][0], f"127.0.0.1:{local.free_port()}"
    change(running, listen={"mysql": [second]})
    assert value(running.connect(), "SELECT 1") == 1
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", int(first.rpartition(":")[2])))
    assert value(old, "SELECT 1") == 1


def test_a_changed_certificate_is_shown_to_the_next_client(running: Daemon, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("one", "127.0.0.1")
    change(running, tls={"certificate": str(certificate), "key": str(key)})
    trust: dict[str, Any] = {
        "ssl_ca": str(authority.ca),
        "ssl_verify_cert": True,
        "ssl_verify_identity": True,
    }
    old = running.connect(**trust)
    other, other_key = authority.issue("two", "elsewhere.example")
    shutil.copy(other, certificate)
    shutil.copy(other_key, key)
    reload(running)
    assert value(old, "SELECT 1") == 1
    with pytest.raises(pymysql.OperationalError, match="certificate"):
        running.connect(**trust)
    change(running, tls=None)


def test_limits_change_at_once(running: Daemon) -> None:
    running.connect()
    change(running, limits={"max_connections": 1})
    with pytest.raises(pymysql.OperationalError) as refused:
        running.connect()
    assert errno(refused.value) == 1040


BROKEN = {
    "no TOML": ("[listen", ["mysqlproxy.toml"]),
    "two faults": (
        "[limits]\nmax_connections = 0\n[routing]\nstrategy = 'fastest'\n[monitor]\nuser = 'monitor'\n"
        "[[servers]]\nname = 'm'\naddress = '127.0.0.1:3306'\nrole = 'manager'\n",
        ["limits.max_connections", "routing.strategy"],
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_changes_nothing_and_each_fault_is_logged(running: Daemon, kind: str) -> None:
    client = running.connect()
    text, words = BROKEN[kind]
    seen = len(running.log())
    running.config_path.write_text(text)
    reload(running, "reload refused")
    eventually(lambda: all(word in running.log()[seen:] for word in words))
    lines = [line for line in running.log()[seen:].splitlines() if "reload refused" in line]
    assert len(lines) >= len(words)
    assert value(client, "SELECT 1") == 1
    assert value(running.connect(), "SELECT 1") == 1


def test_an_address_in_use_refuses_the_whole_reload(running: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = running.config
        changed = {
            "listen": {"mysql": [*config["listen"]["mysql"], address]},
            "limits": {"max_connections": 1},
        }
        running.write(merge(config, changed))
        reload(running, "reload refused")
        assert "in use" in running.log()
        assert len([running.connect(), running.connect()]) == 2, "the limit did not change either"
        running.write(config)


def test_no_error_happens_to_clients_at_work(session_cluster: LocalCluster, running: Daemon) -> None:
    session_cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
    session_cluster.wait_in_sync()
    stop = threading.Event()
    faults: list[BaseException] = []
    done: list[int] = []

    def work() -> None:
        try:
            client = running.connect()
            while not stop.is_set():
                ask(client, "INSERT INTO app.t (v) VALUES (1)")
                ask(client, "SELECT COUNT(*) FROM app.t")
                ask(client, "BEGIN")
                ask(client, "INSERT INTO app.t (v) VALUES (2)")
                ask(client, "COMMIT")
                done.append(1)
        except BaseException as error:
            faults.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    full, fewer = servers(session_cluster), servers(session_cluster)[:2]
    for turn in range(8):
        before = len(done)
        change(running, servers=fewer if turn % 2 else full, limits={"idle_timeout": 100.0 + turn})
        eventually(lambda before=before: faults or len(done) > before + 5)  # type: ignore[misc]
    stop.set()
    for worker in workers:
        worker.join()
    assert not faults
    assert session_cluster.manager.value("SELECT COUNT(*) FROM app.t") == 2 * len(done)
