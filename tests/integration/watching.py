"""A monitor in front of real servers, and waiting for what it should see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from mysqlproxy.cluster.monitor import Monitor
from mysqlproxy.cluster.view import ClusterView
from mysqlproxy.config.schema import Monitor as MonitorConfig
from mysqlproxy.config.schema import Server

PATIENCE = 20.0  # seconds


class HasAddress(Protocol):
    name: str

    @property
    def address(self) -> str: ...


class Watching:
    """A running monitor and all views that it gave."""

    def __init__(self, servers: Sequence[Server], config: MonitorConfig, password: str) -> None:
        self.views: list[ClusterView] = []
        self.servers = tuple(servers)
        self.config = config
        self._news = asyncio.Event()
        self.monitor = Monitor(servers, config, self._see, password=password)

    @property
    def view(self) -> ClusterView:
        return self.monitor.view

    def _see(self, view: ClusterView) -> None:
        assert view is self.monitor.view
        self.views.append(view)
        self._news.set()

    async def until(
        self, condition: Callable[[ClusterView], object], patience: float = PATIENCE
    ) -> ClusterView:
        """The first view from now on for which ``condition`` holds."""
        try:
            async with asyncio.timeout(patience):
                while not condition(self.view):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {patience:g} s; the last view: {self.view}") from None
        return self.view

    async def rounds(self, count: int = 3) -> None:
        """Return when this many more views came: each has a new ping."""
        wanted = len(self.views) + count * len(self.servers)
        await self.until(lambda _: len(self.views) >= wanted)


def configured(servers: Sequence[HasAddress], **changes: Any) -> list[Server]:
    """The configuration of servers of which the first is the manager."""
    return [
        Server(name=one.name, address=one.address, role="manager" if number == 0 else "worker", **changes)
        for number, one in enumerate(servers)
    ]


@asynccontextmanager
async def watching(servers: Sequence[Server], password: str, **settings: Any) -> AsyncIterator[Watching]:
    """Probes ten times a second."""
    defaults = {"user": "monitor", "interval": 0.1, "timeout": 1.0}
    watch = Watching(servers, MonitorConfig(**(defaults | settings)), password)
    await watch.monitor.start()
    try:
        yield watch
    finally:
        await watch.monitor.stop()


def readers(view: ClusterView) -> list[str]:
    return [server.name for server in view.readers]


def manager(view: ClusterView) -> str:
    return view.manager.name if view.manager is not None else ""
