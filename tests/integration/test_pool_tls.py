"""TLS and logins to servers: the modes, what is refused and how the log says so; attributes that name the client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.integration.test_pool_reset import mysql_config
from tests.support.certificates import Authority
from tests.support.mysql import PASSWORD, MysqlPair
from tests.support.sessions import ask, value
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
CIPHER = "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls_cluster(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One MariaDB server whose certificate is for 127.0.0.1 alone."""
    certificate, key = authority.issue("server", "127.0.0.1")
    options = {"ssl_cert": str(certificate), "ssl_key": str(key), "ssl_ca": str(authority.ca)}
    with LocalCluster(tmp_path_factory.mktemp("tls") / "c", workers=0, options=options) as cluster:
        yield cluster


def configured(daemons: Factory, cluster: LocalCluster, **server: Any) -> dict[str, Any]:
    config = daemons.config(cluster)
    config["servers"] = [config["servers"][0] | server]
    return config


@pytest.mark.parametrize(("mode", "encrypted"), [("off", False), ("preferred", True), ("required", True)])
def test_the_mode_decides(tls_cluster: LocalCluster, daemons: Factory, mode: str, encrypted: bool) -> None:
    daemon = daemons.start(configured(daemons, tls_cluster, tls=mode))
    client = daemon.connect()
    assert bool(value(client, CIPHER)) is encrypted
    client.close()
    again = daemon.connect()
    ask(again, "SET @a = 1")
    assert bool(value(again, CIPHER)) is encrypted, "after the reset, too"


def test_verify_takes_the_right_certificate(
    tls_cluster: LocalCluster, daemons: Factory, authority: Authority
) -> None:
    daemon = daemons.start(configured(daemons, tls_cluster, tls="verify", tls_ca=str(authority.ca)))
    assert value(daemon.connect(), CIPHER)


def test_preferred_goes_on_without_tls(cluster: LocalCluster, proxy: Proxy) -> None:
    assert value(proxy().connect(), "SELECT 1") == 1


REFUSED = {
    "another CA": ({"tls": "verify"}, "certificate verify failed"),
    "another host name": ({"tls": "verify", "name": "localhost"}, "certificate is not valid for 'localhost'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_verify_refuses_with_a_clear_line(
    tls_cluster: LocalCluster, daemons: Factory, authority: Authority, tmp_path: Path, what: str
) -> None:
    settings, line = REFUSED[what]
    ca = Authority(tmp_path).ca if what == "another CA" else authority.ca
    address = tls_cluster.manager.address.replace("127.0.0.1", settings.get("name", "127.0.0.1"))
    config = configured(daemons, tls_cluster, tls="verify", tls_ca=str(ca), address=address)
    daemon = daemons.start(config, wait="/healthz")
    eventually(lambda: line in daemon.log(), 10, line)
    assert daemon.get("/readyz")[0] == 503


def test_required_refuses_a_server_without_tls(cluster: LocalCluster, daemons: Factory) -> None:
    daemon = daemons.start(configured(daemons, cluster, tls="required"), wait="/healthz")
    eventually(lambda: "the server offers no TLS" in daemon.log(), 10)
    assert daemon.get("/readyz")[0] == 503


@pytest.mark.parametrize("shown", ["the proxy", "another", None])
def test_the_servers_ask_for_our_certificate(
    tls_cluster: LocalCluster, daemons: Factory, authority: Authority, shown: str | None
) -> None:
    server = {"tls": "verify", "tls_ca": str(authority.ca)}
    if shown is not None:
        certificate, key = authority.issue("shown", shown)
        key.chmod(0o600)
        server |= {"tls_certificate": str(certificate), "tls_key": str(key)}
    config = configured(daemons, tls_cluster, **server)
    for name, required in (("any", "X509"), ("named", "SUBJECT '/CN=the proxy'")):
        tls_cluster.manager.query(f"CREATE OR REPLACE USER {name}@'%' IDENTIFIED BY 'p' REQUIRE {required}")
        config["users"].append({"name": name, "password": "p"})
    daemon = daemons.start(config)
    for name, granted in (("any", shown is not None), ("named", shown == "the proxy")):
        for _ in range(2):  # the second time after a reset
            try:
                client = daemon.connect(name, password="p")
                found = value(client, "SELECT CURRENT_USER()")
                client.close()
            except pymysql.OperationalError as error:
                found = error.args[0]
            assert found == (f"{name}@%" if granted else 1045)


def test_a_certificate_of_another_ca_is_refused_by_the_server(
    tls_cluster: LocalCluster, daemons: Factory, tmp_path: Path
) -> None:
    certificate, key = Authority(tmp_path).issue("proxy", "the proxy")
    key.chmod(0o600)
    shown = {"tls_certificate": str(certificate), "tls_key": str(key)}
    daemon = daemons.start(configured(daemons, tls_cluster, tls="required", **shown), wait="/healthz")
    eventually(lambda: "manager down" in daemon.log(), 10)
    assert daemon.get("/readyz")[0] == 503


@pytest.mark.parametrize("mode", ["off", "preferred"])
def test_caching_sha2_by_the_full_and_the_fast_path(mysql97: MysqlPair, daemons: Factory, mode: str) -> None:
    config = mysql_config(mysql97, tls=mode)
    config["users"].append(
        {"name": "other", "password": "x", "server_user": "other", "server_password": "secret"}
    )
    daemon = daemons.start(config)
    mysql97.source.query("CREATE USER other@'%' IDENTIFIED BY 'secret'")  # no login of it is cached
    for _ in range(2):  # the full path first, the server's cache then
        client = daemon.connect("other", password="x")
        assert value(client, "SELECT CURRENT_USER()") == "other@%"
        cipher = ask(client, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1]
        assert bool(cipher) is (mode != "off")
        client.close()
    mysql97.source.query("FLUSH PRIVILEGES")  # forgets the cache: the reset needs the full path
    client = daemon.connect("other", password="x")
    assert value(client, "SELECT CURRENT_USER()") == "other@%"


def test_a_wrong_password_for_the_server_is_told(mysql97: MysqlPair, daemons: Factory) -> None:
    config = mysql_config(mysql97)
    config["users"][0] |= {"server_password": "wrong"}
    daemon = daemons.start(config)
    with pytest.raises(pymysql.OperationalError) as caught:
        daemon.connect(password=PASSWORD)
    assert caught.value.args[0] == 1045
    assert "Access denied" in daemon.log()
    assert "wrong" not in daemon.log()


def assert_attributes(daemon: Daemon, query: Callable[[str], list[dict[str, Any]]]) -> None:
    """``query`` asks the one server that holds everything."""

    def seen() -> dict[str, str]:
        rows = query(
            "SELECT a.ATTR_NAME AS name, a.ATTR_VALUE AS value FROM performance_schema.session_connect_attrs a "
            "JOIN performance_schema.threads t ON t.PROCESSLIST_ID = a.PROCESSLIST_ID "
            "WHERE t.PROCESSLIST_USER = 'app'"
        )
        return {row["name"]: row["value"] for row in rows}

    client = daemon.connect(program_name="the accounts' report")
    ask(client, "BEGIN")
    eventually(
        lambda: seen().get("program_name") == "the accounts' report", what="the client's own attribute"
    )
    found = seen()
    assert found["_client_name"] == "mysqlproxy"
    assert found["proxied_client"] == "127.0.0.1"
    client.close()
    other = daemon.connect(program_name="another")
    ask(other, "BEGIN")
    eventually(lambda: seen().get("program_name") == "another", what="the reset tells the new client's")


def test_attributes_name_the_daemon_and_the_client(
    tmp_path_factory: pytest.TempPathFactory, daemons: Factory
) -> None:
    options = {"performance_schema": "ON"}
    with LocalCluster(tmp_path_factory.mktemp("ps") / "c", workers=0, options=options) as cluster:
        assert_attributes(daemons.start(daemons.config(cluster)), cluster.manager.query)


def test_attributes_arrive_at_mysql(mysql97: MysqlPair, daemons: Factory) -> None:
    mysql97.source.kill()
    mysql97.start_server(mysql97.source, "--performance-schema=ON")
    try:
        assert_attributes(daemons.start(mysql_config(mysql97)), mysql97.source.query)
    finally:
        mysql97.source.kill()
        mysql97.start_server(mysql97.source)
