"""A hop of the chain goes away and comes back, keys are changed, and who is no hop knocks at the inner doors."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.config.schema import ChainRole
from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.gatekeeper.chain import Chain, private_key
from mysqlproxy.net.tls_context import client_context
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.assertion import PLUGIN
from mysqlproxy.protocol.handshake import (
    HandshakeResponse,
    build_ssl_request,
    parse_auth_switch,
    parse_greeting,
)
from mysqlproxy.protocol.packets import Err, parse_err
from tests.support.chain import PASSWORDS, ChainOfDaemons, make_pki, standing_chain
from tests.support.raw import proxied
from tests.support.sessions import ask, errno, reload, value
from tests.support.waiting import eventually
from tests.support.wire import Wire


@pytest.fixture(scope="module")
def chain(session_cluster: LocalCluster) -> Iterator[ChainOfDaemons]:
    with standing_chain(session_cluster) as chain:
        yield chain


def works(chain: ChainOfDaemons) -> bool:
    try:
        with chain.gatekeeper.connect() as connection:
            return bool(value(connection, "SELECT 1") == 1)
    except pymysql.MySQLError:
        return False


@pytest.mark.parametrize("role", ["trusted_host", "proxy"])
def test_a_hop_goes_and_comes_back(chain: ChainOfDaemons, role: str) -> None:
    daemon = chain.daemons[role]
    with chain.gatekeeper.connect() as idle, chain.gatekeeper.connect() as open_transaction:
        ask(open_transaction, "BEGIN")
        daemon.kill()
        for connection in (idle, open_transaction):
            with pytest.raises(pymysql.MySQLError) as lost:
                ask(connection, "SELECT 1")
            assert errno(lost.value) in (1927, 2006, 2013)
    with pytest.raises(
        pymysql.MySQLError, match=f"The {role.replace('_', ' ')} cannot be reached"
    ) as refused:
        chain.gatekeeper.connect()
    assert errno(refused.value) == 1927
    eventually(lambda: chain.gatekeeper.get("/readyz")[0] == 503)  # seen from the outermost hop
    daemon.start("")
    daemon.expected_status = 0
    eventually(lambda: works(chain))
    eventually(chain.ready)


def test_the_gatekeeper_comes_back(chain: ChainOfDaemons) -> None:
    with chain.gatekeeper.connect() as lost:
        chain.gatekeeper.kill()
        with pytest.raises(pymysql.MySQLError):
            ask(lost, "SELECT 1")
    chain.gatekeeper.start("")
    chain.gatekeeper.expected_status = 0
    eventually(lambda: works(chain))
    # Nobody stays behind at the inner hops for a client that is gone.
    eventually(lambda: chain.proxy.metrics().total("mysqlproxy_client_connections") == 0)


def test_a_statement_under_way_gets_a_clear_error(chain: ChainOfDaemons) -> None:
    with chain.gatekeeper.connect() as connection:
        connection._execute_command(3, "SELECT SLEEP(60)")
        eventually(lambda: chain.proxy.metrics().total("mysqlproxy_server_connections", state="used"))
        chain.trusted_host.kill()
        with pytest.raises(pymysql.MySQLError, match="Lost connection to server during query") as lost:
            connection._read_query_result()
        assert errno(lost.value) == 1927
    # Nobody waits for it any more: the proxy has it killed.
    eventually(lambda: not chain.proxy.metrics().total("mysqlproxy_server_connections", state="used"))
    chain.trusted_host.start("")
    chain.trusted_host.expected_status = 0
    eventually(lambda: works(chain))


RENEWALS = (  # option, how many CAs are believed after it, whether another one signs
    ("--renew", 1, False),
    ("--renew-ca", 2, False),
    ("--renew", 2, True),
    ("--renew", 1, False),
)


def test_keys_and_the_ca_are_changed_without_a_refused_login(chain: ChainOfDaemons) -> None:
    expiry = "mysqlproxy_certificate_expiry_timestamp_seconds"
    for number, (option, believed, other_ca) in enumerate(RENEWALS):
        old = chain.pki.joinpath("gatekeeper", "signing.key").read_bytes()
        authority = chain.pki.joinpath("ca.key").read_bytes()
        days = 90 + number
        with chain.gatekeeper.connect() as before, proxied(chain.gatekeeper) as pooled:
            make_pki(chain.pki, option, "--days", str(days))
            assert chain.pki.joinpath("gatekeeper", "signing.key").read_bytes() != old
            assert (chain.pki.joinpath("ca.key").read_bytes() != authority) is other_ca
            assert chain.pki.joinpath("proxy", "ca.pem").read_bytes().count(b"BEGIN CERTIFICATE") == believed
            for daemon in (chain.proxy, chain.trusted_host, chain.gatekeeper):
                assert works(chain)
                reload(daemon)
                left = daemon.metrics().total(expiry, certificate="tls.certificate") - time.time()
                assert days - 1 < left / 86400 <= days
            assert works(chain)
            assert value(before, "SELECT 1") == 1
            # A new assertion over a connection of the old certificate.
            pooled.change_user("app", PASSWORDS["app"])
            assert pooled.query("SELECT 1").value == b"1"


def test_who_waits_for_nothing_is_told_why(chain: ChainOfDaemons) -> None:
    """The hop's own last words come through to the client, as a server's would."""
    with proxied(chain.gatekeeper) as idle:
        assert idle.query("SELECT 1").value == b"1"
        chain.proxy.stop()
        sequence, payload = idle.packet()
        assert (sequence, refused(payload).errno) == (0, 1053)
    chain.proxy.start("")
    eventually(lambda: works(chain))


# At the inner doors, with what a thief may have.


class Thief:
    """Speaks to a hop with the certificate of some host."""

    def __init__(self, chain: ChainOfDaemons, daemon: Daemon, certificate: str) -> None:
        folder = chain.pki / certificate
        context = client_context(
            "verify", folder / "ca.pem", folder / "certificate.pem", folder / "certificate.key"
        )
        self.wire = Wire(socket.create_connection(("127.0.0.1", daemon.port), 10))
        offered = parse_greeting(self.wire.read()).capabilities
        self.capabilities = offered & ~flags.SSL & ~flags.CONNECT_WITH_DB
        self.wire.write(build_ssl_request(self.capabilities, 1 << 24, 45))
        self.wire.to_tls(context, server_side=False, host="127.0.0.1")

    def log_in(self, user: str) -> bytes:
        response = HandshakeResponse(
            self.capabilities | flags.SSL, 1 << 24, 45, user.encode(), plugin=PLUGIN, attributes={}
        )
        self.wire.write(response.build())
        return self.wire.read()

    def answer(self, data: bytes) -> bytes:
        self.wire.write(data)
        return self.wire.read()


def refused(payload: bytes) -> Err:
    return parse_err(payload, flags.PROTOCOL_41)


@contextlib.contextmanager
def thief(chain: ChainOfDaemons, daemon: Daemon, certificate: str) -> Iterator[Thief]:
    found = Thief(chain, daemon, certificate)
    try:
        yield found
    finally:
        found.wire.close()


def test_a_stolen_trusted_host_can_make_up_no_login(chain: ChainOfDaemons) -> None:
    with thief(chain, chain.proxy, "trusted-host") as it:
        plugin, nonce = parse_auth_switch(it.log_in("app"))
        assert (plugin, len(nonce)) == (PLUGIN, 32)
        assert refused(it.answer(b"\1" + b"x" * 200)).errno == 1045


def test_a_login_cannot_be_played_again(chain: ChainOfDaemons) -> None:
    """Not even with the trusted host's certificate and an assertion that was right a moment ago."""
    key = private_key(chain.pki / "gatekeeper" / "signing.key")
    signer = Chain(ChainRole.GATEKEEPER, key, bytes(32))
    with thief(chain, chain.proxy, "trusted-host") as it:
        _, nonce = parse_auth_switch(it.log_in("app"))
        assertion = signer.sign("app", None, (1 << 31) + 7, nonce)
        assert it.answer(assertion)[0] == 0
    with thief(chain, chain.proxy, "trusted-host") as it:
        it.log_in("app")
        assert refused(it.answer(assertion)).errno == 1045
    assert "an assertion for another login" in chain.proxy.log()


@pytest.mark.parametrize(
    ("role", "certificate", "account", "age", "fingerprint", "reason"),
    [
        ("proxy", "trusted-host", "app", 60, bytes(32), "an assertion that has expired"),
        ("proxy", "trusted-host", "other", 0, bytes(32), "an assertion for another account"),
        ("trusted_host", "gatekeeper", "app", 60, None, "an assertion that has expired"),
        ("trusted_host", "gatekeeper", "other", 0, None, "an assertion for another account"),
        ("trusted_host", "gatekeeper", "app", 0, bytes(32), "by who shows another certificate"),
    ],
)
def test_what_was_signed_for_something_else_opens_nothing(
    chain: ChainOfDaemons,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    certificate: str,
    account: str,
    age: int,
    fingerprint: bytes | None,
    reason: str,
) -> None:
    """``fingerprint``: of the certificate that it names; None: the one that is shown."""
    folder = chain.pki / "gatekeeper"
    der = ssl.PEM_cert_to_DER_cert((folder / "certificate.pem").read_text())
    signer = Chain(
        ChainRole.GATEKEEPER, private_key(folder / "signing.key"), fingerprint or sha256(der).digest()
    )
    daemon = chain.daemons[role]
    with thief(chain, daemon, certificate) as it:
        _, nonce = parse_auth_switch(it.log_in("app"))
        moment = time.time() - age
        monkeypatch.setattr("mysqlproxy.gatekeeper.chain.time.time", lambda: moment)
        assertion = signer.sign(account, None, (1 << 31) + 9, nonce)
        seen = len(daemon.log())
        assert refused(it.answer(assertion)).errno == 1045
    eventually(lambda: reason in daemon.log()[seen:], what=reason)


@pytest.mark.parametrize(("role", "certificate"), [("trusted_host", "trusted-host"), ("proxy", "gatekeeper")])
def test_the_certificate_of_another_role_opens_nothing(
    chain: ChainOfDaemons, role: str, certificate: str
) -> None:
    with thief(chain, chain.daemons[role], certificate) as it:
        assert refused(it.log_in("app")).errno == 1045


@pytest.mark.parametrize("role", ["trusted_host", "proxy"])
def test_without_a_certificate_there_is_no_tls_and_without_tls_no_login(
    chain: ChainOfDaemons, role: str
) -> None:
    options: dict[str, Any] = {"host": "127.0.0.1", "port": chain.daemons[role].port, "user": "app"}
    with pytest.raises(pymysql.OperationalError) as plain:
        pymysql.connect(**options, ssl_disabled=True)
    assert errno(plain.value) == 1045
    with pytest.raises((pymysql.OperationalError, ssl.SSLError)):
        pymysql.connect(**options, ssl_verify_cert=False)


@pytest.mark.parametrize(("role", "certificate"), [("trusted_host", "gatekeeper"), ("proxy", "trusted-host")])
def test_tls_1_2_is_too_old_between_hops(chain: ChainOfDaemons, role: str, certificate: str) -> None:
    folder = chain.pki / certificate
    context = client_context(
        "verify", folder / "ca.pem", folder / "certificate.pem", folder / "certificate.key"
    )
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    wire = Wire(socket.create_connection(("127.0.0.1", chain.daemons[role].port), 10))
    capabilities = parse_greeting(wire.read()).capabilities & ~flags.SSL
    wire.write(build_ssl_request(capabilities, 1 << 24, 45))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        wire.to_tls(context, server_side=False, host="127.0.0.1")
    wire.close()


def test_who_is_not_in_allow_from_gets_no_greeting(
    cluster: LocalCluster, chain: ChainOfDaemons, tmp_path: Path
) -> None:
    config = {
        **chain.proxy.config,
        "listen": {**chain.proxy.config["listen"], "allow_from": ["192.0.2.0/24"]},
    }
    before = chain.proxy.config
    chain.proxy.write(config)
    reload(chain.proxy)
    with socket.create_connection(("127.0.0.1", chain.proxy.port), 10) as sock:
        assert refused(Wire(sock).read()).errno == 1130
    chain.proxy.write(before)
    reload(chain.proxy)
    eventually(lambda: works(chain))
