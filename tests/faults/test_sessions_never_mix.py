"""Many clients on few connections, which are taken away all the time, killed, dropped: none sees another's state.

``STORM_SECONDS`` and ``STORM_SEED`` make it longer, or another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.faults.stress import storm
from tests.support.sessions import servers, threads
from tests.support.waiting import eventually

CLIENTS = 30
CONNECTIONS = 8  # to each server
SECONDS = float(os.environ.get("STORM_SECONDS", "8"))
SEED = int(os.environ.get("STORM_SEED", "1"))


def _open_files(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


def _memory(daemon: Daemon) -> int:
    """Resident, in KiB."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_each_client_sees_its_own_state_only_and_nothing_is_left(
    cluster: LocalCluster, proxy: Callable[..., Daemon]
) -> None:
    cluster.manager.query("CREATE TABLE app.counters (client INT PRIMARY KEY, n INT NOT NULL)")
    cluster.manager.query("CREATE TABLE app.ids (id INT PRIMARY KEY AUTO_INCREMENT, client INT NOT NULL)")
    rows = ", ".join(f"({number}, 0)" for number in range(1, CLIENTS + 1))
    cluster.manager.query(f"INSERT INTO app.counters VALUES {rows}")
    cluster.wait_in_sync()
    daemon = proxy(
        servers=servers(cluster, max_connections=CONNECTIONS),
        routing={"strategy": "random"},
        limits={"pool_wait": 3.0},
        log={"level": "warning"},
    )
    storm(daemon, CLIENTS, 1.0, SEED + 1000)  # what is made once is made now
    eventually(
        lambda: daemon.metrics().total("mysqlproxy_client_connections") == 0, what="all clients have left"
    )
    files, memory = _open_files(daemon), _memory(daemon)

    done = storm(daemon, CLIENTS, SECONDS, SEED)
    print(done)

    assert done["statements"] > 50 * SECONDS and done["kills"] and done["vanished"], done
    eventually(
        lambda: daemon.metrics().total("mysqlproxy_client_connections") == 0, what="all clients have left"
    )
    for state in ("used", "connecting", "resetting"):
        eventually(
            lambda state=state: daemon.metrics().total("mysqlproxy_server_connections", state=state) == 0,
            what=f"no connection is {state}",
        )
    for server in cluster.servers:
        idle = daemon.metrics().total("mysqlproxy_server_connections", server=server.name, state="idle")
        assert idle <= CONNECTIONS
        eventually(
            lambda server=server, idle=idle: len(threads(server)) == idle, what=f"{idle} on {server.name}"
        )
        assert not server.query("SELECT * FROM information_schema.INNODB_TRX")
    assert _open_files(daemon) <= files + 3 * CONNECTIONS
    assert _memory(daemon) < memory * 1.25 + 10 * 1024
