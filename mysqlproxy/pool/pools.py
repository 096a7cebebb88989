"""All server pools, kept true to the configuration and to the cluster's view; and KILL on a server.

The one thing of this package that sessions are given.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping

from mysqlproxy.cluster.view import ClusterView
from mysqlproxy.config.chain import is_hop
from mysqlproxy.config.schema import ChainRole, Config, Limits, Server
from mysqlproxy.errors import ProxyError, ServerFault
from mysqlproxy.net.tasks import Tasks
from mysqlproxy.net.tls import client_context
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import Keep
from mysqlproxy.pool.login import Identity
from mysqlproxy.pool.pool import ServerPool

log = logging.getLogger("mysqlproxy.pool")

_LAST_KILLS = 2.0  # seconds for them when the daemon ends
_KILLS_AT_ONCE = 16  # beyond max_connections: a full server must still be able to lose a statement


def server_tls(server: Server, *, hop: bool = False) -> ssl.SSLContext | None:
    """The TLS context of a server's configuration, None when it is off; the next hop of a chain has TLS 1.3."""
    if server.tls == "off":
        return None
    context = client_context(server.tls, server.tls_ca, server.tls_certificate, server.tls_key)
    if hop:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class Pools:
    """Server name -> its pool.

    Attributes:
        in_use: server name -> connections that run a client's statement now.
    """

    def __init__(
        self,
        on_failure: Callable[[str], None],
        on_wait: Callable[[float], None],
        on_wait_in_vain: Callable[[], None],
    ) -> None:
        self.in_use: dict[str, int] = {}
        self._pools: dict[str, ServerPool] = {}
        self._tasks = Tasks()
        self._on_failure = on_failure
        self._on_wait = on_wait
        self._on_wait_in_vain = on_wait_in_vain
        self._kills = asyncio.Semaphore(_KILLS_AT_ONCE)
        self._killing: set[asyncio.Task[None]] = set()

    def __getitem__(self, name: str) -> ServerPool:
        try:
            return self._pools[name]
        except KeyError:
            raise ServerFault("The server was removed from the configuration") from None

    def get(self, name: str) -> ServerPool | None:
        return self._pools.get(name)

    def configure(self, config: Config) -> None:
        """Servers come, change and go; a changed address or TLS setting starts a pool anew."""
        wanted = {server.name: server for server in config.servers}
        hop = is_hop(config)
        tracks = config.chain is None or config.chain.role is not ChainRole.TRUSTED_HOST
        contexts = {server.name: server_tls(server, hop=hop) for server in config.servers}
        for name, server in wanted.items():
            old = self._pools.get(name)
            if old is not None and _same_place(old.server, server):
                old.server, old.limits, old.tls = server, config.limits, contexts[name]
                continue
            if old is not None:
                self._retire(old)
            self._pools[name] = pool = self._make(server, config.limits, contexts[name])
            pool.hop, pool.tracks = hop, tracks
            self.in_use.setdefault(name, 0)
        for name in [name for name in self._pools if name not in wanted]:
            self._retire(
                self._pools.pop(name)
            )  # in_use stays: what still runs there is yet to be counted off

    def _make(self, server: Server, limits: Limits, tls: ssl.SSLContext | None) -> ServerPool:
        pool = ServerPool(server, limits, tls, self._tasks)
        pool.on_failure = self._on_failure
        pool.on_wait = self._on_wait
        pool.on_wait_in_vain = self._on_wait_in_vain
        return pool

    def _retire(self, pool: ServerPool) -> None:
        pool.shut()
        pool.drain()

    def follow(self, view: ClusterView) -> None:
        """The view has changed: what was opened to a server that is gone or another one now is dropped."""
        for name, pool in self._pools.items():
            server = view.by_name.get(name)
            if server is None:
                continue
            pool.epoch = view.epoch
            pool.wait_timeout = server.wait_timeout
            pool.init_connect = server.init_connect
            begins_with = (server.sql_mode, server.isolation, server.autocommit, server.init_connect)
            if pool.begins_with != begins_with:
                pool.begins_with = begins_with
                pool.generation += 1
            if server.up and pool.incarnation != server.incarnation:
                met, pool.incarnation = pool.incarnation, server.incarnation
                if met:
                    pool.abort_all(server.of_before)
            elif not server.up and server.version:
                pool.abort_all()
            if server.maintenance:
                pool.drain()

    def outdate(self) -> None:
        """A new login may begin with something else from now on: no idle connection is good as it is."""
        for pool in self._pools.values():
            pool.generation += 1

    def counts(self) -> dict[tuple[str, str], int]:
        """(server, state) -> connections; the states are used, idle, connecting, resetting."""
        return {
            (name, state): count
            for name, pool in self._pools.items()
            for state, count in pool.counts().items()
        }

    def sweep(self, now: float) -> None:
        for pool in self._pools.values():
            pool.sweep(now)

    def kill(self, connection: ServerConnection, *, then_drop: bool = False) -> asyncio.Task[None]:
        """Kill the statement that runs on a connection, from another one.

        Until that is done the connection counts as busy, so that the KILL can hit no later statement.

        Args:
            then_drop: nobody wants the connection any more: it is closed afterwards.
        """
        before = connection.pinging
        task = self._tasks.start(self._kill(connection, then_drop, before), f"kill on {connection.name}")
        connection.pinging = task
        self._killing.add(task)
        task.add_done_callback(self._killing.discard)
        return task

    async def _kill(
        self, connection: ServerConnection, then_drop: bool, before: asyncio.Task[None] | None
    ) -> None:
        try:
            # Behind a hop it is the next one's: who is dropped there has its statement killed there.
            if connection.identity is not None and not connection.keep & Keep.HOP:
                await self._kill_query(connection.identity, connection)
        except (ProxyError, TimeoutError) as error:
            log.warning("server %s: a statement could not be killed: %s", connection.name, error)
        finally:
            if then_drop:
                connection.abort()
        await self._after(before)
        if connection.pinging is asyncio.current_task():
            connection.pinging = None
            connection.offer()

    async def kill_as(self, identity: Identity, connection: ServerConnection) -> None:
        """Kill what runs on somebody else's connection, if the server lets ``identity`` do that.

        Raises:
            ServerFault: the server's refusal.
        """
        before, connection.pinging = connection.pinging, asyncio.current_task()
        try:
            await self._kill_query(identity, connection)
            await self._after(before)
        finally:
            if connection.pinging is asyncio.current_task():
                connection.pinging = before if before is not None and not before.done() else None
                connection.offer()

    async def _after(self, before: asyncio.Task[None] | None) -> None:
        """Several may be at one connection: it is free when the last one is done."""
        if before is not None:
            await asyncio.wait([before])

    async def _kill_query(self, identity: Identity, connection: ServerConnection) -> None:
        async with self._kills:
            pool = self[connection.name]
            if connection.closed or not _same_place(pool.server, connection.server):
                return  # the thread's id may be somebody else's by now
            helper = await pool.connect(identity)
            try:
                async with asyncio.timeout(pool.limits.connect_timeout):
                    (await helper.query(b"KILL QUERY %d" % connection.thread_id)).raise_error()
            finally:
                helper.close()

    async def close(self) -> None:
        """Drop everything; awaits what is under way. Statements that nobody waits for are still killed."""
        if self._killing:
            await asyncio.wait(self._killing, timeout=_LAST_KILLS)
        await self._tasks.close(timeout=2.0)
        for pool in self._pools.values():
            pool.shut()
            pool.abort_all()


def _same_place(old: Server, new: Server) -> bool:
    settings: Mapping[str, object] = {
        "max_connections": 0,
        "weight": 0,
        "maintenance": False,
        "role": "worker",
    }
    return old.model_copy(update=dict(settings)) == new.model_copy(update=dict(settings))
