"""Verifiers, accounts out of the configuration, and the counting of clients."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from mysqlproxy.config.schema import (
    Config,
    Consistency,
    Limits,
    SecretFrom,
    Strategy,
    Tls,
)
from mysqlproxy.config.schema import (
    Secret as ConfiguredSecret,
)
from mysqlproxy.errors import ConfigFault, PolicyDenied, TooManyConnections
from mysqlproxy.gatekeeper.accounts import Account, Accounts, allowed
from mysqlproxy.gatekeeper.admission import Admission
from mysqlproxy.gatekeeper.secrets import (
    Secret,
    ed25519_verifier,
    native_verifier,
    parsec_verifier,
    sha2_verifier,
)


def resolve(secret: ConfiguredSecret) -> str:
    if isinstance(secret, SecretFrom):
        if secret.env != "APP_PASSWORD":
            raise ConfigFault([f"the environment variable {secret.env} is not set; set it for the daemon"])
        return "from the environment"
    return secret


def config(*users: dict[str, object], **routing: object) -> Config:
    return Config.model_validate(
        {
            "monitor": {"user": "monitor"},
            "servers": ({"name": "m", "address": "127.0.0.1:3306", "role": "manager"},),
            "users": users,
            "routing": routing,
        }
    )


def account(**more: object) -> Account:
    return Account("app", (Secret.from_password("x"),), server_user="app", **more)  # type: ignore[arg-type]


def test_the_native_verifier_is_what_password_prints() -> None:
    assert native_verifier("password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"


def test_verifiers_are_read_back() -> None:
    secret = Secret.from_password("pass wörd")
    assert Secret.from_verifier(native_verifier("pass wörd")).sha1_stage2 == secret.sha1_stage2
    assert Secret.from_verifier(native_verifier("pass wörd").lower()).sha1_stage2 == secret.sha1_stage2
    assert Secret.from_verifier(sha2_verifier("pass wörd")).sha256_stage2 == secret.sha256_stage2


@pytest.mark.parametrize(
    "text",
    ["", "*", "2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19", "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E1",
     "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19\n", "$A$005$abc", "$caching_sha2_password$12",
     "*BE1BDEC0AA74B4DCB079943E70528096CCA985F8"],
)  # fmt: skip
def test_other_texts_are_no_verifiers(text: str) -> None:
    with pytest.raises(ValueError, match=r"a verifier is|empty password") as caught:
        Secret.from_verifier(text)
    assert not text.strip("*$") or text.strip() not in str(caught.value)


@pytest.mark.parametrize("make", [native_verifier, sha2_verifier])
def test_an_empty_password_has_no_verifier(make: object) -> None:
    with pytest.raises(ValueError, match="empty"):
        make("")  # type: ignore[operator]


def test_accounts_take_the_defaults_of_routing() -> None:
    accounts = Accounts.from_config(
        config(
            {"name": "a", "password": SecretFrom(env="APP_PASSWORD")},
            {"name": "b", "verifier": native_verifier("b"), "strategy": Strategy.DIRECT, "server_user": "rw",
             "server_password": "s", "read_consistency": Consistency.STRONG, "max_connections": 3,
             "allow_from": (ip_network("10.0.0.0/8"),), "idle_transaction_timeout": 5.0},
            strategy=Strategy.RANDOM, read_consistency=Consistency.EVENTUAL,
        ),
        resolve,
    )  # fmt: skip
    a, b = accounts.get("a"), accounts.get("b")
    assert a is not None and b is not None and len(accounts) == 2
    assert a.secrets == (Secret.from_password("from the environment"),)
    assert (a.server_user, a.server_password, a.strategy, a.read_consistency, a.max_connections) == (
        "a", None, Strategy.RANDOM, Consistency.EVENTUAL, None)  # fmt: skip
    assert b.secrets == (Secret.from_verifier(native_verifier("b")),)
    assert (b.server_user, b.server_password, b.strategy, b.read_consistency, b.max_connections) == (
        "rw", "s", Strategy.DIRECT, Consistency.STRONG, 3)  # fmt: skip
    assert b.idle_transaction_timeout == 5.0 and b.statement_timeout is None
    assert accounts.get("A") is None


def test_decoys_outlive_the_process_where_a_key_of_tls_does(tmp_path: Path) -> None:
    verifiers = [native_verifier("x"), sha2_verifier("x"), parsec_verifier("x"), ed25519_verifier("x")]
    made = config(*({"name": f"a{n}", "verifier": text} for n, text in enumerate(verifiers)))
    key = tmp_path / "server.key"

    def decoys(text: str) -> list[tuple[object, ...]]:
        key.write_text(text)
        tls = Tls(certificate=tmp_path / "server.pem", key=key)
        accounts = Accounts.from_config(made.model_copy(update={"tls": tls}), resolve)
        kinds = [_kind(accounts.decoy(f"nobody{n}")) for n in range(20)]
        return [*kinds, accounts.parsec_salt("nobody")]

    assert decoys("one") == decoys("one") != decoys("two")
    assert len(set(map(repr, decoys("one")))) == 5, "of each kind, and a salt"


def _kind(account: Account) -> tuple[bool, ...]:
    [secret] = account.secrets
    return tuple(value is None for value in (secret.sha1_stage2, secret.sha256_stage2, secret.parsec))


def test_every_fault_of_every_user_is_told() -> None:
    with pytest.raises(ConfigFault) as caught:
        Accounts.from_config(
            config(
                {"name": "ok", "password": "x"},
                {"name": "ok", "password": "x"},
                {"name": "none"},
                {"name": "both", "password": "hush", "verifier": native_verifier("hush")},
                {"name": "bad", "verifier": "hush"},
                {"name": "unset", "password": SecretFrom(env="OTHER")},
            ),
            resolve,
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "hush" not in text and "OTHER" in text and "users[none]: " in text


@pytest.mark.parametrize(
    ("peer", "networks", "expected"),
    [
        ("10.0.0.1", [], True),
        ("10.0.0.1", ["10.0.0.0/8"], True),
        ("11.0.0.1", ["10.0.0.0/8"], False),
        ("::ffff:10.0.0.1", ["10.0.0.0/8"], True),
        ("::ffff:11.0.0.1", ["10.0.0.0/8"], False),
        ("::ffff:10.0.0.1", ["::ffff:0:0/96"], True),
        ("2001:db8::1", ["10.0.0.0/8", "2001:db8::/32"], True),
        ("2001:db9::1", ["2001:db8::/32"], False),
        (None, [], True),
        (None, ["127.0.0.0/8"], True),
        (None, ["10.0.0.0/8"], False),
    ],
)
def test_allow_from(peer: str | None, networks: list[str], expected: bool) -> None:
    who = account(allow_from=tuple(ip_network(network) for network in networks))
    assert allowed(who.allow_from, None if peer is None else ip_address(peer)) is expected


def test_the_limit_of_all_connections() -> None:
    admission = Admission(Limits(max_connections=2))
    first, _ = admission.connect(), admission.connect()
    with pytest.raises(TooManyConnections) as caught:
        admission.connect()
    assert (caught.value.errno, caught.value.sqlstate) == (1040, "08004")
    first.release()
    first.release()
    admission.connect()
    assert admission.connected == 2
    admission.reconfigure(Limits(max_connections=3))
    admission.connect()


def test_the_limit_of_an_account() -> None:
    admission = Admission(Limits())
    who = account(max_connections=1)
    ticket = admission.enter(who)
    with pytest.raises(PolicyDenied) as caught:
        admission.enter(who)
    assert (caught.value.errno, caught.value.sqlstate) == (1226, "42000")
    assert admission.connections("app") == 1
    ticket.release()
    ticket.release()
    assert admission.connections("app") == 0
    admission.enter(who)
