"""What reaches the service manager, on a real datagram socket."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mysqlproxy.supervisor.limits import raise_open_files
from mysqlproxy.supervisor.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as received:
        received.bind(str(tmp_path / "notify"))
        received.settimeout(5)
        yield received


def notifier(manager: socket.socket, **environment: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname(), **environment})


def test_each_message(manager: socket.socket) -> None:
    to = notifier(manager)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    to.ready("serving 3 servers")
    to.reloading()
    to.ready()
    to.alive()
    to.status("two\nlines")
    to.stopping("draining")
    got = [manager.recv(4096).decode() for _ in range(6)]
    assert got[0] == "READY=1\nSTATUS=serving 3 servers"
    kind, _, moment = got[1].partition("\nMONOTONIC_USEC=")
    assert kind == "RELOADING=1"
    assert before <= int(moment) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert got[2:] == ["READY=1", "WATCHDOG=1", "STATUS=two lines", "STOPPING=1\nSTATUS=draining"]
    to.close()


def test_an_abstract_name() -> None:
    name = f"mysqlproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as received:
        received.bind("\0" + name)
        received.settimeout(5)
        to = Notifier({"NOTIFY_SOCKET": "@" + name})
        to.ready()
        assert received.recv(100) == b"READY=1"
        to.close()


@pytest.mark.parametrize("path", ["", "relative", "/nowhere/notify", "vsock:2:1234", "/" + "a" * 200])
def test_without_a_manager_nothing_happens(path: str) -> None:
    to = Notifier({"NOTIFY_SOCKET": path} if path else {})
    to.ready("x")
    to.alive()
    to.close()


def test_a_manager_that_goes_away_or_does_not_read(manager: socket.socket) -> None:
    to = notifier(manager)
    for _ in range(10_000):
        to.alive()
    assert manager.recv(100) == b"WATCHDOG=1"
    manager.close()
    to.ready()
    to.close()
    to.alive()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_half_the_watchdogs_time(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environment).watchdog == seconds


def test_open_files_are_raised_to_the_hard_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = min(hard, 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        assert raise_open_files() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_system_that_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_open_files() == 1024
