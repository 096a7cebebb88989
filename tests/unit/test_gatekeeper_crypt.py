"""What servers keep of passwords, read and checked as they do."""

from __future__ import annotations

import json
import subprocess

import pytest

from mysqlproxy.config.schema import Config
from mysqlproxy.gatekeeper.crypt import MAX_PASSWORD, Crypt, sha256_crypt
from mysqlproxy.gatekeeper.parsec import Parsec
from mysqlproxy.gatekeeper.secrets import Secret, ed25519_verifier, parsec_verifier
from mysqlproxy.gatekeeper.server_accounts import ServerAccount, accounts_of, networks_of, of_mariadb
from mysqlproxy.protocol import ed25519

CONFIG = Config.model_validate(
    {"monitor": {"user": "m"}, "servers": ({"name": "m", "address": "127.0.0.1", "role": "manager"},)}
)


@pytest.mark.parametrize("password", ["x", "Hello world!", "ü" * 40, "p" * 200])
def test_sha_crypt_is_what_openssl_makes(password: str) -> None:
    command = ["openssl", "passwd", "-5", "-salt", "saltstringsaltst", "-stdin"]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    made = sha256_crypt(password.encode(), b"saltstringsaltst", 5000)
    assert done.stdout.strip() == f"$5$saltstringsaltst${made.decode()}"


def test_the_forms_of_mysql() -> None:
    salt = "\x01\x7f" + "s" * 18
    digest = sha256_crypt(b"password", salt.encode(), 5000).decode()
    for text in (f"$A$005${salt}{digest}", f"$5${salt}${digest}"):
        crypt = Crypt.parse(text)
        assert crypt is not None and crypt.rounds == 5000
        assert crypt.matches(b"password") and not crypt.matches(b"other")
    for text in (
        f"$A$FFF${salt}{digest}",
        f"$A$000${salt}{digest}",
        f"$A$005${salt[1:]}{digest}",
        "$A$005$",
        "$5$",
    ):
        assert Crypt.parse(text) is None


def test_a_password_longer_than_the_servers_take_is_wrong_and_costs_no_more() -> None:
    long = b"p" * MAX_PASSWORD
    crypt = Crypt(b"salt", 1000, sha256_crypt(long, b"salt", 1000))
    assert crypt.matches(long) and not crypt.matches(long + b"p")


def test_ed25519_is_mariadbs() -> None:
    # https://mariadb.com/kb/en/authentication-plugin-ed25519/: ed25519_password("secret")
    assert ed25519_verifier("secret") == "$ed25519$ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY"
    key, nonce = ed25519.public_key(b"secret"), bytes(range(32))
    assert ed25519.verify(key, nonce, ed25519.sign(b"secret", nonce))
    for wrong in (
        ed25519.sign(b"other", nonce),
        ed25519.sign(b"secret", nonce[::-1]),
        b"",
        b"\0" * 64,
        b"\xff" * 64,
    ):
        assert not ed25519.verify(key, nonce, wrong)
    assert not ed25519.verify(b"\xff" * 32, nonce, ed25519.sign(b"secret", nonce))


def test_parsec_is_mariadbs() -> None:
    text = parsec_verifier("secret").removeprefix("$parsec$")
    kept = Parsec.parse(text)
    assert kept is not None and kept.text() == text and text.startswith("P0:") and len(text) == 71
    assert kept.matches(b"secret") and not kept.matches(b"other") and not kept.matches(b"s" * 300)
    assert Parsec.parse(text.replace("P0", "P6")) is not None
    for wrong in (text[:-1], text.replace("P0", "P7"), text.replace("P0", "S0"), text.replace(":", "$"), ""):
        assert Parsec.parse(wrong) is None
    given = json.dumps({"plugin": "parsec", "authentication_string": text})
    account = of_mariadb({"User": "p", "Host": "%", "Priv": given})
    assert account is not None
    made, _ = accounts_of([account], CONFIG, {})
    assert made[0].secrets[0].matches(b"secret")


@pytest.mark.parametrize(
    ("host", "networks"),
    [
        ("%", []), ("", []), ("10.1.%", ["10.1.0.0/16"]), ("10.%", ["10.0.0.0/8"]), ("10.1.2.%", ["10.1.2.0/24"]),
        ("10.1.2.3", ["10.1.2.3/32"]), ("10.1.0.0/255.255.0.0", ["10.1.0.0/16"]), ("10.1.0.0/16", ["10.1.0.0/16"]),
        ("2001:db8::1", ["2001:db8::1/128"]), ("localhost", ["127.0.0.0/8", "::1/128"]),
        ("127.0.0.1", ["127.0.0.0/8", "::1/128"]), ("db.example.com", None), ("%.example.com", None), ("10.1%", None),
        ("10.1.2.3.%", None), ("1_.%", None),
    ],
)  # fmt: skip
def test_hosts_of_servers_accounts(host: str, networks: list[str] | None) -> None:
    found = networks_of(host)
    assert (None if found is None else list(map(str, found))) == networks


def test_the_most_specific_host_comes_first_and_what_was_learned_stays() -> None:
    crypt = "$5$" + "s" * 20 + "$" + sha256_crypt(b"x", b"s" * 20, 5000).decode()
    rows = [
        ServerAccount("a", host, (("sha256_password", crypt),), False, False, "", "", "")
        for host in ("%", "10.1.2.3", "10.%", "named.example", "10.1.%")
    ]
    rows.append(ServerAccount("b" * 100, "%", (("", ""),), False, False, "", "", ""))
    rows.append(ServerAccount("socket", "%", (("unix_socket", ""),), False, False, "", "", ""))
    accounts, secrets = accounts_of(rows, CONFIG, {})
    assert [str(account.allow_from[0]) if account.allow_from else "" for account in accounts] == [
        "10.1.2.3/32", "10.1.0.0/16", "10.0.0.0/8", "",
    ]  # fmt: skip
    assert accounts[0].secrets[0].matches(b"x")
    again, _ = accounts_of(rows, CONFIG, secrets)
    assert again[0].secrets[0].learned


def test_rows_of_mariadb() -> None:
    def row(priv: str) -> dict[str, str]:
        return {"User": "a", "Host": "%", "Priv": priv}

    assert of_mariadb(row('{"is_role":true}')) is None
    either = of_mariadb(
        row(
            '{"plugin":"mysql_native_password","authentication_string":"invalid","auth_or":[{},{"plugin":"unix_socket"}]}'
        )
    )
    assert either is not None
    assert either.passwords == (("mysql_native_password", "invalid"), ("unix_socket", "invalid"))
    found = of_mariadb(
        row('{"account_locked":true,"password_last_changed":0,"ssl_type":3,"x509_subject":"/CN=a"}')
    )
    assert found is not None
    assert (found.locked, found.expired, found.ssl_type, found.subject) == (True, True, "SPECIFIED", "/CN=a")


def test_secrets_are_equal_whatever_they_learned() -> None:
    secret = Secret(crypt=Crypt(b"salt", 1000, sha256_crypt(b"x", b"salt", 1000)))
    assert secret.matches(b"x") and secret.learned
    assert secret == Secret(crypt=secret.crypt)
