"""Python's DB-API drivers through the daemon, in front of MariaDB and of MySQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymysql
import pymysql.cursors
import pytest
from pymysql.constants import CLIENT

from tests.clients import scenario
from tests.clients.scenario import Api
from tests.clients.site import BYTES, Site


def pymysql_api(site: Site) -> Api:
    def connect() -> Any:
        return pymysql.connect(
            **site.arguments(), autocommit=True, client_flag=CLIENT.MULTI_STATEMENTS, ssl_disabled=True
        )

    return Api(connect, thread_id=lambda connection: int(connection.thread_id()))


def mysqlclient_api(site: Site) -> Api:
    driver = pytest.importorskip("MySQLdb", reason="mysqlclient is not installed: it is built from source")

    def connect() -> Any:
        return driver.connect(**site.arguments(), autocommit=True, charset="utf8mb4", ssl_mode="DISABLED")

    return Api(connect, thread_id=lambda connection: int(connection.thread_id()))


def connector_api(site: Site, *, pure: bool, prepared: bool = False) -> Api:
    driver = pytest.importorskip("mysql.connector")
    if not pure and not driver.HAVE_CEXT:
        pytest.skip("this build of mysql-connector-python has no C extension")

    def connect() -> Any:
        return driver.connect(**site.arguments(), autocommit=True, use_pure=pure)

    def several(connection: Any, sql: str) -> list[Any]:
        return scenario.all_results(connection.cursor(), sql)

    return Api(
        connect,
        thread_id=lambda connection: int(connection.connection_id),
        sqlstate=lambda error: getattr(error, "sqlstate", None),
        cursor=lambda connection: connection.cursor(prepared=prepared),
        several=several,
    )


def connector_python_api(site: Site) -> Api:
    driver = pytest.importorskip("mariadb", reason="MariaDB Connector/Python is not installed")

    def connect() -> Any:
        return driver.connect(**site.arguments(), autocommit=True, client_flag=CLIENT.MULTI_STATEMENTS)

    return Api(
        connect,
        thread_id=lambda connection: int(connection.connection_id),
        sqlstate=lambda error: getattr(error, "sqlstate", None),
        mark="?",
    )


# Prepared statements of the C extension are left out: with a NULL among the values it dies of its own, proxy or not.
NO_SQLSTATE = {"duplicate": [1062, None], "syntax": [1064, None]}
DRIVERS: dict[str, tuple[Callable[[Site], Api], dict[str, Any]]] = {
    "PyMySQL": (pymysql_api, NO_SQLSTATE),
    "mysqlclient": (mysqlclient_api, NO_SQLSTATE),
    "mysql-connector-python, C": (lambda site: connector_api(site, pure=False), {}),
    "mysql-connector-python, pure": (lambda site: connector_api(site, pure=True), {}),
    "mysql-connector-python, pure, prepared": (lambda s: connector_api(s, pure=True, prepared=True), {}),
    "MariaDB Connector/Python": (connector_python_api, {}),
}


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_python_driver_works_as_on_the_servers_themselves(site: Site, driver: str) -> None:
    make, changes = DRIVERS[driver]
    facts = scenario.run(make(site))
    scenario.check(site, facts, scenario.expected(found_rows=False, **changes))


def test_rows_are_read_a_few_at_a_time(site: Site) -> None:
    """A cursor on the server (COM_STMT_FETCH), with other statements in between; an unbuffered result, left early."""
    driver = pytest.importorskip("mariadb", reason="MariaDB Connector/Python is not installed")
    with site.daemon.connect(database="app") as connection:
        rows = [(f"row {number:05d}",) for number in range(5000)]
        connection.cursor().executemany("INSERT INTO things (name) VALUES (%s)", rows)
        unbuffered = connection.cursor(pymysql.cursors.SSCursor)
        unbuffered.execute("SELECT name AS plain FROM things ORDER BY name")
        assert unbuffered.fetchmany(3) == rows[:3]
        unbuffered.close()

    site.wait_in_sync()  # another session reads
    with driver.connect(**site.arguments(), autocommit=True) as connection:
        cursor = connection.cursor(cursor_type=driver.constants.CURSOR.READ_ONLY, prefetch_size=7)
        cursor.execute("SELECT name AS plain FROM things WHERE id > ? ORDER BY name", (0,))
        other = connection.cursor()
        for number, row in enumerate(cursor):
            assert row == rows[number]
            if number % 1000 == 0:
                other.execute("SELECT ? + 1", (number,))
                assert other.fetchall() == [(number + 1,)]
        assert number == len(rows) - 1
        other.close()
        cursor.close()


def test_many_values_are_one_command_to_mariadb(mariadb_site: Site) -> None:
    """COM_STMT_BULK_EXECUTE."""
    driver = pytest.importorskip("mariadb", reason="MariaDB Connector/Python is not installed")
    with driver.connect(**mariadb_site.arguments(), autocommit=True) as connection:
        cursor = connection.cursor()
        rows = [(f"row {number}", None if number % 2 else BYTES) for number in range(2000)]
        cursor.executemany("INSERT INTO things (name, bytes) VALUES (?, ?)", rows)
        assert cursor.rowcount == 2000
        cursor.execute("SELECT COUNT(*) AS plain, COUNT(bytes) FROM things")
        assert cursor.fetchall() == [(2000, 1000)]
        cursor.close()
    manager, workers = mariadb_site.served("INSERT INTO things")
    assert (manager < 10, workers) == (True, 0)


def test_a_prepared_kill_hits_the_client_that_it_names(site: Site) -> None:
    driver = pytest.importorskip("mysql.connector")
    arguments = {**site.arguments(), "autocommit": True, "use_pure": True}
    with driver.connect(**arguments) as victim, driver.connect(**arguments) as connection:
        cursor = connection.cursor(prepared=True)
        cursor.execute(f"KILL {victim.connection_id}")
        assert not victim.is_connected()
        with pytest.raises(driver.Error, match="1094"):
            cursor.execute(f"KILL {victim.connection_id}")
        cursor.close()
