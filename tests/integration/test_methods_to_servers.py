"""The methods on the way to the servers, through the whole daemon: the server's CURRENT_USER() is the proof."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.gatekeeper.secrets import ed25519_verifier, native_verifier, parsec_verifier, sha2_verifier
from tests.conftest import Factory
from tests.integration.test_listeners_and_greeting import mysql_config
from tests.support.certificates import Authority
from tests.support.mysql import PASSWORD, MysqlPair
from tests.support.sessions import value
from tests.support.waiting import eventually

WHO = "SELECT CURRENT_USER()"


@pytest.fixture(scope="module")
def ed25519_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One MariaDB server with the plugin auth_ed25519, of Debian's mariadb-server or of MARIADB_SERVER_PLUGINS."""
    cached = Path(__file__).parents[2] / ".cache/mariadb-server/usr/lib/mysql/plugin"
    places = (os.environ.get("MARIADB_SERVER_PLUGINS"), cached, "/usr/lib/mysql/plugin")
    folder = next((str(place) for place in places if place and Path(place, "auth_ed25519.so").exists()), None)
    if folder is None:
        pytest.skip("no auth_ed25519.so: tests/run.sh gets it, or set MARIADB_SERVER_PLUGINS")
    options = {"plugin_dir": folder, "plugin_load_add": "auth_ed25519"}
    with LocalCluster(tmp_path_factory.mktemp("ed") / "c", workers=0, options=options) as cluster:
        for name in ("signed", "watcher"):
            cluster.manager.query(
                f"CREATE USER {name}@'%' IDENTIFIED VIA ed25519 USING PASSWORD('sign here')"
            )
        cluster.manager.query("GRANT REPLICA MONITOR, SELECT, SHOW VIEW, TRIGGER ON *.* TO watcher@'%'")
        yield cluster


def test_ed25519_on_both_sides(ed25519_cluster: LocalCluster, daemons: Factory) -> None:
    config = daemons.config(ed25519_cluster)
    config["monitor"] |= {"user": "watcher", "password": "sign here"}
    config["users"] = [
        {"name": "known", "password": "sign here", "server_user": "signed", "methods": ["client_ed25519"]},
        {
            "name": "verified", "verifier": ed25519_verifier("their own"), "methods": ["client_ed25519"],
            "server_user": "signed", "server_password": "sign here",
        },
        {"name": "native", "password": "sign here", "server_user": "signed"},
    ]  # fmt: skip
    daemon = daemons.start(config)
    for name, password in (("known", "sign here"), ("verified", "their own"), ("native", "sign here")):
        client = daemon.connect(name, password=password)
        assert value(client, WHO) == "signed@%"
        client.close()
        assert value(daemon.connect(name, password=password), WHO) == "signed@%", "after a reset, too"
        with pytest.raises(pymysql.OperationalError) as caught:
            daemon.connect(name, password="wrong")
        assert caught.value.args[0] == 1045


def test_ed25519_accounts_of_the_servers(ed25519_cluster: LocalCluster, daemons: Factory) -> None:
    """Their key checks a password, but a signature would open no server: the client shows the password by RSA."""
    config = daemons.config(ed25519_cluster) | {"accounts": {"from": "servers"}, "users": []}
    daemon = daemons.start(config)
    assert value(daemon.connect("signed", password="sign here"), WHO) == "signed@%"
    with pytest.raises(pymysql.OperationalError) as caught:
        daemon.connect("signed", password="wrong")
    assert caught.value.args[0] == 1045


@pytest.mark.parametrize("tls", ["off", "required"])
@pytest.mark.parametrize("method", ["sha256_password", "caching_sha2_password"])
def test_mysqls_methods_by_a_verifier_alone(
    mysql97: MysqlPair, daemons: Factory, free_port: Any, tls: str, method: str
) -> None:
    """No password is stored: each client's own, shown by RSA, opens the servers, whose cache is empty at first."""
    source = mysql97.source
    source.query("DROP USER IF EXISTS methods@'%%'", ())
    source.query(f"CREATE USER methods@'%%' IDENTIFIED WITH {method} BY 'right'", ())
    config = mysql_config(mysql97, free_port)
    for server in config["servers"]:
        server["tls"] = tls
    config["users"] = [
        {"name": "methods", "verifiers": [sha2_verifier("right"), native_verifier("right")]},
        {"name": "app", "password": PASSWORD},
    ]
    config["users"][0]["methods"] = ["caching_sha2_password", "sha256_password"]
    daemon = daemons.start(config)
    for _ in range(2):
        client = daemon.connect("methods", password="right")
        assert value(client, "SELECT CONCAT(CURRENT_USER(), @@port)") == f"methods@%{source.port}"
        client.close()
    with pytest.raises(pymysql.OperationalError) as caught:
        daemon.connect("methods", password="wrong")
    assert caught.value.args[0] == 1045


def test_parsec_on_both_sides(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> None:
    """MariaDB 10.11 has no parsec: the server is another daemon, whose own side Node's driver has tried."""
    password = cluster.passwords["app"]
    trusted = proxy(
        users=[
            {
                "name": "app", "verifier": parsec_verifier(password), "methods": ["parsec"],
                "server_password": password,
            },
            {"name": "monitor", "password": cluster.passwords["monitor"]},
        ],
    )  # fmt: skip
    server = {"name": "trusted", "address": f"127.0.0.1:{trusted.port}", "role": "manager"}
    users = [{"name": "app", "password": password}, {"name": "bad", "password": "x", "server_user": "app"}]
    gatekeeper = proxy(servers=[server], users=users)
    eventually(lambda: gatekeeper.metrics().total("mysqlproxy_server_up") == 1)
    for _ in range(2):
        client = gatekeeper.connect()
        assert value(client, WHO) == "app@%"
        client.close()  # the next one gets the connection after a COM_CHANGE_USER
    with pytest.raises(pymysql.OperationalError) as caught:
        value(gatekeeper.connect("bad", password="x"), WHO)
    assert caught.value.args[0] == 1045
    gatekeeper.stop()


def test_a_clear_password_goes_over_tls_only(
    cluster: LocalCluster, proxy: Callable[..., Daemon], tmp_path: Path
) -> None:
    """A trusted host that takes mysql_clear_password, behind a gatekeeper daemon."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "127.0.0.1")
    key.chmod(0o600)
    password = cluster.passwords["app"]
    trusted = proxy(
        tls={"certificate": str(certificate), "key": str(key)},
        users=[
            {"name": "app", "password": password, "methods": ["mysql_clear_password"]},
            {"name": "monitor", "password": cluster.passwords["monitor"]},
        ],
    )
    server = {"name": "trusted", "address": f"127.0.0.1:{trusted.port}", "role": "manager"}
    for tls in ("required", "off"):
        gatekeeper = proxy(servers=[server | {"tls": tls}], users=[{"name": "app", "password": password}])
        eventually(lambda g=gatekeeper: g.metrics().total("mysqlproxy_server_up") == 1)  # type: ignore[misc]
        if tls == "required":
            assert value(gatekeeper.connect(), WHO) == "app@%"
        else:
            with pytest.raises(pymysql.OperationalError) as caught:
                value(gatekeeper.connect(), WHO)
            assert caught.value.args[0] == 1045
        gatekeeper.stop()
