"""The customers API through the daemon: what it answers, who served it, and what faults cost its clients."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from tests.apps.customers.__main__ import manager_freezes, worker_dies
from tests.apps.customers.api import SCHEMA
from tests.apps.customers.load import Load, load
from tests.apps.customers.service import serving
from tests.apps.scene import LEVELS, Scene, daemon_restarts, delay, sections
from tests.support.waiting import eventually

CLIENTS = 4
ADA = {"name": "Ada ☺", "email": "ada@example.org", "phone": "+44 20 7946 0000"}


@pytest.fixture
def scene(cluster: LocalCluster, proxy: Callable[..., Daemon], tmp_path: Path) -> Iterator[Scene]:
    cluster.manager.query(SCHEMA, schema="app")
    cluster.wait_in_sync()
    changes, ca = sections(cluster, tmp_path)
    yield Scene(cluster, proxy(**changes), ca)
    for worker in cluster.workers:
        delay(worker, 0)


@pytest.fixture
def api(scene: Scene, tmp_path: Path) -> Callable[[str], Any]:
    """Runs the API with a read consistency, in two processes of two threads."""
    return lambda level: serving(scene.environment(level), tmp_path / "api.log", processes=2, threads=2)


def call(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data else None
    finally:
        connection.close()


def test_it_answers_as_it_should(scene: Scene, api: Callable[[str], Any]) -> None:
    """Every status; the daemon has seen TLS only."""
    with api("strong") as port:
        status, created = call(port, "POST", "/create", ADA)
        assert status == 201
        path = f"/read/{created['id']}"
        status, found = call(port, "GET", path)
        assert (status, {name: found[name] for name in ADA}) == (200, ADA)
        assert found["created_at"] == found["updated_at"]
        status, answer = call(port, "POST", "/create", ADA | {"name": "Another"})
        assert (status, answer) == (409, {"error": "another customer has this email"})
        assert call(port, "PUT", f"/update/{created['id']}", ADA | {"phone": None})[0] == 200
        assert call(port, "GET", path)[1]["phone"] is None
        assert call(port, "PUT", "/update/12345", ADA)[0] == 404
        assert call(port, "DELETE", f"/delete/{created['id']}")[0] == 204
        for method, gone in (("GET", path), ("DELETE", f"/delete/{created['id']}"), ("GET", "/read/x")):
            assert call(port, method, gone)[0] == 404
        bad: tuple[Any, ...] = (
            *(
                "",
                "no JSON",
                [],
                {},
                ADA | {"email": "nobody"},
                ADA | {"name": " "},
                ADA | {"phone": "call me"},
            ),
            *(ADA | {"name": 7}, ADA | {"name": "\ud800"}, ADA | {"name": "x" * 101}, ADA | {"id": 1}),
        )
        for body in bad:
            status, answer = call(port, "POST", "/create", body)
            assert (status, list(answer)) == (400, ["error"]), body
        assert scene.cluster.manager.value("SELECT COUNT(*) FROM app.customers") == 0
    assert scene.daemon.config["tls"]["required"]


def test_what_the_consistency_is_worth(scene: Scene, api: Callable[[str], Any]) -> None:
    """With a worker that is behind: ``strong`` shows every write in every process, ``eventual`` does not."""
    stale = {}
    for level in (LEVELS[0], LEVELS[-1]):
        delay(scene.cluster.workers[1], 5)
        for server in scene.cluster.servers:
            server.general_log.mark()
        with api(level) as port, load(port, CLIENTS, level) as running:
            noticed = _enough(running, 80)
        stale[level] = noticed["stale"]
        manager, *workers = scene.cluster.servers
        assert manager.served(r"^INSERT INTO customers\b")
        assert workers[0].served(r"^SELECT .* FROM customers\b")
        assert not any(worker.served(r"^(INSERT|UPDATE|DELETE)\b") for worker in workers)
        if level == "eventual":
            assert workers[1].served(r"^SELECT .* FROM customers\b")
        delay(scene.cluster.workers[1], 0)
        assert running.lost(scene.cluster) == []
    assert stale["strong"] == 0
    assert stale["eventual"] > 0


def test_what_faults_cost(scene: Scene, api: Callable[[str], Any]) -> None:
    """A worker, the daemon and the manager are taken away in turn: nothing is lost, nothing stale."""
    disturbances: tuple[Callable[[Scene], None], ...] = (
        worker_dies,
        daemon_restarts,
        lambda scene: manager_freezes(scene, 1.0),
    )
    with api("strong") as port, load(port, CLIENTS, "faults") as running:
        for disturb in disturbances:
            disturb(scene)
            _enough(running, 20)
    assert running.lost(scene.cluster) == []
    served = [server.served(r"^SELECT .* FROM customers\b") for server in scene.cluster.workers]
    assert all(served)


def test_a_new_daemon_is_as_strong(scene: Scene, api: Callable[[str], Any]) -> None:
    """What was written through the daemon before it was started anew, no worker that lacks it is asked for."""
    for worker in scene.cluster.workers:
        delay(worker, 3600)
    with api("strong") as port:
        number = call(port, "POST", "/create", ADA)[1]["id"]
        daemon_restarts(scene)
        assert call(port, "GET", f"/read/{number}")[0] == 200


def _enough(running: Load, reads: int) -> dict[str, int]:
    """Wait for so many reads right after writes, some of them in another process; none of them wrong."""
    total = {"reads": 0, "elsewhere": 0, "stale": 0}

    def seen() -> bool:
        figures = running.take()
        assert not figures.wrong
        for name in total:
            total[name] += getattr(figures, name)
        return total["reads"] >= reads and total["elsewhere"] > 0

    eventually(seen, timeout=60)
    return total
