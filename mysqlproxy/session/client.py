"""The client's socket: packets in, bytes out, back-pressure both ways. Made by the listeners, one per client.

Commands that arrive early (Node's mariadb pipelines) stay in the packet reader until the one before has ended; when
they are more than a bound the socket is not read. The session decides everything else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, cast

from mysqlproxy.config.schema import Network
from mysqlproxy.errors import ProxyError
from mysqlproxy.metrics.counters import Counters
from mysqlproxy.protocol.framing import PacketReader
from mysqlproxy.protocol.proxy_header import parse_proxy_header

LOGIN_LIMIT = 1 << 16  # bytes of one packet before login: nobody known needs more
_LAST_WORDS = 5.0  # seconds a closed client has to take what was written to it
_EARLY: Final = 1 << 18  # bytes of commands that wait for the one before


class Handler:
    """Whom a client's packets and its end are reported to: the session. A base and no ``typing.Protocol``, whose
    methods the compiled client would have to look up by name.

    Attributes:
        busy: something is under way: the next packet waits in the reader.
    """

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy = True

    def packet(self, raw: bytes) -> None:
        raise NotImplementedError

    def client_lost(self) -> None:
        raise NotImplementedError

    def client_writable(self, writable: bool) -> None:
        raise NotImplementedError

    def client_fault(self, error: ProxyError) -> None:
        raise NotImplementedError


class Client:
    """One client's socket: an ``asyncio.Protocol`` by its methods (a class of Python's own cannot be the base of a
    compiled one).

    Attributes:
        transport: plain, or the TLS layer over it.
        reader: what was received and not yet handled.
        peer: the address it came from, or for which a load balancer connects; None for unix sockets.
        introduced: set when that is known: at once, but for those who must send a PROXY header first.
        encrypted: the transport is the TLS layer.
        receiving, sending: bytes half received, and not taken yet, when they were last looked at, and
            since when it is so many (loop time); for the sweep.
        upload: takes all bytes instead of the reader while a LOAD DATA LOCAL runs.
        uploaded: bytes that it has taken, of all uploads.
    """

    def __init__(
        self,
        make_handler: Callable[[Client], Handler],
        counters: Counters,
        introducers: Callable[[], tuple[Network, ...]] = tuple,
    ) -> None:
        self._make_handler = make_handler
        self._introducers = introducers
        self.introduced = asyncio.Event()
        self._introduces_itself = False
        self.counters = counters
        self.reader = PacketReader(LOGIN_LIMIT)
        self.transport: asyncio.Transport | None = None
        self.peer: IPv4Address | IPv6Address | None = None
        self.handler: Handler
        self.upload: Callable[[bytes], None] | None = None
        self.uploaded = 0
        self.writable = True
        self.closed = False
        self.encrypted = False
        self._pumping = False
        self._paused = False
        self._giving_up: asyncio.TimerHandle | None = None
        self.receiving = self.sending = (0, 0.0)
        self.held_back = False  # the server's side is full: not a byte more from the client

    def protocol(self) -> asyncio.Protocol:
        """Itself, for asyncio."""
        return cast(asyncio.Protocol, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.transport is not None:
            return  # the TLS layer took over
        self.transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self.peer = ip_address(name[0].partition("%")[0])
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._introduces_itself = self.peer is not None and any(
            self.peer in network for network in self._introducers()
        )
        if not self._introduces_itself:
            self.introduced.set()
        self.handler = self._make_handler(self)

    def data_received(self, data: bytes) -> None:
        self.counters.bytes_in += len(data)
        if self.upload is not None:
            self.uploaded += len(data)
            self.upload(data)
            return
        self.reader.feed(data)
        if self._introduces_itself:
            self._read_introduction()
        if not self.handler.busy:
            self.pump()
        if self._enough():
            self._pause(True)

    def _read_introduction(self) -> None:
        data = self.reader.take_rest()
        try:
            found = parse_proxy_header(data)
        except ProxyError as error:
            self.handler.client_fault(error)
            return
        if found is not None:
            self.peer = found.peer or self.peer
            self._introduces_itself = False
            self.introduced.set()
            data = data[found.size :]
        if data:
            self.reader.feed(data)

    def _enough(self) -> bool:
        """Whether enough waits. Nothing is ever enough of a command that is not complete and that nobody holds up."""
        return self.reader.pending > _EARLY and (self.handler.busy or not self.writable)

    def pump(self) -> None:
        """Hand over complete packets until the session is busy. Called again when it no longer is."""
        if self._pumping or not (self.reader.pending or self._paused):
            return  # a command that ends at once: the loop below goes on; or there is nothing to do
        self._pumping = True
        try:
            # A client that reads no answers gets no new ones: what is written to it stays bounded.
            while not self.handler.busy and not self.closed and self.writable and self.upload is None:
                raw = self.reader.next()
                if raw is None:
                    break
                self.handler.packet(raw)
        except ProxyError as error:
            self.handler.client_fault(error)
        finally:
            self._pumping = False
        if self._paused and not self._enough():
            self._pause(False)

    def hold_back(self, hold: bool) -> None:
        """Stop or go on reading because the server's side is full."""
        self.held_back = hold
        self._pause(self._paused)

    def _pause(self, paused: bool) -> None:
        self._paused = paused
        if self.transport is None or self.transport.is_closing():
            return
        if paused or self.held_back:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        self.counters.bytes_out += len(data)
        if self.transport is not None and not self.closed:
            self.transport.write(data)

    def pause_writing(self) -> None:
        self.writable = False
        self.handler.client_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        self.handler.client_writable(True)
        if not self.handler.busy:
            self.pump()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._giving_up is not None:
            self._giving_up.cancel()
        self.handler.client_lost()

    def close(self) -> None:
        """Flush what was written, then close; nothing more is read or handled."""
        self.closed = True
        if self.transport is not None and not self._giving_up:
            self.transport.close()
            # Who does not read what was written would keep the socket for ever.
            self._giving_up = asyncio.get_running_loop().call_later(_LAST_WORDS, self.abort)

    def abort(self) -> None:
        """Close at once, whatever was still to be written."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()
