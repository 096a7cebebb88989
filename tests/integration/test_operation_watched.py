"""Who watches the daemon: systemd by its notifications, Prometheus by its metrics. Both for real."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mysqlproxy.demo.daemon import Daemon
from tests.support.waiting import eventually

Proxy = Callable[..., Daemon]


# --- systemd --------------------------------------------------------------------------------------------------------


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(15)
        yield sock


def heard(sock: socket.socket, wanted: str) -> str:
    """The first message that has this line; those before are skipped."""
    while True:
        message = sock.recv(4096).decode()
        if wanted in message.splitlines():
            return message


def test_what_systemd_is_told(proxy: Proxy, service_manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": service_manager.getsockname(), "WATCHDOG_USEC": "400000"}
    daemon = proxy(wait="", environment=environment)
    assert "STATUS=listening on" in heard(service_manager, "READY=1")
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", daemon.port)) == 0, "ready means that it listens"
    began = time.monotonic()
    for _ in range(4):
        heard(service_manager, "WATCHDOG=1")
    assert 0.5 < time.monotonic() - began < 10, "twice in the time that the watchdog allows"
    daemon.reload()
    assert re.search(r"^MONOTONIC_USEC=\d+$", heard(service_manager, "RELOADING=1"), re.M)
    heard(service_manager, "READY=1")
    daemon.config_path.write_text("[broken")
    daemon.reload()
    heard(service_manager, "RELOADING=1")
    assert "refused" in heard(service_manager, "READY=1")
    daemon.signal(signal.SIGTERM)
    assert "STATUS=draining" in heard(service_manager, "STOPPING=1")


def test_a_stopped_process_gives_no_sign_of_life(proxy: Proxy, service_manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": service_manager.getsockname(), "WATCHDOG_USEC": "200000"}
    daemon = proxy(environment=environment)
    heard(service_manager, "WATCHDOG=1")
    daemon.signal(signal.SIGSTOP)
    service_manager.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while True:
            service_manager.recv(4096)
    daemon.signal(signal.SIGCONT)


# --- Prometheus -----------------------------------------------------------------------------------------------------


def test_a_real_prometheus_scrapes_it(proxy: Proxy, tmp_path: Path, free_port: Callable[[], int]) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus: apt-get install prometheus")
    daemon = proxy()
    deploy = Path(__file__).parents[2] / "deploy/prometheus"
    text = (deploy / "prometheus.yml").read_text()
    assert "127.0.0.1:9104" in text
    text = text.replace("127.0.0.1:9104", f"127.0.0.1:{daemon.http_port}").replace(": 15s", ": 1s")
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(deploy / "alerts.yml", tmp_path)
    port = free_port()
    process = subprocess.Popen(
        [
            program,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )

    def answer() -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/api/v1/query?query=mysqlproxy_server_up")
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    try:
        found = eventually(lambda: answer() if '"server":"worker2"' in answer() else "", 30)
        assert found.count('"__name__":"mysqlproxy_server_up"') == 3
        assert found.count('"1"]') == 3
    finally:
        process.terminate()
        process.wait(20)
