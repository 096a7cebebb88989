"""What one probe of one server found: values, and the functions that read them from the server's rows.

Made by ``cluster.probe``, judged by ``cluster.track`` and ``cluster.decide``. No I/O, and never the text of a
replication error: servers put the failing statement with its literals into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from typing import Any

from mysqlproxy.cluster.gtid import GtidSet, parse_mariadb_list

Row = Mapping[str, Any]


class Failure(Enum):
    """Why a probe failed, as far as it matters what follows."""

    NONE = "none"
    REFUSED = "refused"  # nobody listens: certain at once
    OTHER = "other"


class Thread(Enum):
    """A replication thread, as in Slave_IO_Running and Slave_SQL_Running."""

    RUNNING = "running"
    CONNECTING = "connecting"  # the IO thread tries to reach the source, or is about to
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Source:
    """One row of SHOW ALL SLAVES STATUS or SHOW REPLICA STATUS: where a server replicates from.

    Attributes:
        channel: its name, "" for the only one.
        host, port: the source as configured on the replica.
        origin: the source's server id (MariaDB) or UUID (MySQL); "" or "0" before the first contact.
        io, sql: the two threads.
        lag: Seconds_Behind_Source; None when the server does not know.
        reset: nothing but the source's address is left (RESET REPLICA), no position in its log.
        errno: of the last error of either thread, 0 for none.
        filters: what it leaves out or renames, as in "replicate_do_db"; "" when it applies all it gets.
    """

    channel: str
    host: str
    port: int
    origin: str
    io: Thread
    sql: Thread
    lag: float | None
    reset: bool
    errno: int
    filters: str = ""

    @property
    def inert(self) -> bool:
        """Stopped and reset: it replicates nothing and remembers nothing."""
        return self.reset and self.io is self.sql is Thread.STOPPED


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself.

    Attributes:
        version, capabilities, mariadb: from its greeting.
        identity: changes when another server answers at this address.
        origin: the mark of its own transactions: server id (MariaDB) or UUID (MySQL).
        read_only: neither read_only nor super_read_only is off.
        sources: None when the monitor's account may not ask.
        position: as in ServerView.
        origins: MariaDB: last sequence of each (domain, server id) it knows of; empty for MySQL.
        log_filters: what its binary log leaves out, as in "binlog_do_db"; "" for nothing, None when the monitor's
            account may not ask.
        logs_updates: whether it writes replicated transactions to its own log, too.
    """

    version: str
    capabilities: int
    mariadb: bool
    identity: str
    origin: str
    read_only: bool
    sources: tuple[Source, ...] | None
    position: GtidSet | None
    origins: Mapping[tuple[int, int], int] = field(default_factory=dict)
    logs_updates: bool = True
    log_filters: str | None = ""
    lower_case_table_names: int = 0
    wait_timeout: float = 28800.0
    init_connect: bool = False
    autocommit: bool = True
    max_packet: int = 16 * 1024 * 1024
    sql_mode: str = ""
    isolation: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe. Times are of ``time.monotonic``.

    Attributes:
        started, ended: the probe's; what it read was so at some moment between.
        failure, error: why it failed; the error is for log and status page, not for clients.
        facts: None when it failed.
        ping: seconds of one COM_PING; inf when it failed.
        booted: when the server was started, seconds since 1970 by its own clock; 0 when the probe failed.
    """

    started: float
    ended: float
    failure: Failure = Failure.NONE
    error: str = ""
    facts: Facts | None = None
    ping: float = float("inf")
    booted: int = 0


def read_source(row: Row) -> Source:
    """A Source from one row of any of the forms that MariaDB and MySQL have had."""

    def column(*names: str) -> Any:
        return next((row[name] for name in names if row.get(name) is not None), None)

    lag = float(column("Seconds_Behind_Source", "Seconds_Behind_Master") or 0)
    lag_known = column("Seconds_Behind_Source", "Seconds_Behind_Master") is not None and isfinite(lag)
    return Source(
        channel=str(column("Channel_Name", "Connection_name") or ""),
        host=str(column("Source_Host", "Master_Host") or ""),
        port=int(column("Source_Port", "Master_Port") or 0),
        origin=str(
            column("Source_UUID", "Master_UUID", "Master_Server_Id", "Source_Server_Id") or ""
        ).lower(),
        io=_thread(column("Replica_IO_Running", "Slave_IO_Running")),
        sql=_thread(column("Replica_SQL_Running", "Slave_SQL_Running")),
        lag=lag if lag_known else None,
        reset=not column("Source_Log_File", "Master_Log_File"),
        errno=int(column("Last_IO_Errno") or 0) or int(column("Last_SQL_Errno") or 0),
        filters=filters(row, "replicate_"),
    )


def filters(row: Row, prefix: str) -> str:
    """Names of the columns that are not empty among those that begin so: each is an option of the server."""
    named = ((name.lower(), value) for name, value in row.items())
    return ", ".join(name for name, value in named if name.startswith(prefix) and _text(value).strip())


def mariadb_facts(row: Row, sources: tuple[Source, ...] | None, version: str, capabilities: int) -> Facts:
    """Facts from the row of ``probe.MARIADB_VARIABLES``.

    Raises:
        ValueError: the server's GTIDs cannot be read.
    """
    applied = GtidSet.parse(_text(row["gtid_slave_pos"]), True)
    written = GtidSet.parse(_text(row["gtid_binlog_pos"]), True)
    origins: dict[tuple[int, int], int] = {}
    for name in ("gtid_slave_pos", "gtid_binlog_pos", "gtid_binlog_state"):
        for domain, server, sequence in parse_mariadb_list(_text(row[name])):
            origins[domain, server] = max(sequence, origins.get((domain, server), 0))
    replicates = sources is None or any(not source.inert for source in sources)
    # A replica's own log may hold an errant transaction beyond what it has applied: only the latter counts.
    position = applied if replicates else written.merge(applied)
    return Facts(
        version=version,
        capabilities=capabilities,
        mariadb=True,
        identity=_text(row["server_id"]),
        origin=_text(row["server_id"]),
        read_only=_is_on(row["read_only"]),
        sources=sources,
        position=position if _is_on(row["log_bin"]) or not position.empty() else None,
        origins=origins,
        logs_updates=_is_on(row["log_slave_updates"]),
        **_common(row),
    )


def mysql_facts(row: Row, sources: tuple[Source, ...] | None, version: str, capabilities: int) -> Facts:
    """Facts from the row of ``probe.MYSQL_VARIABLES``.

    Raises:
        ValueError: the server's GTIDs cannot be read.
    """
    has_gtids = _text(row["gtid_mode"]).upper() == "ON"
    return Facts(
        version=version,
        capabilities=capabilities,
        mariadb=False,
        identity=_text(row["server_uuid"]).lower(),
        origin=_text(row["server_uuid"]).lower(),
        read_only=_is_on(row["read_only"]) or _is_on(row["super_read_only"]),
        sources=sources,
        position=GtidSet.parse(_text(row["gtid_executed"]), False) if has_gtids else None,
        **_common(row),
    )


def _common(row: Row) -> dict[str, Any]:
    return {
        "lower_case_table_names": int(row["lower_case_table_names"]),
        "wait_timeout": min(
            float(row[name]) for name in ("wait_timeout", "interactive_timeout") if name in row
        ),
        "init_connect": bool(_text(row.get("init_connect")).strip()),
        "autocommit": _is_on(row.get("autocommit", "ON")),
        "max_packet": int(row["max_allowed_packet"]),
        "sql_mode": _text(row["sql_mode"]),
        "isolation": _text(row.get("isolation")),
    }


def _text(value: Any) -> str:
    return (
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str("" if value is None else value)
    )


def _is_on(value: Any) -> bool:
    # MariaDB 12 has NO_LOCK and NO_LOCK_NO_ADMIN beside ON: whatever is not off refuses somebody's writes.
    return _text(value).upper() not in {"0", "OFF", ""}


def _thread(value: Any) -> Thread:
    text = _text(value)
    if text == "Yes":
        return Thread.RUNNING
    return Thread.STOPPED if text in {"No", ""} else Thread.CONNECTING
