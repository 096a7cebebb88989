"""Pools of drivers through the daemon: what they do between two users of a connection leaves nothing behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clients.programs import run_program
from tests.clients.site import TEXT, Site


def test_mysql_connector_python_s_pool_resets_its_connections(site: Site) -> None:
    pooling = pytest.importorskip("mysql.connector.pooling")
    pool = pooling.MySQLConnectionPool(
        pool_name=f"pool{site.port}", pool_size=1, **site.arguments(), autocommit=True, use_pure=True
    )
    connection = pool.get_connection()
    number = connection.connection_id
    cursor = connection.cursor()
    cursor.execute("SET @left = 5, time_zone = '+05:00'")
    cursor.execute("CREATE TEMPORARY TABLE left_behind (a INT)")
    connection.start_transaction()
    cursor.execute("INSERT INTO things (name) VALUES ('left')")
    cursor.close()
    connection.close()  # gives it back: COM_RESET_CONNECTION

    connection = pool.get_connection()
    cursor = connection.cursor()
    cursor.execute("SELECT @left, @@time_zone, CONNECTION_ID(), DATABASE()")
    assert cursor.fetchall() == [(None, "SYSTEM", number, "app")]
    with pytest.raises(Exception, match="doesn't exist"):
        cursor.execute("SELECT * FROM left_behind")
    cursor.execute("SELECT COUNT(*) AS plain FROM things")
    assert cursor.fetchall() == [(0,)]
    assert site.served("FROM things") == (0, 1), "a reset session's reads go to workers again"

    connection.cmd_change_user(username=site.user, password=site.password, database="information_schema")
    cursor = connection.cursor()
    cursor.execute("SELECT DATABASE()")
    assert cursor.fetchall() == [("information_schema",)]
    cursor.close()
    connection.close()
    pool._remove_connections()


@pytest.mark.parametrize("driver", ["aiomysql", "asyncmy"])
async def test_an_asynchronous_pool_serves_many_at_once(site: Site, driver: str) -> None:
    module: Any = pytest.importorskip(driver, reason=f"{driver} is not installed")
    arguments = site.arguments(database="db")
    async with module.create_pool(**arguments, autocommit=True, maxsize=4, charset="utf8mb4") as pool:

        async def customer(number: int) -> None:
            async with pool.acquire() as connection, connection.cursor() as cursor:
                await cursor.execute("INSERT INTO things (name) VALUES (%s)", (f"{number} {TEXT}",))
                await cursor.execute("SELECT name AS plain FROM things WHERE id = %s", (cursor.lastrowid,))
                assert await cursor.fetchall() == ((f"{number} {TEXT}",),)
                await connection.begin()
                await cursor.execute(
                    "SELECT name AS in_transaction FROM things WHERE name = %s", (f"{number} {TEXT}",)
                )
                assert len(await cursor.fetchall()) == 1
                await (connection.rollback() if number % 2 else connection.commit())

        await asyncio.gather(*(customer(number) for number in range(20)))
    site.assert_routed()


@pytest.mark.parametrize("program", ["node_pool_mariadb.mjs", "node_pool_mysql2.mjs"])
def test_a_pool_of_node_streams_batches_and_resets(site: Site, program: str) -> None:
    facts = run_program(program, site)
    assert facts == {
        "pipelined": [1, 2, 3, 4, 5],
        "batch": 3000,
        "streamed": 3000,
        "after_reset": None,
        "rolled_back": 3000,
        "parallel": 50,
    }
    site.assert_routed()
    if site.kind == "mariadb":
        manager, _ = site.served("INSERT INTO things")
        assert manager < 10, "3000 rows are one command"
