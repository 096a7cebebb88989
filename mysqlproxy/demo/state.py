"""What a test may have done to the local cluster, and how to undo it in place.

Called by ``LocalCluster.reset``. ``verify`` says whether ``clean`` was enough; where it was not, it raises,
and the cluster is rebuilt. Nothing here decides what is right: the state captured after ``start`` does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pymysql

from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.server import LocalServer

_SYSTEM = "('mysql', 'information_schema', 'performance_schema', 'sys')"
_VARIABLES = (
    "SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM information_schema.GLOBAL_VARIABLES "
    "WHERE VARIABLE_NAME NOT LIKE 'GTID\\_%\\_POS' AND VARIABLE_NAME NOT LIKE 'GTID\\_%\\_STATE'"
)
# One value for all of them: most of the time nothing has changed, and 700 rows need not be read.
_FINGERPRINT = (
    "SET STATEMENT group_concat_max_len = 1048576 FOR SELECT "  # noqa: S608
    f"MD5(GROUP_CONCAT(name, '=', value ORDER BY name)) AS fingerprint FROM ({_VARIABLES}) AS variables"
)
_SCHEMAS = (
    "SELECT SCHEMA_NAME AS name, DEFAULT_COLLATION_NAME AS collation "  # noqa: S608
    f"FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN {_SYSTEM}"
)
_OBJECTS = " UNION ALL ".join(
    f"SELECT COUNT(*) AS n FROM information_schema.{table} WHERE {column} NOT IN {_SYSTEM}"  # noqa: S608
    for table, column in (
        ("TABLES", "TABLE_SCHEMA"),
        ("ROUTINES", "ROUTINE_SCHEMA"),
        ("EVENTS", "EVENT_SCHEMA"),
    )
)
_PRIVILEGES = (
    "CHECKSUM TABLE mysql.global_priv, mysql.db, mysql.tables_priv, mysql.columns_priv, mysql.procs_priv, "
    "mysql.proxies_priv, mysql.roles_mapping, mysql.servers, mysql.func, mysql.plugin"
)
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class State:
    """All of a server that tests share.

    Attributes:
        fingerprint, variables: the global ones, GTID positions left out.
        schemas: name to default collation, the system's left out.
        objects: tables, routines and events in them.
        accounts: (user, host) of accounts and roles.
        privileges: checksums of the tables that hold them.
    """

    fingerprint: str
    schemas: dict[str, str]
    objects: int
    accounts: frozenset[tuple[str, str]]
    privileges: tuple[int, ...]
    variables: dict[str, str] = field(compare=False)


def capture(server: LocalServer, *, variables: bool = True) -> State:
    """What is there now; the single variables only when asked for."""
    schemas = server.query(_SCHEMAS)
    return State(
        fingerprint=server.value(_FINGERPRINT),
        variables={row["name"]: row["value"] for row in server.query(_VARIABLES)} if variables else {},
        schemas={row["name"]: row["collation"] for row in schemas},
        objects=sum(row["n"] for row in server.query(_OBJECTS)),
        accounts=frozenset(
            (r["User"], r["Host"]) for r in server.query("SELECT User, Host FROM mysql.global_priv")
        ),
        privileges=tuple(row["Checksum"] for row in server.query(_PRIVILEGES)),
    )


def clean(manager: LocalServer, workers: Sequence[LocalServer], baseline: Sequence[State]) -> None:
    """Put right what can be put right in place; LocalClusterError or a MySQLError when something cannot."""
    for server, wanted in zip((manager, *workers), baseline, strict=True):
        _end_sessions(server)
        if server.query("XA RECOVER"):
            raise LocalClusterError(f"{server.name} has a prepared XA transaction")
        _restore_variables(server, wanted)
    if manager.query("SHOW SLAVE STATUS"):
        raise LocalClusterError("the manager replicates from somebody")
    for worker in workers:
        _restart_replication(worker, manager)
    _drop_all(manager, baseline[0])


def verify(servers: Sequence[LocalServer], baseline: Sequence[State]) -> None:
    """LocalClusterError when a server is not as it was, or has transactions that the others lack."""
    position = servers[0].value("SELECT @@gtid_binlog_pos")
    for server, wanted in zip(servers, baseline, strict=True):
        if capture(server, variables=False) != wanted:
            raise LocalClusterError(f"{server.name} is not as it was")
        if server.value("SELECT @@gtid_binlog_pos") != position:
            raise LocalClusterError(f"{server.name} has transactions of its own")


def _end_sessions(server: LocalServer) -> None:
    rows = server.query(
        "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() "
        "AND USER NOT IN ('system user', 'event_scheduler', 'replication')"
    )
    for row in rows:
        try:
            server.query("KILL %s", (row["id"],))
        except pymysql.MySQLError as error:
            if error.args[0] != 1094:  # ER_NO_SUCH_THREAD: it has ended by itself
                raise


def _restore_variables(server: LocalServer, wanted: State) -> None:
    if server.value(_FINGERPRINT) == wanted.fingerprint:
        return
    for row in server.query(_VARIABLES):
        name, value = row["name"], wanted.variables.get(row["name"])
        if value is not None and value != row["value"]:
            number = value.removeprefix("-").replace(".", "", 1).isdigit()
            server.query(f"SET GLOBAL `{name}` = {value if number else '%s'}", None if number else (value,))


def _restart_replication(worker: LocalServer, manager: LocalServer) -> None:
    (status,) = worker.query("SHOW SLAVE STATUS") or ({},)
    if (
        status.get("Master_Port") != manager.port
        or status.get("SQL_Delay")
        or status.get("Using_Gtid") != "Slave_Pos"
    ):
        raise LocalClusterError(f"{worker.name} does not replicate from the manager as it did")
    if status["Slave_IO_Running"] == status["Slave_SQL_Running"] == "Yes":
        return
    worker.query("STOP SLAVE")
    worker.query("START SLAVE")
    deadline = time.monotonic() + _SECONDS
    while not worker.replicating():
        if time.monotonic() > deadline:
            raise LocalClusterError(f"{worker.name} does not replicate any more")
        time.sleep(0.02)


def _drop_all(manager: LocalServer, wanted: State) -> None:
    found = capture(manager, variables=False)
    for user, host in found.accounts - wanted.accounts:
        if host:
            manager.query("DROP USER %s@%s", (user, host))
        else:
            manager.query("DROP ROLE %s", (user,))
    if found.schemas == wanted.schemas and found.objects == wanted.objects:
        return
    for schema in found.schemas:
        manager.query(f"DROP DATABASE `{schema.replace('`', '``')}`")
    for schema in wanted.schemas:
        manager.query(f"CREATE DATABASE `{schema}`")
