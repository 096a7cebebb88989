"""Clients and servers that are slow: bounded memory, and nobody else waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.support.raw import QUERY, RawClient, proxied
from tests.support.relay import relay
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]
MIB = 1 << 20
GROWTH = 24 * MIB  # what a session may cost at most, whatever passes through it


def resident(daemon: Daemon) -> int:
    """Bytes of RSS."""
    for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


class Peak(threading.Thread):
    """The highest RSS of a daemon while this runs."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self._watched = daemon
        self._stop_it = threading.Event()
        self.before = self.highest = resident(daemon)

    def __enter__(self) -> Peak:
        self.start()
        return self

    def run(self) -> None:
        while not self._stop_it.wait(0.01):
            self.highest = max(self.highest, resident(self._watched))

    def __exit__(self, *_: object) -> None:
        self._stop_it.set()
        self.join()

    @property
    def growth(self) -> int:
        return self.highest - self.before


def received(client: RawClient, size: int) -> None:
    """Read and forget."""
    while size > 0:
        piece = client.sock.recv(min(size, 1 << 20))
        assert piece
        size -= len(piece)


def test_a_large_result_for_a_slow_client_is_not_held_in_memory(cluster: LocalCluster, proxy: Proxy) -> None:
    """220 MB in rows of a kilobyte; the client stops reading several times, and others are served meanwhile."""
    daemon = proxy()
    with (
        proxied(daemon, receive_buffer=1 << 16) as slow,
        proxied(daemon) as other,
        Peak(daemon) as peak,
    ):
        slow.send(
            slow.query_payload("SELECT REPEAT('x', 1000) FROM seq_1_to_220000".replace("seq", "app.seq"))
        )
        for _ in range(5):
            eventually(lambda: stands_still(daemon), what="the daemon stops reading")
            for _ in range(20):
                assert other.query("SELECT 1").value == b"1"
            received(slow, 44 * 1000 * 1000)
        slow.receive(1000)
        assert peak.growth < GROWTH
        slow.close()
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 0)


def stands_still(daemon: Daemon) -> bool:
    """Something was sent to clients, and for 50 ms not a byte more."""
    before = daemon.metrics().total("mysqlproxy_bytes_total", direction="sent")
    threading.Event().wait(0.05)
    assert before > 0
    return daemon.metrics().total("mysqlproxy_bytes_total", direction="sent") == before


def test_a_large_value_for_a_slow_client_is_not_held_in_memory(cluster: LocalCluster, proxy: Proxy) -> None:
    daemon = proxy()
    with proxied(daemon, receive_buffer=1 << 16) as slow, Peak(daemon) as peak:
        slow.send(slow.query_payload("SELECT REPEAT('x', 60000000)"))
        eventually(lambda: stands_still(daemon))
        received(slow, 60_000_000)
        assert peak.growth < GROWTH


def test_a_large_upload_to_a_slow_server_is_not_held_in_memory(cluster: LocalCluster, proxy: Proxy) -> None:
    """A file of 100 MB towards a server that takes little: the daemon stops reading its client."""
    cluster.manager.query("CREATE TABLE app.t (a VARCHAR(100))")
    with relay(cluster.manager.port) as slow:
        address = f"127.0.0.1:{slow.port}"
        daemon = proxy(servers=[{"name": "manager", "address": address, "role": "manager"}])
        with proxied(daemon, schema="app") as client, proxied(daemon) as other, Peak(daemon) as peak:
            assert other.query("SELECT 1").value == b"1"
            total = 100_000_000
            line = b"x" * 99 + b"\n"
            sent: list[int] = []

            def pieces(name: bytes) -> list[bytes]:
                slow.bytes_per_second = 1 << 20
                return [line * 10_000] * (total // 1_000_000)

            def load() -> None:
                answer = client.query("LOAD DATA LOCAL INFILE 'f' INTO TABLE t", pieces)
                sent.append(answer.ok.affected_rows)

            loading = threading.Thread(target=load)
            loading.start()
            eventually(lambda: slow.bytes_per_second is not None)
            eventually(lambda: received_stands_still(daemon), what="the daemon stops reading the client")
            assert peak.growth < GROWTH
            slow.bytes_per_second = None
            for _ in range(20):
                assert other.query("SELECT 1").value == b"1"
            loading.join(60)
            assert sent == [total // 100]
            assert peak.growth < GROWTH
        daemon.stop()


def received_stands_still(daemon: Daemon) -> bool:
    """Over 50 ms the client could send less than a fiftieth of what it would without being held back."""
    before = daemon.metrics().total("mysqlproxy_bytes_total", direction="received")
    threading.Event().wait(0.05)
    return daemon.metrics().total("mysqlproxy_bytes_total", direction="received") - before < 1 << 18


def test_commands_that_come_early_are_queued_up_to_a_bound(cluster: LocalCluster, proxy: Proxy) -> None:
    """A client that sends without end while its statement runs is not read any more."""
    daemon = proxy()
    with proxied(daemon) as eager, proxied(daemon) as other, Peak(daemon) as peak:
        eager.send(eager.query_payload("DO SLEEP(3)"))
        statement = b"DO '" + b"x" * 100_000 + b"'"
        packet = (len(statement) + 1).to_bytes(3, "little") + b"\0" + bytes((QUERY,)) + statement
        sent, finished = [0], threading.Event()

        def send() -> None:
            for _ in range(400):  # 40 MB
                eager.sock.sendall(packet)
                sent[0] += 1
            finished.set()

        sending = threading.Thread(target=send)
        sending.start()
        eventually(lambda: sent[0] > 5)
        eventually(lambda: received_stands_still(daemon))
        assert not finished.is_set()
        assert other.query("SELECT 1").value == b"1"
        assert peak.growth < GROWTH
        for _ in range(401):
            eager.read_one().check()
        sending.join()
        assert peak.growth < GROWTH
