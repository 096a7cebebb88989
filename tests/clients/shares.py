"""``python -m tests.clients.shares``: which share of an application's reads workers get, by client and setting.

The application is the same for all: of ten requests eight read three rows, and two read two, change one and read it
again; each request is a transaction, except in autocommit. Prints the table of docs/configuration.md.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import django
import pymysql
import sqlalchemy
from django.conf import settings
from django.db import connections, transaction

from mysqlproxy.config.schema import AutocommitReads
from mysqlproxy.demo.daemon import Daemon, cluster_config
from mysqlproxy.demo.local import LocalCluster, free_port
from tests.support.waiting import eventually

ROUNDS = 20
READ, WRITE = "SELECT a FROM t WHERE id = 1", "UPDATE t SET a = a + 1 WHERE id = 1"
SETTINGS = [setting.value for setting in AutocommitReads]

Execute = Callable[[str], None]
Transactions = Callable[[], AbstractContextManager[Execute]]


def requests(transactions: Transactions) -> None:
    """The application."""
    for number in range(10 * ROUNDS):
        with transactions() as execute:
            for sql in (READ, READ, WRITE, READ) if number % 5 == 0 else (READ, READ, READ):
                execute(sql)


@contextmanager
def with_pymysql(account: dict[str, Any], isolation: str, autocommit: bool) -> Iterator[Transactions]:
    with closing(pymysql.connect(**account, autocommit=autocommit)) as connection:
        if isolation:
            connection.cursor().execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")

        @contextmanager
        def one() -> Iterator[Execute]:
            cursor = connection.cursor()

            def execute(sql: str) -> None:
                cursor.execute(sql)
                cursor.fetchall()

            yield execute
            connection.commit()

        yield one


@contextmanager
def with_sqlalchemy(account: dict[str, Any], isolation: str) -> Iterator[Transactions]:
    names = {"user": "username"}
    url = sqlalchemy.URL.create(
        "mysql+pymysql", **{names.get(name, name): value for name, value in account.items()}
    )
    engine = sqlalchemy.create_engine(url, **({"isolation_level": isolation} if isolation else {}))

    @contextmanager
    def one() -> Iterator[Execute]:
        with engine.begin() as connection:
            yield lambda sql: connection.execute(sqlalchemy.text(sql)) and None

    try:
        yield one
    finally:
        engine.dispose()


@contextmanager
def with_django(account: dict[str, Any], atomic: bool) -> Iterator[Transactions]:
    named = {name.upper(): value for name, value in account.items() if name != "database"}
    connections.databases["default"].update(named | {"NAME": account["database"]})
    connection = connections["default"]
    connection.close()

    @contextmanager
    def one() -> Iterator[Execute]:
        with connection.cursor() as cursor:

            def execute(sql: str) -> None:
                cursor.execute(sql)
                if sql == READ:
                    cursor.fetchall()

            if atomic:
                with transaction.atomic():
                    yield execute
            else:
                yield execute

    yield one
    connection.close()


CLIENTS: dict[str, Callable[[dict[str, Any]], AbstractContextManager[Transactions]]] = {
    "PyMySQL": lambda account: with_pymysql(account, "", False),
    "PyMySQL, READ COMMITTED": lambda account: with_pymysql(account, "READ COMMITTED", False),
    "PyMySQL, autocommit=True": lambda account: with_pymysql(account, "", True),
    "SQLAlchemy": lambda account: with_sqlalchemy(account, ""),
    'SQLAlchemy, isolation_level="READ COMMITTED"': lambda account: with_sqlalchemy(
        account, "READ COMMITTED"
    ),
    'SQLAlchemy, isolation_level="AUTOCOMMIT"': lambda account: with_sqlalchemy(account, "AUTOCOMMIT"),
    "Django": lambda account: with_django(account, False),
    "Django, ATOMIC_REQUESTS": lambda account: with_django(account, True),
}


def share(daemon: Daemon, work: Callable[[], None]) -> float:
    """Percent of the reads that workers answered."""
    before = _reads(daemon)
    work()
    workers, manager = (after - was for after, was in zip(_reads(daemon), before, strict=True))
    return 100 * workers / (workers + manager)


def _reads(daemon: Daemon) -> tuple[float, float]:
    metrics = daemon.metrics()
    workers = [server["name"] for server in daemon.config["servers"] if server["role"] == "worker"]
    name = "mysqlproxy_statements_total"
    return sum(metrics.total(name, server=worker, kind="read") for worker in workers), metrics.total(
        "mysqlproxy_reads_on_manager_total"
    )


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="mysqlproxy-shares-") as name,
        LocalCluster(Path(name) / "c") as cluster,
    ):
        cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY, a INT)")
        cluster.manager.query("INSERT INTO app.t VALUES (1, 1)")
        cluster.wait_in_sync()
        port = free_port({server.port for server in cluster.servers})
        config = cluster_config(cluster, port, free_port({port}))
        password = secrets.token_urlsafe(12)
        config["users"] = [
            {
                "name": setting,
                "password": password,
                "server_user": "app",
                "server_password": cluster.passwords["app"],
                "autocommit_reads": setting,
            }
            for setting in SETTINGS
        ]
        (Path(name) / "d").mkdir()
        daemon = Daemon(Path(name) / "d", config)
        daemon.start()
        try:
            _measure(daemon, password, len(cluster.servers))
        finally:
            daemon.stop()


def _measure(daemon: Daemon, password: str, servers: int) -> None:
    place = {"host": "127.0.0.1", "port": daemon.port, "password": password, "database": "app"}
    settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.mysql"}})
    django.setup()
    eventually(lambda: daemon.metrics().total("mysqlproxy_server_up") == servers)
    with with_pymysql(place | {"user": "strict"}, "", True) as one, one() as execute:
        eventually(lambda: share(daemon, lambda: execute(READ)) == 100)
    print(f"| reads on workers | {' | '.join(f'`{setting}`' for setting in SETTINGS)} |")
    print("|---" * (len(SETTINGS) + 1) + "|")
    for client, opened in CLIENTS.items():
        shares = []
        for setting in SETTINGS:
            with opened(place | {"user": setting}) as transactions:
                shares.append(share(daemon, lambda transactions=transactions: requests(transactions)))
        print(f"| {client} | {' | '.join(f'{percent:.0f} %' for percent in shares)} |")


if __name__ == "__main__":
    main()
