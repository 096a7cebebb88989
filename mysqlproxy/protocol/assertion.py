"""The signed assertion by which a gatekeeper says who has logged in to it. Bytes only; for ``gatekeeper.chain``.

    version, 1 byte: 1
    session, 4 bytes                the id in the client's greeting and in the log of every hop
    expires, 8 bytes                milliseconds since 1970
    fingerprint, 32 bytes           SHA-256 of the certificate that the gatekeeper shows to the trusted host
    nonce, length-encoded           as the proxy asked, for this login and no other
    account, length-encoded         UTF-8
    peer, length-encoded            the client's address as text; empty for a unix socket
    signature, 64 bytes             Ed25519 (RFC 8032) over CONTEXT and all of the above

Numbers are little-endian. It is the answer to an AuthSwitchRequest that names ``PLUGIN`` and holds the nonce:
nothing that a client sends before the server has spoken (a PROXY header) could hold what the server made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from mysqlproxy.errors import MalformedPacket
from mysqlproxy.protocol.codec import lenenc_bytes, read_bytes, read_int, read_lenenc_bytes

PLUGIN: Final = "mysqlproxy_assertion"
NONCE_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
MAX_SIZE: Final = 1024
CONTEXT: Final = b"mysqlproxy assertion\0"  # what the key signs elsewhere is no assertion

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Assertion:
    """See the module."""

    account: str
    peer: IPv4Address | IPv6Address | None
    session: int
    expires: int
    fingerprint: bytes
    nonce: bytes

    def build(self) -> bytes:
        """All but the signature."""
        return b"".join(
            (
                bytes((_VERSION,)),
                self.session.to_bytes(4, "little"),
                self.expires.to_bytes(8, "little"),
                self.fingerprint,
                lenenc_bytes(self.nonce),
                lenenc_bytes(self.account.encode("utf-8", "surrogateescape")),
                lenenc_bytes(b"" if self.peer is None else str(self.peer).encode()),
            )
        )


def parse_assertion(data: bytes) -> tuple[Assertion, bytes, bytes]:
    """The assertion, what was signed of it (without CONTEXT), and the signature, which the caller checks.

    Raises:
        MalformedPacket: it is none.
    """
    if len(data) > MAX_SIZE:
        raise MalformedPacket("Malformed packet: an assertion is too large")
    version, position = read_int(data, 0, 1)
    if version != _VERSION:
        raise MalformedPacket("Malformed packet: an assertion of an unknown version")
    session, position = read_int(data, position, 4)
    expires, position = read_int(data, position, 8)
    fingerprint, position = read_bytes(data, position, 32)
    nonce, position = read_lenenc_bytes(data, position)
    account, position = read_lenenc_bytes(data, position)
    peer, position = read_lenenc_bytes(data, position)
    signature, end = read_bytes(data, position, SIGNATURE_SIZE)
    if end != len(data):
        raise MalformedPacket("Malformed packet: bytes behind an assertion")
    try:
        address = ip_address(peer.decode("ascii")) if peer else None
        name = account.decode("utf-8", "surrogateescape")
    except ValueError:
        raise MalformedPacket("Malformed packet: an assertion with an address that is none") from None
    return Assertion(name, address, session, expires, fingerprint, nonce), data[:position], signature
