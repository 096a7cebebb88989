"""The reader of the catalog on real servers: what it sees with which rights, and when it looks again."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pymysql
import pytest

from mysqlproxy.cluster import catalog_reader
from mysqlproxy.cluster.catalog_reader import CatalogReader, Source
from mysqlproxy.cluster.pymysql_adapter import LimitedConnection
from mysqlproxy.config.schema import Server
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.sql.catalog import Catalog, What
from tests.support.mysql import MysqlPair

PATIENCE = 20.0  # seconds


class Reading:
    """A running reader and all catalogs that it gave."""

    def __init__(self, interval: float) -> None:
        self.seen: list[Catalog] = []
        self.news = asyncio.Event()
        self.reader = CatalogReader(interval, self._see)

    def _see(self, catalog: Catalog) -> None:
        self.seen.append(catalog)
        self.news.set()

    async def until(self, condition: Callable[[Catalog], object]) -> Catalog:
        async with asyncio.timeout(PATIENCE):
            while not condition(self.reader.catalog):
                self.news.clear()
                await self.news.wait()
        return self.reader.catalog


@asynccontextmanager
async def reading(server: Any, mariadb: bool, password: str, interval: float = 0.1) -> AsyncIterator[Reading]:
    found = Reading(interval)
    found.reader.start()
    config = Server(name=server.name, address=server.address, role="manager")
    found.reader.follow(Source(config, mariadb, 1, "m", password))
    try:
        yield found
    finally:
        await found.reader.stop()


@pytest.fixture(params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> Any:
    """A server with a table, a view, a function, and the account ``m`` without rights."""
    if request.param == "mariadb":
        cluster: LocalCluster = request.getfixturevalue("cluster")
        found: Any = cluster.manager
    else:
        pair: MysqlPair = request.getfixturevalue("mysql97")
        found = pair.source
    for sql in (
        "CREATE USER m@'127.0.0.1' IDENTIFIED BY 'p'",
        "CREATE TABLE app.t (a INT)",
        "CREATE VIEW app.v AS SELECT a FROM app.t",
        "CREATE FUNCTION app.f() RETURNS INT NO SQL RETURN 1",
    ):
        found.query(sql)
    found.is_mariadb = request.param == "mariadb"
    return found


@pytest.mark.parametrize(
    ("rights", "available", "view", "function"),
    [
        ("USAGE", False, False, False),
        ("SHOW VIEW", True, False, False),
        ("SELECT", True, False, True),
        ("SELECT, SHOW VIEW", True, True, True),
        ("SELECT, SHOW VIEW, TRIGGER", True, True, True),
    ],
)
async def test_what_is_seen_with_which_rights(
    server: Any, rights: str, available: bool, view: bool, function: bool
) -> None:
    server.query("CREATE TRIGGER app.tr BEFORE INSERT ON app.t FOR EACH ROW SET NEW.a = NEW.a + 1")
    server.query(f"GRANT {rights} ON *.* TO m@'127.0.0.1'")
    async with reading(server, server.is_mariadb, "p") as read:
        catalog = await read.until(lambda catalog: catalog.generation)
    assert catalog.available is available
    relation = catalog.relation("app", "v")
    assert (relation is not None) is available
    if relation is not None:
        assert relation.what is What.VIEW
        assert (relation.body is not None) is view
    assert (catalog.function("app", "f", qualified=False) is not None) is function
    triggers = catalog.triggers_of(("app", "t")) if catalog.may_fire("app", "t") is not None else None
    assert (triggers is not None) is ("TRIGGER" in rights)
    if triggers is not None:
        assert [trigger.body for trigger in triggers] == ["SET NEW.a = NEW.a + 1"]
        assert catalog.triggers_of(("app", "v")) == ()


async def test_a_definition_is_noticed_and_a_write_is_none(server: Any) -> None:
    server.query("GRANT SELECT, SHOW VIEW ON *.* TO m@'127.0.0.1'")
    async with reading(server, server.is_mariadb, "p") as read:
        await read.until(lambda catalog: catalog.relation("app", "v"))
        server.query("INSERT INTO app.t VALUES (1)")
        server.query("CREATE TABLE app.later (a INT)")
        await read.until(lambda catalog: catalog.relation("app", "later"))
        server.query("DROP VIEW app.v")
        last = await read.until(lambda catalog: catalog.relation("app", "v") is None)
    assert [catalog.generation for catalog in read.seen] == sorted({c.generation for c in read.seen})
    assert len(read.seen) == 3
    assert last.relation("app", "t") is not None


async def test_a_table_whose_columns_depend_on_the_connection_is_no_plain_one(server: Any) -> None:
    server.query("GRANT SELECT, SHOW VIEW ON *.* TO m@'127.0.0.1'")
    expressions = {"xpath": "EXTRACTVALUE('<a/>', '//b[$@i]')"}
    if server.is_mariadb:
        expressions |= {"variable": "@x + 1", "server": "CONCAT(a, @@hostname)", "who": "USER()"}
    for name, expression in expressions.items():
        server.query(f"CREATE TABLE app.{name} (a INT, b VARCHAR(99) AS ({expression}) VIRTUAL)")
    server.query("CREATE TABLE app.mail (a INT, b VARCHAR(99) AS (SUBSTRING_INDEX(a, '@', 1)) VIRTUAL)")
    async with reading(server, server.is_mariadb, "p") as read:
        catalog = await read.until(lambda catalog: catalog.generation)
        assert {name for name in expressions if catalog.relations["app", name].what is What.OTHER} == {
            *expressions
        }
        assert catalog.relations["app", "mail"].what is What.TABLE
        server.query("ALTER TABLE app.t ADD b VARCHAR(99) AS (EXTRACTVALUE('<a/>', '//b[$@i]')) VIRTUAL")
        await read.until(lambda catalog: catalog.relations["app", "t"].what is What.OTHER)


async def test_a_doubt_lasts_until_a_reading_that_began_after_it(server: Any) -> None:
    server.query("GRANT SELECT, SHOW VIEW ON *.* TO m@'127.0.0.1'")
    async with reading(server, server.is_mariadb, "p", interval=60.0) as read:
        first = await read.until(lambda catalog: catalog.relation("app", "v"))
        server.query("DROP VIEW app.v")
        read.reader.doubt(frozenset({"v"}))
        doubtful = read.reader.catalog
        assert doubtful.generation > first.generation
        assert doubtful.relation("app", "v") is not None
        assert doubtful.relation("app", "v").what is What.DOUBTFUL  # type: ignore[union-attr]
        # A reading that began before cannot know.
        read.reader._take(0, first)
        assert read.reader.catalog.relation("app", "v").what is What.DOUBTFUL  # type: ignore[union-attr]
        await read.until(lambda catalog: catalog.relation("app", "v") is None)
        read.reader.doubt(None)
        assert read.reader.catalog.all_doubtful
        await read.until(lambda catalog: not catalog.all_doubtful)
        assert read.reader.catalog.relation("app", "t") is not None


async def test_a_doubt_about_nothing_that_changed_brings_the_same_catalog_back(server: Any) -> None:
    server.query("GRANT SELECT, SHOW VIEW ON *.* TO m@'127.0.0.1'")
    async with reading(server, server.is_mariadb, "p", interval=60.0) as read:
        first = await read.until(lambda catalog: catalog.available)
        read.reader.doubt(frozenset({"t"}))
        assert await read.until(lambda catalog: not catalog.doubtful) is first


async def test_a_server_that_goes_and_comes_back_is_read_again(cluster: LocalCluster) -> None:
    manager = cluster.manager
    manager.query("CREATE TABLE app.t (a INT)")
    found = Reading(0.1)
    found.reader.start()
    config = Server(name="manager", address=manager.address, role="manager")
    password = cluster.passwords["monitor"]
    found.reader.follow(Source(config, True, 1, "monitor", password))
    try:
        await found.until(lambda catalog: catalog.relation("app", "t"))
        await asyncio.to_thread(manager.terminate)
        await asyncio.to_thread(manager.start)
        manager.query("CREATE TABLE app.after_the_restart (a INT)")
        await found.until(lambda catalog: catalog.relation("app", "after_the_restart"))
    finally:
        await found.reader.stop()


def test_a_reading_that_is_cut_off_leaves_nothing_to_complain_about(cluster: LocalCluster) -> None:
    """PyMySQL reads an unbuffered result to its end wherever that is collected; an error there goes to the log."""
    server = Server(name="manager", address=cluster.manager.address, role="manager")
    connection = LimitedConnection(server, "monitor", cluster.passwords["monitor"], 10.0)
    connection.login()
    cursor = connection.cursor(pymysql.cursors.SSCursor)
    cursor.execute("SELECT REPEAT('x', 100000) FROM information_schema.COLUMNS LIMIT 1000")
    assert cursor.fetchone() is not None
    connection.abort()
    with pytest.raises(pymysql.MySQLError):
        cursor.fetchall()
    complaints: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, complaints.append
    try:
        del cursor
        connection.close()
        del connection
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert not complaints


async def test_a_table_that_is_gone_just_while_it_is_read_is_found(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after, everything looks the same."""
    server.query("GRANT ALL ON *.* TO m@'127.0.0.1'")
    original, gone = catalog_reader.read, []

    def read(connection: LimitedConnection, generation: int) -> Catalog:
        if gone:
            return original(connection, generation)
        server.query("DROP TABLE app.t")
        gone.append(original(connection, generation))
        server.query("CREATE TABLE app.t (a INT)")
        return gone[0]

    monkeypatch.setattr(catalog_reader, "read", read)
    async with reading(server, server.is_mariadb, "p") as found:
        await found.until(lambda catalog: catalog.available and catalog.relation("app", "t") is not None)
    assert gone[0].relation("app", "t") is None
