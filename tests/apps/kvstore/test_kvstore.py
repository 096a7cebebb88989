"""The key-value store through the daemon: its protocol, any bytes, who served it, a lost server restored."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.apps.kvstore.__main__ import mark, served, worker_is_lost, worker_is_restored
from tests.apps.kvstore.client import Client
from tests.apps.kvstore.load import Load
from tests.apps.kvstore.protocol import MAX_BYTES, message
from tests.apps.kvstore.service import serving
from tests.apps.kvstore.storage import SCHEMA
from tests.apps.scene import Scene, daemon_restarts, sections
from tests.support.waiting import eventually


@pytest.fixture
def scene(cluster: LocalCluster, proxy: Callable[..., Daemon], tmp_path: Path) -> Scene:
    cluster.manager.query(SCHEMA, schema="app")
    cluster.wait_in_sync()
    changes, ca = sections(cluster, tmp_path)
    # A worker may take its time: here the servers share a busy machine.
    changes["routing"]["consistency_wait"] = 5.0
    return Scene(cluster, proxy(**changes), ca)


@pytest.fixture
def store(scene: Scene, tmp_path: Path) -> Iterator[int]:
    """The store's port."""
    with serving(scene.environment("strong"), tmp_path / "store.log") as port:
        yield port


def test_any_key_and_value_come_back(scene: Scene, store: int) -> None:
    """What is written is read as it was, over another connection and from a worker."""
    values = {
        "": b"",
        "a": b"lower",
        "A": b"upper",
        "a ": b"not trimmed",
        "\0'\"\\%_\n☺𝄞": bytes(range(256)),
        "é": b"composed",
        "e\u0301": b"decomposed",
        "large": b"\0\xff'\\" * (MAX_BYTES // 4),
        "k" * MAX_BYTES: b"a large key",
    }
    with Client("127.0.0.1", store) as one, Client("127.0.0.1", store) as other:
        for key, value in values.items():
            one.put(key, value)
            assert other.get(key) == value, key[:20]
        assert {key: one.get(key) for key in values} == values
        one.put("a", b"anew")
        assert other.get("a") == b"anew"
        assert (one.delete("a"), one.delete("a"), other.get("a"), other.get("A")) == (
            True,
            False,
            None,
            b"upper",
        )
    reads = served(scene)
    assert reads["manager"] == 0
    assert reads["worker1"] + reads["worker2"] == 2 * len(values) + 3
    manager, *workers = scene.cluster.servers
    assert len(manager.served(r"^INSERT INTO records\b")) == len(values) + 1
    assert not any(worker.served(r"^(INSERT|DELETE)\b") for worker in workers)


def test_what_is_no_request_is_refused(store: int) -> None:
    """An error and the end, and the store goes on."""
    wrong = (
        b"\n",
        b"GET\n",
        b"GET x\n",
        b"GET 1 2\n",
        b"OK 0\n",
        b"GET 1048577\n",
        b"PUT -1 0\n",
        b"x" * 100,
        b"\xff\n",
    )
    for sent in wrong:
        assert _answer_to(store, sent).startswith(b"ERROR "), sent
    assert _answer_to(store, message("GET", b"\xff")) == message("ERROR", b"the key is no UTF-8")
    with Client("127.0.0.1", store) as client:
        assert client.get("nothing") is None


def test_it_survives_and_restores(scene: Scene, store: int, tmp_path: Path) -> None:
    """The daemon restarts, a worker is lost with its data, and restored from the other: all is there."""

    def restarts(scene: Scene, folder: Path) -> None:
        daemon_restarts(scene)

    with Load(store, clients=3) as load:
        for happens in (restarts, worker_is_lost, worker_is_restored):
            happens(scene, tmp_path)
            mark(scene)
            _enough(load, 30)
            lost = happens is worker_is_lost
            if lost:
                assert served(scene)["worker1"] == 0
            else:
                eventually(lambda: served(scene)["worker1"] and served(scene)["worker2"])
    assert load.known
    assert load.lost(scene.cluster) == []


def _answer_to(port: int, sent: bytes) -> bytes:
    """All that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


def _enough(load: Load, requests: int) -> None:
    seen = 0

    def done() -> bool:
        nonlocal seen
        figures = load.take()
        assert figures.stale == 0
        seen += figures.requests
        return seen >= requests

    eventually(done, timeout=60)
