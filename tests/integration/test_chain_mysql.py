"""The chain in front of MySQL 9.7: what goes through it as through one daemon."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support.chain import ChainOfDaemons, standing_chain
from tests.support.mysql import MysqlPair
from tests.support.raw import RESET_CONNECTION, proxied
from tests.support.sessions import ask, errno, value
from tests.support.waiting import eventually


@pytest.fixture
def chain(mysql97: MysqlPair) -> Iterator[ChainOfDaemons]:
    mysql97.source.query("SET GLOBAL local_infile = 1")
    try:
        with standing_chain(mysql97, proxy={"routing": {"consistency_wait": 10.0}}) as chain:
            yield chain
    finally:
        mysql97.source.query("SET GLOBAL local_infile = DEFAULT")


def test_everything_goes_through(mysql97: MysqlPair, chain: ChainOfDaemons, tmp_path: Path) -> None:
    mysql97.source.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, a LONGTEXT)")
    mysql97.wait_in_sync()
    connection: Any = chain.gatekeeper.connect(database="app", local_infile=True)
    assert value(connection, "SELECT CURRENT_USER()") == "app@%"
    assert value(connection, "SELECT CONNECTION_ID()") == connection.thread_id()

    # A session reads its own writes, at the replica.
    def by_the_replica() -> float:
        return chain.proxy.metrics().total("mysqlproxy_statements_total", server="replica", kind="read")

    def write_and_read() -> bool:
        before = by_the_replica()
        ask(connection, "INSERT INTO t (a) VALUES ('x')")
        assert value(connection, "SELECT COUNT(*) FROM t") == value(connection, "SELECT MAX(id) FROM t")
        return by_the_replica() > before

    eventually(write_and_read, what="the replica reads")

    large = "x" * ((1 << 24) + 1000)
    ask(connection, f"REPLACE INTO t VALUES (1, '{large}')")
    assert value(connection, "SELECT a FROM t WHERE id = 1") == large

    file = tmp_path / "lines"
    file.write_text("".join(f"{number}\n" for number in range(10_000)))
    ask(connection, "DELETE FROM t")
    ask(connection, "LOAD DATA LOCAL INFILE %s INTO TABLE t (a)", (str(file),))
    assert mysql97.source.value("SELECT COUNT(*) FROM app.t") == 10_000

    with proxied(chain.gatekeeper, schema="app") as raw:
        insert = raw.prepare("INSERT INTO t (a) VALUES (?)")
        raw.long_data(insert.id, 0, b"y" * 100_000)
        assert raw.execute(insert.id, [b""]).ok.affected_rows == 1
        select = raw.prepare("SELECT id FROM t ORDER BY id")
        raw.execute(select.id, cursor=True)
        assert len(raw.fetch(select.id, 20).rows) == 20
        raw.query("SET @a = 5")
        raw.command(RESET_CONNECTION)
        assert raw.query("SELECT @a").value is None

    ended: list[BaseException] = []

    def sleep() -> None:
        try:
            ask(connection, "SELECT SLEEP(60) FROM t")
        except pymysql.MySQLError as error:
            ended.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    with chain.gatekeeper.connect() as other:
        eventually(lambda: chain.proxy.metrics().total("mysqlproxy_server_connections", state="used"))
        ask(other, f"KILL QUERY {connection.thread_id()}")
        thread.join(20)
    assert [errno(error) for error in ended] == [1317]
    assert value(connection, "SELECT 7") == 7
