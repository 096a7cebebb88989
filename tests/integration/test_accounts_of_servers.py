"""[accounts] from = "servers": who the servers know, the daemon knows, with no password written anywhere else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import Factory
from tests.integration.test_listeners_and_greeting import mysql_config
from tests.support.mysql import MysqlPair, find_mysql
from tests.support.waiting import eventually

FROM_SERVERS = {
    "accounts": {"from": "servers", "interval": 0.1},
    "users": [],
    "limits": {"max_login_failures": 0},
}


def outcome(daemon: Daemon, user: str, password: str) -> int | str:
    """Who the server says it is, or the error's number."""
    try:
        with pymysql.connect(
            host="127.0.0.1", port=daemon.port, user=user, password=password, ssl_disabled=True
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            cursor.execute("SELECT CURRENT_USER()")
            return str(cursor.fetchall()[0][0])
    except pymysql.MySQLError as error:
        return int(error.args[0])


def comes_to(daemon: Daemon, user: str, password: str, wanted: int | str) -> None:
    eventually(lambda: outcome(daemon, user, password) == wanted, what=f"{user} comes to {wanted}")


def test_accounts_of_mariadb_are_kept_current(cluster: LocalCluster, proxy: Callable[..., Daemon]) -> None:
    daemon = proxy(**FROM_SERVERS)
    ask = cluster.manager.query
    assert outcome(daemon, "app", cluster.passwords["app"]) == "app@%"
    assert outcome(daemon, "app", "wrong") == outcome(daemon, "kept", "one") == 1045
    ask("CREATE USER kept@'%' IDENTIFIED BY 'one'")
    comes_to(daemon, "kept", "one", "kept@%")
    ask("ALTER USER kept@'%' IDENTIFIED BY 'two'")
    comes_to(daemon, "kept", "two", "kept@%")
    assert outcome(daemon, "kept", "one") == 1045
    # MySQL 9's client has no mysql_native_password: it shows the password by RSA.
    done = subprocess.run(
        [
            find_mysql() / "bin/mysql", "--no-defaults", "--host=127.0.0.1", f"--port={daemon.port}", "--user=kept",
            "--ssl-mode=DISABLED", "--get-server-public-key", "-Ne", "SELECT CURRENT_USER()",
        ],
        env={**os.environ, "MYSQL_PWD": "two"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "kept@%", done.stderr
    ask("ALTER USER kept@'%' ACCOUNT LOCK")
    comes_to(daemon, "kept", "two", 4151)
    assert outcome(daemon, "kept", "wrong") == 1045
    ask("ALTER USER kept@'%' ACCOUNT UNLOCK")
    comes_to(daemon, "kept", "two", "kept@%")
    ask("RENAME USER kept@'%' TO kept@'10.1.%'")
    comes_to(daemon, "kept", "two", 1045)
    ask("CREATE USER kept@'127.0.0.%' IDENTIFIED BY 'three'")
    comes_to(daemon, "kept", "three", "kept@127.0.0.%")
    ask("DROP USER kept@'10.1.%', kept@'127.0.0.%'")
    comes_to(daemon, "kept", "three", 1045)


def test_the_configurations_own_account_comes_first(
    cluster: LocalCluster, proxy: Callable[..., Daemon]
) -> None:
    own = {"name": "app", "password": "ours", "server_password": cluster.passwords["app"]}
    daemon = proxy(accounts=FROM_SERVERS["accounts"], users=[own])
    assert outcome(daemon, "app", "ours") == "app@%"
    assert outcome(daemon, "app", cluster.passwords["app"]) == 1045


def test_while_the_accounts_cannot_be_read_those_of_the_configuration_do(
    cluster: LocalCluster, proxy: Callable[..., Daemon]
) -> None:
    ask = cluster.manager.query
    ask("CREATE USER blind@'%' IDENTIFIED BY 'blind'")
    ask("GRANT REPLICA MONITOR ON *.* TO blind@'%'")
    cluster.wait_in_sync()
    daemon = proxy(accounts=FROM_SERVERS["accounts"], monitor={"user": "blind", "password": "blind"})
    assert outcome(daemon, "app", cluster.passwords["app"]) == "app@%"
    assert "the accounts of manager could not be read" in daemon.log()


@pytest.mark.parametrize("method", ["caching_sha2_password", "sha256_password"])
def test_accounts_of_mysql_are_kept_current(
    mysql97: MysqlPair, daemons: Factory, free_port: Any, method: str
) -> None:
    config = mysql_config(mysql97, free_port) | FROM_SERVERS
    daemon = daemons.start(config)

    def ask(sql: str) -> None:
        mysql97.source.query(sql.replace("%", "%%"), ())

    ask("DROP USER IF EXISTS kept@'%'")
    ask(f"CREATE USER kept@'%' IDENTIFIED WITH {method} BY 'one'")
    comes_to(daemon, "kept", "one", "kept@%")
    assert (
        outcome(daemon, "kept", "one") == "kept@%"
    )  # now the digest is known, and the password is asked for still
    assert outcome(daemon, "kept", "wrong") == outcome(daemon, "nobody", "wrong") == 1045
    ask("ALTER USER kept@'%' IDENTIFIED BY 'two' RETAIN CURRENT PASSWORD")
    comes_to(daemon, "kept", "two", "kept@%")
    assert outcome(daemon, "kept", "one") == "kept@%"
    ask("ALTER USER kept@'%' DISCARD OLD PASSWORD")
    comes_to(daemon, "kept", "one", 1045)
    ask("ALTER USER kept@'%' ACCOUNT LOCK")
    comes_to(daemon, "kept", "two", 3118)
    ask("ALTER USER kept@'%' ACCOUNT UNLOCK PASSWORD EXPIRE")
    comes_to(daemon, "kept", "two", 1862)
    ask("DROP USER kept@'%'")
    comes_to(daemon, "kept", "two", 1045)
