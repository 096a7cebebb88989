"""The connections to one server: opened, lent, taken back, reset, kept alive and closed, never more than configured.

The session engine acquires one for a statement and keeps it as long as nobody waits for one. When all are lent, the
one that has been idle longest in a session with no reason to keep it is taken away and reset for whoever waits; the
order of waiting is the order of coming, and waiting has a deadline. In doubt a connection is closed, never reused.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Coroutine

from mysqlproxy.config.addresses import parse_address
from mysqlproxy.config.schema import Limits, Server
from mysqlproxy.errors import ProxyError, ServerFault, TooManyConnections
from mysqlproxy.net.tasks import Tasks
from mysqlproxy.pool.connection import Owner, ServerConnection, fault_of
from mysqlproxy.pool.exchange import Packets
from mysqlproxy.pool.keep import Keep
from mysqlproxy.pool.login import Identity, login

log = logging.getLogger("mysqlproxy.pool")


class ServerPool:
    """All connections to one server.

    Attributes:
        server: its configuration; replaced by a reload.
        waiting: acquirers in the order they came; sessions look here when a statement ends.
        hop: what comes behind is the next hop of a chain: no connection serves two sessions. ``tracks``: see
            ``ServerConnection``.
        epoch, incarnation, wait_timeout, init_connect: of the cluster's view, kept by ``pool.pools``.
        generation: grows when a new login may begin with something else than before; likewise.
        begins_with: what is known of that from the view.
    """

    def __init__(self, server: Server, limits: Limits, tls: ssl.SSLContext | None, tasks: Tasks) -> None:
        self.server = server
        self.limits = limits
        self.tls = tls
        self.hop = False
        self.tracks = True
        self.epoch = 0
        self.incarnation = 0
        self.generation = 0
        self.begins_with: tuple[object, ...] = ()
        self.wait_timeout = 28800.0  # seconds, the servers' default until the monitor has asked
        self.init_connect = False
        self.waiting: deque[asyncio.Future[None]] = deque()
        self._tasks = tasks
        self._idle: list[ServerConnection] = []  # the most recently used is last
        self._lent: dict[ServerConnection, None] = {}
        self._open_sockets: set[ServerConnection] = set()  # all of them, also while they log in or are reset
        self._opening = 0
        self._resetting = 0
        self.closed = False
        self.on_failure: Callable[[str], None] = lambda name: None
        self.on_wait: Callable[[float], None] = lambda seconds: None
        self.on_wait_in_vain: Callable[[], None] = lambda: None

    @property
    def total(self) -> int:
        return len(self._idle) + len(self._lent) + self._opening + self._resetting

    def counts(self) -> dict[str, int]:
        """By state: used, idle (lent ones that run nothing included), connecting, resetting (and pinged)."""
        used = sum(1 for connection in self._lent if connection.running)
        return {
            "used": used,
            "idle": len(self._idle) + len(self._lent) - used,
            "connecting": self._opening,
            "resetting": self._resetting,
        }

    async def acquire(self, owner: Owner, identity: Identity) -> ServerConnection:
        """A connection logged in as ``identity``, lent to ``owner``, with no schema and no state but the login's.

        Raises:
            TooManyConnections: none became free within [limits] pool_wait.
            ServerFault: the server cannot be reached or refuses the login.
        """
        try:
            async with asyncio.timeout(self.limits.pool_wait) as deadline:
                return await self._acquire(owner, identity, deadline)
        except TimeoutError:
            self.on_wait_in_vain()
            raise TooManyConnections("Too many connections: none to the server became free") from None

    async def _acquire(self, owner: Owner, identity: Identity, deadline: asyncio.Timeout) -> ServerConnection:
        loop = asyncio.get_running_loop()
        began = loop.time()
        until = deadline.when()
        place: asyncio.Future[None] | None = None
        try:
            while True:
                if self.closed:
                    raise ServerFault("The server was removed from the configuration")
                first = not self.waiting or self.waiting[0] is place
                if first and self._free_place():
                    if place is not None:
                        self.waiting.popleft()
                        if began:
                            self.on_wait(loop.time() - began)
                        began, place = 0.0, None  # a wait counts once, also when what it was for breaks
                    deadline.reschedule(None)  # from here on the connect timeout rules
                    self.wake()
                    connection = await self._make(identity)
                    if connection is not None:
                        return self._lend(connection, owner)
                    deadline.reschedule(until)
                    place = loop.create_future()
                    place.set_result(None)
                    self.waiting.appendleft(place)  # it has waited already
                    continue
                if place is None or place.done():
                    replacement: asyncio.Future[None] = loop.create_future()
                    if place is None:
                        self.waiting.append(replacement)
                    else:
                        self.waiting[self.waiting.index(place)] = replacement
                    place = replacement
                await place
        finally:
            if place is not None and place in self.waiting:
                self.waiting.remove(place)
            self.wake()

    def _free_place(self) -> bool:
        return bool(self._idle) or self.total < self.server.max_connections or self._victim() is not None

    async def _make(self, identity: Identity) -> ServerConnection | None:
        """An idle one, a new one, or one taken from an idle session; None when it broke on the way: try again."""
        connection = self._take_idle(identity)
        if connection is None and self.total >= self.server.max_connections:
            if self._idle:
                self._idle.pop(0).close()  # of other capabilities: its place is needed
            elif (victim := self._victim()) is not None:
                connection = await self._take_away(victim, identity)
                if connection is None:
                    return None
        if connection is None:
            return await self._open(identity)
        if connection.identity == identity and connection.generation == self.generation:
            return connection
        return await self._reset(connection, identity)

    def _take_idle(self, identity: Identity) -> ServerConnection | None:
        other = None
        for index in range(len(self._idle) - 1, -1, -1):
            connection = self._idle[index]
            if connection.closed:
                continue  # its end has not been reported yet
            if connection.identity == identity:
                return self._idle.pop(index)
            if (
                other is None
                and connection.identity is not None
                and connection.identity.capabilities == identity.capabilities
            ):
                other = index
        return None if other is None else self._idle.pop(other)

    def _victim(self) -> ServerConnection | None:
        """The lent connection that has been idle longest and that its session has no reason to keep; one whose
        LASTVAL() would be lost only if there is no other."""
        free = (c for c in self._lent if c.is_free())
        return min(free, key=lambda c: (c.sequences is not None, c.last_used), default=None)

    async def _take_away(self, victim: ServerConnection, identity: Identity) -> ServerConnection | None:
        if not await self._part(victim):
            return None
        if victim.identity is None or victim.identity.capabilities != identity.capabilities:
            victim.close()
            return None
        return await self._reset(victim, identity)

    async def _part(self, victim: ServerConnection) -> bool:
        """Take a connection from its owner, who remembers LAST_INSERT_ID() and LASTVAL(); False when it broke."""
        owner = victim.owner
        assert owner is not None
        del self._lent[victim]
        recall = owner.connection_taken(victim)
        victim.owner = None
        if recall is None:
            return True
        self._resetting += 1  # until whoever wanted it goes on: its place is never free
        asking = self._tasks.start(self._recall(victim, recall), f"recall {self.server.name}")
        try:
            await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda _: self._drop(victim))  # who wanted it is gone, the owner is not
            raise
        self._resetting -= 1
        return not victim.closed

    def _drop(self, parted: ServerConnection) -> None:
        self._resetting -= 1
        parted.close()
        self.wake()

    async def _recall(self, victim: ServerConnection, recall: Coroutine[object, object, None]) -> None:
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await recall
        except (ProxyError, TimeoutError):
            victim.abort()

    async def _reset(self, connection: ServerConnection, identity: Identity) -> ServerConnection | None:
        if self.init_connect:
            connection.close()  # no reset runs it again: only a new login is as good as new
            return None
        self._resetting += 1
        connection.generation = self.generation
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await connection.reset(identity)
        except (ProxyError, TimeoutError) as error:
            log.info("server %s: a reset failed (%s); the connection is closed", self.server.name, error)
            connection.abort()
            return None
        finally:
            self._resetting -= 1
        return connection

    async def _open(self, identity: Identity) -> ServerConnection:
        self._opening += 1
        try:
            return await self.connect(identity)
        finally:
            self._opening -= 1

    async def connect(self, identity: Identity) -> ServerConnection:
        """A new connection, logged in and tracking; counted by the caller, belonging to nobody yet.

        Raises:
            ServerFault: with the server's own number when it refused.
        """
        loop = asyncio.get_running_loop()
        connection = ServerConnection(self.server, self.epoch, self.incarnation)
        connection.generation = self.generation
        packets = connection.consumer = Packets(connection)
        connection.on_gone = self._gone
        connection.waiting = self.waiting
        connection.wake = self.wake
        self._open_sockets.add(connection)
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                address = parse_address(self.server.address)
                if address.path:
                    await loop.create_unix_connection(connection.protocol, address.path)
                else:
                    await loop.create_connection(connection.protocol, address.host, address.port)
                greeting, capabilities, _ = await login(packets, identity, self.server, self.tls)
                connection.logged_in(greeting, identity, capabilities, loop.time())
                connection.tracks = self.tracks
                if self.hop:
                    connection.keep = Keep.HOP
                if self.tracks:
                    await connection.track()
        except (OSError, ProxyError, TimeoutError) as error:
            self._discard(connection)
            fault = fault_of(error)
            if fault is not error or fault.errno == ServerFault.default_errno:
                self.on_failure(self.server.name)
            log.info("server %s: no connection: %s: %s", self.server.name, type(error).__name__, error)
            raise fault from error
        except BaseException:
            self._discard(connection)
            raise
        return connection

    def _discard(self, connection: ServerConnection) -> None:
        connection.abort()
        self._open_sockets.discard(connection)  # of one that was never connected, nobody tells the end

    def _lend(self, connection: ServerConnection, owner: Owner) -> ServerConnection:
        connection.owner = owner
        connection.synced = -1
        self._lent[connection] = None
        return connection

    def release(self, connection: ServerConnection) -> None:
        """The owner is done with it for good. It is reset, which rolls back and unlocks at once, then idle."""
        connection.owner = None
        if connection not in self._lent:
            connection.abort()  # of a server that had this name before a reload
            return self.wake()
        del self._lent[connection]
        if connection.closed:
            return self.wake()
        if self.hop and not connection.running:
            connection.close()
            return self.wake()
        if connection.running or (connection.consumer is not None and connection.pinging is None):
            connection.abort()  # in the middle of something
            return self.wake()
        if self.closed or self._too_old(connection):
            connection.close()
            return self.wake()
        self._resetting += 1
        self._tasks.start(self._release(connection), f"reset {self.server.name}")
        return None

    async def _release(self, connection: ServerConnection) -> None:
        assert connection.identity is not None
        try:
            while connection.pinging is not None:
                await asyncio.wait([connection.pinging])
        finally:
            self._resetting -= 1
        reset = await self._reset(connection, connection.identity)  # which counts it itself
        if reset is not None and not reset.closed:
            if self.closed or connection.incarnation != self.incarnation:
                reset.close()
            else:
                reset.idle_since = reset.last_used
                self._idle.append(reset)
        self.wake()

    def wake(self) -> None:
        """Something became free: the first in the queue looks."""
        if self.waiting and not self.waiting[0].done() and self._free_place():
            self.waiting[0].set_result(None)

    def _gone(self, connection: ServerConnection) -> None:
        self._open_sockets.discard(connection)
        owner, connection.owner = connection.owner, None
        self._lent.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)
        if owner is not None:
            owner.connection_closed(connection)
        self.wake()

    def _too_old(self, connection: ServerConnection) -> bool:
        age = asyncio.get_running_loop().time() - connection.created
        return age > self.limits.server_connection_max_age

    def sweep(self, now: float) -> None:
        """Close what is too old or idle too long, and ping what the server would soon close; called every second."""
        for connection in list(self._idle):
            idle = now - connection.idle_since
            if idle > self.limits.server_connection_max_idle or self._too_old(connection):
                self._idle.remove(connection)
                connection.close()
            elif now - connection.last_used > self.wait_timeout / 2:
                self._idle.remove(connection)
                self._resetting += 1
                self._tasks.start(self._ping_idle(connection), f"ping {self.server.name}")
        for connection in list(self._lent):
            if not connection.is_quiet():
                continue
            if self._too_old(connection) and connection.is_free():
                self._tasks.start(self._replace(connection), f"age {self.server.name}")
            elif now - connection.last_used > self.wait_timeout / 2:
                connection.pinging = self._tasks.start(self._ping(connection), f"ping {self.server.name}")

    async def _replace(self, connection: ServerConnection) -> None:
        """An idle session's connection is too old: its next statement opens a new one."""
        if connection.is_free() and connection in self._lent and await self._part(connection):
            connection.close()
            self.wake()

    async def _ping(self, connection: ServerConnection) -> None:
        try:
            async with asyncio.timeout(self.limits.connect_timeout):
                await connection.ping()
        except (ProxyError, TimeoutError):
            pass  # aborted: its owner is told by connection_closed
        finally:
            if connection.pinging is asyncio.current_task():
                connection.pinging = None
                self.wake()

    async def _ping_idle(self, connection: ServerConnection) -> None:
        try:
            await self._ping(connection)
        finally:
            self._resetting -= 1
        if self.closed:
            connection.close()
        elif not connection.closed:
            self._idle.insert(0, connection)
        self.wake()

    def drain(self) -> None:
        """Close the idle ones, and take back those that no session must keep (maintenance)."""
        for connection in [*self._idle, *self._lent]:
            if connection.is_free():
                connection.close()

    def abort_all(self, of_before: float = float("inf")) -> None:
        """The server is gone, or another one now: nothing on its connections can be trusted to end.

        Args:
            of_before: loop time; what was connected after it is to the server as it is now.
        """
        for connection in list(self._open_sockets):
            if connection.created <= of_before:
                connection.abort()
            else:
                connection.incarnation = self.incarnation

    def shut(self) -> None:
        """No more connections; the idle ones are closed, the lent ones when their sessions let go."""
        self.closed = True
        for connection in list(self._idle):
            connection.close()
        self._idle.clear()
        for place in self.waiting:
            if not place.done():
                place.set_result(None)
