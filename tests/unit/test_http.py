"""The HTTP endpoints over real sockets: what they answer, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client.parser import text_string_to_metric_families

from mysqlproxy.admin import http
from mysqlproxy.errors import ConfigFault


class Daemon:
    """What the endpoints know of it."""

    def __init__(self) -> None:
        self.ready = (True, "")
        self.registry = CollectorRegistry()
        self.gauge = PrometheusGauge("mysqlproxy_test", "A test.", ["label"], registry=self.registry)
        self.gauge.labels("x").set(3)


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
async def server(daemon: Daemon) -> AsyncIterator[http.Server]:
    started = await http.start("127.0.0.1:0", daemon.registry, lambda: daemon.ready)
    yield started
    await started.close()


Dial = Callable[[http.Server], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Plain connections, which are closed after the test."""
    writers: list[asyncio.StreamWriter] = []

    async def open_one(server: http.Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port)
        writers.append(writer)
        return reader, writer

    yield open_one
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def get(server: http.Server, path: str, **arguments: Any) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            arguments.pop("method", "GET"), f"http://{server.address}{path}", **arguments
        ) as answer,
    ):
        return answer.status, answer.headers.get("Content-Type", ""), await answer.text()


async def test_metrics(server: http.Server) -> None:
    status, kind, text = await get(server, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert "charset=utf-8" in kind
    assert [family.name for family in text_string_to_metric_families(text)] == ["mysqlproxy_test"]


async def test_metrics_as_openmetrics(server: http.Server) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    _, kind, text = await get(server, "/metrics", headers=accept)
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_a_large_exposition_is_the_same(server: http.Server, daemon: Daemon) -> None:
    for number in range(http.LARGE):
        daemon.gauge.labels(str(number)).set(number)
    _, _, text = await get(server, "/metrics")
    (family,) = text_string_to_metric_families(text)
    assert len(family.samples) == http.LARGE + 1


async def test_health_and_readiness(server: http.Server, daemon: Daemon) -> None:
    assert (await get(server, "/healthz"))[0] == 200
    status, _, text = await get(server, "/readyz")
    assert (status, json.loads(text)) == (200, {"status": "ready"})
    daemon.ready = (False, "no server is reachable")
    status, _, text = await get(server, "/readyz")
    assert (status, json.loads(text)) == (503, {"status": "not ready", "reason": "no server is reachable"})
    assert (await get(server, "/healthz"))[0] == 200, "a daemon without servers lives"


async def test_index_and_what_is_not_there(server: http.Server) -> None:
    status, kind, text = await get(server, "/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert all(path in text for path in ("/metrics", "/healthz", "/readyz"))
    assert (await get(server, "/etc/passwd"))[0] == 404
    assert (await get(server, "/metrics", method="POST"))[0] == 405
    assert (await get(server, "/metrics", method="HEAD"))[0] == 200


async def test_bodies_and_long_lines_are_refused(server: http.Server) -> None:
    assert (await get(server, "/metrics", data=b"x" * 100))[0] == 413
    assert (await get(server, "/" + "a" * 5000))[0] == 400
    assert (await get(server, "/", headers={"X-Long": "a" * 10000}))[0] == 400
    assert (await get(server, "/healthz"))[0] == 200


async def test_who_says_nothing_is_closed(
    daemon: Daemon, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REQUEST_DEADLINE", 0.2)
    server = await http.start("127.0.0.1:0", daemon.registry, lambda: daemon.ready)
    try:
        silent, _ = await dial(server)
        slow, writer = await dial(server)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost:")
        async with asyncio.timeout(10):
            assert await silent.read() == b""
            assert await slow.read() == b""
    finally:
        await server.close()


async def test_who_spoke_may_stay(daemon: Daemon, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_DEADLINE", 0.2)
    server = await http.start("127.0.0.1:0", daemon.registry, lambda: daemon.ready)
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    try:
        reader, writer = await dial(server)
        silent, _ = await dial(server)
        writer.write(request)
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
            await silent.read()  # the deadline of both has passed
            writer.write(request)
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    finally:
        await server.close()


async def test_the_oldest_leaves_when_there_are_too_many(server: http.Server, dial: Dial) -> None:
    first, _ = await dial(server)
    for _ in range(http.MAX_CONNECTIONS):
        await dial(server)
    async with asyncio.timeout(5):
        assert await first.read() == b""
    assert (await get(server, "/healthz"))[0] == 200


async def test_a_burst_does_not_pass_the_bound(server: http.Server, dial: Dial) -> None:
    opened = await asyncio.gather(*(dial(server) for _ in range(http.MAX_CONNECTIONS * 2)))
    ends = [asyncio.create_task(reader.read()) for reader, _ in opened]
    async with asyncio.timeout(5):
        while sum(end.done() for end in ends) < http.MAX_CONNECTIONS:
            await asyncio.wait([end for end in ends if not end.done()], return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    await asyncio.gather(*ends, return_exceptions=True)


async def test_addresses_that_cannot_be(daemon: Daemon) -> None:
    with pytest.raises(ConfigFault, match=r"^listen\.http: 'localhost' has no port; write host:port$"):
        await http.start("localhost", daemon.registry, lambda: daemon.ready)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigFault, match=r"^listen\.http: cannot listen on 127\.0\.0\.1:\d+: "):
            await http.start(f"127.0.0.1:{port}", daemon.registry, lambda: daemon.ready)


async def test_ipv6(daemon: Daemon) -> None:
    server = await http.start("[::1]:0", daemon.registry, lambda: daemon.ready)
    assert (await get(server, "/healthz"))[0] == 200
    await server.close()
