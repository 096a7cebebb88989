"""What a socket has received and nobody has read, when writing to it fails.

A server that refuses what it is being sent says why and closes; what it has not read makes its close a reset. The
kernel keeps the bytes that came before the reset, but a transport whose write fails first is lost without reading
them. Called where a connection to a server is lost.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

_PIECE = 1 << 16  # bytes
_PIECES = 64  # a receive buffer holds less


def unread(transport: asyncio.BaseTransport | None, error: Exception | None) -> Iterator[bytes]:
    """The pieces, to be used within ``connection_lost``: afterwards the socket is closed.

    Args:
        transport: the plain one.
        error: that ``connection_lost`` was called with; only a broken connection leaves something.
    """
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or not isinstance(error, ConnectionError):
        return
    for _ in range(_PIECES):
        try:
            piece = os.read(sock.fileno(), _PIECE)  # uvloop's sockets can do no more
        except OSError:  # the error itself, or nothing more yet
            return
        if not piece:
            return
        yield piece
