"""Statements spliced from the corpus of evasions, asked of real servers: what shows anything that a rule protects,
the rules refuse. A few seconds in each run of the tests; longer with

    EVASION_SECONDS=600 tests/run.sh tests/fuzz/test_evasions_on_servers.py --timeout 1300
"""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.gatekeeper.rules.firewall import Firewall, Loaded
from mysqlproxy.gatekeeper.rules.load import read_rules
from mysqlproxy.gatekeeper.rules.trial import attempt
from mysqlproxy.sql.verdict import SqlContext
from tests.unit.firewall_evasions import CATALOG, PASSES, REFUSED, RULES

SECONDS = float(os.environ.get("EVASION_SECONDS", "4"))
SECRET, PASSWORD = b"4711", b"sesame"
OBJECTS = (
    "CREATE TABLE secrets (id INT)",
    "INSERT INTO secrets VALUES (4711)",
    "CREATE TABLE users (id INT, password VARCHAR(20))",
    "INSERT INTO users VALUES (1, 'sesame')",
    "CREATE TABLE orders (id INT, a INT)",
    "INSERT INTO orders VALUES (1, 1), (2, 2)",
    "CREATE TABLE t (id INT, a INT, password VARCHAR(20))",
    "INSERT INTO t VALUES (1, 1, 'x')",
    "CREATE DATABASE other",
    "CREATE TABLE other.secrets (id INT)",
    "CREATE VIEW v_secrets AS SELECT id FROM secrets",
    "CREATE VIEW v_nested AS SELECT x.id FROM v_secrets x",
    "CREATE VIEW v_users AS SELECT id FROM users",
    "CREATE VIEW v_passwords AS SELECT password p FROM users",
    "CREATE FUNCTION peek() RETURNS INT READS SQL DATA RETURN (SELECT MAX(id) FROM secrets)",
    "CREATE FUNCTION plain() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE PROCEDURE dig() BEGIN SELECT * FROM secrets; END",
)
TOKENS = re.compile(r"/\*[!M+]?\d*|\*/|--|[A-Za-z_@][\w@]*|\d+|'[^']*'|`[^`]*`|\"[^\"]*\"|\s+|.", re.DOTALL)
PIECES = (
    "/*!50000", "/*!999999", "/*!999999 '", "/*!", "/*M!999999", "/*+", "/*", "*/", "*/ , id FROM secrets",
    "/**/", "--1", "-- ", "-- \n", "#", "# \n", "\n", "\t", "'", '"', "`", "''", "\\'", "\\", "(", ")", "{ OJ",
    "}", ".", ",", ";", ":=", "||", "secrets", "`secrets`", "app.secrets", "secrets.id", "secrets AS orders",
    "orders AS secrets", "users", "users.*", "password", "orders", "t", "app", "other", "v_nested", "peek()",
    "a", "b", "x", "id", "1", ".5", "5.", "e1", "0x41", "N'x'", "_latin1'x'", "NULL", "*", "?", "SELECT",
    "FROM", "TABLE", "VALUES", "UNION", "ALL", "INTERSECT", "EXCEPT", "WITH", "RECURSIVE", "AS", "JOIN", "ON 1",
    "NATURAL JOIN", "LEFT JOIN", "STRAIGHT_JOIN", "USING (id)", "LATERAL", "IN", "EXISTS",
    "(SELECT * FROM secrets)", "(SELECT password FROM users)", "FROM(SELECT id FROM`secrets`)x", "ORDER BY",
    "GROUP BY", "WHERE", "HAVING", "LIMIT 1", "FOR UPDATE", "PARTITION", "OVER ()", "MAX(id)",
    "GROUP_CONCAT(id)", "DISTINCT", "DUAL", "END", "CASE WHEN 1 THEN", "IF(1,",
    "JSON_TABLE('[1]','$[*]' COLUMNS(a INT PATH '$')) j", "SQL_NO_CACHE", "@@sql_mode",
)  # fmt: skip
# What would change the servers' state, so that the next statement shows what this one has read, or waits.
CHANGES = re.compile(
    r"DROP|TRUNCATE|RENAME|ALTER|CREATE|GRANT|SHUTDOWN|LOCK|DELETE|UPDATE|REPLACE|INSERT|SLEEP|EVENT|HANDLER|FILE|SET\s|KILL|"
    r"SQL_MODE|@X|INTO",
    re.IGNORECASE,
)


def spliced(chance: random.Random, corpus: list[list[str]]) -> str:
    """Two statements cut and put together, or one, with some pieces put in, taken out or exchanged."""
    one, other = chance.choice(corpus), chance.choice(corpus)
    tokens = list(one)
    if chance.random() < 0.5:
        tokens = one[: chance.randrange(len(one) + 1)] + other[chance.randrange(len(other)) :]
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(tokens) + 1)
        what = chance.random()
        if what < 0.5 or at == len(tokens):
            tokens[at:at] = [" ", chance.choice(PIECES), " "]
        else:
            tokens[at : at + 1] = [] if what < 0.7 else [chance.choice(PIECES)]
    return "".join(tokens)


def shown(connection: Any, text: bytes) -> bytes:
    """The rows that the server answers with, as bytes.

    Raises:
        pymysql.MySQLError: it refuses the statement, or the connection is of no more use.
    """
    connection._execute_command(3, text)
    rows, ends = b"", 0
    if connection._read_packet()._data[0] == 0:
        return b""
    while ends < 2:
        packet = connection._read_packet()
        if packet.is_eof_packet():
            ends += 1
        elif ends:
            rows += packet._data
    return rows


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_what_shows_a_secret_is_refused(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    server = request.getfixturevalue("cluster" if kind == "mariadb" else "mysql97").servers[0]
    for sql in OBJECTS:
        server.query(sql, schema="app")
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    firewall = Firewall([Loaded(path, read_rules(path))])
    context = SqlContext(schema="app", catalog=CATALOG, mariadb=kind == "mariadb")
    texts = [*(sql for statements in REFUSED.values() for sql in statements), *PASSES]
    corpus = [TOKENS.findall(sql) for sql in texts if isinstance(sql, str) and len(sql) < 300]
    limit = "max_statement_time = 2" if kind == "mariadb" else "max_execution_time = 2000"
    chance = random.Random(int(os.environ.get("EVASION_SEED", "1")))

    connection: Any = None
    found = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        text = spliced(chance, corpus)
        if CHANGES.search(text):
            continue
        if connection is None:
            connection = server.connect("root", database="app", autocommit=False, read_timeout=10)
            connection.query(f"SET {limit}")
        try:
            rows = shown(connection, text.encode())
        except Exception as error:
            number = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else 0
            if not isinstance(number, int) or not (1000 <= number < 2000 or number >= 3000):
                connection._force_close()  # not the server's word on the statement
                connection = None
            continue
        if SECRET in rows or PASSWORD in rows:
            found += 1
            assert attempt(firewall, text.encode(), context, "app").action == "deny", text
    if connection is not None:
        connection._force_close()
    assert found > 0
