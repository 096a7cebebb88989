"""max_connections of a server is reached: who gives a connection up, who never does, and who waits how long.

The manager may have one connection here, so that any two clients meet on it; the server's own process list says
how many there are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.conftest import merge
from tests.support.raw import RawClient
from tests.support.sessions import all_left, ask, errno, only_manager, reload, standing, threads, value
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def one_daemon(session_cluster: LocalCluster) -> Iterator[Daemon]:
    with standing(session_cluster, **only_manager(session_cluster)) as daemon:
        session_cluster.manager.query("CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
        session_cluster.manager.query("GRANT RELOAD ON *.* TO app@'%'")
        session_cluster.wait_in_sync()
        yield daemon


@pytest.fixture
def cluster(session_cluster: LocalCluster) -> LocalCluster:
    return session_cluster


@pytest.fixture
def narrow(one_daemon: Daemon, cluster: LocalCluster) -> Iterator[Daemon]:
    cluster.manager.query("TRUNCATE TABLE app.t")
    cluster.manager.general_log.mark()
    yield one_daemon
    all_left(one_daemon)


@pytest.fixture
def patient(narrow: Daemon) -> Iterator[Daemon]:
    """One whose clients wait for long."""
    config = dict(narrow.config)
    narrow.write(merge(config, {"limits": {"pool_wait": 20.0}}))
    reload(narrow)
    yield narrow
    narrow.write(config)
    reload(narrow)


def taken(cluster: LocalCluster, daemon: Daemon) -> bool:
    """Whether another client gets the manager's one connection now."""
    try:
        daemon.connect().close()  # PyMySQL sends SET NAMES
    except pymysql.OperationalError as error:
        assert errno(error) == 1040
        return False
    assert len(threads(cluster.manager)) == 1
    return True


def test_an_idle_session_gives_its_connection_up_reset_first(cluster: LocalCluster, narrow: Daemon) -> None:
    first, second = narrow.connect(), narrow.connect()
    ask(first, "SET sql_mode = 'ANSI_QUOTES'")
    ask(first, "USE app")
    (thread,) = threads(cluster.manager)
    cluster.manager.general_log.mark()
    mode, schema = ask(second, "SELECT @@sql_mode, DATABASE()")[0]
    assert "ANSI_QUOTES" not in mode
    assert schema is None
    assert set(threads(cluster.manager)) == {thread}
    assert [entry.thread for entry in cluster.manager.served(commands=frozenset({"Change user"}))] == [thread]


def test_what_it_had_set_is_restored_when_it_goes_on(cluster: LocalCluster, narrow: Daemon) -> None:
    first, second = narrow.connect(), narrow.connect()
    ask(first, "SET NAMES latin1 COLLATE latin1_german1_ci")
    ask(first, "SET sql_mode = 'ANSI_QUOTES,NO_ZERO_DATE', time_zone = '+05:30', lock_wait_timeout = 77")
    ask(first, "USE app")
    asked = (
        "SELECT @@sql_mode, @@time_zone, @@lock_wait_timeout, DATABASE(), @@collation_connection, "
        "@@character_set_client, @@character_set_results"
    )
    before = ask(first, asked)
    ask(second, "SET time_zone = '-01:00'")
    assert ask(first, asked) == before
    assert value(second, "SELECT @@time_zone") == "-01:00"
    assert ask(first, asked) == before


def test_last_insert_id_survives(narrow: Daemon) -> None:
    first, second = narrow.connect(), narrow.connect()
    for v in range(3):
        ask(first, "INSERT INTO app.t (v) VALUES (%s)", (v,))
    ask(second, "SELECT 1")
    ask(second, "INSERT INTO app.t (v) VALUES (99)")
    assert value(second, "SELECT LAST_INSERT_ID()") == 4
    assert value(first, "SELECT LAST_INSERT_ID()") == 3
    assert value(second, "SELECT LAST_INSERT_ID()") == 4
    ask(first, "INSERT INTO app.t (v) SELECT LAST_INSERT_ID()")
    assert ask(first, "SELECT v FROM app.t WHERE id = LAST_INSERT_ID()") == [(3,)]


def test_what_a_session_has_set_does_not_change_what_is_recalled(narrow: Daemon) -> None:
    first, second = narrow.connect(database="app"), narrow.connect()
    for sql in ("CREATE OR REPLACE SEQUENCE s", "SELECT NEXTVAL(s)", "INSERT INTO t (v) VALUES (1)"):
        ask(first, sql)
    ask(first, "SET sql_select_limit = 0")
    ask(second, "SELECT 1")
    ask(first, "INSERT INTO t (v) VALUES (LAST_INSERT_ID() + LASTVAL(s) + 5)")
    assert ask(second, "SELECT v FROM app.t ORDER BY id") == [(1,), (7,)]


def test_an_id_that_was_lost_with_its_connection_is_refused(cluster: LocalCluster, narrow: Daemon) -> None:
    client = narrow.connect(database="app")
    ask(client, "INSERT INTO t (v) VALUES (1)")
    (thread,) = threads(cluster.manager)
    cluster.manager.query(f"KILL {thread}")
    eventually(lambda: not threads(cluster.manager))
    with pytest.raises(pymysql.OperationalError, match="not known any more") as caught:
        ask(client, "SELECT LAST_INSERT_ID()")
    assert errno(caught.value) == 1105
    ask(client, "INSERT INTO t (v) VALUES (2)")
    assert value(client, "SELECT LAST_INSERT_ID()") == 2


def test_a_role_survives(cluster: LocalCluster, narrow: Daemon) -> None:
    for sql in ("CREATE OR REPLACE ROLE painter", "GRANT painter TO app@'%'"):
        cluster.manager.query(sql)
    first, second = narrow.connect(), narrow.connect()
    ask(first, "SET ROLE painter")
    assert value(second, "SELECT CURRENT_ROLE()") is None
    assert value(first, "SELECT CURRENT_ROLE()") == "painter"
    ask(first, "set role none;")
    assert value(second, "SELECT CURRENT_ROLE()") is None
    assert value(first, "SELECT CURRENT_ROLE()") is None


def test_the_last_value_of_a_sequence_survives(cluster: LocalCluster, narrow: Daemon) -> None:
    first, second = narrow.connect(database="app"), narrow.connect()
    for sql in ("CREATE OR REPLACE SEQUENCE s", "CREATE OR REPLACE SEQUENCE r", "SELECT NEXTVAL(s)"):
        ask(first, sql)
    for expected in (1, 2):
        ask(second, "SELECT 1")
        with first.cursor() as cursor:
            cursor.execute(
                "SELECT 'LASTVAL(s)', LASTVAL(app.s) -- LASTVAL(s)\n, previous  value for `s`, lastval(s) AS x"
            )
            assert [column[0] for column in cursor.description] == [
                "LASTVAL(s)", "LASTVAL(app.s)", "previous  value for `s`", "x",
            ]  # fmt: skip
            assert cursor.fetchall() == (("LASTVAL(s)", expected, expected, expected),)
        ask(second, "SELECT 1")
        ask(first, "INSERT INTO t (v) VALUES (PREVIOUS VALUE FOR `s`)")
        assert value(first, "SELECT v FROM t ORDER BY id DESC LIMIT 1") == expected
        ask(second, "SELECT 1")
        assert value(first, "SELECT NEXT VALUE FOR app.s") == expected + 1
        assert value(first, "SELECT LASTVAL(s)") == expected + 1
    with pytest.raises(pymysql.OperationalError, match="not known any more"):
        ask(first, "SELECT LASTVAL(r)")
    assert value(second, "SELECT LASTVAL(app.s)") is None
    with RawClient(("127.0.0.1", narrow.port), "app", cluster.passwords["app"], schema="app") as client:
        prepared = client.prepare("SELECT LASTVAL(s)")
        for expected in (4, 5):
            client.query("SELECT NEXTVAL(s)").check()
            ask(second, "SELECT 1")
            assert client.execute(prepared.id).rows[0][2:] == expected.to_bytes(8, "little")
            again = client.prepare("SELECT LASTVAL(s)")
            assert client.execute(again.id).rows[0][2:] == expected.to_bytes(8, "little")


def test_the_last_value_of_a_default_is_known_or_refused(narrow: Daemon) -> None:
    """No text names the sequence that an INSERT draws from."""
    first, second = narrow.connect(database="app"), narrow.connect()
    ask(first, "CREATE OR REPLACE SEQUENCE s")
    ask(first, "CREATE OR REPLACE TABLE d (id INT DEFAULT NEXTVAL(s), v INT)")
    ask(first, "INSERT INTO d (v) VALUES (1)")
    ask(second, "SELECT 1")
    with pytest.raises(pymysql.OperationalError, match="not known any more") as caught:
        ask(first, "SELECT LASTVAL(s)")
    assert errno(caught.value) == 1105
    third = narrow.connect(database="app")
    assert value(third, "SELECT LASTVAL(s)") is None
    for expected in (2, 3):
        ask(third, "INSERT INTO d (v) VALUES (1)")
        ask(second, "SELECT 1")
        assert value(third, "SELECT LASTVAL(s)") == expected, "it has been asked for before"


def test_prepared_statements_of_the_protocol_survive(cluster: LocalCluster, narrow: Daemon) -> None:
    with RawClient(("127.0.0.1", narrow.port), "app", cluster.passwords["app"]) as client:
        insert = client.prepare("INSERT INTO app.t (v) VALUES (?)")
        client.execute(insert.id, [b"7"]).check()
        second = narrow.connect()
        ask(second, "SELECT 1")
        client.execute(insert.id, [b"8"], types=False).check()
        assert client.query("SELECT v FROM app.t ORDER BY id").texts() == [[b"7"], [b"8"]]


FIRED = (
    "CREATE OR REPLACE TABLE app.fired (a INT)",
    "CREATE TRIGGER app.tr BEFORE INSERT ON app.fired FOR EACH ROW SET @a = 1",
)
KEPT = {
    "a transaction": ["BEGIN"],
    "a transaction by autocommit=0": ["SET autocommit = 0", "SELECT * FROM app.t"],
    "SET TRANSACTION for the next one": ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    "a temporary table": ["CREATE TEMPORARY TABLE app.x (a INT)"],
    "a table lock": ["LOCK TABLES app.t WRITE"],
    "FLUSH TABLES WITH READ LOCK": ["FLUSH TABLES app.t WITH READ LOCK"],
    "a named lock": ["SELECT GET_LOCK('here', 1)"],
    "a user variable": ["SET @a = 1"],
    "a user variable in a SELECT": ["SELECT @a := 1"],
    "a user variable in a trigger": [*FIRED, "INSERT INTO app.fired VALUES (1)"],
    "a PREPARE": ["PREPARE p FROM 'SELECT 1'"],
    "warnings": ["SELECT 1/0"],
    "a default role": ["SET DEFAULT ROLE NONE"],
    "a variable that cannot be carried": ["SET timestamp = 1"],
    "a HANDLER": ["HANDLER app.t OPEN"],
}


@pytest.mark.parametrize("what", KEPT)
def test_a_session_never_loses(cluster: LocalCluster, narrow: Daemon, what: str) -> None:
    first = narrow.connect()
    assert taken(cluster, narrow), "with nothing to keep it gives way"
    ask(first, "SELECT 1")
    for statement in KEPT[what]:
        ask(first, statement)
    (thread,) = threads(cluster.manager)
    assert not taken(cluster, narrow)
    assert set(threads(cluster.manager)) == {thread}


def test_a_trigger_of_a_schema_that_the_text_goes_to_is_seen(cluster: LocalCluster, narrow: Daemon) -> None:
    first = narrow.connect()
    for statement in FIRED:
        ask(first, statement)
    eventually(lambda: taken(cluster, narrow))
    with RawClient(("127.0.0.1", narrow.port), "app", cluster.passwords["app"]) as client:
        client.query("USE app; INSERT INTO fired VALUES (1)")
        assert not taken(cluster, narrow)


def test_who_defines_a_trigger_has_not_fired_it(cluster: LocalCluster, narrow: Daemon) -> None:
    first = narrow.connect()
    for statement in FIRED:
        ask(first, statement)
    assert taken(cluster, narrow)


def test_a_session_never_loses_a_cursor(cluster: LocalCluster, narrow: Daemon) -> None:
    for _ in range(5):
        cluster.manager.query("INSERT INTO app.t (v) VALUES (1)")
    with RawClient(("127.0.0.1", narrow.port), "app", cluster.passwords["app"]) as client:
        read = client.prepare("SELECT id FROM app.t")
        client.execute(read.id, cursor=True)
        assert not taken(cluster, narrow)
        assert len(client.fetch(read.id, 2).rows) == 2
        assert not taken(cluster, narrow)
        client.fetch(read.id, 10)
        assert taken(cluster, narrow), "it was read to its end"


RELEASED = {
    "COMMIT": (["BEGIN", "INSERT INTO app.t (v) VALUES (1)"], "COMMIT"),
    "ROLLBACK": (["BEGIN"], "ROLLBACK"),
    "UNLOCK TABLES": (["LOCK TABLES app.t WRITE"], "UNLOCK TABLES"),
    "a table without warnings": (["SELECT 1/0", "SELECT 1"], "SELECT * FROM app.t"),
    "autocommit=1": (["SET autocommit = 0"], "SET autocommit = 1"),
}


@pytest.mark.parametrize("end", RELEASED)
def test_the_reason_ends_with(cluster: LocalCluster, narrow: Daemon, end: str) -> None:
    first = narrow.connect()
    statements, last = RELEASED[end]
    for statement in statements:
        ask(first, statement)
    assert not taken(cluster, narrow)
    ask(first, last)
    assert taken(cluster, narrow)


def test_warnings_are_those_of_the_session(cluster: LocalCluster, narrow: Daemon) -> None:
    first = narrow.connect()
    ask(first, "SELECT 1/0")
    assert not taken(cluster, narrow)
    assert [row[1] for row in ask(first, "SHOW WARNINGS")] == [1365]
    with pytest.raises(pymysql.ProgrammingError):
        ask(first, "SELECT * FROM app.missing")
    assert not taken(cluster, narrow)
    assert [row[1] for row in ask(first, "SHOW WARNINGS")] == [1146]


def test_waiting_is_bounded_by_pool_wait_then_1040(narrow: Daemon) -> None:
    first, second = narrow.connect(), narrow.connect()
    vain = narrow.metrics().total("mysqlproxy_pool_timeouts_total")
    ask(first, "BEGIN")
    began = time.monotonic()
    with pytest.raises(pymysql.OperationalError) as caught:
        ask(second, "SELECT 1")
    assert 0.25 < time.monotonic() - began < 10
    assert errno(caught.value) == 1040
    ask(first, "COMMIT")
    assert value(second, "SELECT 2") == 2, "the client that got the error goes on"
    metrics = narrow.metrics()
    assert metrics.total("mysqlproxy_pool_timeouts_total") == vain + 1


def test_the_sqlstate_of_1040(cluster: LocalCluster, narrow: Daemon) -> None:
    ask(narrow.connect(), "BEGIN")
    with RawClient(("127.0.0.1", narrow.port), "app", cluster.passwords["app"]) as client:
        err = client.query("SELECT 1").err
        assert err is not None
        assert (err.errno, err.sqlstate) == (1040, "08004")


def test_a_waiter_gets_the_connection_when_a_transaction_ends(cluster: LocalCluster, patient: Daemon) -> None:
    first = patient.connect()
    waits = patient.metrics().total("mysqlproxy_pool_waits_total")
    ask(first, "BEGIN")
    with RawClient(("127.0.0.1", patient.port), "app", cluster.passwords["app"]) as second:
        second.send(second.query_payload("SELECT 42"))
        first.ping(reconnect=False)  # answered after what came before has been read
        ask(first, "SELECT 1")
        ask(first, "COMMIT")
        assert second.read_results().value == b"42"
    assert patient.metrics().total("mysqlproxy_pool_waits_total") == waits + 1


def test_the_order_of_waiting_is_the_order_of_coming(cluster: LocalCluster, patient: Daemon) -> None:
    holder = patient.connect()
    clients = [RawClient(("127.0.0.1", patient.port), "app", cluster.passwords["app"]) for _ in range(8)]
    ask(holder, "BEGIN")
    cluster.manager.general_log.mark()
    for number, client in enumerate(clients):
        client.send(client.query_payload(f"SELECT {1000 + number} AS queued"))
        # The daemon answers a ping of another client after it has read what came before.
        holder.ping(reconnect=False)
    ask(holder, "COMMIT")
    for number, client in enumerate(clients):
        assert client.read_results().value == str(1000 + number).encode()
        client.close()
    served = [entry.text for entry in cluster.manager.served("AS queued")]
    assert served == [f"SELECT {1000 + number} AS queued" for number in range(8)]


def test_a_client_that_leaves_while_it_waits_leaves_the_queue(cluster: LocalCluster, patient: Daemon) -> None:
    holder, last = patient.connect(), patient.connect()
    ask(holder, "BEGIN")
    with RawClient(("127.0.0.1", patient.port), "app", cluster.passwords["app"]) as leaver:
        leaver.send(leaver.query_payload("SELECT 'left' AS gone"))
        holder.ping(reconnect=False)
    eventually(lambda: patient.metrics().total("mysqlproxy_client_connections") == 2)
    ask(holder, "COMMIT")
    assert value(last, "SELECT 5") == 5
    assert not cluster.manager.served("AS gone")


# With more places than one from here on: connections stay in them.


def test_a_connection_that_knows_a_last_value_is_taken_last(cluster: LocalCluster, patient: Daemon) -> None:
    patient.write(patient.config | {"servers": only_manager(cluster, max_connections=2)["servers"]})
    reload(patient)
    first, second, third = (patient.connect(database="app") for _ in range(3))
    ask(first, "CREATE OR REPLACE SEQUENCE s")
    ask(first, "SELECT NEXTVAL(s)")
    for other in (second, third, second):
        ask(other, "SELECT 1")
    assert value(first, "SELECT LASTVAL(s)") == 1


def test_many_clients_share_few_connections(cluster: LocalCluster, patient: Daemon) -> None:
    patient.write(patient.config | {"servers": only_manager(cluster, max_connections=3)["servers"]})
    reload(patient)
    faults: list[object] = []
    most: list[int] = []

    def work(number: int) -> None:
        try:
            client = patient.connect()
            ask(client, f"SET lock_wait_timeout = {100 + number}")
            for turn in range(10):
                ask(client, "INSERT INTO app.t (v) VALUES (%s)", (number,))
                rows = ask(client, "SELECT v FROM app.t WHERE id = LAST_INSERT_ID()")
                mine = rows[0][0] if rows else None
                timeout = value(client, "SELECT @@lock_wait_timeout")
                if (mine, timeout) != (number, 100 + number):
                    faults.append((number, turn, mine, timeout))
        except Exception as error:
            faults.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        most.append(len(threads(cluster.manager)))
    for worker in workers:
        worker.join()
    assert not faults
    assert max(most) <= 3
    assert cluster.manager.value("SELECT COUNT(*) FROM app.t") == 120
