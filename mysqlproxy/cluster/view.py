"""The view of the cluster: what the daemon believes about each server, and what follows for statements.

Made by ``cluster.decide`` from the monitor's probes; read by routing on every statement, hence everything
that a statement asks is precomputed here. A value; a new one replaces it whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from mysqlproxy.cluster.gtid import GtidSet


class Role(Enum):
    MANAGER = "manager"
    WORKER = "worker"


@dataclass(frozen=True)
class ServerView:
    """One server as last seen.

    Attributes:
        name: as configured.
        role: the configured expectation.
        up: answers probes (with hysteresis).
        writable: read_only is off and it is no replica of another server.
        maintenance: the operator drains it: no new statements but from sessions that must stay.
        weight: for the strategy ``weighted``; 0 takes no reads.
        ping: seconds, moving median of the probe's round trip; inf when unknown.
        lag: seconds behind its source; 0.0 on the manager; None when unknown or replication is stopped.
        replicating: both replication threads run (the IO thread may be reconnecting to its source).
        version: the server's greeting, as in "5.5.5-10.11.19-MariaDB"; "" when never seen.
        capabilities: the server's 32 capability flags, MariaDB's extended ones shifted up by 32; 0 when
            never seen.
        mariadb: which kind of server.
        origin: the mark of its own transactions: server id (MariaDB) or UUID (MySQL).
        source: origin of the one server it replicates from, "" for none or several.
        position: GTIDs it has applied (replica) or written (manager), or None when it has no GTIDs.
        unreadable: why it takes no reads, "" when it does.
        partial: why it may lack for good what the manager has, "" when it does not: then it takes only reads that
            ask for no more than read_consistency ``eventual``.
        of_before: connections made until then (``time.monotonic``) are not to this incarnation; inf: nor may others
        incarnation: changes when the server was restarted or replaced, or its GTIDs began anew.
        histories: how often its GTIDs began anew: what was known of them before means nothing any more.
        lower_case_table_names: as on the server: 0 names are case-sensitive, 1 and 2 they are not.
        wait_timeout: seconds after which the server closes idle connections, interactive ones included.
        init_connect: the server runs statements of its own at each login (and only there).
        autocommit: what new connections begin with, unless init_connect says otherwise.
        max_packet: bytes, the server's max_allowed_packet.
        sql_mode, isolation: the server's global ones, which new connections begin with.
        observed, observed_until: when the probe began and ended that told all this, ``time.monotonic``; 0.0
            before the first.
    """

    name: str
    role: Role
    up: bool = False
    writable: bool = False
    maintenance: bool = False
    weight: int = 1
    ping: float = float("inf")
    lag: float | None = None
    replicating: bool = False
    version: str = ""
    capabilities: int = 0
    mariadb: bool = True
    origin: str = ""
    source: str = ""
    position: GtidSet | None = None
    unreadable: str = ""
    partial: str = ""
    incarnation: int = 0
    of_before: float = float("inf")
    histories: int = 0
    lower_case_table_names: int = 0
    wait_timeout: float = 28800.0
    init_connect: bool = False
    autocommit: bool = True
    max_packet: int = 16 * 1024 * 1024
    sql_mode: str = ""
    isolation: str = ""
    observed: float = 0.0
    observed_until: float = 0.0


@dataclass(frozen=True)
class ClusterView:
    """All servers, and the answers that routing needs.

    Attributes:
        epoch: grows whenever the manager changes, is lost or comes back (also by a restart between two
            probes); every acquire compares it. Maintenance of the manager alone leaves it as it is, so that
            what is open may end.
        servers: in the configuration's order.
        manager: the one writable server, or None: then writes are refused with ``no_manager`` as the reason.
        no_manager: a sentence for the client and the log, "" when there is a manager.
        readers: the workers that may take reads; when there is none, the manager alone if it is up; else
            empty.
        complete: those of the readers that are not ``partial``.
        alerts: sentences for log and metrics (two managers, manager behind, errant transactions, ...).
        version: the greeting for clients: the lowest version of the servers ever seen; "" when none was.
        capabilities: what all servers ever seen can do (intersection); 0 when none was.
        mariadb: whether the greeting's server is MariaDB.
        sql_mode, isolation: the manager's global ones, the last known when there is no manager.
        holder: whose epoch it is, as in "manager#1" (name and incarnation); "" when there is no one manager.
    """

    epoch: int = 0
    servers: tuple[ServerView, ...] = ()
    manager: ServerView | None = None
    no_manager: str = "no server has been reached yet"
    readers: tuple[ServerView, ...] = ()
    complete: tuple[ServerView, ...] = ()
    alerts: tuple[str, ...] = ()
    version: str = ""
    capabilities: int = 0
    mariadb: bool = True
    sql_mode: str = ""
    isolation: str = ""
    holder: str = ""
    by_name: dict[str, ServerView] = field(default_factory=dict)


def version_of(greeting: str) -> tuple[int, int, int]:
    """(10, 11, 19) of "5.5.5-10.11.19-MariaDB-log"."""
    found = re.findall(r"[0-9]+\.[0-9]+\.[0-9]+", greeting.removeprefix("5.5.5-"))
    major, minor, patch = (int(part) for part in found[0].split(".")) if found else (0, 0, 0)
    return major, minor, patch


def is_within(server: ServerView, manager: ServerView) -> bool:
    """Whether a server has no GTIDs of the manager that the manager does not have itself."""
    if server.position is None or manager.position is None:
        return False
    ahead = server.position.minus(manager.position)
    return (ahead if server.mariadb else ahead.of(manager.origin)).empty()
