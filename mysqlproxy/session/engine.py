"""One client's life, and the life of each of its statements: admit, classify, route, acquire, relay, record.

The common path (a statement, a connection that this session already holds) is plain calls from the client's
``data_received`` to the server's ``write``, and back through the relay: no task, no future. What has to wait
(a login, a connection, state to carry over, another server to prepare on) runs in the session's one task.

Here is the path and the state it needs. ``commands`` dispatches by command code, ``settle`` learns from the answer,
``waiting`` goes the way round of what cannot be sent at once, ``faults`` decides what a lost server means,
``lifecycle`` begins and ends the session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Final

from mysqlproxy.cluster.view import Role, ServerView
from mysqlproxy.config.schema import Consistency, Strategy
from mysqlproxy.errors import ProxyError, SessionLost
from mysqlproxy.gatekeeper.accounts import Account
from mysqlproxy.gatekeeper.admission import Ticket
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.keep import IRREPLACEABLE, Keep
from mysqlproxy.pool.login import Identity
from mysqlproxy.protocol.capabilities import DEPRECATE_EOF, STATUS_AUTOCOMMIT
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.packets import Ok, build_eof, build_err, build_ok
from mysqlproxy.routing.offload import READ_ONLY, Offload
from mysqlproxy.routing.route import Stay, Why, route, unless_it_writes
from mysqlproxy.routing.strategies import not_taken
from mysqlproxy.session import (
    commands,
    ending,
    faults,
    freshness,
    last_statement,
    lifecycle,
    settle,
    transfer,
    upload,
    waiting,
)
from mysqlproxy.session.admit import Admitted
from mysqlproxy.session.client import Client, Handler
from mysqlproxy.session.context import isolation, set_last, sql_context
from mysqlproxy.session.login import Dialogue, LoginPackets
from mysqlproxy.session.position import Position
from mysqlproxy.session.prepared import PreparedStatements
from mysqlproxy.session.record import Cells, record
from mysqlproxy.session.relay import Relay
from mysqlproxy.session.request import Request
from mysqlproxy.session.services import Services
from mysqlproxy.session.state import SessionState
from mysqlproxy.session.trackers import Trackers
from mysqlproxy.sql.verdict import ANY, LAST_STATEMENT, SqlContext

log = logging.getLogger("mysqlproxy.session")
_monotonic: Final = monotonic  # a name that is final costs the compiled path no look into the module


class Session(Handler):
    """One client.

    Attributes:
        id: the connection id of the greeting, from 2^31 on.
        login_packets: where packets go until the login has ended; None after.
        held: server name -> the connection this session has there.
        admitted: what the firewall knows of it.
        active: the connection that runs the current statement, or None.
        request: the current command, or None.
        offload: whether reads may leave the manager with autocommit off and in transactions.
        why: the reason of the current route.
        stay: what routing must know of this session.
        barred: servers that refused a part of this session's state.
        status: the status flags the client was last told.
        recall: pending while LAST_INSERT_ID() and LASTVAL() are fetched from a connection that was taken away.
        recalls: the last statement that asks for one of them came while it was.
        epoch: of the last view that all of ``held`` were compared with.
        login_schema: the schema named at login, which a reset returns to; ``login_status`` the flags likewise.
        gone: the client has left or was closed.
        shown: fingerprint of the certificate that its connection to the next hop was made with, in a chain.
        since: loop time of the last statement's end; ``transaction_since`` of the transaction's begin, 0.0 without.
        pinged: when it last sent COM_PING.
    """

    __slots__ = (
        "account", "active", "admitted", "barred", "capabilities", "cells", "charset", "client",
        "consistency", "context", "epoch", "gone", "held", "id", "identity", "login_packets", "login_schema",
        "login_status", "loop", "offload", "pinged", "position", "prepared", "reask", "recall", "recalls", "relay",
        "request", "services", "shown", "since", "state", "status", "stay", "strategy", "task", "tickets", "trackers",
        "transaction_since", "why",
    )  # fmt: skip

    def __init__(self, client: Client, services: Services) -> None:
        super().__init__()
        self.client = client
        self.services = services
        self.loop = asyncio.get_running_loop()
        self.id = services.next_id()
        services.sessions[self.id] = self
        self.gone = False
        self.login_packets: LoginPackets | None = LoginPackets(
            client, self, lambda: services.newcomers.spoke(self.id)
        )
        self.tickets: list[Ticket] = []
        self.account: Account
        self.identity: Identity
        self.capabilities = 0
        self.charset = 0
        self.context = SqlContext()
        self.offload = Offload()
        self.strategy = Strategy.DIRECT
        self.consistency = Consistency.SESSION
        self.state = SessionState()
        self.trackers = Trackers()
        self.position = Position()
        self.prepared = PreparedStatements(services.config.limits.max_packet)
        self.epoch = services.view.epoch
        self.held: dict[str, ServerConnection] = {}
        self.active: ServerConnection | None = None
        self.request: Request | None = None
        self.why: str = Why.WRITE
        self.reask = False
        self.stay = Stay()
        self.barred: frozenset[str] = frozenset()
        self.relay = Relay(self)
        self.admitted = Admitted()
        self.cells: dict[str, Cells] = {}
        self.status = STATUS_AUTOCOMMIT
        self.recall: asyncio.Future[None] | None = None
        self.recalls = False
        self.since = self.loop.time()
        self.pinged = 0.0
        self.transaction_since = 0.0
        self.login_schema: bytes | None = None
        self.shown = b""
        self.login_status = STATUS_AUTOCOMMIT
        self.task: asyncio.Task[None] | None = None
        self.run(lifecycle.log_in(self), "login")

    async def introduce(
        self, packets: LoginPackets, dialogue: Dialogue, request: lifecycle.Request, *, fresh: bool
    ) -> None:
        """The part of a login in which it turns out who it is. ``fresh``: COM_CHANGE_USER."""
        await lifecycle.introduce(self, packets, dialogue, request, fresh=fresh)

    # --- the client -------------------------------------------------------------------------------------------

    def packet(self, raw: bytes) -> None:
        if self.login_packets is not None:
            self.login_packets.packet(raw)
        else:
            commands.dispatch(self, raw)

    def client_lost(self) -> None:
        if self.login_packets is not None:
            self.login_packets.lost()
        ending.end(self)

    def client_writable(self, writable: bool) -> None:
        """Back-pressure: a client that reads slowly stops the reading from its server, and only from that."""
        connection = self.active
        if connection is None or connection.transport is None or connection.transport.is_closing():
            return
        if writable:
            connection.transport.resume_reading()
        else:
            connection.transport.pause_reading()

    def client_fault(self, error: ProxyError) -> None:
        """The client broke the protocol: one error where there is room for one, then the end."""
        log.info("protocol error: %s", error, extra={"session": self.id})
        if self.active is None:
            self.client.write(
                frame(build_err(error.errno, error.sqlstate, str(error)), self._reply_sequence())
            )
        ending.close(self)

    def _reply_sequence(self) -> int:
        return self.login_packets.sequence if self.login_packets is not None else 1

    # --- a statement's life -----------------------------------------------------------------------------------

    def start(self, request: Request) -> None:
        """Route a request and send it, at once when the connection is at hand."""
        self.busy = True
        self.request = request
        try:
            server = self.choose(request)
        except SessionLost as error:
            faults.end(self, error)
            return
        except ProxyError as error:
            self.refuse(error)
            return
        connection = self.held.get(server.name)
        if (
            connection is None
            or connection.synced != self.state.version
            or connection.epoch != self.services.view.epoch
            or connection.pinging is not None
            or connection.closed
            or not freshness.is_fresh(self, connection)
            or not transfer.is_bound(connection, request)
        ):
            self.run(waiting.send_when_ready(self, request, server, self.services.view.epoch), "statement")
            return
        self.send(connection, request)

    def choose(self, request: Request) -> ServerView:
        """The server for a request, its reason in ``why``.

        Raises:
            NoServer: none can take it.
            SessionLost: the one that must is no longer what it was.
            Interrupted: it was killed before it came to a server.
            ClientFault: it asks for what is no longer known.
        """
        request.check_interrupted()
        services = self.services
        needs = request.verdict.needs
        if needs is not ANY and faults.asks_for_last_insert(request.verdict):
            self.recalls = self.recall is not None
            if not self.recalls:
                faults.recall_last_values(self, request)
        bound = request.pinned or self.stay.server
        if bound and faults.is_bound(self, bound) and (request.pinned or bound not in services.view.by_name):
            self.why = Why.KEPT
            server = services.view.by_name.get(bound) or ServerView(bound, Role.WORKER)  # removed: it drains
            return unless_it_writes(request.verdict, services.view, server)
        stay = last_statement.check(self, request) if needs is LAST_STATEMENT else self.stay
        server, self.why = route(
            request.verdict,
            services.view,
            stay,
            self.strategy,
            freshness.consistency(self),
            services.balance,
            request.excluded | self.barred if self.barred else request.excluded,
            request.hint,
        )
        if self.why == Why.STRATEGY:
            chosen, server = server, freshness.reader(self, server, request.excluded)
            manager = services.view.manager
            if (
                not services.catalog.catalog.available
                and request.verdict.tables
                and manager is not None
                and manager.name not in request.excluded
            ):
                server, self.why = manager, Why.CATALOG
            if server is not chosen:
                not_taken(services.balance)
        elif needs is LAST_STATEMENT or request.verdict.effects & last_statement.UNSEEN:
            last_statement.forget_others(self, server, request)
        return server

    async def connection(self, server: ServerView) -> ServerConnection:
        """A connection of this session to a server, in this session's state.

        Raises:
            ServerFault, TooManyConnections: it cannot be had.
        """
        name = server.name
        found = self.held.get(name)
        if found is not None:
            while found.pinging is not None:
                await found.claim(asyncio.wait([found.pinging]))
            found = faults.still_valid(self, found)
        if found is not None and found.restart:
            await found.claim(found.reset(self.identity))
        if found is None:
            found = await self.services.pools[name].acquire(self, self.identity)
            found.epoch = self.services.view.epoch
            manager = self.services.view.manager  # each view is made of new objects
            found.was_manager = manager is not None and manager.name == name
            self.held[name] = found
        if self.recall is not None and found.was_manager:
            await found.claim(asyncio.wait([self.recall]))  # the pool ends it, whoever waits
        if found.synced != self.state.version:
            async with asyncio.timeout(self.services.config.limits.connect_timeout):
                await transfer.bring_up_to_date(self, found)
        return found

    def send(self, connection: ServerConnection, request: Request) -> None:
        connection.running = True
        in_use = self.services.balance.in_use
        in_use[connection.name] = in_use.get(connection.name, 0) + 1
        self.active = connection
        self.relay.begin(connection, request.form, request.answer_sequence())
        if self.offload.accepted or self.relay.altered:
            settle.alter_flags(self, connection, request)
        if not self.client.writable:
            self.client_writable(False)
        if request.prepared is None or request.code == Command.STMT_PREPARE:
            connection.send(request.raw)
        else:
            transfer.send_bound(self, connection, request)

    def answered(self) -> None:
        """The whole answer has been passed on: learn from it, record it, go on with what waits."""
        connection, request = self.active, self.request
        assert connection is not None and request is not None
        now = self.leave(connection)
        if self.client.upload is not None:
            # An answer in the middle of an upload: what the client still sends is no command.
            log.error("a server answered before the file's end", extra={"session": self.id})
            ending.close(self)
            return
        if self.reask:
            self.reask = False
            connection.old_warnings = True  # the error that nobody was told
            self.services.counters.retried("refused_by_worker")
            view = self.services.view
            request.excluded |= {server.name for server in view.servers if server is not view.manager}
            connection.offer()
            self.start(request)
            return
        if self.admitted.preparing is not None and not connection.walker.errno:
            self.admitted.prepared()
        settle.settle(self, connection, request)
        record(self, connection, request, now - request.started)
        connection.offer()
        self.finish()

    def leave(self, connection: ServerConnection) -> float:
        """The connection runs nothing of this session any more. Returns the time."""
        now = _monotonic()  # the loop's own time is the same clock in whole milliseconds (uvloop)
        if self.pinged > self.since:
            last_statement.keep_pinged(self, connection.walker, now)
        connection.running = False
        connection.last_used = self.since = now
        in_use = self.services.balance.in_use
        in_use[connection.name] = in_use.get(connection.name, 1) - 1
        if not self.client.writable and connection.transport is not None and not connection.closed:
            connection.transport.resume_reading()
        if self.client.held_back:
            self.client.hold_back(False)
        self.active = None
        return now

    def finish(self) -> None:
        """The command is done: the next one."""
        if self.admitted.counts:
            self.admitted.leave()
        self.request = None
        self.busy = False
        if self.epoch != self.services.view.epoch:
            faults.roles_changed(self)
        if self.services.draining and not self.gone and ending.may_end(self):
            ending.shut_down(self)
        else:
            self.client.pump()

    # --- answers of our own -----------------------------------------------------------------------------------

    def reply_ok(self, status: int | None = None) -> None:
        """OK in the place of an answer, to a command of one frame."""
        ok = Ok(status=self.status if status is None else status)
        self.client.write(frame(build_ok(ok, self.capabilities), 1))
        self.finish()

    def reply_eof(self) -> None:
        """EOF in the place of an answer, or the OK that has replaced it."""
        if self.capabilities & DEPRECATE_EOF:
            payload = build_ok(Ok(status=self.status), self.capabilities, header=0xFE)
        else:
            payload = build_eof(self.status)
        self.client.write(frame(payload, 1))
        self.finish()

    def refuse(self, error: ProxyError) -> None:
        """ERR in the place of an answer; the session goes on."""
        sequence = 1 if self.request is None else self.request.answer_sequence()
        self.client.write(frame(build_err(error.errno, error.sqlstate, str(error)), sequence))
        self.finish()

    def context_changed(self) -> None:
        """Something that verdicts depend on, or the isolation level, has changed."""
        self.context = self.services.classifier.known(sql_context(self))
        before = self.offload.accepted
        self.offload.judge(isolation(self), set_last(self, READ_ONLY))
        if before is not self.offload.accepted:
            for connection in self.held.values():
                if not connection.was_manager:
                    connection.synced = -1  # whether autocommit is on there depends on it

    # --- connections come and go ------------------------------------------------------------------------------

    def connection_closed(self, connection: ServerConnection) -> None:
        """Called by the pool when a connection of ours broke while it ran nothing."""
        faults.idle_connection_lost(self, connection)

    def connection_taken(self, connection: ServerConnection) -> Coroutine[object, object, None] | None:
        """Called by the pool when it takes an idle connection that we have no reason to keep."""
        known = self.state.last_values
        if not settle.forget_connection(self, connection) or not (
            connection.inserted or connection.sequences is not None
        ):
            return None
        return transfer.recall(self, connection, known)

    def must_stay(self) -> bool:
        """Whether something of this session would be lost if it ended now."""
        return any(connection.keep & IRREPLACEABLE & ~Keep.HOP for connection in self.held.values())

    def run(self, work: Coroutine[object, object, None], what: str) -> None:
        """The session's one task."""
        self.task = self.services.tasks.start(self._guarded(work), f"{what} {self.id}")

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("internal error", extra={"session": self.id})
            ending.close(self)

    # --- reported by the relay --------------------------------------------------------------------------------

    def server_gone(self, error: Exception | None) -> None:
        faults.server_gone(self)

    def server_broken(self, error: ProxyError) -> None:
        log.error("a server broke the protocol: %s", error, extra={"session": self.id})
        faults.server_gone(self)

    def asks_manager_instead(self, errno: int) -> bool:
        self.reask = faults.asks_manager_instead(self, errno)
        return self.reask

    def permits_file(self, name: bytes) -> bool:
        return upload.permitted(self, name)
