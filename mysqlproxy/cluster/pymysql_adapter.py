"""A PyMySQL connection with limits: a deadline for everything, a bound on what it reads, our own idea of TLS.

For the monitor and ``check --connect``. The one place that touches PyMySQL's internals: its greeting hook (it
drops MariaDB's extended capabilities), its reads and writes (its timeouts are for each recv, not for the
whole), and its choice of TLS (older versions go on in clear when the server has no TLS).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pymysql
import pymysql.connections
import pymysql.cursors
from pymysql.constants import CLIENT, CR

from mysqlproxy.config.addresses import parse_address
from mysqlproxy.config.schema import Server
from mysqlproxy.net.tls_context import client_context
from mysqlproxy.protocol.handshake import Greeting, parse_greeting

MAX_BYTES = 8 * 1024 * 1024
"""Bytes that one round of questions may read; GTID sets of long histories reach some 100 KB."""

_SLACK = 0.05
"""Seconds by which a deadline may be missed: to set a socket's timeout for each read of a few bytes costs more than
the read, and each lets go of the interpreter's lock, which the event loop's thread then has to win back."""

_Base: Any = pymysql.connections.Connection


class LimitedConnection(_Base):  # type: ignore[misc]
    """A connection on which ``begin(seconds)`` starts each round of questions.

    Attributes:
        greeting: the server's greeting, with its 64-bit capabilities.
    """

    greeting: Greeting

    def __init__(self, server: Server, user: str, password: str, seconds: float) -> None:
        self._server = server
        self._place = parse_address(server.address)
        self._aborted = threading.Event()
        self._opened: socket.socket | None = None
        self._armed = 0.0
        self.begin(seconds)
        super().__init__(
            host=self._place.host or "localhost",
            port=self._place.port or 3306,
            unix_socket=self._place.path or None,
            user=user,
            password=password,
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,  # decided when the greeting is there
            program_name="mysqlproxy monitor",
            cursorclass=pymysql.cursors.DictCursor,
            defer_connect=True,
        )

    def begin(self, seconds: float, allowance: int = MAX_BYTES) -> None:
        """A new deadline from now, and a new allowance of bytes."""
        self._deadline = time.monotonic() + seconds
        self._allowance = allowance

    def login(self) -> None:
        """Connect and log in. Names are resolved anew."""
        try:
            sock = self._dial()
        except OSError as error:
            raise pymysql.err.OperationalError(CR.CR_CONN_HOST_ERROR, f"cannot connect: {error}") from error
        self._secure = bool(self._place.path)
        self._armed = 0.0
        self.connect(sock)

    def abort(self) -> None:
        """From another thread: make whatever waits on this connection fail now."""
        self._aborted.set()
        sock = self._sock or self._opened
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, which would take the TLS state away from under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    @property
    def aborted(self) -> bool:
        return self._aborted.is_set()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of one query of ours, by column name."""
        with self.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def _dial(self) -> socket.socket:
        if self._place.path:
            return self._try(socket.AF_UNIX, self._place.path, self._left())
        found = socket.getaddrinfo(self._place.host, self._place.port, type=socket.SOCK_STREAM)
        failure: OSError = OSError("the name has no address")
        for number, (family, _, _, _, place) in enumerate(found):
            try:
                sock = self._try(family, place, self._left() / (len(found) - number))
            except OSError as error:
                failure = error
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
        raise failure

    def _try(self, family: int, place: Any, seconds: float) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        self._opened = sock
        try:
            if self._aborted.is_set():
                raise TimeoutError("aborted")
            sock.settimeout(seconds)
            sock.connect(place)
        except BaseException:
            sock.close()
            raise
        return sock

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0 or self._aborted.is_set():
            raise TimeoutError("timed out")
        return left

    def _get_server_information(self) -> None:
        super()._get_server_information()
        mode = self._server.tls
        if mode == "off" or (mode == "preferred" and self._place.path):
            return
        if self.server_capabilities & CLIENT.SSL:
            server = self._server
            self.ctx = client_context(mode, server.tls_ca, server.tls_certificate, server.tls_key)
            self.client_flag |= CLIENT.SSL
            self.ssl = True
        elif mode != "preferred":
            raise pymysql.err.OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server offers no TLS")

    def _read_packet(self, *args: Any, **kwargs: Any) -> Any:
        packet = super()._read_packet(*args, **kwargs)
        if not hasattr(self, "greeting"):
            self.greeting = parse_greeting(packet.get_all_data())
        return packet

    def _read_bytes(self, num_bytes: int) -> bytes:
        self._allowance -= num_bytes
        if self._allowance < 0:
            self._force_close()
            raise pymysql.err.OperationalError(CR.CR_NET_PACKET_TOO_LARGE, "the server's answer is too large")
        self._arm()
        data: bytes = super()._read_bytes(num_bytes)
        return data

    def _write_bytes(self, data: bytes) -> None:
        self._arm()
        super()._write_bytes(data)

    def _force_close(self) -> None:
        super()._force_close()
        if self._result is not None:
            # Nothing more comes: PyMySQL would read on for the rest of it, and complain wherever it is collected.
            self._result.unbuffered_active = False

    def _arm(self) -> None:
        if self._sock is None:
            raise pymysql.err.InterfaceError(0, "the connection is closed")
        try:
            left = self._left()
        except TimeoutError as error:
            self._force_close()
            raise pymysql.err.OperationalError(CR.CR_SERVER_LOST, f"no answer in time ({error})") from error
        if not left <= self._armed <= left + _SLACK:
            self._sock.settimeout(left)
            self._armed = self._read_timeout = self._write_timeout = self._current_timeout = left
