"""Who may come in, from where, and how many, on the whole daemon."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.gatekeeper.secrets import ed25519_verifier, native_verifier, sha2_verifier
from mysqlproxy.protocol.packets import parse_err
from tests.support.certificates import Authority
from tests.support.mysql import find_mysql
from tests.support.raw import RawClient, ServerError, proxied
from tests.support.waiting import eventually
from tests.support.wire import Wire

Start = Callable[..., Daemon]


def first_words(daemon: Daemon, source: str = "127.0.0.1", said: bytes = b"") -> tuple[int, str]:
    """Errno and SQLSTATE in place of the greeting; (0, "") for a greeting."""
    with dial(daemon, source, said) as wire:
        payload = wire.read()
        if payload[0] != 0xFF:
            return 0, ""
        err = parse_err(payload, 0xFFFFFFFF)
        with pytest.raises(EOFError):
            wire.read()
        return err.errno, err.sqlstate


@contextlib.contextmanager
def dial(daemon: Daemon, source: str = "127.0.0.1", said: bytes = b"") -> Iterator[Wire]:
    wire = Wire(socket.create_connection(("127.0.0.1", daemon.port), source_address=(source, 0)))
    try:
        if said:
            wire.sock.sendall(said)
        yield wire
    finally:
        wire.close()


def connect(daemon: Daemon, source: str = "127.0.0.1", **options: Any) -> pymysql.Connection[Any]:
    return daemon.connect(bind_address=source, **options)


def test_networks_that_may_not_come_get_1130_in_place_of_the_greeting(proxy: Start) -> None:
    daemon = proxy(listen={"allow_from": ["127.0.0.2/32"]})
    assert first_words(daemon) == (1130, "HY000")
    connect(daemon, "127.0.0.2").ping()
    assert daemon.metrics().total("mysqlproxy_denied_total", reason="host_not_allowed") == 1


def test_an_address_has_so_many_connections_and_no_more(proxy: Start) -> None:
    daemon = proxy(limits={"max_connections_per_address": 2})
    held = [connect(daemon), connect(daemon)]
    assert first_words(daemon) == (1203, "42000")
    connect(daemon, "127.0.0.2").ping()
    held[0].close()
    eventually(lambda: first_words(daemon) == (0, ""))
    daemon.disconnect()


def test_who_floods_with_silence_pushes_out_silence(proxy: Start) -> None:
    daemon = proxy(limits={"max_unauthenticated": 5, "login_timeout": 30.0})
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(dial(daemon)) for _ in range(5)]
        for wire in silent:
            wire.read()
        connect(daemon).ping()
        assert parse_err(silent[0].read(), 0xFFFFFFFF).errno == 1040
        with pytest.raises(EOFError):
            silent[0].read()
        for _ in range(50):
            stack.enter_context(dial(daemon)).read()
        started = time.monotonic()
        connect(daemon).ping()
        assert time.monotonic() - started < 5
        assert daemon.metrics().total("mysqlproxy_denied_total", reason="too_many_unauthenticated") >= 51
        assert daemon.metrics().total("mysqlproxy_client_connections") <= 7
    daemon.disconnect()
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 0)


def test_an_address_whose_logins_fail_is_refused_for_a_while(proxy: Start) -> None:
    daemon = proxy(limits={"max_login_failures": 4, "login_failure_window": 3.0})
    for _ in range(4):
        with pytest.raises(pymysql.OperationalError) as caught:
            connect(daemon, password="wrong")
        assert caught.value.args[0] == 1045
    assert first_words(daemon) == (1129, "HY000")
    with pytest.raises(pymysql.OperationalError) as caught:
        connect(daemon)
    assert caught.value.args[0] == 1129, "the right password, too"
    connect(daemon, "127.0.0.2").ping()
    assert daemon.metrics().total("mysqlproxy_denied_total", reason="host_blocked") == 2
    eventually(lambda: first_words(daemon) == (0, ""))
    connect(daemon).ping()


def test_who_connected_before_the_failures_gets_no_more_tries(proxy: Start) -> None:
    daemon = proxy(limits={"max_login_failures": 4, "login_failure_window": 30.0, "login_timeout": 20.0})
    with contextlib.ExitStack() as stack:
        early = [stack.enter_context(dial(daemon)) for _ in range(8)]
        for wire in early:
            wire.read()
        seen = []
        for wire in early:
            wire.write(struct.pack("<IIB23x", 0xA8001 | 0x8200, 1 << 24, 45) + b"app\0\x14" + b"x" * 20)
            payload = wire.read()
            if payload[0] == 0xFE:  # switched
                wire.write(b"x" * 20)
                payload = wire.read()
            seen.append(parse_err(payload, 0xFFFFFFFF).errno)
        assert seen == [1045] * 4 + [1129] * 4


def test_a_half_received_packet_has_a_deadline(proxy: Start) -> None:
    daemon = proxy(limits={"read_timeout": 0.5})
    with proxied(daemon) as client:
        client.query("SELECT 1").check()
        client.sock.sendall(b"\x20\0\0\0\x03SELECT")
        _, payload = client.packet()
        assert parse_err(payload, client.capabilities).errno == 1159
        assert client.ended()
    with proxied(daemon) as client:
        sent = client.query_payload("SELECT 'every piece comes in time'")
        for byte in len(sent).to_bytes(3, "little") + b"\0" + sent:
            client.sock.sendall(bytes((byte,)))
            time.sleep(0.05)
        assert client.packet()[1][0] == 1


def test_a_file_that_does_not_go_on_coming_has_a_deadline(cluster: LocalCluster, proxy: Start) -> None:
    cluster.manager.query("CREATE TABLE app.t (a INT)")
    daemon = proxy(limits={"read_timeout": 0.5})
    load = "LOAD DATA LOCAL INFILE 'x' INTO TABLE t"
    with proxied(daemon, schema="app") as client:
        client.send(client.query_payload(load))
        assert client.packet()[1] == b"\xfbx"
        for sequence in range(2, 22):  # in time, for twice as long as it may be silent
            client.send(b"7\n", sequence)
            time.sleep(0.05)
        assert client.ended()
    eventually(lambda: not running(cluster, "LOAD DATA"))
    assert daemon.metrics().total("mysqlproxy_denied_total", reason="read_timeout") == 1
    with proxied(daemon, schema="app") as client:
        assert client.query(load, lambda _: [b"1\n"]).ok.affected_rows == 1
    assert cluster.manager.value("SELECT GROUP_CONCAT(a) FROM app.t") == "1"


def running(cluster: LocalCluster, text: str) -> list[dict[str, Any]]:
    found = f"SELECT id FROM information_schema.PROCESSLIST WHERE info LIKE '{text}%%'"
    return cluster.manager.query(found, ())


def test_a_client_that_does_not_read_has_a_deadline(cluster: LocalCluster, proxy: Start) -> None:
    daemon = proxy(limits={"write_timeout": 0.5})
    client = proxied(daemon, receive_buffer=4096)
    client.send(client.query_payload("SELECT REPEAT('x', 15000000) UNION ALL SELECT REPEAT('y', 15000000)"))
    eventually(lambda: daemon.metrics().total("mysqlproxy_denied_total", reason="write_timeout") == 1)
    eventually(lambda: daemon.metrics().total("mysqlproxy_client_connections") == 0)
    client.close()


# --- the same for everybody who is refused --------------------------------------------------------------------------


def refused(daemon: Daemon, user: bytes, proof: bytes) -> tuple[list[bytes], float]:
    """What a login gets, names taken out, and the seconds from the last answer to the denial."""
    with dial(daemon) as wire:
        wire.read()
        login = (
            struct.pack("<IIB23x", 0xA8001 | 0x8200, 1 << 24, 45)
            + user
            + b"\0"
            + bytes((len(proof),))
            + proof
        )
        got = []
        wire.write(login + b"mysql_native_password\0")
        while True:
            began = time.perf_counter()
            payload = wire.read()
            took = time.perf_counter() - began
            got.append(payload.replace(user, b"?") if payload[0] == 0xFF else payload.partition(b"\0")[0])
            if payload[0] == 0xFF:
                return got, took
            wire.write(b"x" * 20 if payload[0] == 0xFE else b"wrong\0")


@pytest.mark.parametrize("known_by", ["password", "native", "sha2", "ed25519"])
def test_unknown_wrong_and_refused_network_look_the_same(proxy: Start, known_by: str) -> None:
    secret = {
        "password": {"password": "right"},
        "native": {"verifier": native_verifier("right")},
        "sha2": {"verifier": sha2_verifier("right")},
        "ed25519": {"verifier": ed25519_verifier("right")},
    }[known_by]
    users = [
        {"name": "known", **secret},
        {"name": "other", **secret, "allow_from": ["10.0.0.0/8"]},
    ]
    daemon = proxy(users=users, limits={"max_login_failures": 0})
    times: dict[bytes, list[float]] = {b"known": [], b"other": [], b"nobody": []}
    packets = set()
    for _ in range(40):
        for user, seen in times.items():
            got, took = refused(daemon, user, b"x" * 20)
            packets.add(tuple(got))
            seen.append(took)
    assert len(packets) == 1
    medians = [statistics.median(seen) for seen in times.values()]
    # A crypt or an RSA key would show beyond the delay that all have; finer by measuring on a quiet machine.
    assert max(medians) - min(medians) < 0.1
    log = daemon.log()
    assert "unknown account" in log and ", and from a network not in allow_from" in log


# --- certificates ---------------------------------------------------------------------------------------------------


def test_a_client_certificate_belongs_to_an_account(
    cluster: LocalCluster, proxy: Start, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "localhost", "127.0.0.1")
    mine, my_key = authority.issue("mine", "mine")
    others, others_key = authority.issue("others", "others")
    key.chmod(0o600)
    shown = {"server_user": "app", "server_password": cluster.passwords["app"]}
    daemon = proxy(
        tls={"certificate": str(certificate), "key": str(key), "client_ca": str(authority.ca)},
        users=[
            {"name": "bare", "certificate": {"subject": "CN=mine"}, **shown},
            {"name": "both", "password": "right", "certificate": {"issuer": "CN=tests' CA"}, **shown},
            {"name": "plain", "password": "right", "tls_required": True, **shown},
        ],
    )

    def mysql(program: str | Path, user: str, password: str, *options: str | Path) -> str:
        done = subprocess.run(
            [
                program, "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", f"--port={daemon.port}",
                f"--user={user}", f"--ssl-ca={authority.ca}", *options, "-Ne", "SELECT CURRENT_USER()",
            ],
            env={**os.environ, "MYSQL_PWD": password}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout.strip() or done.stderr.strip()[:10]

    own = [f"--ssl-cert={mine}", f"--ssl-key={my_key}"]
    foreign = [f"--ssl-cert={others}", f"--ssl-key={others_key}"]
    for program in (find_mysql() / "bin/mysql", str(shutil.which("mariadb"))):
        assert mysql(program, "bare", "", *own) == "app@%"
        assert mysql(program, "bare", "", *foreign) == "ERROR 1045"
        assert mysql(program, "bare", "") == "ERROR 1045"
        assert mysql(program, "bare", "more", *own) == "ERROR 1045"
        assert mysql(program, "both", "right", *foreign) == "app@%"
        assert mysql(program, "both", "right") == "ERROR 1045"
        assert mysql(program, "both", "wrong", *own) == "ERROR 1045"
        assert mysql(program, "plain", "right") == "app@%"
    with pytest.raises(pymysql.OperationalError) as caught:
        connect(daemon, user="plain", password="right")
    assert caught.value.args[0] == 1045
    (tmp_path / "elsewhere").mkdir()
    stranger = Authority(tmp_path / "elsewhere")
    wrong, wrong_key = stranger.issue("mine", "mine")
    assert (
        mysql(find_mysql() / "bin/mysql", "bare", "", f"--ssl-cert={wrong}", f"--ssl-key={wrong_key}")
        != "app@%"
    )


# --- the PROXY protocol ---------------------------------------------------------------------------------------------

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 5000 6033\r\n"


def test_a_listed_network_must_say_for_whom_it_connects_and_no_other_may(
    cluster: LocalCluster, proxy: Start
) -> None:
    users = [
        {"name": "app", "password": cluster.passwords["app"], "allow_from": ["192.0.2.0/24", "127.0.0.2/32"]}
    ]
    daemon = proxy(
        listen={"proxy_protocol_from": ["127.0.0.1/32"]}, users=users, limits={"max_login_failures": 0}
    )
    assert first_words(daemon, said=V1) == (0, "")
    assert first_words(daemon, said=b"\x20\0\0\1" + bytes(32)) == (1043, "08S01")
    with dial(daemon) as wire:
        for byte in V1:
            wire.sock.sendall(bytes((byte,)))
        assert wire.read()[0] == 10
    connect(daemon, "127.0.0.2").ping()
    with dial(daemon, "127.0.0.2", V1) as wire:
        wire.read()
        with pytest.raises(EOFError):
            while parse_err(wire.read(), 0xFFFFFFFF).errno:
                pass


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_in_front(
    cluster: LocalCluster, proxy: Start, tmp_path: Path, free_port: Callable[[], int], version: str
) -> None:
    haproxy = shutil.which("haproxy")
    if haproxy is None:
        pytest.skip("haproxy is not installed")
    users = [
        {"name": "near", "password": "x", "allow_from": ["127.0.0.2/32"]},
        {"name": "far", "password": "x", "allow_from": ["127.0.0.3/32"]},
    ]
    for user in users:
        user |= {"server_user": "app", "server_password": cluster.passwords["app"]}
    daemon = proxy(listen={"proxy_protocol_from": ["127.0.0.1/32"]}, users=users)
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"listen mysql\n bind 127.0.0.1:{port}\n"
        f" server daemon 127.0.0.1:{daemon.port} source 127.0.0.1 {version}\n"
    )
    process = subprocess.Popen([haproxy, "-db", "-f", str(tmp_path / "haproxy.cfg")])
    try:

        def come() -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return True
            return False

        eventually(come)
        with (
            connect(daemon, "127.0.0.2", user="near", port=port) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT CURRENT_USER()")
            assert cursor.fetchall() == (("app@%",),)
        with pytest.raises(pymysql.OperationalError) as caught:
            connect(daemon, "127.0.0.2", user="far", port=port)
        assert "'far'@'127.0.0.2'" in str(caught.value)
    finally:
        process.terminate()
        process.wait(10)


# --- COM_CHANGE_USER ------------------------------------------------------------------------------------------------


def test_change_user_is_a_full_login(cluster: LocalCluster, proxy: Start) -> None:
    shown = {"server_user": "app", "server_password": cluster.passwords["app"]}
    users = [
        {"name": "first", "password": "one", **shown},
        {"name": "second", "verifiers": [sha2_verifier("two"), native_verifier("two")], **shown},
        {"name": "far", "password": "three", "allow_from": ["10.0.0.0/8"], **shown},
        {"name": "locked", "password": "four", "locked": True, **shown},
        {"name": "expired", "password": "five", "expires": "2020-01-01", **shown},
    ]
    daemon = proxy(users=users)
    with RawClient(("127.0.0.1", daemon.port), "first", "one") as client:
        client.change_user("second", "two").check()
        client.change_user("first", "one").check()
    for name, password, errno in (
        ("second", "one", 1045), ("far", "three", 1045), ("locked", "four", 4151), ("expired", "five", 1862),
    ):  # fmt: skip
        with pytest.raises(ServerError) as caught:
            RawClient(("127.0.0.1", daemon.port), name, password)
        assert caught.value.err.errno == errno
        with RawClient(("127.0.0.1", daemon.port), "first", "one") as client:
            err = client.change_user(name, password).err
            assert err is not None and err.errno == errno
            assert client.ended()
