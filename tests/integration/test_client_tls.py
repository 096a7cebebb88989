"""Clients with TLS on the whole daemon: what they see of its certificate, and that it can be required."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.gatekeeper.secrets import native_verifier
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.framing import frame
from mysqlproxy.protocol.greeting import Greeting, parse_greeting
from mysqlproxy.protocol.handshake import HandshakeResponse, build_ssl_request
from tests.support.certificates import Authority
from tests.support.mysql import find_mysql
from tests.support.raw import scramble

Start = Callable[..., Daemon]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def sections(authority: Authority, *, required: bool) -> dict[str, Any]:
    certificate, key = authority.issue("server", "localhost")
    key.chmod(0o600)
    return {"tls": {"certificate": str(certificate), "key": str(key), "required": required}}


def port_of(daemon: Daemon) -> int:
    address: str = daemon.config["listen"]["mysql"][0]
    return int(address.rpartition(":")[2])


def connect(daemon: Daemon, **options: Any) -> pymysql.Connection[Any]:
    user = daemon.config["users"][0]
    return pymysql.connect(
        host="localhost", port=port_of(daemon), user=user["name"], password=user["password"], **options
    )


def test_the_servers_name_and_ca_are_verified(proxy: Start, authority: Authority) -> None:
    daemon = proxy(**sections(authority, required=False))
    verified = {"ssl_ca": str(authority.ca), "ssl_verify_cert": True, "ssl_verify_identity": True}
    with connect(daemon, **verified) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT REPEAT('x', 3000000)")
        assert len(cursor.fetchall()[0][0]) == 3_000_000
    with connect(daemon, ssl_disabled=True) as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1") == 1


def test_tls_can_be_required(proxy: Start, authority: Authority) -> None:
    daemon = proxy(**sections(authority, required=True))
    with pytest.raises(pymysql.err.OperationalError, match="insecure transport"):
        connect(daemon, ssl_disabled=True)
    with connect(daemon, ssl_ca=str(authority.ca), ssl_verify_cert=True) as connection:
        connection.ping()


@pytest.mark.parametrize(("host", "status"), [("localhost", 0), ("127.0.0.1", 1)])
def test_mysql_9_verifies_the_identity(proxy: Start, authority: Authority, host: str, status: int) -> None:
    daemon = proxy(**sections(authority, required=True))
    user = daemon.config["users"][0]
    done = subprocess.run(
        [
            str(find_mysql() / "bin/mysql"), "--no-defaults", f"--host={host}", f"--port={port_of(daemon)}",
            "--protocol=tcp", f"--user={user['name']}", "--ssl-mode=VERIFY_IDENTITY",
            f"--ssl-ca={authority.ca}", "-Ne", "select 40 + 2",
        ],
        env={**os.environ, "MYSQL_PWD": user["password"]}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert done.stdout.strip() == ("42" if status == 0 else "")
    assert status == 0 or "SSL connection error" in done.stderr


def test_a_verifier_is_enough_when_the_client_shows_the_rest(proxy: Start, authority: Authority) -> None:
    """mysql_native_password proves SHA1(password), which is all that the login to a MariaDB server needs."""
    given = sections(authority, required=True)
    daemon = proxy(**given)
    user = dict(daemon.config["users"][0])
    password = user.pop("password")
    by_verifier = proxy(**given, users=[{**user, "verifier": native_verifier(password)}])
    with pymysql.connect(
        host="localhost", port=port_of(by_verifier), user=user["name"], password=password,
        ssl_ca=str(authority.ca), ssl_verify_cert=True,
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchall()[0][0].startswith(f"{user['name']}@")


class Hello:
    """A client that has SSLRequest and ClientHello as bytes, to send them as it likes; then TLS over a socket."""

    def __init__(self, daemon: Daemon, authority: Authority) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port_of(daemon)), timeout=10)
        self.received, self.sending = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(authority.ca))
        self.tls = context.wrap_bio(self.received, self.sending, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.request = frame(build_ssl_request(CAPABILITIES | flags.SSL, 1 << 24, 45), 1)
        self.hello = self.sending.read()

    def greeting(self) -> Greeting:
        return parse_greeting(self._clear(int.from_bytes(self._clear(4)[:3], "little")))

    def _clear(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            assert piece
            data += piece
        return data

    def handshake(self) -> None:
        self._do(self.tls.do_handshake)

    def _do(self, step: Callable[[], Any]) -> Any:
        while True:
            waits = False
            found = None
            try:
                found = step()
            except ssl.SSLWantReadError:
                waits = True
            if data := self.sending.read():
                self.sock.sendall(data)
            if not waits:
                return found
            piece = self.sock.recv(1 << 16)
            if not piece:
                raise EOFError
            self.received.write(piece)

    def answer(self, payload: bytes, sequence: int) -> bytes:
        """The first packet that comes back to this one."""
        self.tls.write(frame(payload, sequence))
        data: bytes = self._do(lambda: self.tls.read(1 << 16))
        return data[4:]


CAPABILITIES = flags.PROTOCOL_41 | flags.SECURE_CONNECTION | flags.PLUGIN_AUTH


def test_request_and_hello_coalesced_and_split_at_every_byte(proxy: Start, authority: Authority) -> None:
    daemon = proxy(**sections(authority, required=True), limits={"max_login_failures": 0})
    user = daemon.config["users"][0]
    size = None
    at = 0
    while size is None or at <= size:
        client = Hello(daemon, authority)
        with client.sock:
            both = client.request + client.hello
            size = min(len(both), len(client.request) + 8)
            greeting = client.greeting()
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if at == 0:  # each byte alone
                for byte in both:
                    client.sock.sendall(bytes((byte,)))
            else:
                client.sock.sendall(both[:at])
                client.sock.sendall(both[at:])
            client.handshake()
            proof = scramble(greeting.plugin, user["password"], greeting.nonce)
            login = HandshakeResponse(
                CAPABILITIES, 1 << 24, 45, user["name"].encode(), proof, None, greeting.plugin, {}
            )
            assert client.answer(login.build(), 2)[0] == 0
            assert client.answer(b"\x0e", 0)[0] == 0  # COM_PING
        at += 1


def test_nothing_that_came_in_clear_counts_after_the_request(proxy: Start, authority: Authority) -> None:
    daemon = proxy(**sections(authority, required=True))
    for clear in (frame(b"\x03SELECT 1"), b"\0", b"\x16\x03\x01\0\x05"):
        client = Hello(daemon, authority)
        with client.sock:
            client.greeting()
            client.sock.sendall(client.request + clear + client.hello)
            with pytest.raises((EOFError, OSError)):
                client.handshake()
    connect(daemon, ssl_ca=str(authority.ca), ssl_verify_cert=True).close()
