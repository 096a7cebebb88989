"""The login of a client, method by method, against PyMySQL's own scrambles."""

from __future__ import annotations

from hashlib import sha1, sha256
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql import _auth

from mysqlproxy.gatekeeper.accounts import Account, Accounts
from mysqlproxy.gatekeeper.login import (
    FULL_AUTH,
    NATIVE,
    REQUEST_PUBLIC_KEY,
    SHA2,
    Accept,
    Deny,
    LoginDialogue,
    More,
    Step,
    Switch,
    default_plugin,
    new_nonce,
)
from mysqlproxy.gatekeeper.secrets import Secret, native_verifier, sha2_verifier

NONCE = new_nonce()
PASSWORD = "s3cret ü"
RAW = PASSWORD.encode()
FULL = Secret.from_password(PASSWORD)
NATIVE_ONLY = Secret.from_verifier(native_verifier(PASSWORD))
SHA2_ONLY = Secret.from_verifier(sha2_verifier(PASSWORD))


def accounts(*secrets: Secret, **more: object) -> Accounts:
    return Accounts([Account("app", secrets, server_user="app", **more)])  # type: ignore[arg-type]


def dialogue(
    known: Accounts, offered: str = NATIVE, secure: bool = False, peer: str | None = "10.0.0.1"
) -> LoginDialogue:
    return LoginDialogue(known, NONCE, offered, secure, None if peer is None else ip_address(peer))


def scramble(plugin: str, password: bytes = RAW, nonce: bytes = NONCE) -> bytes:
    make = _auth.scramble_native_password if plugin == NATIVE else _auth.scramble_caching_sha2
    return bytes(make(password, nonce))


def denied(step: Step) -> str:
    assert isinstance(step, Deny)
    return step.reason


def test_native_login() -> None:
    step = dialogue(accounts(FULL)).start(b"app", NATIVE, scramble(NATIVE))
    assert isinstance(step, Accept) and not step.fast_path
    assert step.account.name == "app"
    assert (step.credential.user, step.credential.password) == ("app", PASSWORD)


def test_native_login_with_the_verifier_alone_yields_sha1_for_the_server() -> None:
    step = dialogue(accounts(NATIVE_ONLY)).start(b"app", NATIVE, scramble(NATIVE))
    assert isinstance(step, Accept)
    assert step.credential.password is None
    assert step.credential.sha1 == sha1(RAW).digest()


@pytest.mark.parametrize("secret", [FULL, SHA2_ONLY])
def test_caching_sha2_fast_path(secret: Secret) -> None:
    step = dialogue(accounts(secret), SHA2).start(b"app", SHA2, scramble(SHA2))
    assert isinstance(step, Accept) and step.fast_path
    if secret is FULL:
        assert step.credential.password == PASSWORD
    else:
        assert step.credential.password is None
        assert step.credential.sha256 == sha256(RAW).digest()


def test_caching_sha2_with_a_native_verifier_asks_for_the_password_over_tls() -> None:
    login = dialogue(accounts(NATIVE_ONLY), SHA2, secure=True)
    assert login.start(b"app", SHA2, scramble(SHA2)) == More(FULL_AUTH)
    step = login.answer(RAW + b"\0")
    assert isinstance(step, Accept) and not step.fast_path
    assert step.credential.password == PASSWORD


@pytest.mark.parametrize("ask_for_key", [True, False])
def test_caching_sha2_with_a_native_verifier_by_rsa(ask_for_key: bool) -> None:
    login = dialogue(accounts(NATIVE_ONLY), SHA2)
    assert login.start(b"app", SHA2, scramble(SHA2)) == More(FULL_AUTH)
    if ask_for_key:
        key = login.answer(REQUEST_PUBLIC_KEY)
        assert isinstance(key, More) and key.data.startswith(b"-----BEGIN PUBLIC KEY-----")
        pem = key.data
    else:
        from mysqlproxy.gatekeeper.rsa import login_key

        pem = login_key().public_pem
    step = login.answer(_auth.sha2_rsa_encrypt(RAW, NONCE, pem))
    assert isinstance(step, Accept) and not step.fast_path
    assert step.credential.password == PASSWORD


@pytest.mark.parametrize("answer", [RAW + b"\0", b"", b"\0" * 256, b"x" * 5000, REQUEST_PUBLIC_KEY * 2])
def test_a_clear_password_on_a_clear_connection_never_counts(answer: bytes) -> None:
    login = dialogue(accounts(NATIVE_ONLY), SHA2)
    login.start(b"app", SHA2, scramble(SHA2))
    assert "encrypted with our key" in denied(login.answer(answer))


def test_a_password_encrypted_for_another_nonce_is_wrong() -> None:
    login = dialogue(accounts(NATIVE_ONLY), SHA2)
    login.start(b"app", SHA2, scramble(SHA2))
    key = login.answer(REQUEST_PUBLIC_KEY)
    assert isinstance(key, More)
    denied(login.answer(_auth.sha2_rsa_encrypt(RAW, new_nonce(), key.data)))


@pytest.mark.parametrize("plugin", [NATIVE, SHA2])
@pytest.mark.parametrize("secret", [FULL, NATIVE_ONLY, SHA2_ONLY])
@pytest.mark.parametrize("name", [b"app", b"nobody"])
def test_wrong_passwords_and_unknown_accounts_take_the_same_steps(
    plugin: str, secret: Secret, name: bytes
) -> None:
    def steps(user: bytes) -> list[type[Step]]:
        login = dialogue(accounts(secret), plugin, secure=True)
        taken = [login.start(user, plugin, scramble(plugin, b"wrong"))]
        while not isinstance(taken[-1], (Accept, Deny)):
            last = taken[-1]
            if isinstance(last, Switch):
                taken.append(login.answer(scramble(last.plugin, b"wrong", last.nonce)))
            else:
                taken.append(login.answer(b"wrong\0"))
        return [type(step) for step in taken]

    assert steps(name)[-1] is Deny
    assert steps(name) == steps(b"app")


def test_decoys_are_stable_and_of_the_kinds_that_accounts_have() -> None:
    known = Accounts(
        [Account("a", (NATIVE_ONLY,), server_user="a"), Account("b", (SHA2_ONLY, FULL), server_user="b")]
    )
    kinds = set()
    for number in range(50):
        name = f"u{number}"
        seen = {
            tuple((s.sha1_stage2 is None, s.sha256_stage2 is None) for s in known.decoy(name).secrets)
            for _ in range(3)
        }
        assert len(seen) == 1
        kinds |= seen
    assert kinds == {((False, True),), ((True, False), (False, False))}


def test_native_client_and_sha2_account_switch() -> None:
    login = dialogue(accounts(SHA2_ONLY))
    step = login.start(b"app", NATIVE, scramble(NATIVE))
    assert isinstance(step, Switch) and step.plugin == SHA2 and step.nonce != NONCE
    assert isinstance(login.answer(scramble(SHA2, nonce=step.nonce)), Accept)


def test_the_nonce_of_the_greeting_is_no_good_after_a_switch() -> None:
    login = dialogue(accounts(SHA2_ONLY))
    assert isinstance(login.start(b"app", NATIVE, scramble(NATIVE)), Switch)
    denied(login.answer(scramble(SHA2)))


@pytest.mark.parametrize("plugin", ["dialog", "client_ed25519", "mysql_clear_password", "\x00weird"])
@pytest.mark.parametrize("offered", [NATIVE, SHA2])
def test_a_method_we_cannot_do_is_switched_to_the_offered_one(plugin: str, offered: str) -> None:
    login = dialogue(accounts(FULL), offered)
    step = login.start(b"app", plugin, RAW + b"\0")
    assert isinstance(step, Switch) and step.plugin == offered
    assert isinstance(login.answer(scramble(offered, nonce=step.nonce)), Accept)


def test_an_empty_answer_by_another_method_than_the_offered_waits_for_a_switch() -> None:
    login = dialogue(accounts(FULL), NATIVE)  # what MySQL 9's client does with a native greeting
    step = login.start(b"app", SHA2, b"")
    assert isinstance(step, Switch) and step.plugin == SHA2
    accepted = login.answer(scramble(SHA2, nonce=step.nonce))
    assert isinstance(accepted, Accept) and accepted.fast_path


def test_a_client_without_plugin_auth_is_native() -> None:
    assert isinstance(dialogue(accounts(FULL), SHA2).start(b"app", "", scramble(NATIVE)), Accept)


def test_change_user_never_takes_the_first_answer() -> None:
    login = dialogue(accounts(FULL))
    step = login.start(b"app", NATIVE, scramble(NATIVE), fresh=True)
    assert isinstance(step, Switch) and step.plugin == NATIVE
    assert isinstance(login.answer(scramble(NATIVE, nonce=step.nonce)), Accept)


@pytest.mark.parametrize(("plugin", "auth"), [(NATIVE, b""), (SHA2, b""), (SHA2, b"\0")])
def test_empty_passwords(plugin: str, auth: bytes) -> None:
    step = dialogue(accounts(Secret.from_password("")), plugin).start(b"app", plugin, auth)
    assert isinstance(step, Accept) and not step.fast_path
    assert step.credential.password == ""
    for secret in (FULL, NATIVE_ONLY, SHA2_ONLY):
        login = dialogue(accounts(secret), plugin)
        step = login.start(b"app", plugin, auth)
        if isinstance(step, Switch):
            step = login.answer(auth)
        denied(step)
    denied(dialogue(accounts(Secret.from_password("")), plugin).start(b"app", plugin, scramble(plugin)))


@pytest.mark.parametrize("plugin", [NATIVE, SHA2])
def test_any_of_several_passwords(plugin: str) -> None:
    both = accounts(Secret.from_password("old"), Secret.from_password("new"))
    for password in ("old", "new"):
        step = dialogue(both, plugin).start(b"app", plugin, scramble(plugin, password.encode()))
        assert isinstance(step, Accept) and step.credential.password == password
    denied(dialogue(both, plugin).start(b"app", plugin, scramble(plugin, b"other")))


def test_server_user_and_password_replace_the_clients() -> None:
    known = Accounts([Account("app", (FULL,), server_user="rw", server_password="other")])
    step = dialogue(known).start(b"app", NATIVE, scramble(NATIVE))
    assert isinstance(step, Accept)
    assert (step.credential.user, step.credential.password) == ("rw", "other")


def test_networks_are_judged_with_the_password() -> None:
    known = accounts(FULL, allow_from=(ip_network("10.1.0.0/16"),))
    right, wrong = scramble(NATIVE), scramble(NATIVE, b"wrong")
    assert isinstance(dialogue(known, peer="10.1.2.3").start(b"app", NATIVE, right), Accept)
    assert isinstance(dialogue(known, peer="::ffff:10.1.2.3").start(b"app", NATIVE, right), Accept)
    assert "allow_from" in denied(dialogue(known, peer="10.2.0.1").start(b"app", NATIVE, right))
    assert "wrong password" in denied(dialogue(known, peer="10.2.0.1").start(b"app", NATIVE, wrong))


def test_no_answer_after_the_end() -> None:
    login = dialogue(accounts(FULL))
    denied(login.start(b"app", NATIVE, scramble(NATIVE, b"wrong")))
    with pytest.raises(RuntimeError):
        login.answer(scramble(NATIVE))
    with pytest.raises(RuntimeError):
        login.start(b"app", NATIVE, scramble(NATIVE))


def test_secrets_do_not_show() -> None:
    step = dialogue(accounts(FULL, server_password="hidden")).start(b"app", NATIVE, scramble(NATIVE))
    shown = repr(step) + repr(FULL)
    for hidden in (PASSWORD, "hidden", repr(FULL.sha1_stage2), repr(FULL.sha256_stage2)):
        assert hidden not in shown


def test_nonces() -> None:
    seen = {new_nonce() for _ in range(500)}
    assert len(seen) == 500
    assert all(len(nonce) == 20 for nonce in seen)
    values = set(b"".join(seen))
    assert values == set(range(1, 128)) - {ord("$")}


def test_default_plugin() -> None:
    assert default_plugin(accounts(FULL), mariadb=True) == NATIVE
    assert default_plugin(accounts(FULL), mariadb=False) == SHA2
    assert default_plugin(accounts(SHA2_ONLY), mariadb=True) == SHA2
    assert default_plugin(Accounts([]), mariadb=True) == NATIVE


@settings(max_examples=300, deadline=None)
@given(
    user=st.sampled_from([b"app", b"nobody", b"\xff\xfe", b""]),
    plugin=st.sampled_from([NATIVE, SHA2, "", "dialog"]),
    auth=st.binary(max_size=300),
    answers=st.lists(st.binary(max_size=300) | st.just(REQUEST_PUBLIC_KEY), max_size=4),
    secure=st.booleans(),
    secret=st.sampled_from([FULL, NATIVE_ONLY, SHA2_ONLY]),
)
def test_no_bytes_but_the_password_get_in(
    *, user: bytes, plugin: str, auth: bytes, answers: list[bytes], secure: bool, secret: Secret
) -> None:
    login = dialogue(accounts(secret), secure=secure)
    step = login.start(user, plugin, auth)
    for data in answers:
        if isinstance(step, Deny):
            break
        step = login.answer(data)
    assert not isinstance(step, Accept)
