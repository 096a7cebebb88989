"""Which reads may leave the manager with autocommit off and in transactions, as decided on values."""

from __future__ import annotations

import pytest

from mysqlproxy.cluster.view import ClusterView, Role, ServerView
from mysqlproxy.config.schema import AutocommitReads, Consistency, Strategy
from mysqlproxy.protocol.capabilities import STATUS_AUTOCOMMIT, STATUS_IN_TRANS, STATUS_IN_TRANS_READONLY
from mysqlproxy.routing.offload import ALL, Offload, ends
from mysqlproxy.routing.route import Stay, Why, route
from mysqlproxy.routing.strategies import Balance
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.verdict import SqlContext, Verdict

IN, AUTO, RO = STATUS_IN_TRANS, STATUS_AUTOCOMMIT, STATUS_IN_TRANS_READONLY
READ = "SELECT a FROM t"


def verdict(sql: str) -> Verdict:
    return classify(sql.encode(), SqlContext())


def offload(*steps: tuple[str, int], read_only: str = "") -> Offload:
    """After statements that the manager answered with these flags."""
    made = Offload()
    made.setting = AutocommitReads.OFFLOAD
    made.judge("READ-COMMITTED", read_only)
    for sql, status in steps:
        made.settle(verdict(sql), status, 0)
    return made


@pytest.mark.parametrize(
    ("setting", "isolation", "accepted"),
    [
        (AutocommitReads.STRICT, "READ-COMMITTED", False),
        (AutocommitReads.OFFLOAD, "READ-COMMITTED", True),
        (AutocommitReads.OFFLOAD, "read-uncommitted", True),
        (AutocommitReads.OFFLOAD, "REPEATABLE-READ", False),
        (AutocommitReads.OFFLOAD, "SERIALIZABLE", False),
        (AutocommitReads.OFFLOAD, "", False),
        (AutocommitReads.OFFLOAD_ANY_ISOLATION, "SERIALIZABLE", True),
        (AutocommitReads.OFFLOAD_ANY_ISOLATION, "", True),
    ],
)
def test_what_an_account_accepts(setting: AutocommitReads, isolation: str, accepted: bool) -> None:
    made = Offload()
    made.setting = setting
    made.judge(isolation, "")
    assert made.accepted is accepted


@pytest.mark.parametrize(
    ("steps", "may_leave"),
    [
        ([], True),
        ([("SET autocommit = 0", 0)], True),
        ([("SET autocommit = 0", 0), (READ, IN)], True),  # answered by the manager, for whatever reason
        ([("UPDATE t SET a = 1", IN)], False),
        ([("UPDATE t SET a = 1", IN), (READ, IN)], False),
        ([("UPDATE t SET a = 1", IN), ("COMMIT", 0)], True),
        ([("UPDATE t SET a = 1", IN), ("COMMIT AND CHAIN", IN)], False),
        ([("UPDATE t SET a = 1", IN), ("CREATE TABLE u (a INT)", 0)], True),  # commits
        ([("UPDATE t SET a = 1", IN), ("BEGIN", IN)], True),  # commits, too
        ([("BEGIN", IN | AUTO)], True),
        ([("  start   transaction read only ;", IN | RO)], True),
        ([("START TRANSACTION WITH CONSISTENT SNAPSHOT", IN)], False),
        ([("START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT", IN)], False),
        ([("BEGIN; SELECT 1", IN)], False),
        ([("BEGIN", IN), ("SELECT a FROM t FOR UPDATE", IN)], False),
        ([("BEGIN", IN), ("SELECT @@version", IN)], False),
        ([("BEGIN", IN), ("SET NAMES utf8mb4", IN)], False),
        ([("SAVEPOINT s", 0)], False),  # MariaDB shows no transaction
        ([("SAVEPOINT s", 0), ("ROLLBACK", 0)], True),
        ([("XA START 'x'", IN), ("XA END 'x'", IN)], False),
        ([("XA PREPARE 'x'", 0)], False),
    ],
)
def test_whether_reads_may_leave(steps: list[tuple[str, int]], may_leave: bool) -> None:
    assert offload(*steps).reads_may_leave is may_leave


def test_a_write_that_failed_may_have_locked_rows() -> None:
    made = offload(("SET autocommit = 0", 0))
    made.settle(verdict("INSERT INTO t VALUES (1)"), 0, 1062)
    assert not made.reads_may_leave
    made = offload(("SET autocommit = 0", 0))
    made.settle(verdict(READ), 0, 1054)
    assert made.reads_may_leave


@pytest.mark.parametrize(
    ("sql", "told", "manager", "executes", "worker_says", "shown"),
    [
        (READ, AUTO, None, True, AUTO, AUTO),
        (READ, 0, None, True, AUTO, IN),
        ("SELECT 1", 0, None, True, AUTO, 0),
        ("SELECT 1", IN, None, True, AUTO, IN),
        (READ, 0, None, False, AUTO, 0),  # only prepared
        (READ, IN | AUTO | RO, None, True, AUTO, IN | AUTO | RO),
        ("COMMIT", IN, None, True, AUTO, 0),  # without a manager
        (READ, 0, None, True, AUTO | 0x0030, IN | 0x0030),  # what else it says is the statement's
        ("SELECT @@version", IN, 0, True, 0, IN),
        ("SET @x = 1", IN, 0, True, 0, IN),
        ("SAVEPOINT s", IN, 0, True, 0, IN),
        ("COMMIT", IN, 0, True, 0, 0),
        ("SET autocommit = 1", IN, 0, True, AUTO, AUTO),
        ("CREATE TABLE u (a INT)", IN, 0, True, 0, 0),
        ("UPDATE t SET a = 1", IN, 0, True, IN, IN),
        ("UPDATE t SET a = 1", IN, 0, False, 0, IN),
        ("ROLLBACK", IN, IN, True, 0, 0),
    ],
)
def test_the_flags_that_the_manager_alone_would_show(
    sql: str, told: int, manager: int | None, executes: bool, worker_says: int, shown: int
) -> None:
    kept, added = offload().flags(verdict(sql), executes=executes, told=told, manager=manager)
    assert worker_says & kept | added == shown


def test_a_session_of_read_only_transactions() -> None:
    kept, added = offload(read_only="ON").flags(verdict(READ), executes=True, told=0, manager=None)
    assert AUTO & kept | added == IN | RO


def test_without_the_setting_no_flag_is_touched() -> None:
    assert Offload().flags(verdict(READ), executes=True, told=0, manager=None) == (ALL, 0)


def test_what_ends_a_transaction() -> None:
    assert all(ends(verdict(sql)) for sql in ("COMMIT", "rollback work", "/* x */ Commit ;"))
    for sql in (
        "COMMIT AND CHAIN",
        "COMMIT RELEASE",
        "ROLLBACK TO s",
        "COMMIT; SELECT 1",
        READ,
        "SELECT 'COMMIT'",
    ):
        assert not ends(verdict(sql)), sql


MANAGER = ServerView("manager", Role.MANAGER, up=True, writable=True)
WORKER = ServerView("worker", Role.WORKER, up=True)


def view(manager: ServerView | None = MANAGER, readers: tuple[ServerView, ...] = (WORKER,)) -> ClusterView:
    return ClusterView(
        servers=(MANAGER, WORKER),
        manager=manager,
        readers=readers,
        complete=readers,
        by_name={"manager": MANAGER, "worker": WORKER},
    )


def routed(sql: str, stay: Stay, seen: ClusterView | None = None) -> tuple[str, str]:
    server, why = route(verdict(sql), seen or view(), stay, Strategy.RANDOM, Consistency.SESSION, Balance({}))
    return server.name, why


def test_plain_reads_leave_a_transaction_that_has_only_read() -> None:
    stay = Stay("manager", reads_leave=True, last_server="worker")
    assert routed(READ, stay) == ("worker", Why.STRATEGY)
    assert routed("SHOW WARNINGS", stay) == ("worker", Why.LAST_STATEMENT)
    for sql in (
        "UPDATE t SET a = 1",
        "COMMIT",
        "SELECT @@version",
        "SELECT a FROM t FOR UPDATE",
        "SELECT LAST_INSERT_ID()",
    ):
        assert routed(sql, stay) == ("manager", Why.KEPT), sql
    assert routed(READ, Stay("manager")) == ("manager", Why.KEPT)


def test_what_cannot_leave_goes_back_to_its_transaction() -> None:
    stay = Stay("manager", reads_leave=True)
    assert routed(READ, stay, view(readers=())) == ("manager", Why.NO_WORKER)
    assert routed(READ, Stay("manager", True, Why.BEHIND)) == ("manager", Why.BEHIND)
    assert routed(READ, Stay("manager", True, Why.BEHIND), view(manager=None)) == ("manager", Why.BEHIND)


def test_without_a_manager_reads_go_on_and_what_they_began_ends() -> None:
    gone = view(manager=None)
    for why in (Why.AUTOCOMMIT_OFF, Why.ISOLATION):
        assert routed(READ, Stay(manager_reads=why), gone) == ("worker", Why.STRATEGY)
    assert routed("COMMIT", Stay(), gone) == ("worker", Why.NO_MANAGER)
