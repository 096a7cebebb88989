"""The manager's position now: its GTIDs or, without them, the end of its binary log.

Asked over a connection of the daemon's own. Sessions ask when they must know an upper bound of what can have been
seen or written: their own connections cannot be used for it, because a statement between a client's two changes
ROW_COUNT() and the warnings. Those who ask while a question is under way share the next one.
"""

from __future__ import annotations

import asyncio
import logging

from mysqlproxy.cluster.gtid import GtidSet
from mysqlproxy.cluster.view import ServerView, version_of
from mysqlproxy.errors import MalformedPacket, ProxyError
from mysqlproxy.net.tasks import Tasks
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.login import Identity
from mysqlproxy.pool.pools import Pools
from mysqlproxy.protocol.capabilities import DEPRECATE_EOF
from mysqlproxy.protocol.codec import read_lenenc, read_lenenc_bytes

log = logging.getLogger("mysqlproxy.pool")

# What the manager has written and applied itself; the position a replica needs to have reached.
# Not gtid_current_pos, which leaves out what was written under another server_id.
_MARIADB = b"SELECT CONCAT(@@global.gtid_binlog_pos, ',', @@global.gtid_slave_pos)"
_MYSQL = b"SELECT @@global.gtid_executed"


class ManagerPosition:
    """Asks the manager of the moment.

    Args:
        identity: whom to log in as; the monitor's account can always read these variables.
    """

    def __init__(self, pools: Pools, identity: Identity, tasks: Tasks) -> None:
        self.identity = identity
        self._pools = pools
        self._tasks = tasks
        self._connection: ServerConnection | None = None
        self._manager: ServerView | None = None
        self._next: asyncio.Future[GtidSet | None] | None = None
        self._asking = False

    async def ask(self, manager: ServerView | None) -> GtidSet | None:
        """All that the manager had committed at some moment after this call; None when it cannot be asked."""
        if manager is None or (manager.position is None and manager.mariadb):
            return None
        self._manager = manager
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        answer = self._next
        if not self._asking:
            self._asking = True
            self._tasks.start(self._run(), "manager position")
        return await asyncio.shield(answer)

    async def _run(self) -> None:
        try:
            while self._next is not None:
                answer, self._next = self._next, None
                assert self._manager is not None
                answer.set_result(await self._question(self._manager))
        finally:
            self._asking = False
            if self._next is not None and not self._next.done():
                self._next.set_result(None)
                self._next = None

    async def _question(self, manager: ServerView) -> GtidSet | None:
        pool = self._pools.get(manager.name)
        if pool is None:
            return None
        try:
            async with asyncio.timeout(pool.limits.connect_timeout):
                connection = await self._connected(manager)
                if manager.position is None:
                    known_as = b"BINARY LOG" if version_of(manager.version) >= (8, 2, 0) else b"MASTER"
                    reply = await connection.query(b"SHOW %s STATUS" % known_as)
                    return _logged(_row(reply.raise_error().packets(), connection), manager.origin)
                reply = await connection.query(_MARIADB if connection.mariadb else _MYSQL)
            return _gtids(_row(reply.raise_error().packets(), connection), connection)
        except (ProxyError, TimeoutError, ValueError) as error:
            log.info("server %s: its position could not be asked for: %s", manager.name, error)
            return None

    async def _connected(self, manager: ServerView) -> ServerConnection:
        connection = self._connection
        if (
            connection is not None
            and not connection.closed
            and connection.name == manager.name
            and connection.incarnation == manager.incarnation
        ):
            return connection
        if connection is not None:
            connection.close()
        self._connection = await self._pools[manager.name].connect(self.identity)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _row(packets: list[bytes], connection: ServerConnection) -> bytes:
    """The first row of a text result with one row.

    Raises:
        MalformedPacket: it has none.
    """
    definitions, _ = read_lenenc(packets[0], 0)
    row = definitions + (1 if connection.capabilities & DEPRECATE_EOF else 2)
    if len(packets) <= row + 1:
        raise MalformedPacket("no row where one was asked for")
    return packets[row]


def _gtids(row: bytes, connection: ServerConnection) -> GtidSet:
    """
    Raises:
        MalformedPacket, ValueError: it holds none.
    """
    value, _ = read_lenenc_bytes(row, 0)
    return GtidSet.parse(value.decode("ascii", "replace"), connection.mariadb)


def _logged(row: bytes, origin: str) -> GtidSet:
    """Of the first two columns, file and offset.

    Raises:
        MalformedPacket, ValueError: they are none.
    """
    file, end = read_lenenc_bytes(row, 0)
    offset, _ = read_lenenc_bytes(row, end)
    return GtidSet.in_log(origin, file.decode("ascii", "replace"), int(offset))
