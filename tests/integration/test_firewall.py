"""Rules on a real server, through the daemon: what they refuse never reaches it, and nothing else is disturbed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.sql.use import fold
from tests.support.raw import PROCESS_KILL, proxied
from tests.support.sessions import ask, errno, reload, standing, value
from tests.support.waiting import eventually

SECRETS = """
[[rule]]
name = "no-secrets"
tables = ["app.secrets"]
action = "deny"
errno = 1142
message = "not for you"
"""
EVERYTHING = """
[[rule]]
name = "everything"
action = "deny"
statements = ["select"]
"""

Connection = Any  # a PyMySQL connection


class Scene:
    """A daemon whose rules each test writes."""

    def __init__(self, daemon: Daemon, folder: Path, cluster: LocalCluster) -> None:
        self.daemon = daemon
        self.folder = folder
        self.cluster = cluster

    def connect(self, **options: Any) -> Connection:
        return self.daemon.connect(**{"database": "app", **options})

    def use(self, rules: str, outcome: str = "reloaded ") -> None:
        (self.folder / "rules.toml").write_text(rules, encoding="utf-8")
        reload(self.daemon, outcome)

    def denied(self, **labels: str) -> float:
        return self.daemon.metrics().total("mysqlproxy_denied_statements_total", **labels)

    def mark(self) -> None:
        for server in self.cluster.servers:
            server.general_log.mark()

    def served(self, pattern: str) -> list[int]:
        return [len(server.served(pattern)) for server in self.cluster.servers]


@pytest.fixture(scope="module")
def scene(session_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.toml").write_text("", encoding="utf-8")
    routing = {"rules": [str(folder / "rules.toml")], "strategy": "random", "read_consistency": "eventual"}
    with standing(session_cluster, routing=routing) as daemon:
        for sql in (
            "CREATE TABLE secrets (id INT PRIMARY KEY, password VARCHAR(20))",
            "INSERT INTO secrets VALUES (1, 'swordfish')",
            "CREATE TABLE orders (id INT PRIMARY KEY, a INT)",
            "INSERT INTO orders VALUES (1, 1)",
            "CREATE VIEW harmless AS SELECT password AS p FROM secrets",
            "CREATE PROCEDURE dig() BEGIN SELECT password FROM secrets; END",
            "CREATE FUNCTION peek() RETURNS TEXT RETURN (SELECT password FROM secrets)",
        ):
            session_cluster.manager.query(sql, schema="app")
        session_cluster.wait_in_sync()
        yield Scene(daemon, folder, session_cluster)


@pytest.fixture
def guarded(scene: Scene) -> Scene:
    scene.use(SECRETS)
    client = scene.connect()
    eventually(lambda: is_refused(client, "SELECT p FROM harmless"), what="the view is known")
    return scene


def is_refused(connection: Connection, sql: str) -> bool:
    try:
        ask(connection, sql)
    except pymysql.MySQLError as error:
        return errno(error) == 1142
    return False


def refused(connection: Connection, sql: str) -> tuple[int, str]:
    with pytest.raises(pymysql.MySQLError) as caught:
        ask(connection, sql)
    return errno(caught.value), str(caught.value.args[1])


def test_a_denied_table_is_out_of_reach_and_the_rest_is_not(guarded: Scene) -> None:
    client = guarded.connect()
    before = guarded.denied(account="app", rule="no-secrets", reason="matched")
    seen = len(guarded.daemon.log())
    guarded.mark()
    assert refused(client, "SELECT * FROM secrets WHERE password = 'nothing'") == (1142, "not for you")
    assert value(client, "SELECT a FROM orders") == 1
    assert guarded.served("secrets") == [0, 0, 0]
    assert guarded.denied(account="app", rule="no-secrets", reason="matched") == before + 1
    log = guarded.daemon.log()[seen:]
    assert "denied: account app, rule no-secrets, matched: SELECT * FROM secrets WHERE password = ?" in log
    assert "nothing" not in log


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT p FROM harmless",
        "SELECT peek()",
        "CALL dig()",
        "SELECT 1 /*!50000 UNION SELECT id FROM secrets */",
        "EXECUTE IMMEDIATE 'SELECT * FROM secrets'",
        "EXECUTE IMMEDIATE CONCAT('SELECT * FROM sec', 'rets')",
        "PREPARE s FROM 'SELECT * FROM secrets'",
        "BEGIN NOT ATOMIC SELECT * FROM secrets; END",
    ],
)
def test_no_way_around(guarded: Scene, sql: str) -> None:
    guarded.mark()
    assert refused(guarded.connect(), sql)[0] == 1142
    assert guarded.served("secrets|harmless|peek|dig") == [0, 0, 0]


def test_what_is_prepared_by_name_is_judged_at_every_execute(guarded: Scene) -> None:
    client = guarded.connect()
    ask(client, "PREPARE s FROM 'SELECT a FROM orders WHERE id = ?'")
    ask(client, "SET @one = 1")
    assert value(client, "EXECUTE s USING @one") == 1
    assert refused(client, "EXECUTE other")[0] == 1142
    # A PREPARE that fails leaves nothing under the name, and nothing is known of it.
    assert refused(client, "PREPARE s FROM 'SELECT nonsense FROM'")[0] in (1064, 1142)
    assert refused(client, "EXECUTE s")[0] in (1142, 1243)
    ask(client, "PREPARE s FROM 'SELECT a FROM orders'")
    guarded.use(EVERYTHING)
    assert refused(client, "EXECUTE s")[0] == 1227


def test_a_prepared_statement_is_judged_by_the_rules_of_the_moment(guarded: Scene) -> None:
    with proxied(guarded.daemon, schema="app") as client:
        assert client.prepare("SELECT * FROM secrets").answer.err is not None
        prepared = client.prepare("SELECT a FROM orders WHERE id = ?")
        assert client.execute(prepared.id, [b"1"]).err is None
        guarded.use(EVERYTHING)
        error = client.execute(prepared.id, [b"1"]).err
        assert error is not None and (error.errno, error.sqlstate) == (1227, "42000")
        guarded.use(SECRETS)
        assert client.execute(prepared.id, [b"1"]).err is None


def test_one_denied_statement_refuses_the_whole_text_and_the_transaction_stays(guarded: Scene) -> None:
    client = guarded.connect(client_flag=CLIENT.MULTI_STATEMENTS, autocommit=False)
    ask(client, "INSERT INTO orders VALUES (2, 2)")
    assert refused(client, "DELETE FROM orders; SELECT * FROM secrets; COMMIT")[0] == 1142
    assert value(client, "SELECT COUNT(*) FROM orders") == 2
    assert guarded.cluster.manager.value("SELECT COUNT(*) FROM app.orders") == 1  # nothing was committed
    client.commit()
    assert guarded.cluster.manager.value("SELECT COUNT(*) FROM app.orders") == 2
    ask(client, "DELETE FROM orders WHERE id = 2")
    client.commit()


def test_a_table_that_was_just_made_is_not_refused_for_being_unknown(guarded: Scene) -> None:
    client = guarded.connect()
    for number in range(5):
        ask(client, f"CREATE TABLE made{number} (id INT)")
        ask(client, f"INSERT INTO made{number} VALUES (1)")
        assert value(client, f"SELECT id FROM made{number} FOR UPDATE") == 1
    ask(client, "CREATE TEMPORARY TABLE passing (id INT)")
    ask(client, "INSERT INTO passing VALUES (1)")


def test_a_view_made_elsewhere_is_known_soon(guarded: Scene) -> None:
    # On the manager directly, as through the daemon its definition is refused.
    guarded.cluster.manager.query("CREATE VIEW sudden AS SELECT * FROM secrets", schema="app")
    client = guarded.connect()
    eventually(lambda: is_refused(client, "SELECT * FROM sudden"))


def test_commands_without_text_are_judged_as_statements(scene: Scene) -> None:
    scene.use("""
[[rule]]
name = "stay"
action = "deny"
statements = ["use", "kill"]

[[rule]]
name = "columns"
action = "deny"
tables = ["app.secrets"]
""")
    with proxied(scene.daemon, schema="app") as client:
        for answer in (
            client.command(2, b"mysql"),
            client.query("USE mysql"),
            client.field_list(b"secrets\0"),
        ):
            assert answer.err is not None and answer.err.errno in (1142, 1227)
        assert client.query("KILL 2147483648").err is not None
        assert client.query("KILL 5").err.errno == 1227  # type: ignore[union-attr]
        killing = client.command(PROCESS_KILL, (5).to_bytes(4, "little"))
        assert killing.err is not None and killing.err.errno == 1227
        assert client.field_list(b"orders\0").err is None
        assert client.query("SELECT DATABASE()").value == b"app"


def test_a_reload_is_whole_or_not_at_all(guarded: Scene) -> None:
    client = guarded.connect()
    guarded.use("[[rule]]\nname = 'x'\naction = 'deny'\ntabels = ['a']", "reload refused")
    fault = f'{guarded.folder}/rules.toml: rule[x].tabels: is not a known key; did you mean "tables"?'
    assert fault in guarded.daemon.log()
    assert refused(client, "SELECT * FROM secrets")[0] == 1142
    guarded.use("")
    assert value(client, "SELECT password FROM secrets") == "swordfish"


def test_a_limit_queues_and_then_refuses(scene: Scene) -> None:
    scene.use("""
[[rule]]
name = "one-at-a-time"
action = "limit"
statements = ["select"]
concurrency = 1
queue = 1
deadline = 15.0
""")
    clients = [scene.connect() for _ in range(4)]
    errors: list[int] = []

    def sleep(client: Connection) -> None:
        try:
            ask(client, "SELECT SLEEP(1) /* limited */")
        except pymysql.MySQLError as error:
            errors.append(errno(error))

    threads = [threading.Thread(target=sleep, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors and set(errors) == {1226}
    assert len(errors) <= 2  # one ran, one waited its turn; a third one may have come when the first was done
    assert scene.denied(rule="one-at-a-time", reason="limit") == len(errors)
    assert [value(client, "SELECT 1") for client in clients] == [1] * 4  # nothing is still counted


def test_a_client_that_leaves_while_it_waits_or_runs_is_not_counted_any_more(scene: Scene) -> None:
    scene.use("""
[[rule]]
name = "one-at-a-time"
action = "limit"
statements = ["select"]
concurrency = 1
queue = 10
deadline = 20.0
""")
    running, waiting = (proxied(scene.daemon, schema="app") for _ in range(2))
    scene.mark()
    running.send(running.query_payload("SELECT SLEEP(30) /* leaves */"))
    eventually(lambda: sum(scene.served("leaves")) == 1)
    waiting.send(waiting.query_payload("SELECT 2 /* leaves too */"))
    waiting.close()
    running.close()
    assert value(scene.connect(), "SELECT 3") == 3
    assert sum(scene.served("leaves too")) == 0


def test_a_route_sends_reads_to_a_server_and_writes_to_the_manager(scene: Scene) -> None:
    scene.use("""
[[rule]]
name = "to-worker2"
action = "route"
tables = ["app.orders"]
server = "worker2"
""")
    client = scene.connect()
    scene.mark()
    for _ in range(5):
        ask(client, "SELECT a FROM orders /* routed */")
    assert scene.served("routed") == [0, 0, 5]
    ask(client, "UPDATE orders SET a = 1 /* routed write */ WHERE id = 1")
    assert scene.served("routed write") == [1, 0, 0]
    assert (
        scene.daemon.metrics().total("mysqlproxy_rules_applied_total", rule="to-worker2", action="route") >= 5
    )


def test_an_allow_list_is_learned_and_enforced(scene: Scene) -> None:
    scene.use("")
    file = scene.folder / "learned.jsonl"
    before = scene.daemon.config
    try:
        _statements(scene, "learn", file)
        client = scene.connect()
        ask(client, "SELECT a FROM orders WHERE id = 12345")
        ask(client, "SELECT a FROM orders WHERE id = 1")
        ask(client, "PREPARE s FROM 'SELECT id FROM orders'")
        client.close()
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert [line["digest"] for line in lines].count("SELECT a FROM orders WHERE id = ?") == 1
        assert "12345" not in file.read_text(encoding="utf-8")
        _statements(scene, "enforce", file)
        client = scene.connect()
        assert value(client, "SELECT a FROM orders WHERE id = 1") == 1
        ask(client, "PREPARE s FROM 'SELECT id FROM orders'")
        for sql in (
            "SELECT a FROM orders WHERE id > 1",
            "SELECT a FROM orders WHERE id = 1 OR 1 = 1",
            "PREPARE s FROM 'SELECT password FROM secrets'",
            "SELECT a FROM orders WHERE id = 1 UNION SELECT 1",
        ):
            assert refused(client, sql)[0] == 1227
        assert scene.denied(rule="allow-list", reason="not_learned") >= 4
    finally:
        scene.daemon.write(before)
        reload(scene.daemon)


def _statements(scene: Scene, mode: str, file: Path) -> None:
    users = [
        {**user, "statements": mode, "statements_file": str(file)} for user in scene.daemon.config["users"]
    ]
    scene.daemon.write({**scene.daemon.config, "users": users})
    reload(scene.daemon)


def test_names_are_folded_as_the_servers_fold_them(session_cluster: LocalCluster) -> None:
    """Every character that a server takes for an ASCII letter in a name is that letter to the rules."""
    rows = session_cluster.manager.query(
        "SELECT seq AS n, letter FROM app.seq_128_to_65535 JOIN "
        "(SELECT CHAR(seq) AS letter FROM app.seq_97_to_122) AS letters "
        "ON CONVERT(CONVERT(UNHEX(LPAD(HEX(seq), 4, '0')) USING ucs2) USING utf8mb3) "
        "COLLATE utf8mb3_general_ci = CONVERT(letter USING utf8mb3) COLLATE utf8mb3_general_ci"
    )
    assert len(rows) > 100
    wrong = {chr(row["n"]) for row in rows if fold(chr(row["n"])) != row["letter"].decode()}
    assert not wrong
