"""What the daemon knows about one account's password when it logs in to a server. A value.

Made by ``gatekeeper.login`` out of a client's login or the configuration, used by ``pool.server_auth``. It
lives here because the two are siblings that never import each other. Never shown: the repr holds the user's
name only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerCredential:
    """Who to be on a server, with whatever proves it. Equal credentials may share server connections.

    Attributes:
        user: the account's name on the server.
        password: the clear password, good for every method; "" logs in without one.
        sha1: SHA1(password), 20 bytes: good for mysql_native_password only. A native login proves it to us.
        sha256: SHA256(password), 32 bytes: good for caching_sha2_password while the server has the account in
            its cache. A fast-path login proves it to us.
        prove: the "server" is the next hop of a chain: gives the assertion for its nonce.
    """

    user: str
    password: str | None = field(default=None, repr=False)
    sha1: bytes | None = field(default=None, repr=False)
    sha256: bytes | None = field(default=None, repr=False)
    prove: Callable[[bytes], Awaitable[bytes]] | None = field(default=None, repr=False)
