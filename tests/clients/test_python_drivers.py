"""Python's DB-API drivers through the daemon, in front of MariaDB and of MySQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from tests.clients import scenario
from tests.clients.scenario import Api
from tests.clients.site import Site


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
