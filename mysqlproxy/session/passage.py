"""A session on the trusted host: from a gatekeeper to the proxy, statement by statement, with nothing of its own.

Made by the composition root in place of ``Session``, whose beginning and end it shares. No statement is read here,
no answer changed: each command goes on as it came, to the one connection that the session has, and the answer comes
back as it came; only where it ends is looked for. Who logs in is the gatekeeper's word, checked before the proxy
checks it again.
"""

from __future__ import annotations

import logging
from time import monotonic

from mysqlproxy.errors import AccessDenied, ClientFault, MalformedPacket, ProxyError, ServerFault
from mysqlproxy.gatekeeper.accounts import Account
from mysqlproxy.gatekeeper.chain import Chain, Refused
from mysqlproxy.pool.connection import ServerConnection
from mysqlproxy.pool.login import Identity
from mysqlproxy.pool.wire import MAX_LAST_WORDS
from mysqlproxy.protocol import response
from mysqlproxy.protocol.assertion import PLUGIN
from mysqlproxy.protocol.capabilities import STATUS_IN_TRANS
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.credentials import ServerCredential
from mysqlproxy.protocol.framing import HEADER
from mysqlproxy.protocol.handshake import build_auth_switch
from mysqlproxy.protocol.prepared import cursor_requested
from mysqlproxy.session import ending, lifecycle, upload
from mysqlproxy.session.engine import Session
from mysqlproxy.session.faults import LOST
from mysqlproxy.session.login import Dialogue, LoginPackets, channel_of, next_is_down, some_server
from mysqlproxy.session.record import count
from mysqlproxy.session.relay import early_refusal
from mysqlproxy.session.request import Request
from mysqlproxy.sql.verdict import OTHER, Verdict

log = logging.getLogger("mysqlproxy.session")

_UNREAD = Verdict(OTHER, ("passed on unread",), "")
_UNKNOWN = ClientFault("Unknown command", errno=1047, sqlstate="08S01")

_FORMS: dict[int, int] = {
    Command.INIT_DB: response.OK,
    Command.QUERY: response.QUERY,
    Command.FIELD_LIST: response.FIELD_LIST,
    Command.STATISTICS: response.STRING,
    Command.PROCESS_KILL: response.OK,
    Command.PING: response.OK,
    Command.STMT_PREPARE: response.PREPARE,
    Command.STMT_EXECUTE: response.QUERY,
    Command.STMT_RESET: response.OK,
    Command.SET_OPTION: response.OK,
    Command.STMT_FETCH: response.FETCH,
    Command.RESET_CONNECTION: response.OK,
    Command.STMT_BULK_EXECUTE: response.QUERY,
}
_UNANSWERED = frozenset((Command.STMT_CLOSE, Command.STMT_SEND_LONG_DATA))


class Passage(Session):
    """One gatekeeper's session.

    Attributes:
        upstream: its connection to the proxy; there from the login on.
    """

    __slots__ = ("upstream",)

    upstream: ServerConnection

    # --- login ------------------------------------------------------------------------------------------------

    async def introduce(
        self, packets: LoginPackets, dialogue: Dialogue, request: lifecycle.Request, *, fresh: bool
    ) -> None:
        """Ask the proxy for its nonce, the gatekeeper for its assertion, and hand that on."""
        services = self.services
        chain, certificate = services.chain, channel_of(self.client).certificate
        assert chain is not None
        if certificate is None or not chain.admits(certificate):
            raise AccessDenied("Access denied", reason="a certificate of no gatekeeper")
        await some_server(services)
        manager = services.view.manager
        assert manager is not None

        async def prove(nonce: bytes) -> bytes:
            packets.write(build_auth_switch(PLUGIN, nonce))
            return self._checked(await packets.read(), chain, request.user, nonce, certificate)

        self.charset = request.charset or self.charset
        self.identity = Identity(
            ServerCredential(request.user.decode("utf-8", "surrogateescape"), prove=prove),
            self.capabilities,
            self.charset,
            tuple(request.attributes.items()),
        )
        try:
            if fresh:
                await self.upstream.reset(self.identity)
            else:
                self.upstream = await services.pools[manager.name].acquire(self, self.identity)
                self.held[manager.name] = self.upstream
            self.upstream.consumer = Idle(self)
            if request.schema:
                self.upstream.consumer = None
                await self.upstream.use(request.schema)
                self.upstream.consumer = Idle(self)
        except ServerFault as error:
            if isinstance(error.__cause__, OSError | TimeoutError):
                raise next_is_down(services) from error
            if isinstance(error.__cause__, AccessDenied):
                raise error.__cause__ from None
            raise

    def _checked(self, data: bytes, chain: Chain, user: bytes, nonce: bytes, certificate: bytes) -> bytes:
        account = user.decode("utf-8", "surrogateescape")
        try:
            asserted = chain.check(data, account=account, nonce=nonce, certificate=certificate)
        except Refused as error:
            raise AccessDenied("Access denied", reason=str(error)) from None
        lifecycle.take_over(self, asserted)
        self.account = Account(account, (), server_user=account)
        return data

    def context_changed(self) -> None:
        """No statement is read here."""

    def must_stay(self) -> bool:
        """What else the proxy keeps for it, only the proxy knows: it ends with its transaction."""
        return any(connection.status & STATUS_IN_TRANS for connection in self.held.values())

    # --- a command's life -------------------------------------------------------------------------------------

    def packet(self, raw: bytes) -> None:
        if self.login_packets is not None:
            self.login_packets.packet(raw)
            return
        if raw[3] != 0:
            raise ClientFault("Got packets out of order", errno=1156, sqlstate="08S01")
        code = raw[HEADER] if len(raw) > HEADER else -1
        if code == Command.QUIT:
            ending.close(self)
        elif code == Command.CHANGE_USER:
            self.upstream.consumer = None
            lifecycle.change_user(self, raw[HEADER:])
        elif code in _UNANSWERED:
            self.upstream.send(raw)
        elif (form := _FORMS.get(code)) is None:
            self.refuse(_UNKNOWN)
        else:
            if code == Command.STMT_EXECUTE and cursor_requested(raw[HEADER : HEADER + 6]):
                form = response.CURSOR
            self.pass_on(Request(code, raw, form, _UNREAD, monotonic()))

    def pass_on(self, request: Request) -> None:
        connection = self.upstream
        self.busy = True
        self.request = request
        if connection.closed:
            self._lost()
            return
        connection.running = True
        in_use = self.services.balance.in_use
        in_use[connection.name] = in_use.get(connection.name, 0) + 1
        self.active = connection
        first = request.answer_sequence()
        connection.walker.begin(request.form, first)
        connection.consumer = Straight(self, connection, first)
        if not self.client.writable:
            self.client_writable(False)
        connection.send(request.raw)
        request.raw = request.raw[:1]  # it is not needed again, and may be large

    def answered(self) -> None:
        connection, request = self.active, self.request
        assert connection is not None and request is not None
        connection.status = connection.walker.status
        now = self.leave(connection)
        connection.consumer = Idle(self)
        if self.client.upload is not None:
            log.error("a server answered before the file's end", extra={"session": self.id})
            ending.close(self)
            return
        if request.code != Command.RESET_CONNECTION:  # no other hop counts it
            count(self, connection, OTHER, now - request.started)
        self.finish()

    # --- the end ----------------------------------------------------------------------------------------------

    def server_gone(self, error: Exception | None) -> None:
        connection = self.active
        if connection is not None:
            self.leave(connection)
            self.held.pop(connection.name, None)
            self._lost()

    def server_broken(self, error: ProxyError) -> None:
        log.error("the next hop broke the protocol: %s", error, extra={"session": self.id})
        self.server_gone(error)

    def connection_closed(self, connection: ServerConnection) -> None:
        """It broke between commands; the pool tells."""
        self.held.pop(connection.name, None)
        if not self.gone and self.active is not connection and self.login_packets is None:
            ending.hop_lost(self, connection)

    def _lost(self) -> None:
        if not self.gone:
            ending.refuse_and_close(self, LOST)


class Straight:
    """The answer on its way back: bytes through, and where they end."""

    __slots__ = ("_connection", "_first", "_held", "_session")

    def __init__(self, session: Passage, connection: ServerConnection, first: int) -> None:
        self._session = session
        self._connection = connection
        self._first = first  # sequence id of the answer
        self._held = b""

    def server_data(self, data: bytes, early: bool = False) -> None:
        session, connection = self._session, self._connection
        walker, request = connection.walker, session.request
        assert request is not None
        if self._held:
            data = self._held + data
        try:
            end = walker.feed(data)
        except MalformedPacket as error:
            refusal = b"" if request.relayed else early_refusal(data, self._first)
            if refusal:
                self.server_data(refusal, early=True)
                return
            connection.consumer = None
            connection.abort()
            session.server_broken(error)
            return
        self._held = data[end:]
        if end:
            request.relayed = True
            session.client.write(data if end == len(data) else data[:end])
        if walker.done:
            if self._held or early:  # a hop that closes says why right behind its last answer
                connection.last_words = self._held[:MAX_LAST_WORDS]
                connection.abort()
            session.answered()
        elif walker.local_infile is not None:
            upload.begin(session, connection)

    def server_lost(self, error: Exception | None) -> None:
        self._session.server_gone(error)

    def server_writable(self, writable: bool) -> None:
        self._session.client.hold_back(not writable)


class Idle:
    """Between commands: nothing may come; and what a client sends without an answer must not pile up."""

    __slots__ = ("_session",)

    def __init__(self, session: Passage) -> None:
        self._session = session

    def server_data(self, data: bytes) -> None:
        upstream = self._session.upstream
        upstream.last_words = data[:MAX_LAST_WORDS]
        upstream.abort()  # connection_closed follows

    def server_lost(self, error: Exception | None) -> None:
        pass  # connection_closed follows

    def server_writable(self, writable: bool) -> None:
        self._session.client.hold_back(not writable)
