"""Log in to a server, and become somebody else on an open connection (COM_CHANGE_USER, the daemon's reset).

Called by the pool. ``pool.server_auth`` decides the bytes of each method; here is the dialogue around it.

Connection phase: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from mysqlproxy.config.schema import Server
from mysqlproxy.errors import MalformedPacket, ServerFault
from mysqlproxy.net.tls import TlsTransport
from mysqlproxy.pool.exchange import Packets
from mysqlproxy.pool.server_auth import ServerAuth
from mysqlproxy.pool.wire import ServerWire
from mysqlproxy.protocol.assertion import PLUGIN
from mysqlproxy.protocol.capabilities import CONNECT_WITH_DB, SSL, for_server
from mysqlproxy.protocol.credentials import ServerCredential
from mysqlproxy.protocol.handshake import (
    ChangeUser,
    Greeting,
    HandshakeResponse,
    build_ssl_request,
    parse_auth_switch,
    parse_greeting,
)
from mysqlproxy.protocol.packets import Ok, parse_err, parse_ok

OK, MORE, SWITCH, ERR = 0x00, 0x01, 0xFE, 0xFF
_CHANGE_USER = b"\x11"
_MAX_STEPS = 8  # a server that never ends its questions is broken


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection belongs to, and how its bytes look. Equal identities may use each other's connections.

    Attributes:
        credential: the account on the server.
        capabilities: what the client agreed to (``protocol.capabilities.negotiate``).
        charset: collation id the client named at its login.
        attributes: connection attributes, shown in performance_schema.session_connect_attrs.
    """

    credential: ServerCredential
    capabilities: int
    charset: int
    attributes: tuple[tuple[str, str], ...] = ()


async def login(
    packets: Packets,
    identity: Identity,
    server: Server,
    tls: ssl.SSLContext | None,
    schema: bytes | None = None,
) -> tuple[Greeting, int, Ok]:
    """The whole login on a fresh socket. The caller bounds the time and aborts the wire when this raises.

    Args:
        packets: consumer of the wire since before it was connected: the greeting comes unasked.

    Returns:
        the greeting, the capabilities in force, and the OK that ended the login.

    Raises:
        ServerFault: with the server's own number when it refused.
        MalformedPacket: it broke the protocol.
    """
    wire = packets.wire
    greeting = parse_greeting(await packets.read())
    capabilities = for_server(identity.capabilities, greeting.capabilities)
    if schema is not None:
        capabilities |= CONNECT_WITH_DB
    local = server.address.startswith("unix:")
    if tls is not None and greeting.capabilities & SSL and not local:
        capabilities |= SSL
        packets.write(build_ssl_request(capabilities, 1 << 30, identity.charset))
        packets.end()
        await _start_tls(wire, tls, _host_of(server))
    elif server.tls in ("required", "verify") and not local:
        raise ServerFault(f"server {server.name} offers no TLS, which its configuration requires")
    auth = ServerAuth(identity.credential, secure=local or bool(capabilities & SSL))
    answer = auth.initial(greeting.plugin, greeting.nonce)
    response = HandshakeResponse(
        capabilities=capabilities,
        max_packet=1 << 30,
        charset=identity.charset,
        user=identity.credential.user.encode(),
        auth=answer,
        schema=schema,
        plugin=auth.plugin,
        attributes=dict(identity.attributes),
    )
    packets.write(response.build())
    return greeting, capabilities, await _finish(packets, auth, capabilities, identity.credential)


async def change_user(
    wire: ServerWire, identity: Identity, *, capabilities: int, nonce: bytes, plugin: str, secure: bool
) -> Ok:
    """Make an open connection what a new login of ``identity`` without a schema would be.

    COM_RESET_CONNECTION would be cheaper, but MariaDB's keeps the default schema, and neither server's restores the
    charset of the login; COM_CHANGE_USER leaves nothing of the last session behind.

    Args:
        nonce, plugin: of the server's greeting.

    Raises:
        ServerFault: the server refused; the connection is closed then.
    """
    auth = ServerAuth(identity.credential, secure=secure)
    answer = auth.initial(plugin, nonce)
    request = ChangeUser(
        user=identity.credential.user.encode(),
        auth=answer,
        schema=b"",
        charset=identity.charset,
        plugin=auth.plugin,
        attributes=dict(identity.attributes),
    )
    packets = Packets(wire)
    payload = request.build(capabilities)
    packets.write(payload if payload[:1] == _CHANGE_USER else _CHANGE_USER + payload)
    return await _finish(packets, auth, capabilities, identity.credential)


async def _finish(packets: Packets, auth: ServerAuth, capabilities: int, credential: ServerCredential) -> Ok:
    for _ in range(_MAX_STEPS):
        payload = await packets.read()
        match payload[0] if payload else ERR:
            case 0x00:
                packets.end()
                return parse_ok(payload, capabilities)
            case 0xFF:
                err = parse_err(payload, capabilities)
                raise ServerFault(err.message, errno=err.errno, sqlstate=err.sqlstate)
            case 0xFE:
                plugin, nonce = parse_auth_switch(payload)
                if plugin == PLUGIN and credential.prove is not None:
                    packets.write(await credential.prove(nonce))
                else:
                    packets.write(auth.switch(plugin, nonce))
            case 0x01:
                answer = auth.more(payload[1:])
                if answer is not None:
                    packets.write(answer)
            case 0x50:  # parsec's salt
                packets.write(await asyncio.to_thread(auth.signed, payload))
            case _:
                raise MalformedPacket("an unknown packet during a server's login")
    raise MalformedPacket("a server's login does not end")


async def _start_tls(wire: ServerWire, context: ssl.SSLContext, host: str) -> None:
    assert wire.transport is not None
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def handshake(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(ServerFault(f"TLS with the server failed: {type(error).__name__}"))

    layer = TlsTransport(
        wire.transport,
        wire.protocol(),
        context,
        server_side=False,
        server_hostname=host,
        on_handshake=handshake,
    )
    wire.transport = layer.transport()
    layer.start()
    await done


def _host_of(server: Server) -> str:
    host, _, _ = server.address.rpartition(":")
    return host.strip("[]")
