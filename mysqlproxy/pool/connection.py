"""One connection to a server: its socket, the walker of its answers, and what state it is in.

Made, lent, reset and closed by ``pool.pool``; a session that has borrowed it sends statements through it and keeps
``keep`` true to what it knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Protocol, TypeVar

from mysqlproxy.config.schema import Server
from mysqlproxy.errors import ProxyError, ServerFault
from mysqlproxy.pool.exchange import Command, Reply
from mysqlproxy.pool.keep import Keep
from mysqlproxy.pool.login import Identity, change_user
from mysqlproxy.pool.wire import ServerWire
from mysqlproxy.protocol import response
from mysqlproxy.protocol.capabilities import SSL, STATUS_AUTOCOMMIT
from mysqlproxy.protocol.commands import Command as Code
from mysqlproxy.protocol.handshake import Greeting
from mysqlproxy.protocol.response import ResponseWalker

Result = TypeVar("Result")

# All that a session needs to know of what its statements change, reported in the OK packets.
_TRACKERS_MARIADB = b"SET session_track_system_variables='*',session_track_schema=1"
# A reset leaves FOUND_ROWS() as somebody else's last statement made it. MariaDB counts a subquery's rows: none.
_TRACKERS_MARIADB_ANEW = _TRACKERS_MARIADB[:-1] + b"IFNULL((SELECT 1 FROM DUAL WHERE 0),1)"
_NO_ROWS_MYSQL = b"SELECT 1 LIMIT 0"
_TRACKERS_MYSQL = (
    b"SET session_track_system_variables='*',session_track_schema=1,session_track_gtids='OWN_GTID'"
)

_IN_TRANSACTION = Keep.TRANSACTION | Keep.AUTOCOMMIT_OFF
_MAY_HAVE_TABLES = Keep.TEMPORARY_TABLE | Keep.UNTRACKED


class Owner(Protocol):
    """Who has borrowed a connection."""

    def connection_closed(self, connection: ServerConnection) -> None:
        """The connection broke; it is no longer the owner's."""

    def connection_taken(self, connection: ServerConnection) -> Coroutine[object, object, None] | None:
        """The pool takes the idle connection back; the owner forgets it.

        Returns:
            None, or what the owner still asks of it before it is reset: raises ServerFault when that fails.
        """


class ServerConnection(ServerWire):
    """One connection to a server.

    Attributes:
        server: its configuration.
        epoch: of the cluster's view when it was made or last found right.
        incarnation: of the server when it was made.
        generation: of the pool when it was last made what a new login is.
        identity: who it is logged in as.
        owner: the session that has it, or None.
        keep: why the owner must keep it.
        running: a statement of the owner runs on it.
        claimed: the owner is about to use it and waits for something else first.
        pinging: the task that keeps it alive, while it waits for the answer; a statement waits for that first.
        schema: the default schema as bytes, or None.
        synced: version of the owner's state that it has; -1: none.
        created, idle_since: loop time of its login, and of its coming into the pool.
        status: the last status flags.
        autocommit: as it was set by the server's settings and init_connect, or by the daemon.
        statements: the owner's prepared-statement ids -> ids on this connection.
        bound: the owner's prepared-statement ids -> the parameter types that this connection was told last.
        cursors: the owner's prepared-statement ids that have a cursor open here.
        was_manager: whether its server was the manager when the owner got it.
        inserted: a statement may have set LAST_INSERT_ID() here.
        old_warnings: those that it knows are of a statement before the owner's last one, which ran elsewhere.
        sequences: those that a statement has drawn from here, or asked for the last value of, as `schema`.`name`;
            None for none.
        role_set: the owner may have set a role.
        caught_up, caught_up_all: how many of the owner's writes, and of all sessions', the server is known to have
            applied (``session.position.Position.moves``).
        tracks: the daemon follows the session's state with trackers; not on a trusted host.
        restart: it must be reset before it is used again (a hop's; the others go back to the pool for that).
        untold_since: when the first statement began whose change of the session's state was told without saying
            what; 0.0 while there is none.
        waiting, wake: who waits for a connection to this server, and how to tell them that this one is free.
    """

    def __init__(self, server: Server, epoch: int, incarnation: int) -> None:
        super().__init__()
        self.server = server
        self.name = server.name
        self.epoch = epoch
        self.incarnation = incarnation
        self.generation = 0
        self.identity: Identity | None = None
        self.owner: Owner | None = None
        self.on_gone: Callable[[ServerConnection], None] | None = None
        self.keep = Keep.NONE
        self.running = False
        self.claimed = False
        self.pinging: asyncio.Task[None] | None = None
        self.schema: bytes | None = None
        self.synced = -1
        self.status = 0
        self.autocommit = True
        self.statements: dict[int, int] = {}
        self.bound: dict[int, bytes] = {}
        self.cursors: set[int] = set()
        self.was_manager = False
        self.inserted = False
        self.old_warnings = False
        self.sequences: frozenset[str] | None = None
        self.role_set = False
        self.caught_up = -1
        self.caught_up_all = -1
        self.tracks = True
        self.restart = False
        self.untold_since = 0.0
        self.waiting: Sequence[object] = ()
        self.wake: Callable[[], None] = lambda: None
        self.created = 0.0
        self.idle_since = 0.0
        self.capabilities = 0
        self.thread_id = 0
        self.mariadb = True
        self.plugin = ""
        self.nonce = b""
        self.walker: ResponseWalker

    def logged_in(self, greeting: Greeting, identity: Identity, capabilities: int, now: float) -> None:
        self.identity = identity
        self.capabilities = capabilities
        self.thread_id = greeting.connection_id
        self.mariadb = "MariaDB" in greeting.version
        self.plugin = greeting.plugin
        self.nonce = greeting.nonce
        self.created = self.last_used = now
        self.walker = ResponseWalker(capabilities)

    async def command(self, payload: bytes, form: int = response.OK) -> Reply:
        """One of the daemon's own commands; an ERR is in the reply. Bounded by the caller, aborted when cut short."""
        try:
            reply = await Command(self, self.walker).run(payload, form)
        except BaseException:
            self.abort()  # cut short: its answer may still come and belongs to nobody
            raise
        self.last_used = asyncio.get_running_loop().time()
        return reply

    async def query(self, text: bytes) -> Reply:
        """One of the daemon's own statements."""
        attributes = b"\x00\x01" if self.capabilities & (1 << 27) else b""  # QUERY_ATTRIBUTES: none
        return await self.command(bytes((Code.QUERY,)) + attributes + text, response.QUERY)

    async def ping(self) -> None:
        """So that the server does not take it for abandoned. COM_PING would change ROW_COUNT()."""
        await self.command(bytes((Code.STATISTICS,)), response.STRING)

    async def track(self, *, anew: bool = False) -> None:
        """Switch the trackers on; every new login and every reset forgets them.

        Args:
            anew: somebody else has used this connection of a server.
        """
        if not self.mariadb:
            if anew:
                (await self.query(_NO_ROWS_MYSQL)).raise_error()
            reply = await self.query(_TRACKERS_MYSQL)
        else:
            reply = await self.query(_TRACKERS_MARIADB_ANEW if anew else _TRACKERS_MARIADB)
        self.autocommit = bool(
            reply.raise_error().status & STATUS_AUTOCOMMIT
        )  # the login's OK is before init_connect

    async def reset(self, identity: Identity) -> None:
        """Make it what a new login of ``identity`` without a schema would be.

        Raises:
            ServerFault, MalformedPacket: then it is closed.
        """
        try:
            if self.mariadb and (self.role_set or identity != self.identity):
                # Its COM_CHANGE_USER leaves the role of before to whoever comes, with all its rights.
                (await self.query(b"SET ROLE NONE")).raise_error()
            if self.mariadb and self.keep & _IN_TRANSACTION and self.keep & _MAY_HAVE_TABLES:
                # It logs the end of temporary tables before the transaction that made them. Replicas then keep them,
                # and do to them what whoever comes next does here to tables of these names.
                (await self.query(b"ROLLBACK")).raise_error()
            await change_user(
                self,
                identity,
                capabilities=self.capabilities,
                nonce=self.nonce,
                plugin=self.plugin,
                secure=bool(self.capabilities & SSL) or self.server.address.startswith("unix:"),
            )
        except BaseException:
            self.abort()
            raise
        self.identity = identity
        await self._begin_anew()

    async def reset_hop(self) -> None:
        """COM_RESET_CONNECTION to the next hop of a chain, whose proxy ends all that ``reset`` would. Nobody logs in.

        Raises:
            ServerFault, MalformedPacket: then it is closed.
        """
        try:
            (await self.command(bytes((Code.RESET_CONNECTION,)))).raise_error()
        except BaseException:
            self.abort()
            raise
        await self._begin_anew()

    async def _begin_anew(self) -> None:
        self.restart = False
        self.keep &= Keep.HOP
        self.schema = None
        self.synced = -1
        self.statements = {}
        self.bound = {}
        self.cursors = set()
        self.inserted = False
        self.old_warnings = False
        self.sequences = None
        self.role_set = False
        self.caught_up = self.caught_up_all = -1
        self.untold_since = 0.0
        if self.tracks:
            await self.track(anew=not self.keep & Keep.HOP)

    async def use(self, schema: bytes) -> None:
        """Make ``schema`` the default.

        Raises:
            ServerFault: 1049, 1044: the server's own refusal; the connection stays as it was.
        """
        (await self.command(bytes((Code.INIT_DB,)) + schema)).raise_error()
        self.schema = schema

    def is_quiet(self) -> bool:
        """Whether nobody uses it now."""
        return (
            not self.running
            and not self.closed
            and not self.claimed
            and self.consumer is None
            and self.pinging is None
        )

    def is_free(self) -> bool:
        """Whether its owner, if any, could do without it now."""
        return not self.keep and self.is_quiet()

    def offer(self) -> None:
        """Tell whoever waits for a connection that the owner could do without this one."""
        if self.waiting and not self.keep:
            self.wake()

    async def claim(self, what: Awaitable[Result]) -> Result:
        """Wait for something without the pool taking this connection away meanwhile; what that gave."""
        self.claimed = True
        try:
            return await what
        finally:
            self.claimed = False

    def gone(self) -> None:
        if self.on_gone is not None:
            self.on_gone(self)


def fault_of(error: BaseException) -> ServerFault:
    """What a failed attempt to reach a server means to a client: never an address, never a secret."""
    if isinstance(error, ServerFault):
        return error
    if isinstance(error, TimeoutError):
        return ServerFault("The server did not answer in time")
    if isinstance(error, ProxyError):
        return ServerFault("The server broke the protocol")
    return ServerFault("Can't connect to server")
