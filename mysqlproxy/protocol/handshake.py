"""The connection phase: greeting, SSLRequest, HandshakeResponse41, AuthSwitchRequest, COM_CHANGE_USER.

Called by the session's login, the pool's login and the gatekeeper. What a client sends here comes from anyone
who can reach the port: every length is checked against what is there. Never decides whether a login is right.

Manual: page_protocol_connection_phase_packets_protocol_handshake_response.html and
page_protocol_com_change_user.html below https://dev.mysql.com/doc/dev/mysql-server/latest/; MariaDB:
https://mariadb.com/kb/en/connection/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mysqlproxy.errors import ClientFault, MalformedPacket
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.codec import (
    lenenc,
    lenenc_bytes,
    read_bytes,
    read_int,
    read_lenenc,
    read_lenenc_bytes,
    read_nul_bytes,
)
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.greeting import (
    NONCE_SIZE,
    Greeting,
    build_auth_more,
    build_auth_switch,
    parse_auth_switch,
    parse_greeting,
)

__all__ = [
    "MAX_ATTRIBUTES",
    "NONCE_SIZE",
    "ChangeUser",
    "Greeting",
    "HandshakeResponse",
    "build_auth_more",
    "build_auth_switch",
    "build_ssl_request",
    "is_ssl_request",
    "parse_auth_switch",
    "parse_change_user",
    "parse_greeting",
    "parse_handshake_response",
    "parse_ssl_request",
]

_HEAD: Final = 32  # flags, max packet, charset and filler: the whole SSLRequest, the first part of a login
MAX_ATTRIBUTES: Final = 65535  # bytes of connection attributes, as in the server


@dataclass(frozen=True, slots=True)
class HandshakeResponse:
    """A login.

    Attributes:
        capabilities: as the client sent them, 64 bits; mask them with ``negotiate``.
        max_packet: bytes.
        charset: a collation id below 256.
        user, schema: in the client's charset; ``schema`` None or not empty.
        auth: the method's answer to the nonce.
        plugin: the method, "" when the client named none.
        attributes: connection attributes, UTF-8.
    """

    capabilities: int
    max_packet: int
    charset: int
    user: bytes
    auth: bytes = b""
    schema: bytes | None = None
    plugin: str = ""
    attributes: dict[str, str] = field(default_factory=dict)

    def build(self) -> bytes:
        """The payload. CONNECT_WITH_DB is set when there is a schema, and only then.

        Raises:
            ValueError: a NUL in a name, or an answer that the flags leave no room for.
        """
        capabilities = self.capabilities & ~flags.CONNECT_WITH_DB
        if self.schema:
            capabilities |= flags.CONNECT_WITH_DB
        parts = [_head(capabilities, self.max_packet, self.charset), _nul(self.user)]
        if capabilities & flags.PLUGIN_AUTH_LENENC_CLIENT_DATA:
            parts.append(lenenc_bytes(self.auth))
        elif capabilities & flags.SECURE_CONNECTION:
            parts.append(_short(self.auth))
        else:
            parts.append(_nul(self.auth))
        if self.schema:
            parts.append(_nul(self.schema))
        if capabilities & flags.PLUGIN_AUTH:
            parts.append(_nul(self.plugin.encode()))
        if capabilities & flags.CONNECT_ATTRS:
            parts.append(_attributes(self.attributes))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """COM_CHANGE_USER.

    Attributes:
        charset: a collation id of 16 bits; 0 when the client sent none.
        others: as in ``HandshakeResponse``.
    """

    user: bytes
    auth: bytes = b""
    schema: bytes | None = None
    charset: int = 0
    plugin: str = ""
    attributes: dict[str, str] = field(default_factory=dict)

    def build(self, capabilities: int) -> bytes:
        """The payload.

        Raises:
            ValueError: a NUL in a name, or an answer of more than 255 bytes.
        """
        auth = _short(self.auth) if capabilities & flags.SECURE_CONNECTION else _nul(self.auth)
        parts = [bytes((Command.CHANGE_USER,)), _nul(self.user), auth, _nul(self.schema or b"")]
        parts.append(self.charset.to_bytes(2, "little"))
        if capabilities & flags.PLUGIN_AUTH:
            parts.append(_nul(self.plugin.encode()))
        if capabilities & flags.CONNECT_ATTRS:
            parts.append(_attributes(self.attributes))
        return b"".join(parts)


def is_ssl_request(payload: bytes) -> bool:
    """Whether a client's first packet asks for TLS rather than logging in."""
    return len(payload) == _HEAD and int.from_bytes(payload[:4], "little") & flags.SSL != 0


def parse_ssl_request(payload: bytes) -> tuple[int, int, int]:
    """Capabilities (64 bits), max packet in bytes, and charset of an SSLRequest.

    Raises:
        MalformedPacket, ClientFault: as ``parse_handshake_response``.
    """
    return _parse_head(payload)


def build_ssl_request(capabilities: int, max_packet: int, charset: int) -> bytes:
    """The payload that asks a server for TLS."""
    return _head(capabilities | flags.SSL, max_packet, charset)


def parse_handshake_response(payload: bytes) -> HandshakeResponse:
    """A client's login.

    The flags the client itself set say what is in the packet. Plugin and attributes may be missing at the
    end, and a plugin's NUL too, as with servers; what follows the attributes is ignored.

    Raises:
        MalformedPacket: no login: a name without end, a length that lies, more than 64 KiB of attributes.
        ClientFault: a login from before MySQL 4.1 (1251/08004).
    """
    capabilities, max_packet, charset = _parse_head(payload)
    user, position = read_nul_bytes(payload, _HEAD)
    if capabilities & flags.PLUGIN_AUTH_LENENC_CLIENT_DATA:
        auth, position = read_lenenc_bytes(payload, position)
    else:
        auth, position = _read_auth(payload, position, capabilities)
    schema = b""
    if capabilities & flags.CONNECT_WITH_DB and position < len(payload):
        schema, position = read_nul_bytes(payload, position)
    plugin, attributes = _read_end(payload, position, capabilities)
    return HandshakeResponse(
        capabilities, max_packet, charset, user, auth, schema or None, plugin, attributes
    )


def parse_change_user(payload: bytes, capabilities: int) -> ChangeUser:
    """COM_CHANGE_USER; charset, plugin and attributes may be missing at its end.

    Args:
        payload: with the command byte.
        capabilities: as negotiated with the client.

    Raises:
        MalformedPacket: a name without end, or a length that lies.
    """
    if payload[:1] != bytes((Command.CHANGE_USER,)):
        raise MalformedPacket("Malformed packet: no COM_CHANGE_USER")
    user, position = read_nul_bytes(payload, 1)
    auth, position = _read_auth(payload, position, capabilities)
    schema, position = read_nul_bytes(payload, position)
    if position == len(payload):
        return ChangeUser(user, auth, schema or None)
    charset, position = read_int(payload, position, 2)
    plugin, attributes = _read_end(payload, position, capabilities)
    return ChangeUser(user, auth, schema or None, charset, plugin, attributes)


def _parse_head(payload: bytes) -> tuple[int, int, int]:
    low, _ = read_int(payload, 0, 2)
    if not low & flags.PROTOCOL_41:
        raise ClientFault("Bad handshake: a client from before MySQL 4.1", errno=1251, sqlstate="08004")
    if len(payload) < _HEAD:
        raise MalformedPacket("Malformed packet: a login is cut off", errno=1043, sqlstate="08S01")
    capabilities, position = read_int(payload, 0, 4)
    max_packet, position = read_int(payload, position, 4)
    charset, position = read_int(payload, position, 1)
    if not capabilities & flags.LONG_PASSWORD:
        capabilities |= int.from_bytes(payload[28:32], "little") << 32
    return capabilities, max_packet, charset


def _head(capabilities: int, max_packet: int, charset: int) -> bytes:
    extended = 0 if capabilities & flags.LONG_PASSWORD else capabilities >> 32
    return b"".join(
        (
            (capabilities & flags.CLASSIC).to_bytes(4, "little"),
            max_packet.to_bytes(4, "little"),
            (charset & 0xFF).to_bytes(1, "little"),
            bytes(19),
            extended.to_bytes(4, "little"),
        )
    )


def _read_auth(payload: bytes, position: int, capabilities: int) -> tuple[bytes, int]:
    if not capabilities & flags.SECURE_CONNECTION:
        return read_nul_bytes(payload, position)
    size, position = read_int(payload, position, 1)
    return read_bytes(payload, position, size)


def _read_end(payload: bytes, position: int, capabilities: int) -> tuple[str, dict[str, str]]:
    """Plugin and attributes, as far as the flags announce them and the packet goes on."""
    plugin = b""
    if capabilities & flags.PLUGIN_AUTH:
        end = payload.find(b"\0", position)
        if end < 0:
            end = len(payload)
        plugin = payload[position:end]
        position = end + 1
    attributes: dict[str, str] = {}
    if capabilities & flags.CONNECT_ATTRS and position < len(payload):
        attributes = _read_attributes(payload, position)
    return plugin.decode("utf-8", "replace"), attributes


def _read_attributes(payload: bytes, position: int) -> dict[str, str]:
    size, position = read_lenenc(payload, position)
    if size > MAX_ATTRIBUTES:
        raise MalformedPacket("Malformed packet: too many connection attributes")
    block, _ = read_bytes(payload, position, size)
    attributes: dict[str, str] = {}
    position = 0
    while position < size:
        name, position = read_lenenc_bytes(block, position)
        value, position = read_lenenc_bytes(block, position)
        attributes[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return attributes


def _attributes(attributes: dict[str, str]) -> bytes:
    block = b"".join(
        lenenc_bytes(name.encode()) + lenenc_bytes(value.encode()) for name, value in attributes.items()
    )
    if len(block) > MAX_ATTRIBUTES:
        raise ValueError("more than 64 KiB of connection attributes")
    return lenenc(len(block)) + block


def _nul(text: bytes) -> bytes:
    if b"\0" in text:
        raise ValueError("NUL in a string that ends in NUL")
    return text + b"\0"


def _short(data: bytes) -> bytes:
    if len(data) > 255:
        raise ValueError("an answer of more than 255 bytes needs PLUGIN_AUTH_LENENC_CLIENT_DATA")
    return bytes((len(data),)) + data
