"""The firewall in front of MySQL: a sample of what tests/integration/test_firewall.py does with MariaDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from tests.conftest import Factory
from tests.integration.test_listeners_and_greeting import mysql_config
from tests.support.mysql import MysqlPair
from tests.support.raw import proxied
from tests.support.sessions import ask, errno, value
from tests.support.waiting import eventually

RULES = """
[[rule]]
name = "no-secrets"
tables = ["app.secrets"]
action = "deny"
errno = 1142

[[rule]]
name = "no-passwords"
columns = ["app.people.password"]
action = "deny"
errno = 1142
"""
REFUSED = (
    "SELECT * FROM secrets",
    "TABLE secrets",
    "SELECT p FROM harmless",
    "SELECT peek()",
    "CALL dig()",
    "SELECT 1 /*!80000 UNION SELECT id FROM secrets */",
    "SELECT 1 /*!90000 UNION SELECT id FROM secrets */",
    "WITH secrets AS (SELECT * FROM app.secrets) SELECT 1 FROM secrets",
    "SELECT * FROM people, LATERAL (SELECT * FROM secrets) AS l",
    "SELECT (TABLE secrets LIMIT 1)",
    "INSERT INTO people (id, name) TABLE secrets",
    "SELECT * FROM people",
    "SELECT name FROM people NATURAL JOIN orders",
    "SELECT name FROM people WHERE `PASSWORD` = 'x'",
    "HANDLER secrets OPEN",
    "EXPLAIN ANALYZE SELECT * FROM secrets",
    "PREPARE s FROM 'SELECT * FROM secrets'",
    "CREATE TABLE copy SELECT * FROM secrets",
    "CREATE VIEW other AS SELECT * FROM secrets",
    "SELECT 1; DELETE FROM secrets",
)
PASSES = (
    "SELECT name FROM people",
    "SELECT a FROM orders",
    "SELECT 'secrets' AS `secrets`",
    "SELECT 1 -- secrets",
    "WITH secrets AS (SELECT 1 AS a) SELECT a FROM secrets",
    "INSERT INTO orders VALUES (2, 2)",
)


def test_a_sample(mysql97: MysqlPair, daemons: Factory, free_port: Any, tmp_path: Path) -> None:
    for sql in (
        "CREATE TABLE secrets (id INT PRIMARY KEY, password VARCHAR(20))",
        "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(20), password VARCHAR(20))",
        "CREATE TABLE orders (id INT PRIMARY KEY, a INT)",
        "INSERT INTO secrets VALUES (1, 'swordfish')",
        "CREATE VIEW harmless AS SELECT password AS p FROM secrets",
        "CREATE PROCEDURE dig() BEGIN SELECT password FROM secrets; END",
        "CREATE FUNCTION peek() RETURNS TEXT READS SQL DATA RETURN (SELECT password FROM secrets)",
    ):
        mysql97.source.query(sql, schema="app")
    mysql97.wait_in_sync()
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    config = mysql_config(mysql97, free_port) | {"routing": {"rules": [str(rules)]}}
    daemon = daemons.start(config)
    client = daemon.connect(database="app", client_flag=CLIENT.MULTI_STATEMENTS)

    def outcome(sql: str) -> int:
        try:
            ask(client, sql)
        except pymysql.MySQLError as error:
            return errno(error)
        return 0

    eventually(lambda: outcome("SELECT p FROM harmless") == 1142 and not outcome("SELECT a FROM orders"))
    assert [sql for sql in REFUSED if outcome(sql) != 1142] == []
    assert [sql for sql in PASSES if outcome(sql) != 0] == []
    assert outcome("SET @sql = CONCAT('SELECT * FROM sec', 'rets')") == 0
    assert outcome("PREPARE s FROM @sql") == 1142
    assert value(client, "SELECT COUNT(*) FROM orders") == 1
    assert mysql97.source.value("SELECT COUNT(*) FROM app.secrets") == 1

    mysql97.wait_in_sync()
    with proxied(daemon, schema="app") as raw:
        assert raw.prepare("SELECT id FROM secrets WHERE id = ?").answer.err is not None
        known = raw.prepare("SELECT a FROM orders WHERE id = ?")
        assert raw.execute(known.id, [b"2"]).check().rows
