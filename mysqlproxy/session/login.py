"""A client's login, from the greeting to OK, and COM_CHANGE_USER. One task per login; the session takes over after.

What happens here is decided elsewhere: the bytes in ``protocol.handshake``, who may come in ``gatekeeper.login``. A
denied client gets its error and is closed; it never reaches the command phase.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Protocol

from mysqlproxy.errors import AccessDenied, ClientFault, ProxyError, ServerFault
from mysqlproxy.gatekeeper.chain import AssertionDialogue
from mysqlproxy.gatekeeper.login import (
    FAST_AUTH_OK,
    Accept,
    Bare,
    Channel,
    Costly,
    Deny,
    LoginDialogue,
    More,
    Step,
    Switch,
    default_plugin,
    new_nonce,
)
from mysqlproxy.net.tls import TlsTransport
from mysqlproxy.protocol.assertion import Assertion
from mysqlproxy.protocol.capabilities import SSL, STATUS_AUTOCOMMIT, negotiate, offer
from mysqlproxy.protocol.framing import frame, payload_of
from mysqlproxy.protocol.handshake import (
    ChangeUser,
    Greeting,
    HandshakeResponse,
    build_auth_more,
    build_auth_switch,
    is_ssl_request,
    parse_handshake_response,
    parse_ssl_request,
)
from mysqlproxy.session.client import Client, Handler
from mysqlproxy.session.services import Services

log = logging.getLogger("mysqlproxy.login")

UTF8MB4_GENERAL_CI = 45
_MAX_STEPS = 6
_DENIAL = 0.02  # seconds from a client's last word to its denial: longer than any check but a queue takes
_LOCKED = {3118: 4151}  # ER_ACCOUNT_HAS_BEEN_LOCKED of MySQL and of MariaDB


class Dialogue(Protocol):
    """The steps of one login: ``gatekeeper.login.LoginDialogue``, ``gatekeeper.chain.AssertionDialogue``."""

    def start(self, user: bytes, plugin: str, auth: bytes, *, fresh: bool = False) -> Step: ...
    def answer(self, data: bytes) -> Step: ...


class LoginPackets:
    """The client's packets during its login, in sequence; ``packet`` is fed by the session."""

    def __init__(
        self, client: Client, handler: Handler, on_packet: Callable[[], None] = lambda: None
    ) -> None:
        self.client = client
        self.on_packet = on_packet
        self.handler = handler
        self.sequence = 0
        self._waiting: asyncio.Future[bytes] | None = None

    def packet(self, raw: bytes) -> None:
        """Exactly one packet per ``read``: what follows an SSLRequest is no packet but TLS."""
        self.handler.busy = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(raw)

    def lost(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the client went away"))

    async def read(self) -> bytes:
        """The payload of the next packet.

        Raises:
            ClientFault: out of sequence (1156/08S01).
            ConnectionResetError: the client went away.
        """
        if self.client.closed:
            raise ConnectionResetError("the client went away")
        self._waiting = asyncio.get_running_loop().create_future()
        self.handler.busy = False
        self.client.pump()
        raw = await self._waiting
        self.on_packet()
        if raw[3] != self.sequence & 0xFF:
            raise ClientFault("Got packets out of order", errno=1156, sqlstate="08S01")
        self.sequence += 1
        return payload_of(raw)

    def write(self, payload: bytes) -> None:
        self.client.write(frame(payload, self.sequence))
        self.sequence += 1


async def greet(
    packets: LoginPackets, services: Services, connection_id: int
) -> tuple[HandshakeResponse, int, Dialogue]:
    """Greeting, TLS when asked for, and the client's answer.

    Returns:
        the answer, the capabilities agreed on, the dialogue to go on with.

    Raises:
        ClientFault: it broke the protocol.
        AccessDenied: TLS is required and was not used.
    """
    await view_known(services)
    client = packets.client
    view = services.view
    nonce = new_nonce()
    plugin = default_plugin(services.accounts, view.mariadb)
    offered = offer(view.capabilities, services.tls is not None)
    greeting = Greeting(
        version=view.version,
        connection_id=connection_id,
        nonce=nonce,
        capabilities=offered,
        charset=UTF8MB4_GENERAL_CI,
        status=STATUS_AUTOCOMMIT,
        plugin=plugin,
    )
    packets.write(greeting.build())
    payload = await packets.read()
    if is_ssl_request(payload):
        if services.tls is None:
            raise ClientFault("Bad handshake", errno=1043, sqlstate="08S01")
        asked, _, _ = parse_ssl_request(payload)
        negotiate(offered, asked)
        await start_tls(client, services)
        payload = await packets.read()
    response = parse_handshake_response(payload)
    capabilities = negotiate(offered, response.capabilities) & ~SSL
    config = services.config
    hops = services.chain is not None and services.chain.has_hops_before
    if (
        config.tls is not None
        and (config.tls.required or hops)
        and not client.encrypted
        and (client.peer or hops)
    ):
        raise AccessDenied(
            "Connections using insecure transport are prohibited; use TLS", reason="TLS is required"
        )
    return response, capabilities, dialogue_for(services, client, nonce, plugin)


def dialogue_for(services: Services, client: Client, nonce: bytes, plugin: str) -> Dialogue:
    """How this client's login goes on: with proofs, or behind a gatekeeper with an assertion."""
    channel = channel_of(client)
    if services.chain is not None and services.chain.has_hops_before:
        return AssertionDialogue(services.accounts, services.chain, channel)
    return LoginDialogue(services.accounts, nonce, plugin, channel)


def channel_of(client: Client) -> Channel:
    """How the client comes."""
    certificate = None
    if client.encrypted and client.transport is not None:
        tls: ssl.SSLObject = client.transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True)
    return Channel(client.peer, client.encrypted or client.peer is None, certificate)


async def start_tls(client: Client, services: Services) -> None:
    """Everything behind the SSLRequest belongs to TLS, also what came in the same segment."""
    assert services.tls is not None and client.transport is not None
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def handshake(error: BaseException | None) -> None:
        if not done.done():
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(ConnectionResetError(f"TLS: {type(error).__name__}"))

    early = client.reader.take_rest()
    layer = TlsTransport(
        client.transport, client.protocol(), services.tls, server_side=True, on_handshake=handshake
    )
    client.transport = layer.transport()
    client.encrypted = True
    layer.start(early)
    await done


async def authenticate(
    packets: LoginPackets,
    services: Services,
    dialogue: Dialogue,
    request: HandshakeResponse | ChangeUser,
    fresh: bool,
    known: Callable[[Assertion], None] = lambda _: None,
) -> Accept:
    """Steps until somebody is known.

    Args:
        known: told what a gatekeeper says of who it is, also when that does not let it in.

    Raises:
        AccessDenied: 1045/28000, the same for every reason; the log has the reason. Another number only for who has
            shown the right password.
    """
    loop = asyncio.get_running_loop()
    asked = loop.time()
    step: Step = dialogue.start(request.user, request.plugin, request.auth, fresh=fresh)
    for _ in range(_MAX_STEPS):
        if isinstance(step, Costly):
            async with services.costly_logins:
                step = await asyncio.to_thread(step.run)
        if isinstance(step, Accept | Deny) and step.asserted is not None:
            known(step.asserted)
        match step:
            case Accept():
                if step.fast_path:
                    packets.write(build_auth_more(FAST_AUTH_OK))
                return step
            case Deny():
                async with services.costly_logins:
                    # At a moment that does not tell what was found out when.
                    await asyncio.sleep(asked + _DENIAL - loop.time())
                raise _error(packets.client, request, step, services.view.mariadb)
            case Switch():
                packets.write(build_auth_switch(step.plugin, step.data))
            case More():
                packets.write(build_auth_more(step.data))
            case Bare():
                packets.write(step.data)
        answer = await packets.read()
        asked = loop.time()
        step = dialogue.answer(answer)
    raise _error(packets.client, request, Deny("the login does not end"), services.view.mariadb)


def _error(
    client: Client, request: HandshakeResponse | ChangeUser, deny: Deny, mariadb: bool
) -> AccessDenied:
    """The server's own sentence."""
    if deny.message:
        errno = _LOCKED.get(deny.errno, deny.errno) if mariadb else deny.errno
        return AccessDenied(deny.message, reason=deny.reason, errno=errno, sqlstate="HY000")
    name = request.user[:80].decode("utf-8", "replace")
    host = "localhost" if client.peer is None else str(client.peer)
    password = "YES" if request.auth or deny.asserted is not None else "NO"
    return AccessDenied(
        f"Access denied for user '{name}'@'{host}' (using password: {password})", reason=deny.reason
    )


async def view_known(services: Services) -> None:
    """Wait until some server has been seen; the login's deadline bounds it. Its greeting is the cluster's.

    Raises:
        ServerFault: at a hop of a chain: the one before takes this one for down, and its clients need not wait.
    """
    if services.chain is not None and services.chain.has_hops_before and not services.view.version:
        raise next_is_down(services)
    while not (services.view.version and services.accounts_read):
        await services.view_changed.wait()


async def some_server(services: Services) -> None:
    """Wait until a statement could be answered at all; the login's deadline bounds it.

    Raises:
        ServerFault: the next hop of a chain is down.
    """
    if services.chain is not None and services.chain.next_hop and services.view.manager is None:
        raise next_is_down(services)
    while services.view.manager is None and not services.view.readers:
        await services.view_changed.wait()


def next_is_down(services: Services) -> ServerFault:
    """What clients and hops are told when the next hop, or what is behind it, is known to be no use."""
    what = services.chain.next_hop if services.chain is not None else ""
    return ServerFault(f"The {what or 'cluster'} cannot be reached; try again later")


def too_late(services: Services) -> ProxyError:
    """What a client is told whose login did not end before the deadline: it was slow, or no server was there."""
    seconds = services.config.limits.login_timeout
    view = services.view
    if view.version and (view.manager is not None or view.readers):
        # ER_NET_READ_INTERRUPTED
        return ClientFault(
            f"Got timeout reading communication packets: the login took more than {seconds:g} s",
            errno=1159,
            sqlstate="08S01",
        )
    return ServerFault(f"No server of the cluster could be reached within {seconds:g} s; try again later")
