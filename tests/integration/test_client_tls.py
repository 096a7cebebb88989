"""Clients with TLS on the whole daemon: what they see of its certificate, and that it can be required."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.gatekeeper.secrets import native_verifier
from tests.support.certificates import Authority
from tests.support.mysql import find_mysql

Start = Callable[..., Daemon]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def sections(authority: Authority, *, required: bool) -> dict[str, Any]:
    certificate, key = authority.issue("server", "localhost")
    key.chmod(0o600)
    return {"tls": {"certificate": str(certificate), "key": str(key), "required": required}}


def port_of(daemon: Daemon) -> int:
    address: str = daemon.config["listen"]["mysql"][0]
    return int(address.rpartition(":")[2])


def connect(daemon: Daemon, **options: Any) -> pymysql.Connection[Any]:
    user = daemon.config["users"][0]
    return pymysql.connect(
        host="localhost", port=port_of(daemon), user=user["name"], password=user["password"], **options
    )


def test_the_servers_name_and_ca_are_verified(proxy: Start, authority: Authority) -> None:
    daemon = proxy(**sections(authority, required=False))
    verified = {"ssl_ca": str(authority.ca), "ssl_verify_cert": True, "ssl_verify_identity": True}
    with connect(daemon, **verified) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT REPEAT('x', 3000000)")
        assert len(cursor.fetchall()[0][0]) == 3_000_000
    with connect(daemon, ssl_disabled=True) as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1") == 1


def test_tls_can_be_required(proxy: Start, authority: Authority) -> None:
    daemon = proxy(**sections(authority, required=True))
    with pytest.raises(pymysql.err.OperationalError, match="insecure transport"):
        connect(daemon, ssl_disabled=True)
    with connect(daemon, ssl_ca=str(authority.ca), ssl_verify_cert=True) as connection:
        connection.ping()


@pytest.mark.parametrize(("host", "status"), [("localhost", 0), ("127.0.0.1", 1)])
def test_mysql_9_verifies_the_identity(proxy: Start, authority: Authority, host: str, status: int) -> None:
    daemon = proxy(**sections(authority, required=True))
    user = daemon.config["users"][0]
    done = subprocess.run(
        [
            str(find_mysql() / "bin/mysql"), "--no-defaults", f"--host={host}", f"--port={port_of(daemon)}",
            "--protocol=tcp", f"--user={user['name']}", "--ssl-mode=VERIFY_IDENTITY",
            f"--ssl-ca={authority.ca}", "-Ne", "select 40 + 2",
        ],
        env={**os.environ, "MYSQL_PWD": user["password"]}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert done.stdout.strip() == ("42" if status == 0 else "")
    assert status == 0 or "SSL connection error" in done.stderr


def test_a_verifier_is_enough_when_the_client_shows_the_rest(proxy: Start, authority: Authority) -> None:
    """mysql_native_password proves SHA1(password), which is all that the login to a MariaDB server needs."""
    given = sections(authority, required=True)
    daemon = proxy(**given)
    user = dict(daemon.config["users"][0])
    password = user.pop("password")
    by_verifier = proxy(**given, users=[{**user, "verifier": native_verifier(password)}])
    with pymysql.connect(
        host="localhost", port=port_of(by_verifier), user=user["name"], password=password,
        ssl_ca=str(authority.ca), ssl_verify_cert=True,
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchall()[0][0].startswith(f"{user['name']}@")
