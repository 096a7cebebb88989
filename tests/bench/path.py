"""What one statement costs in the daemon itself: the path from the client's bytes to the server's socket and back,
without any system call.

    python -m tests.bench.path

A real session in front of real servers is logged in and asks everything once; then both of its sockets are replaced
by ones that only keep what is written, and the same bytes are handed to it again and again. The figure is a low
percentile of many short turns, so that it holds on a busy machine, too; in the daemon, whose caches are colder, the
same code takes two to three times as long. Says which build runs; see docs/speed.md.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pymysql
import uvloop

from mysqlproxy.app import Daemon
from mysqlproxy.config.load import load
from mysqlproxy.demo import daemon as demo
from mysqlproxy.demo.local import LocalCluster, free_port
from mysqlproxy.protocol.build import compiled
from mysqlproxy.protocol.framing import frame

SECONDS = 3.0  # for each row
ROWS = ", ".join(f"({number}, {number}, '{'x' * 119}', '{'y' * 59}')" for number in range(1, 300))
READS = [
    *(f"SELECT c FROM sbtest1 WHERE id={number}" for number in range(1, 11)),
    "SELECT c FROM sbtest1 WHERE id BETWEEN 1 AND 100",
    "SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN 5 AND 104",
    "SELECT c FROM sbtest1 WHERE id BETWEEN 7 AND 106 ORDER BY c",
    "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 9 AND 108 ORDER BY c",
]
WRITES = [
    "UPDATE sbtest1 SET k=k+1 WHERE id=5",
    "UPDATE sbtest1 SET c='x' WHERE id=6",
    "DELETE FROM sbtest1 WHERE id=9",
    "INSERT INTO sbtest1 (id, k, c, pad) VALUES (9, 1, 'a', 'b')",
]
PREPARE = b"\x16SELECT c FROM sbtest1 WHERE id=?"
EXECUTE = b"\x17\x01\0\0\0\0\1\0\0\0\0\1\x03\0\x07\0\0\0"  # of the session's first statement, with an INT


class Exchange(NamedTuple):
    """A client's packet, the connection that ran it, and what the server answered, as it came."""

    packet: bytes
    connection: Any
    answer: list[bytes]


class Sink:
    """A transport that takes everything."""

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    resume_reading = abort = close = pause_reading


class Tap:
    """Keeps what a consumer is given."""

    def __init__(self, consumer: Any, answer: list[bytes]) -> None:
        self._consumer = consumer
        self._answer = answer

    def server_data(self, data: bytes) -> None:
        self._answer.append(data)
        self._consumer.server_data(data)


async def asked(session: Any, packet: bytes) -> Exchange:
    """The statement, run once on its server."""
    session.client.data_received(packet)
    while session.busy and session.active is None:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    connection, answer = session.active, []
    connection.consumer = Tap(connection.consumer, answer)
    while session.busy:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return Exchange(packet, connection, answer)


def microseconds(session: Any, exchanges: list[Exchange]) -> float:
    """A statement's time, the fifth percentile of turns of some hundred."""
    turn = exchanges * (200 // len(exchanges) or 1)
    receive = session.client.data_received
    times = []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        began = time.perf_counter()
        for packet, connection, answer in turn:
            receive(packet)
            for data in answer:
                connection.data_received(data)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 20] / len(turn) * 1e6


async def measure(path: Path, connect: Any) -> None:
    daemon = Daemon(path, load(path))
    running = asyncio.create_task(daemon.run())
    while not hasattr(daemon, "services") or not daemon.services.view.complete:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    client = await asyncio.to_thread(connect)
    (session,) = daemon.services.sessions.values()
    session.client.transport = Sink()
    texts = {
        "point select": READS[:1],
        "transaction of 14 reads": ["BEGIN", *READS, "COMMIT"],
        "transaction of 14 reads, 4 writes": ["BEGIN", *READS, *WRITES, "COMMIT"],
    }
    table = {
        name: [await asked(session, frame(b"\x03" + text.encode())) for text in statements]
        for name, statements in texts.items()
    }
    await asked(session, frame(PREPARE))
    await asked(session, frame(EXECUTE))  # the second one finds the types known
    table["execution of a prepared statement"] = [await asked(session, frame(EXECUTE))]
    for held in session.held.values():
        held.transport = Sink()
    print(f"microseconds a statement, {'compiled' if compiled() else 'plain Python'}:")
    for name, exchanges in table.items():
        print(f"{microseconds(session, exchanges):8.2f}  {name}", flush=True)
    client._force_close()
    running.cancel()
    await asyncio.wait([running])


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="mysqlproxy-path-") as folder,
        LocalCluster(Path(folder)) as cluster,
    ):
        port = free_port()
        config = demo.cluster_config(cluster, port, free_port())
        config["routing"] = {"strategy": "direct"}
        path = demo.Daemon(Path(folder), config).config_path

        def connect() -> Any:
            client = pymysql.connect(
                host="127.0.0.1",
                port=port,
                user="app",
                password=cluster.passwords["app"],
                database="app",
                autocommit=True,
            )
            with client.cursor() as cursor:
                cursor.execute(
                    "CREATE TABLE sbtest1 (id INT PRIMARY KEY, k INT, c CHAR(120), pad CHAR(60)) ENGINE=InnoDB"
                )
                cursor.execute(f"INSERT INTO sbtest1 VALUES {ROWS}")
            time.sleep(1.0)  # until the daemon's catalog knows the table
            return client

        uvloop.run(measure(path, connect))


if __name__ == "__main__":
    main()
