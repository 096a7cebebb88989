"""Listening sockets for clients: TCP over IPv4 and IPv6, and unix sockets. Used by the composition root.

Addresses are those of ``[listen] mysql``. Closing a listener refuses new clients and leaves the others alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from mysqlproxy.config.addresses import Address, parse_listen
from mysqlproxy.errors import ConfigFault

BACKLOG = 1024


class Listeners:
    """The open listeners by address, so that a reload can add and remove some without touching the rest."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = protocol
        self._open: dict[str, asyncio.Server] = {}

    async def open(self, addresses: tuple[str, ...]) -> None:
        """Listen on exactly ``addresses``: all new ones are opened before any old one is closed.

        Raises:
            ConfigFault: an address cannot be listened on; then nothing has changed.
        """
        added: dict[str, asyncio.Server] = {}
        faults = []
        for text in addresses:
            if text in self._open:
                continue
            try:
                added[text] = await self._listen(parse_listen(text))
            except OSError as error:
                faults.append(f"listen.mysql: cannot listen on {text}: {_reason(error)}")
        if faults:
            for server in added.values():
                server.close()
            raise ConfigFault(faults)
        for text in [text for text in self._open if text not in addresses]:
            self._close(text)
        self._open.update(added)

    async def _listen(self, address: Address) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if address.path:
            _remove_stale(address.path)
            server = await loop.create_unix_server(self._protocol, address.path, backlog=BACKLOG)
            os.chmod(address.path, 0o666)  # noqa: PTH101, S103 - as mysqld's: who may log in is the gatekeeper's question
            return server
        return await loop.create_server(
            self._protocol, address.host or None, address.port, backlog=BACKLOG, reuse_address=True
        )

    def _close(self, text: str) -> None:
        self._open.pop(text).close()
        if path := parse_listen(text).path:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()

    def close(self) -> None:
        for text in list(self._open):
            self._close(text)


def _remove_stale(path: str) -> None:
    """Remove a socket file nobody listens on any more; another file, or a live socket, is left alone."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            raise OSError(errno.EEXIST, "the path exists and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise OSError(errno.EADDRINUSE, "another process listens there")


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use; stop the other program or choose another port"
    if error.errno == errno.EACCES:
        return "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE"
    return error.strerror or str(error)
