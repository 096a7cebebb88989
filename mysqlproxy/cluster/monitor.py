"""Watches the servers and keeps the view of the cluster.

The composition root starts one per daemon; routing reads ``Monitor.view`` or is told by ``on_change``.
Threads do the probing (PyMySQL blocks), the event loop does the judging: only it touches states and the view.
It never changes anything on a server.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from mysqlproxy.cluster.changes import changes
from mysqlproxy.cluster.decide import decide
from mysqlproxy.cluster.hop import HopProber, in_hops_words
from mysqlproxy.cluster.observation import Probe
from mysqlproxy.cluster.probe import Prober
from mysqlproxy.cluster.track import ServerState, track
from mysqlproxy.cluster.view import ClusterView
from mysqlproxy.cluster.watch import OVERDUE, Watch
from mysqlproxy.config.schema import Monitor as MonitorConfig
from mysqlproxy.config.schema import Server

PATIENCE = 0.3
"""Seconds that probes under way get to end by themselves when the monitor stops."""

_log = logging.getLogger("mysqlproxy.monitor")


class Monitor:
    """The monitor of one daemon; all methods are for the event loop that ran ``start``.

    Args:
        servers: as configured.
        config: the [monitor] section; its password is not used, it comes resolved.
        on_change: called in the event loop with each view that differs from the last.
        password: of the monitor's account.
        hop: the one server is the next hop of a chain.

    Attributes:
        view: the last view.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        config: MonitorConfig,
        on_change: Callable[[ClusterView], None],
        *,
        password: str,
        hop: bool = False,
    ) -> None:
        self._hop = hop
        self._servers = tuple(servers)
        self._config = config
        self._on_change = on_change
        self._password = password
        self._states: dict[str, ServerState] = {}
        self._watches: dict[str, Watch] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._started = False
        self._round_began = 0.0
        self._probed: set[str] = set()
        self._round_progress = asyncio.Event()
        self.view = decide(ClusterView(), self._servers, {}, config, time.monotonic())

    async def start(self) -> None:
        """Start to watch. Returns when all servers have been probed, or have had time for it.

        The first view comes then and not before: whoever was asked first must not take writes while nobody
        has looked at the others. Those that are up are probed twice: only a manager's probe that began after
        the workers' shows whether it is behind them.
        """
        self._loop = asyncio.get_running_loop()
        for server in self._servers:
            self._watch(server)
        self._sweep()
        await self._wait_round(set(self._watches))
        self._round_began = time.monotonic()
        self._probed.clear()
        up = {name for name, state in self._states.items() if state.up}
        for name in up:
            self.report(name)
        await self._wait_round(up)
        self._started = True
        self._decide()

    async def stop(self) -> None:
        """End all threads. Bounded; a thread that hangs in a name lookup is left to the process's end."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        watches = list(self._watches.values())
        self._watches.clear()
        await _end(watches)

    def report(self, server_name: str) -> None:
        """The data path saw a failure at this server: probe it now. Until that is done nothing changes."""
        watch = self._watches.get(server_name)
        if watch is not None:
            watch.poke()

    async def reconfigure(
        self, servers: Sequence[Server], config: MonitorConfig, *, password: str | None = None
    ) -> None:
        """Go on with other servers or settings; what is known of servers that stay is kept.

        A server whose address changed is another server. Returns as ``start`` does.
        """
        before = {server.name: server for server in self._servers}
        old_config, old_password = self._config, self._password
        self._servers = tuple(servers)
        self._config = config
        self._password = self._password if password is None else password
        same_account = _account(old_config, old_password) == _account(config, self._password)
        now_configured = {server.name for server in self._servers}
        ended = [self._watches.pop(name) for name in list(self._watches) if name not in now_configured]
        for name in set(self._states) - now_configured:
            del self._states[name]
        for server in self._servers:
            was = before.get(server.name)
            if was is not None and was.address != server.address and server.name in self._states:
                self._states[server.name] = ServerState(incarnation=self._states[server.name].incarnation)
            if same_account and was is not None and _connection(was) == _connection(server):
                continue
            if server.name in self._watches:
                ended.append(self._watches.pop(server.name))
            self._watch(server)
        self._probed &= now_configured
        self._decide()
        await _end(ended)
        await self._wait_round(set(self._watches))

    def _watch(self, server: Server) -> None:
        config = self._config
        prober = (
            HopProber(server, config.timeout)
            if self._hop
            else Prober(server, config.user, self._password, config.timeout)
        )
        watch = Watch(server.name, prober, config.interval, config.timeout, self._deliver)
        self._probed.discard(server.name)
        self._watches[server.name] = watch
        watch.start()

    async def _wait_round(self, names: set[str]) -> None:
        """Until these have been probed since the round began; not longer than a probe may take."""
        deadline = time.monotonic() + self._config.timeout + OVERDUE
        while not self._probed >= names & set(self._watches):
            self._round_progress.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._round_progress.wait()
            except TimeoutError:
                return

    def _deliver(self, watch: Watch, probe: Probe) -> None:
        """In the watch's thread."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._take, watch, probe)
        except RuntimeError:
            watch.stop()  # the loop was closed without stop()

    def _take(self, watch: Watch, probe: Probe) -> None:
        if self._watches.get(watch.name) is not watch:
            return
        state = self._states.get(watch.name, ServerState())
        self._states[watch.name] = track(
            state, probe, down_after=self._config.down_after, up_after=self._config.up_after
        )
        if self._started:
            self._decide()
        if probe.started >= self._round_began:
            self._probed.add(watch.name)
            self._round_progress.set()

    def _decide(self) -> None:
        before = self.view
        after = decide(before, self._servers, self._states, self._config, time.monotonic())
        if self._hop:
            after = in_hops_words(after)
        if after == before:
            return
        self.view = after
        for change in changes(before, after, hop=self._hop):
            subject = f"{change.server} " if change.server else ""
            _log.log(change.level, "%s%s", subject, change.text, extra={"server": change.server or None})
        self._on_change(after)

    def _sweep(self) -> None:
        """Cut off probes that overran."""
        assert self._loop is not None
        now = time.monotonic()
        for watch in list(self._watches.values()):
            probe = watch.overdue(now)
            if probe is not None:
                self._take(watch, probe)
        self._sweeper = self._loop.call_later(self._config.timeout / 2, self._sweep)


def _account(config: MonitorConfig, password: str) -> tuple[object, ...]:
    """What a watch takes from the monitor's settings."""
    return config.user, password, config.interval, config.timeout


def _connection(server: Server) -> tuple[object, ...]:
    """What a watch takes from the server's settings."""
    return server.address, server.tls, server.tls_ca, server.tls_certificate, server.tls_key


async def _end(watches: list[Watch]) -> None:
    for watch in watches:
        watch.stop()
    left = await asyncio.to_thread(_join, watches)
    for name in left:
        _log.warning("the monitor's thread for %s has not ended; it is left alone", name)


def _join(watches: list[Watch]) -> list[str]:
    patient_until = time.monotonic() + PATIENCE
    left = []
    for watch in watches:
        now = time.monotonic()
        if not watch.join(max(0.0, patient_until - now), max(now, patient_until) + 1.0):
            left.append(watch.name)
    return left
