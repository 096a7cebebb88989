"""The HTTP endpoints: /metrics for Prometheus, /healthz and /readyz for whoever watches the daemon.

Started by ``app``. Reads only; knows the rest of the daemon by a registry and a callable. What a peer may
cost is bounded by aiohttp's limits on lines and headers and by what is set here: no body, deadlines, and a
number of connections beyond which the oldest is closed for the newest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder

from mysqlproxy.config.addresses import Address, parse_listen
from mysqlproxy.errors import ConfigFault

Ready = Callable[[], tuple[bool, str]]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_CONNECTIONS: Final = 64
MAX_SCRAPES: Final = 4  # at a time; the others wait
REQUEST_DEADLINE: Final = 10.0  # seconds; also from the connection to the end of its first request's head
KEEPALIVE: Final = 75.0  # seconds; above the usual scrape interval
LARGE: Final = 2_000  # samples; from here on writing them out takes longer than a statement should wait

_log = logging.getLogger(__name__)

_INDEX = """\
<!DOCTYPE html>
<html lang="en"><title>mysqlproxy</title><h1>mysqlproxy</h1>
<ul><li><a href="/metrics">/metrics</a> for Prometheus
<li><a href="/healthz">/healthz</a> the process lives
<li><a href="/readyz">/readyz</a> a login could succeed</ul></html>
"""


class Server:
    """The running endpoints.

    Attributes:
        address: as bound; the port is the real one where 0 was asked for.
    """

    def __init__(self, runner: web.AppRunner, sockets: asyncio.Server, address: Address) -> None:
        self._runner = runner
        self._sockets = sockets
        self.address = address

    async def close(self) -> None:
        """Stops listening, and waits a moment for answers that are under way."""
        self._sockets.close()
        await self._runner.cleanup()


async def start(listen: str, registry: CollectorRegistry, ready: Ready) -> Server:
    """Binds ``listen`` (host:port) and serves until ``close``.

    Args:
        listen: [listen] http.
        registry: as ``metrics.collector.registry`` makes it.
        ready: (whether a login could succeed, why not or why only in part); returns at once.

    Raises:
        ConfigFault: the address is none, or cannot be bound.
    """
    try:
        address = parse_listen(listen)
    except ValueError as error:
        raise ConfigFault([f"listen.http: {error}; write host:port"]) from None
    gate = _Gate()
    runner = web.AppRunner(
        application(registry, ready, gate),
        access_log=None,
        handle_signals=False,
        keepalive_timeout=KEEPALIVE,
        lingering_time=0.0,
        max_line_size=2048,
        max_field_size=4096,
        shutdown_timeout=2.0,
    )
    await runner.setup()
    assert runner.server is not None
    gate.server = runner.server
    loop = asyncio.get_running_loop()
    try:
        sockets = await loop.create_server(gate, address.host or None, address.port, backlog=MAX_CONNECTIONS)
    except OSError as error:
        await runner.cleanup()
        reason = error.strerror or str(error)
        raise ConfigFault([f"listen.http: cannot listen on {address}: {reason}; choose another"]) from None
    port = int(sockets.sockets[0].getsockname()[1])
    return Server(runner, sockets, Address(address.host, port))


class _Gate:
    """Makes the protocol of each connection, and closes who is silent from the start or one too many."""

    def __init__(self) -> None:
        self.server: web.Server | None = None
        # The oldest first, each with the deadline of its first request's head. One that has no transport is
        # closed or not connected yet, which only its age tells: a burst is accepted before any is connected.
        self._open: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def __call__(self) -> web.RequestHandler:
        assert self.server is not None
        loop = asyncio.get_running_loop()
        settled = loop.time() + REQUEST_DEADLINE - 1.0
        for protocol in [p for p, due in self._open.items() if p.transport is None and due.when() < settled]:
            self._open.pop(protocol).cancel()
        while len(self._open) >= MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            self._open.pop(oldest).cancel()
            oldest.force_close()
        protocol = self.server()
        self._open[protocol] = loop.call_later(REQUEST_DEADLINE, protocol.force_close)
        return protocol

    def spoke(self, request: web.Request) -> None:
        if request.protocol in self._open:
            self._open[request.protocol].cancel()


def application(registry: CollectorRegistry, ready: Ready, gate: _Gate) -> web.Application:
    scrapes = asyncio.Semaphore(MAX_SCRAPES)

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        async with scrapes:
            # Collected here, where nobody counts meanwhile; only the writing out may leave the event loop.
            families = list(registry.collect())
            seen = _Collected(families)
            large = sum(len(family.samples) for family in families) >= LARGE
            body = await asyncio.to_thread(encode, seen) if large else encode(seen)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        good, reason = ready()
        if good:
            return web.json_response({"status": "ready"} | ({"reason": reason} if reason else {}))
        return web.json_response({"status": "not ready", "reason": reason}, status=503)

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=_INDEX, content_type="text/html")

    @web.middleware
    async def bounded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        gate.spoke(request)
        if request.can_read_body:
            raise web.HTTPRequestEntityTooLarge(max_size=0, actual_size=request.content_length or 1)
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                return await handler(request)
        except TimeoutError:
            _log.warning("%s was not answered within %.0f s", request.path, REQUEST_DEADLINE)
            raise web.HTTPServiceUnavailable from None

    app = web.Application(client_max_size=1, middlewares=[bounded])
    for path, handler in (("/metrics", metrics), ("/healthz", healthz), ("/readyz", readyz), ("/", index)):
        app.router.add_get(path, handler)
    return app


class _Collected(CollectorRegistry):
    """Families that were collected already, in the shape an encoder asks for."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
