"""The gatekeeper's login against real clients: MariaDB's, MySQL 9.7's and PyMySQL, each way they can come.

A small server around ``LoginDialogue`` takes one client and answers every command with OK.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import mysql.connector
import pymysql
import pytest

from mysqlproxy.gatekeeper.accounts import Account, Accounts
from mysqlproxy.gatekeeper.login import (
    FAST_AUTH_OK,
    NATIVE,
    SHA2,
    Accept,
    Channel,
    Costly,
    Deny,
    LoginDialogue,
    More,
    Switch,
    new_nonce,
)
from mysqlproxy.gatekeeper.methods import CLEAR, ED25519
from mysqlproxy.gatekeeper.secrets import (
    Secret,
    crypt_verifier,
    ed25519_verifier,
    native_verifier,
    sha2_verifier,
)
from mysqlproxy.net.tls import server_context
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.commands import Command
from mysqlproxy.protocol.handshake import (
    Greeting,
    build_auth_more,
    build_auth_switch,
    is_ssl_request,
    parse_handshake_response,
)
from mysqlproxy.protocol.packets import Ok, build_err, build_ok
from tests.support.certificates import Authority
from tests.support.mysql import find_mysql
from tests.support.wire import Wire

PASSWORD = "s3cret"
FULL = Secret.from_password(PASSWORD)
NATIVE_ONLY = Secret.from_verifier(native_verifier(PASSWORD))
SHA2_ONLY = Secret.from_verifier(sha2_verifier(PASSWORD))
ED25519_ONLY = Secret.from_verifier(ed25519_verifier(PASSWORD))
CRYPT_ONLY = Secret.from_verifier(crypt_verifier(PASSWORD))
SECRETS = {"password": FULL, "native verifier": NATIVE_ONLY, "sha2 verifier": SHA2_ONLY}

BASE = (
    flags.LONG_PASSWORD | flags.PROTOCOL_41 | flags.SECURE_CONNECTION | flags.PLUGIN_AUTH
    | flags.PLUGIN_AUTH_LENENC_CLIENT_DATA | flags.TRANSACTIONS | flags.CONNECT_WITH_DB
)  # fmt: skip


class Door:
    """Takes one client after the other; ``seen`` is what happened to each: "accepted" or why not."""

    def __init__(
        self,
        listener: socket.socket,
        offered: str,
        secret: Secret,
        tls: ssl.SSLContext | None,
        methods: tuple[str, ...] = (),
    ) -> None:
        self.seen: list[str] = []
        self.steps: list[str] = []
        self._listener = listener
        self._offered = offered
        stored = PASSWORD if methods == (ED25519,) else None
        self._accounts = Accounts(
            [Account("app", (secret,), server_user="app", server_password=stored, methods=methods)]
        )
        self._tls = tls
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            wire = Wire(sock)
            try:
                self._serve(wire)
            except (EOFError, OSError) as error:
                self.seen.append(f"gone: {error!r}")
            finally:
                wire.close()

    def _serve(self, wire: Wire) -> None:
        nonce = new_nonce()
        unix = wire.sock.family == socket.AF_UNIX
        offer = BASE | (flags.SSL if self._tls else 0)
        wire.write(Greeting("5.5.5-10.11.19-MariaDB", 7, nonce, offer, 45, 2, self._offered).build())
        payload = wire.read()
        secure = unix
        if is_ssl_request(payload):
            assert self._tls is not None
            wire.to_tls(self._tls, server_side=True)
            secure = True
            payload = wire.read()
        response = parse_handshake_response(payload)
        peer = None if unix else ip_address("127.0.0.1")
        login = LoginDialogue(self._accounts, nonce, self._offered, Channel(peer, secure))
        step = login.start(response.user, response.plugin, response.auth)
        while isinstance(step, (Switch, More, Costly)):
            if isinstance(step, Costly):
                step = step.run()
                continue
            if isinstance(step, Switch):
                self.steps.append(f"switch:{step.plugin}")
                wire.write(build_auth_switch(step.plugin, step.data))
            else:
                self.steps.append(f"more:{step.data[:1].hex()}")
                wire.write(build_auth_more(step.data))
            step = login.answer(wire.read())
        capabilities = BASE & response.capabilities
        if isinstance(step, Deny):
            self.seen.append(step.reason)
            wire.write(build_err(1045, "28000", "Access denied"))
            return
        assert isinstance(step, Accept)
        if step.fast_path:
            self.steps.append("fast")
            wire.write(build_auth_more(FAST_AUTH_OK))
        self.seen.append("accepted")
        wire.write(build_ok(Ok(), capabilities))
        while (command := wire.read())[0] != Command.QUIT:
            assert command
            wire.write(build_ok(Ok(), capabilities))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    authority = Authority(tmp_path_factory.mktemp("door"))
    return server_context(*authority.issue("server", "localhost", "127.0.0.1"))


class Place:
    """Where a door is, and how clients say it: "tcp", "tls" or "unix"."""

    def __init__(self, way: str, folder: Path, context: ssl.SSLContext) -> None:
        self.way = way
        self.tls = context if way == "tls" else None
        if way == "unix":
            self.path = str(folder / "door.sock")
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(self.path)
            self.listener.listen()
        else:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.port = self.listener.getsockname()[1]
        self.doors: list[Door] = []

    def door(self, offered: str, secret: Secret, methods: tuple[str, ...] = ()) -> Door:
        self.doors.append(Door(self.listener, offered, secret, self.tls, methods))
        return self.doors[-1]

    def options(self) -> dict[str, Any]:
        if self.way == "unix":
            return {"unix_socket": self.path}
        return {"host": "127.0.0.1", "port": self.port}

    def arguments(self) -> list[str]:
        if self.way == "unix":
            return ["--protocol=socket", f"--socket={self.path}"]
        return ["--protocol=tcp", "--host=127.0.0.1", f"--port={self.port}"]


@pytest.fixture(params=["tcp", "tls", "unix"])
def place(request: pytest.FixtureRequest, tmp_path: Path, tls: ssl.SSLContext) -> Iterator[Place]:
    made = Place(request.param, tmp_path, tls)
    yield made
    for door in made.doors:
        door.close()


def run(program: str, *arguments: str, password: str = PASSWORD) -> tuple[int, str]:
    done = subprocess.run(
        [program, "--no-defaults", "--user=app", *arguments, "-e", "do 1"],
        env={**os.environ, "MYSQL_PWD": password, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def check(door: Door, outcomes: list[tuple[int, str]]) -> None:
    """First the right password, then a wrong one."""
    assert outcomes[0][0] == 0, (outcomes[0][1], door.steps)
    assert outcomes[1][0] == 1 and "1045" in outcomes[1][1], outcomes[1]
    assert door.seen == ["accepted", "wrong password"]


@pytest.mark.parametrize("offered", [NATIVE, SHA2])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_mariadb_client(place: Place, offered: str, secret: Secret) -> None:
    program = shutil.which("mariadb")
    assert program, "the package mariadb-client is needed"
    door = place.door(offered, secret)
    options = place.arguments() + (["--ssl"] if place.tls else [])
    outcomes = [run(program, *options, password=password) for password in (PASSWORD, "wrong")]
    if place.way == "tcp" and (secret is SHA2_ONLY or (offered == SHA2 and secret is NATIVE_ONLY)):
        # Asked for the password without TLS, this client sends it in clear: a server, too, turns it away.
        assert [status for status, _ in outcomes] == [1, 1]
        assert "encrypted with our key" in door.seen[0]
        return
    check(door, outcomes)


@pytest.mark.parametrize("offered", [NATIVE, SHA2])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_mysql_9_client(place: Place, offered: str, secret: Secret) -> None:
    program = str(find_mysql() / "bin/mysql")
    door = place.door(offered, secret)
    mode = "REQUIRED" if place.tls else "DISABLED"
    options = [*place.arguments(), f"--ssl-mode={mode}", "--get-server-public-key"]
    check(door, [run(program, *options, password=password) for password in (PASSWORD, "wrong")])


@pytest.mark.parametrize("offered", [NATIVE, SHA2])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_pymysql(place: Place, offered: str, secret: Secret) -> None:
    door = place.door(offered, secret)
    options: dict[str, object] = {"host": "127.0.0.1", "port": getattr(place, "port", 0)}
    if place.way == "unix":
        options = {"unix_socket": place.path}
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options |= {"ssl": context} if place.tls else {"ssl_disabled": True}
    pymysql.connect(user="app", password=PASSWORD, **options).close()  # type: ignore[arg-type]
    with pytest.raises(pymysql.err.OperationalError) as caught:
        pymysql.connect(user="app", password="wrong", **options)  # type: ignore[arg-type]
    assert caught.value.args[0] == 1045
    assert door.seen == ["accepted", "wrong password"]


def test_the_fast_path_is_taken_where_it_can(place: Place) -> None:
    door = place.door(SHA2, FULL)
    program = str(find_mysql() / "bin/mysql")
    mode = "REQUIRED" if place.tls else "DISABLED"
    assert run(program, *place.arguments(), f"--ssl-mode={mode}")[0] == 0
    assert door.steps == ["fast"]


# --- the other methods: the account has nothing else, so the client is switched to it -------------------------------

OTHERS = {"password": FULL, "ed25519 verifier": ED25519_ONLY, "crypt verifier": CRYPT_ONLY}


def each(**ways: str) -> pytest.MarkDecorator:
    """Every way that is named, by method, with every secret that the method can check."""
    found = {
        f"{way}-{method}-{name}": (way, method, secret)
        for method, names in ways.items()
        for way in names.split()
        for name, secret in OTHERS.items()
        if method != ED25519 or secret is not CRYPT_ONLY
    }
    return pytest.mark.parametrize(
        ("place", "method", "secret"), found.values(), ids=found.keys(), indirect=["place"]
    )


# Without TLS this client wants the server's key in a file.
@each(client_ed25519="tcp tls unix", sha256_password="tls", mysql_clear_password="tls unix")
def test_mariadb_client_is_switched(place: Place, method: str, secret: Secret) -> None:
    door = place.door(NATIVE, secret, (method,))
    options = place.arguments() + (["--ssl"] if place.tls else [])
    check(door, [run("mariadb", *options, password=password) for password in (PASSWORD, "wrong")])
    assert f"switch:{method}" in door.steps


@each(sha256_password="tcp tls unix", mysql_clear_password="tls unix")
def test_mysql_9_client_is_switched(place: Place, method: str, secret: Secret) -> None:
    program = str(find_mysql() / "bin/mysql")
    door = place.door(SHA2, secret, (method,))
    options = [*place.arguments(), f"--ssl-mode={'REQUIRED' if place.tls else 'DISABLED'}"]
    options.append("--enable-cleartext-plugin" if method == CLEAR else "--get-server-public-key")
    check(door, [run(program, *options, password=password) for password in (PASSWORD, "wrong")])
    assert f"switch:{method}" in door.steps


@each(client_ed25519="tcp tls unix", sha256_password="tcp tls unix", mysql_clear_password="tls unix")
def test_pymysql_is_switched(place: Place, method: str, secret: Secret) -> None:
    door = place.door(NATIVE, secret, (method,))
    options = place.options()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options |= {"ssl": context} if place.tls else {"ssl_disabled": True}
    pymysql.connect(user="app", password=PASSWORD, **options).close()
    with pytest.raises(pymysql.err.OperationalError) as caught:
        pymysql.connect(user="app", password="wrong", **options)
    assert caught.value.args[0] == 1045
    assert door.seen == ["accepted", "wrong password"]


# It does both over TLS only.
@each(sha256_password="tls", mysql_clear_password="tls")
def test_mysql_connector_is_switched(place: Place, method: str, secret: Secret) -> None:
    door = place.door(SHA2, secret, (method,))
    options = {**place.options(), "use_pure": True}
    mysql.connector.connect(user="app", password=PASSWORD, **options).close()
    with pytest.raises(mysql.connector.Error) as caught:
        mysql.connector.connect(user="app", password="wrong", **options)
    assert caught.value.errno == 1045
    assert door.seen == ["accepted", "wrong password"]


def test_no_client_is_asked_for_a_clear_password_without_tls(tmp_path: Path, tls: ssl.SSLContext) -> None:
    place = Place("tcp", tmp_path, tls)
    door = place.door(NATIVE, FULL, (CLEAR,))
    program = str(find_mysql() / "bin/mysql")
    status, errors = run(program, *place.arguments(), "--ssl-mode=DISABLED", "--enable-cleartext-plugin")
    assert status == 1 and "1045" in errors
    assert not door.steps and "use TLS" in door.seen[0]
    door.close()
