"""The server's first packet, and its requests for another authentication method.

Called through ``handshake`` by the session's login (to build) and the pool's login (to parse).

Manual: page_protocol_connection_phase_packets_protocol_handshake_v10.html,
page_protocol_connection_phase_packets_protocol_auth_switch_request.html below
https://dev.mysql.com/doc/dev/mysql-server/latest/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mysqlproxy.errors import MalformedPacket, ServerFault
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.codec import read_bytes, read_int, read_nul_bytes
from mysqlproxy.protocol.packets import Err, parse_err

NONCE_SIZE: Final = 20


@dataclass(frozen=True, slots=True)
class Greeting:
    """Handshake v10.

    Attributes:
        version: as servers announce it (MariaDB before 11 begins with ``5.5.5-``).
        connection_id: 32 bits.
        nonce: 20 bytes without NUL.
        capabilities: 64 bits; the upper half travels only while LONG_PASSWORD is off.
        charset: a collation id; the packet has room for its low 8 bits.
        status: status flags.
        plugin: the authentication method the nonce is for.
    """

    version: str
    connection_id: int
    nonce: bytes
    capabilities: int
    charset: int
    status: int
    plugin: str

    @property
    def mariadb(self) -> bool:
        """Whether a MariaDB server speaks."""
        return "mariadb" in self.version.lower()

    def build(self) -> bytes:
        """The payload.

        Raises:
            ValueError: a nonce that is not 20 bytes free of NUL, or a version with a NUL.
        """
        if len(self.nonce) != NONCE_SIZE or b"\0" in self.nonce:
            raise ValueError("the nonce must be 20 bytes without NUL")
        if "\0" in self.version or "\0" in self.plugin:
            raise ValueError("NUL in a greeting's text")
        extended = 0 if self.capabilities & flags.LONG_PASSWORD else self.capabilities >> 32
        return b"".join(
            (
                b"\x0a",
                self.version.encode("latin-1", "replace"),
                b"\0",
                self.connection_id.to_bytes(4, "little"),
                self.nonce[:8],
                b"\0",
                (self.capabilities & 0xFFFF).to_bytes(2, "little"),
                (self.charset & 0xFF).to_bytes(1, "little"),
                self.status.to_bytes(2, "little"),
                (self.capabilities >> 16 & 0xFFFF).to_bytes(2, "little"),
                bytes((NONCE_SIZE + 1,)),
                bytes(6),
                extended.to_bytes(4, "little"),
                self.nonce[8:],
                b"\0",
                self.plugin.encode("latin-1", "replace"),
                b"\0",
            )
        )


def parse_greeting(payload: bytes) -> Greeting:
    """What a server says first.

    Raises:
        ServerFault: the server refuses (its own errno: 1040 too many connections, 1130 host not allowed), or
            speaks a protocol from before MySQL 4.1. What the server said is a note of the error, for the log:
            it may hold addresses.
        MalformedPacket: no greeting.
    """
    if payload[:1] == b"\xff":
        raise _refusal(parse_err(payload, flags.PROTOCOL_41))
    if payload[:1] != b"\x0a":
        raise ServerFault("The server does not speak version 10 of the protocol")
    version, position = read_nul_bytes(payload, 1)
    connection_id, position = read_int(payload, position, 4)
    head, position = read_bytes(payload, position, 8)
    low, position = read_int(payload, position + 1, 2)
    charset, position = read_int(payload, position, 1)
    status, position = read_int(payload, position, 2)
    high, position = read_int(payload, position, 2)
    capabilities = low | high << 16
    if not capabilities & flags.PROTOCOL_41 or not capabilities & flags.SECURE_CONNECTION:
        raise ServerFault("The server does not speak the protocol of MySQL 4.1 and later")
    nonce_size, position = read_int(payload, position, 1)
    if not capabilities & flags.LONG_PASSWORD:
        extended, _ = read_int(payload, position + 6, 4)
        capabilities |= extended << 32
    # The rest of the nonce takes 13 bytes at least, the last of them NUL; no method we know has a longer one.
    tail, position = read_bytes(payload, position + 10, max(13, nonce_size - 8))
    plugin = b""
    if capabilities & flags.PLUGIN_AUTH:
        plugin, _, _ = payload[position:].partition(b"\0")
    return Greeting(
        version=version.decode("latin-1"),
        connection_id=connection_id,
        nonce=head + tail[: NONCE_SIZE - 8],
        capabilities=capabilities,
        charset=charset,
        status=status,
        plugin=plugin.decode("latin-1"),
    )


def _refusal(error: Err) -> ServerFault:
    # MySQL knows no client's flags yet and leaves the SQLSTATE out.
    sqlstate = "08004" if error.errno == 1040 else error.sqlstate
    fault = ServerFault(
        f"The server refuses connections (error {error.errno})", errno=error.errno or 1105, sqlstate=sqlstate
    )
    fault.add_note(error.message)
    return fault


def build_auth_switch(plugin: str, data: bytes) -> bytes:
    """The payload of an AuthSwitchRequest.

    Args:
        data: a nonce of 20 bytes and a NUL, or what else the method has (MariaDB's ed25519: 32 bytes).
    """
    return b"\xfe" + plugin.encode("latin-1", "replace") + b"\0" + data


def parse_auth_switch(payload: bytes) -> tuple[str, bytes]:
    """The method a server asks for, and the data for it.

    The NUL behind a nonce of 20 bytes is taken off; other data (MariaDB's ed25519: 32 random bytes, whose
    last may be zero) is left as it is.

    Raises:
        ServerFault: the server wants the password hash from before MySQL 4.1.
        MalformedPacket: no AuthSwitchRequest.
    """
    if payload == b"\xfe":
        raise ServerFault("The server asks for the authentication from before MySQL 4.1")
    if payload[:1] != b"\xfe":
        raise MalformedPacket("Malformed packet: an AuthSwitchRequest expected")
    plugin, position = read_nul_bytes(payload, 1)
    data = payload[position:]
    if len(data) == NONCE_SIZE + 1 and data[-1] == 0:
        data = data[:-1]
    return plugin.decode("latin-1"), data


def build_auth_more(data: bytes) -> bytes:
    """The payload of an AuthMoreData packet."""
    return b"\x01" + data
