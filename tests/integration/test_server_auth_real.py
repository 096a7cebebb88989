"""Our side of a login against real servers, method by method; the server's CURRENT_USER() is the proof."""

from __future__ import annotations

import socket
from hashlib import sha1, sha256

import pytest

from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.errors import ServerFault
from mysqlproxy.net.tls import client_context
from mysqlproxy.pool.server_auth import NATIVE, SHA2, ServerAuth
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.credentials import ServerCredential
from mysqlproxy.protocol.handshake import (
    HandshakeResponse,
    build_ssl_request,
    parse_auth_switch,
    parse_greeting,
)
from mysqlproxy.protocol.packets import parse_err
from tests.support.mysql import MysqlPair
from tests.support.wire import Wire

PASSWORD = "s3cret ü " + "x" * 40
KNOWN = ServerCredential("methods", PASSWORD)
BY_SHA1 = ServerCredential("methods", sha1=sha1(PASSWORD.encode()).digest())
BY_SHA256 = ServerCredential("methods", sha256=sha256(PASSWORD.encode()).digest())


def login(
    address: str | tuple[str, int], credential: ServerCredential, *, tls: bool = False
) -> tuple[str, list[str]]:
    """(CURRENT_USER() as the server has it, what it took: "switch:METHOD" and AuthMoreData's first bytes)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(family)
    sock.settimeout(20)
    sock.connect(address)
    wire = Wire(sock)
    try:
        greeting = parse_greeting(wire.read())
        wanted = (
            flags.LONG_PASSWORD | flags.PROTOCOL_41 | flags.SECURE_CONNECTION | flags.PLUGIN_AUTH
            | flags.PLUGIN_AUTH_LENENC_CLIENT_DATA | flags.TRANSACTIONS | (flags.SSL if tls else 0)
        )  # fmt: skip
        if tls:
            wire.write(build_ssl_request(wanted, 1 << 24, 45))
            wire.to_tls(client_context("required"), server_side=False)
        auth = ServerAuth(credential, secure=tls or isinstance(address, str))
        answer = auth.initial(greeting.plugin, greeting.nonce)
        wire.write(
            HandshakeResponse(
                wanted, 1 << 24, 45, credential.user.encode(), answer, None, auth.plugin
            ).build()
        )
        steps: list[str] = []
        while True:
            payload = wire.read()
            match payload[0]:
                case 0x00:
                    return _current_user(wire), steps
                case 0xFF:
                    error = parse_err(payload, wanted)
                    raise ServerFault(error.message, errno=error.errno, sqlstate=error.sqlstate)
                case 0xFE:
                    plugin, nonce = parse_auth_switch(payload)
                    steps.append(f"switch:{plugin}")
                    wire.write(auth.switch(plugin, nonce))
                case 0x01:
                    steps.append(f"more:{payload[1:2].hex()}")
                    more = auth.more(payload[1:])
                    if more is not None:
                        wire.write(more)
    finally:
        wire.close()


def _current_user(wire: Wire) -> str:
    wire.sequence = 0
    wire.write(b"\x03select current_user()")
    packets = [wire.read() for _ in range(4)]  # column count, definition, EOF, row
    row = packets[3]
    return row[1 : 1 + row[0]].decode()


@pytest.mark.parametrize("credential", [KNOWN, BY_SHA1], ids=["password", "sha1"])
def test_mariadb_native(cluster: LocalCluster, credential: ServerCredential) -> None:
    manager = cluster.manager
    manager.query("CREATE OR REPLACE USER methods@'127.0.0.1' IDENTIFIED BY %s", [PASSWORD])
    try:
        user, _ = login(("127.0.0.1", manager.port), credential)
        assert user == "methods@127.0.0.1"
        wrong = ServerCredential("methods", PASSWORD + "x")
        with pytest.raises(ServerFault) as caught:
            login(("127.0.0.1", manager.port), wrong)
        assert caught.value.errno == 1045
    finally:
        manager.query("DROP USER methods@'127.0.0.1'")


def test_mariadb_without_a_password(cluster: LocalCluster) -> None:
    manager = cluster.manager
    manager.query("CREATE OR REPLACE USER methods@'127.0.0.1' IDENTIFIED BY ''")
    try:
        user, _ = login(("127.0.0.1", manager.port), ServerCredential("methods", ""))
        assert user == "methods@127.0.0.1"
    finally:
        manager.query("DROP USER methods@'127.0.0.1'")


def test_mysql_caching_sha2(mysql97: MysqlPair) -> None:
    source = mysql97.source
    tcp = ("127.0.0.1", source.port)
    ways: list[tuple[str | tuple[str, int], bool, list[str]]] = [
        (tcp, False, ["more:04", "more:2d"]),  # full; "-----BEGIN PUBLIC KEY"
        (tcp, True, ["more:04"]),
        (source.socket, False, ["more:04"]),
    ]
    for place, tls, steps in ways:
        source.query("DROP USER IF EXISTS methods@'%%'", ())
        source.query("CREATE USER methods@'%%' IDENTIFIED WITH caching_sha2_password BY %s", (PASSWORD,))
        with pytest.raises(ServerFault, match="needs the password"):
            login(place, BY_SHA256, tls=tls)  # not in the server's cache yet
        assert login(place, KNOWN, tls=tls) == ("methods@%", steps)
        for credential in (KNOWN, BY_SHA256):
            assert login(place, credential, tls=tls) == ("methods@%", ["more:03"])
        with pytest.raises(ServerFault) as caught:
            login(place, ServerCredential("methods", "wrong"), tls=tls)
        assert caught.value.errno == 1045
    # SHA1 does not do here: it names mysql_native_password, and the server switches.
    with pytest.raises(ServerFault, match=f"cannot log in with {SHA2}"):
        login(tcp, BY_SHA1)


def test_mysql_sha256_password(mysql97: MysqlPair) -> None:
    source = mysql97.source
    source.query("DROP USER IF EXISTS methods@'%%'", ())
    source.query("CREATE USER methods@'%%' IDENTIFIED WITH sha256_password BY %s", (PASSWORD,))
    tcp = ("127.0.0.1", source.port)
    assert login(tcp, KNOWN) == ("methods@%", ["switch:sha256_password", "more:2d"])
    assert login(tcp, KNOWN, tls=True) == ("methods@%", ["switch:sha256_password"])
    with pytest.raises(ServerFault) as caught:
        login(tcp, ServerCredential("methods", "wrong"))
    assert caught.value.errno == 1045


def test_mysql_without_a_password(mysql97: MysqlPair) -> None:
    source = mysql97.source
    source.query("DROP USER IF EXISTS methods@'%%'", ())
    source.query("CREATE USER methods@'%%' IDENTIFIED BY ''", ())
    user, _ = login(("127.0.0.1", source.port), ServerCredential("methods", ""))
    assert user == "methods@%"


def test_native_is_what_is_named_when_only_sha1_is_known() -> None:
    auth = ServerAuth(BY_SHA1, secure=False)
    assert auth.initial(SHA2, b"n" * 20)
    assert auth.plugin == NATIVE
