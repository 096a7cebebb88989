"""Asks the next hop of a chain how it is: greeting, TLS with certificates, and one question in place of a login.

Driven by the monitor's threads as ``cluster.probe`` is, with the same kind of value as its answer: a hop is watched
as a server is, but for what only servers have. The question is a login that names the method ``PROBE``; the hop
answers it with an OK whose text says what its own servers are like, or with an error when it is no use itself.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from dataclasses import replace
from typing import Any

from mysqlproxy.cluster.observation import Facts, Probe
from mysqlproxy.cluster.probe import NO_ANSWER, describe, failure_of, is_mariadb
from mysqlproxy.cluster.view import ClusterView
from mysqlproxy.config.addresses import Address, parse_address
from mysqlproxy.config.schema import Server
from mysqlproxy.errors import MalformedPacket, ServerFault
from mysqlproxy.net.tls_context import client_context
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.capabilities import for_server
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.handshake import HandshakeResponse, build_ssl_request, parse_greeting
from mysqlproxy.protocol.packets import parse_err, parse_ok

PROBE = "mysqlproxy_probe"
_MAX_PACKET = 1 << 14
_UTF8MB4_GENERAL_CI = 45


def described(view: ClusterView, boot: int) -> bytes:
    """The text of the answer to the hop before.

    Args:
        boot: another one for each process.
    """
    server = view.manager or next(iter(view.servers), None)
    text = {
        "boot": boot,
        "sql_mode": view.sql_mode,
        "isolation": view.isolation,
        "lower_case_table_names": 0 if server is None else server.lower_case_table_names,
        "max_packet": 1 << 24 if server is None else server.max_packet,
    }
    return json.dumps(text).encode()


def in_hops_words(view: ClusterView) -> ClusterView:
    """The view of a cluster that is the next hop alone, which is nobody's manager to people."""
    return replace(view, no_manager=view.no_manager.replace("the manager ", "the next hop ", 1))


class HopProber:
    """Probes the next hop; each probe is a connection of its own. As ``cluster.probe.Prober``."""

    def __init__(self, server: Server, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._stopped = False

    def probe(self) -> Probe:
        """One probe, a failed one included."""
        started = time.monotonic()
        try:
            facts, boot, ping = self._ask(started + self._timeout)
        except Exception as error:  # whatever a broken peer makes the parsers stumble over
            return Probe(started, time.monotonic(), failure_of(error), describe(error))
        finally:
            self.close()
        return Probe(started, time.monotonic(), facts=facts, ping=ping, booted=boot)

    def abort(self) -> None:
        """From another thread: let a probe that is under way fail soon."""
        found = self._socket
        if found is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(found, socket.SHUT_RDWR)

    def stop(self) -> None:
        """From another thread: ``abort``, and no new connection either."""
        self._stopped = True
        self.abort()

    def close(self) -> None:
        found, self._socket = self._socket, None
        if found is not None:
            found.close()

    def _ask(self, deadline: float) -> tuple[Facts, int, float]:
        server = self._server
        place = parse_address(server.address)
        plain = self._dial(place, deadline)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        greeting = parse_greeting(_read(plain, 0, deadline))
        capabilities = for_server(0, greeting.capabilities)
        if not greeting.capabilities & flags.SSL:
            raise ServerFault(f"{server.name} offers no TLS, without which nothing is said to a hop")
        plain.sendall(frame(build_ssl_request(capabilities, 1 << 24, _UTF8MB4_GENERAL_CI), 1))
        context = client_context("verify", server.tls_ca, server.tls_certificate, server.tls_key)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        plain.settimeout(_left(deadline))
        secure = context.wrap_socket(plain, server_hostname=place.host)
        self._socket = secure
        response = HandshakeResponse(
            capabilities | flags.SSL, 1 << 24, _UTF8MB4_GENERAL_CI, user=b"", plugin=PROBE
        )
        before = time.monotonic()
        secure.sendall(frame(response.build(), 2))
        payload = _read(secure, 3, deadline)
        ping = time.monotonic() - before
        if payload[:1] == b"\xff":
            error = parse_err(payload, capabilities)
            raise ServerFault(error.message, errno=error.errno, sqlstate=error.sqlstate)
        told = _Told(parse_ok(payload, capabilities).info)
        facts = Facts(
            version=greeting.version,
            capabilities=greeting.capabilities,
            mariadb=is_mariadb(greeting.version, greeting.capabilities),
            identity=server.address,
            origin="",
            read_only=False,
            sources=(),
            position=None,
            sql_mode=told.text("sql_mode"),
            isolation=told.text("isolation"),
            lower_case_table_names=told.number("lower_case_table_names"),
            max_packet=told.number("max_packet"),
        )
        return facts, told.number("boot"), ping

    def _dial(self, place: Address, deadline: float) -> socket.socket:
        failure: OSError = OSError("the name has no address")
        for family, kind, _, _, address in socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM
        ):
            sock = self._socket = socket.socket(family, kind)  # where ``abort`` finds it
            if self._stopped:
                raise TimeoutError(NO_ANSWER)
            sock.settimeout(_left(deadline))
            try:
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure


class _Told:
    """What the hop's text says; every value has its type or the probe fails."""

    def __init__(self, text: bytes) -> None:
        found: Any = json.loads(text)
        if not isinstance(found, dict):
            raise MalformedPacket("the hop's description is none")
        self._found = found

    def text(self, name: str) -> str:
        value = self._found.get(name)
        if not isinstance(value, str):
            raise MalformedPacket(f"the hop's description has no {name}")
        return value

    def number(self, name: str) -> int:
        value = self._found.get(name)
        if not isinstance(value, int):
            raise MalformedPacket(f"the hop's description has no {name}")
        return value


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(NO_ANSWER)
    return left


def _read(sock: socket.socket, sequence: int, deadline: float) -> bytes:
    """One packet's payload and not a byte more: TLS may begin behind it."""
    header = _exactly(sock, 4, deadline)
    size = int.from_bytes(header[:3], "little")
    if header[3] != sequence or size > _MAX_PACKET:
        raise MalformedPacket("a hop's packets are out of order")
    return _exactly(sock, size, deadline)


def _exactly(sock: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        sock.settimeout(_left(deadline))
        piece = sock.recv(size - len(data))
        if not piece:
            raise ServerFault("the hop closed the connection")
        data += piece
    return data
