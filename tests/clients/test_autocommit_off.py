"""Drivers as they come, with autocommit off: what ``autocommit_reads = "offload"`` sends to workers.

Reads before a transaction's first write, and the drivers notice nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy

from mysqlproxy.protocol.capabilities import DEPRECATE_EOF
from tests.clients.site import OFFLOAD, Site
from tests.support.raw import PING, RawClient, proxied

COMMITTED = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
READ = "SELECT id AS offloaded FROM fixed"


def _pymysql(site: Site) -> Any:
    return importlib.import_module("pymysql").connect(**site.arguments() | {"user": OFFLOAD})


def _mysqldb(site: Site) -> Any:
    return pytest.importorskip("MySQLdb").connect(**site.arguments() | {"user": OFFLOAD})


def _mysqlconnector(site: Site) -> Any:
    connector = pytest.importorskip("mysql.connector")
    return connector.connect(**site.arguments() | {"user": OFFLOAD}, use_pure=True)


@pytest.mark.parametrize("connect", [_pymysql, _mysqldb, _mysqlconnector])
def test_reads_before_the_first_write_go_to_workers(site: Site, connect: Callable[[Site], Any]) -> None:
    connection = connect(site)
    cursor = connection.cursor()

    def ask(sql: str) -> list[Any]:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]

    cursor.execute(COMMITTED)
    for number in range(3):
        assert ask(READ) == ask(READ) == [1]
        if hasattr(connection, "in_transaction"):
            assert connection.in_transaction  # of mysql.connector: the flag of the last answer
        cursor.execute(f"INSERT INTO things (name) VALUES ('{number}')")
        assert ask("SELECT COUNT(*) AS in_transaction FROM things") == [number + 1]
        connection.commit()
        if hasattr(connection, "in_transaction"):
            assert not connection.in_transaction
        assert ask("SELECT COUNT(*) AS own FROM things") == [number + 1]
        connection.rollback()
    connection.close()
    assert site.served("offloaded") == (0, 6)
    assert site.served("in_transaction") == (3, 0)
    assert site.served("INSERT") == (3, 0)


def test_sqlalchemy_at_read_committed(site: Site) -> None:
    url = sqlalchemy.URL.create("mysql+pymysql", **site.arguments(user="username") | {"username": OFFLOAD})
    engine = sqlalchemy.create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True)
    for number in range(3):
        with engine.begin() as connection:
            assert connection.scalar(sqlalchemy.text(READ)) == 1
            connection.execute(
                sqlalchemy.text("INSERT INTO things (name) VALUES (:name)"), {"name": str(number)}
            )
            assert (
                connection.scalar(sqlalchemy.text("SELECT COUNT(*) AS in_transaction FROM things"))
                == number + 1
            )
    engine.dispose()
    assert site.served("offloaded") == (0, 3)
    assert site.served("in_transaction") == (3, 0)


SCRIPT = (
    COMMITTED, "SET autocommit = 0", "SELECT 1", READ, "SELECT DATABASE()", READ, "COMMIT", READ, "SAVEPOINT s", READ,
    "ROLLBACK", "BEGIN", READ, "SELECT 1", "UPDATE fixed SET id = id", READ, "COMMIT", "START TRANSACTION READ ONLY",
    READ, "DELETE FROM fixed", READ, "ROLLBACK", "SET autocommit = 1", READ,
)  # fmt: skip


@pytest.mark.parametrize("capabilities", [0, DEPRECATE_EOF], ids=["EOF", "OK"])
def test_answers_are_the_managers_to_the_byte(site: Site, capabilities: int) -> None:
    def play(client: RawClient) -> list[Any]:
        told = []
        with client:
            for sql in SCRIPT:
                answer = client.query(sql)
                flags = None if answer.err else client.command(PING).packets
                told.append((sql, answer.packets, flags))
        return told

    site.manager.connect().close()  # the server has seen this account: a login by its cache
    address = ("127.0.0.1", site.manager.port)
    expected = play(RawClient(address, "app", site.password, schema="app", capabilities=capabilities))
    assert play(proxied(site.daemon, OFFLOAD, schema="app", capabilities=capabilities)) == expected
    assert site.served("offloaded")[1] >= 4
