"""What accounts may do, asked of real servers; each GRANT that is proposed is run, and helps."""

from __future__ import annotations

from typing import Any

import pytest

from mysqlproxy.cluster.grants import can_write_past_read_only, missing_privileges, unseen_definitions
from mysqlproxy.demo.local import LocalCluster
from tests.support.mysql import MysqlPair


def as_account(server: Any, user: str) -> Any:
    return server.connect(user, password="p")


def test_the_monitors_account_of_mariadb_lacks_nothing(cluster: LocalCluster) -> None:
    for server in cluster.servers:
        with server.connect("monitor") as connection:
            assert missing_privileges(connection) == []
            assert can_write_past_read_only(connection) is None


def test_the_monitors_account_of_mysql_lacks_nothing(mysql97: MysqlPair) -> None:
    for server in mysql97.servers:
        with server.connect("monitor") as connection:
            assert missing_privileges(connection) == []
            assert can_write_past_read_only(connection) is None


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_what_is_missing_comes_with_the_statement_that_grants_it(
    kind: str, request: pytest.FixtureRequest
) -> None:
    pair = request.getfixturevalue("cluster" if kind == "mariadb" else "mysql97")
    server = pair.servers[0]
    server.query("CREATE USER 'o''brien'@'127.0.0.%%' IDENTIFIED BY 'p'", ())
    with as_account(server, "o'brien") as connection:
        [sentence] = missing_privileges(connection)
    assert sentence.startswith("the account o'brien@127.0.0.% may not ask")
    grant = sentence.partition("run: ")[2]
    privilege = "SLAVE MONITOR, BINLOG MONITOR" if kind == "mariadb" else "REPLICATION CLIENT"
    assert grant == f"GRANT {privilege} ON *.* TO 'o''brien'@'127.0.0.%';"
    server.query(grant)
    with as_account(server, "o'brien") as connection:
        assert missing_privileges(connection) == []


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
@pytest.mark.parametrize(
    ("granted", "wanted", "effect"),
    [
        ("TRIGGER", "SELECT, SHOW VIEW", "all that reads from tables goes to the manager"),
        ("SELECT, TRIGGER", "SHOW VIEW", "views are read at the manager; "),
        ("SHOW VIEW, TRIGGER", "SELECT", "views are read at the manager, and stored functions, too; "),
        ("SELECT, SHOW VIEW", "TRIGGER", "who has written stays at the manager"),
        ("SELECT", "SHOW VIEW, TRIGGER", "views are read at the manager, and who has written stays"),
    ],
)
def test_what_the_monitor_cannot_see_comes_with_its_effect(
    kind: str, granted: str, wanted: str, effect: str, request: pytest.FixtureRequest
) -> None:
    pair = request.getfixturevalue("cluster" if kind == "mariadb" else "mysql97")
    server = pair.servers[0]
    server.query("CREATE USER m@'127.0.0.1' IDENTIFIED BY 'p'")
    server.query(f"GRANT {granted} ON *.* TO m@'127.0.0.1'")
    with as_account(server, "m") as connection:
        [sentence] = unseen_definitions(connection)
    assert effect in sentence
    grant = sentence.partition("run: ")[2]
    assert grant == f"GRANT {wanted} ON *.* TO 'm'@'127.0.0.1';"
    server.query(grant)
    with as_account(server, "m") as connection:
        assert unseen_definitions(connection) == []


_MARIADB = [
    ("GRANT ALL ON app.* TO a@'%'", None),
    ("GRANT SELECT, SUPER ON *.* TO a@'%'", None),  # no longer since 10.11
    ("GRANT SELECT, READ_ONLY ADMIN ON *.* TO a@'%'", "READ_ONLY ADMIN"),
    ("GRANT ALL PRIVILEGES ON *.* TO a@'%'", "ALL PRIVILEGES"),
    ("GRANT r TO a@'%'", "READ_ONLY ADMIN"),
    ("GRANT outer_role TO a@'%'", "READ_ONLY ADMIN"),
]


@pytest.mark.parametrize(("grant", "privilege"), _MARIADB)
def test_who_could_write_to_a_worker_of_mariadb(
    cluster: LocalCluster, grant: str, privilege: str | None
) -> None:
    manager, worker = cluster.manager, cluster.workers[0]
    for statement in (
        "CREATE USER a@'%' IDENTIFIED BY 'p'",
        "CREATE ROLE r",
        "CREATE ROLE outer_role",
        "GRANT INSERT, READ_ONLY ADMIN ON *.* TO r",
        "GRANT r TO outer_role",
        "GRANT INSERT ON app.* TO a@'%'",
        "CREATE TABLE app.t (a INT)",
        grant,
    ):
        manager.query(statement)
    cluster.wait_in_sync()
    with as_account(worker, "a") as connection, connection.cursor() as cursor:
        assert can_write_past_read_only(connection) == privilege
        if "GRANT r" in grant:
            cursor.execute("SET ROLE r")
        elif "outer" in grant:
            cursor.execute("SET ROLE outer_role")
        wrote = True
        connection.begin()  # rolled back at the end: an errant transaction would stop the replication
        try:
            cursor.execute("INSERT INTO app.t VALUES (1)")
        except Exception as error:
            assert error.args[0] == 1290, error
            wrote = False
    assert wrote is (privilege is not None)


_MYSQL = [
    ("GRANT ALL ON app.* TO a@'%'", None),
    ("GRANT SELECT, SUPER ON *.* TO a@'%'", "SUPER"),
    ("GRANT CONNECTION_ADMIN ON *.* TO a@'%'", "CONNECTION_ADMIN"),
    ("GRANT r TO a@'%'", "CONNECTION_ADMIN"),
    ("GRANT outer_role TO a@'%'", "CONNECTION_ADMIN"),
]


@pytest.mark.parametrize(("grant", "privilege"), _MYSQL)
def test_who_could_write_to_a_worker_of_mysql(mysql97: MysqlPair, grant: str, privilege: str | None) -> None:
    for statement in (
        "DROP ROLE IF EXISTS r, outer_role",
        "CREATE USER a@'%%' IDENTIFIED BY 'p'",
        "CREATE ROLE r, outer_role",
        "GRANT CONNECTION_ADMIN ON *.* TO r",
        "GRANT r TO outer_role",
        grant.replace("%", "%%"),
    ):
        mysql97.source.query(statement, ())
    mysql97.wait_in_sync()
    with as_account(mysql97.replica, "a") as connection:
        assert can_write_past_read_only(connection) == privilege
