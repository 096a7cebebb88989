"""The login of a client, method by method, against PyMySQL's own scrambles."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from hashlib import sha1, sha256
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql import _auth

from mysqlproxy.gatekeeper.accounts import Account, Accounts
from mysqlproxy.gatekeeper.certificates import CertificateRule
from mysqlproxy.gatekeeper.login import (
    FULL_AUTH,
    NATIVE,
    REQUEST_PUBLIC_KEY,
    SHA2,
    Accept,
    Bare,
    Channel,
    Costly,
    Deny,
    LoginDialogue,
    More,
    Step,
    Switch,
    default_plugin,
    new_nonce,
)
from mysqlproxy.gatekeeper.methods import CLEAR, ED25519, PARSEC, SHA256
from mysqlproxy.gatekeeper.secrets import (
    Secret,
    crypt_verifier,
    ed25519_verifier,
    native_verifier,
    parsec_verifier,
    sha2_verifier,
)
from mysqlproxy.protocol import parsec
from tests.support.certificates import Authority

NONCE = new_nonce()
PASSWORD = "s3cret ü"
RAW = PASSWORD.encode()
FULL = Secret.from_password(PASSWORD)
NATIVE_ONLY = Secret.from_verifier(native_verifier(PASSWORD))
SHA2_ONLY = Secret.from_verifier(sha2_verifier(PASSWORD))
EMPTY = Secret.from_password("")
ED25519_ONLY = Secret.from_verifier(ed25519_verifier(PASSWORD))
PARSEC_ONLY = Secret.from_verifier(parsec_verifier(PASSWORD))
SLOW = [Secret.from_verifier(crypt_verifier(PASSWORD)), PARSEC_ONLY]


def accounts(*secrets: Secret, **more: object) -> Accounts:
    return Accounts([Account("app", secrets, server_user="app", **more)])  # type: ignore[arg-type]


class Patient(LoginDialogue):
    """Runs what is costly at once."""

    def start(self, user: bytes, plugin: str, auth: bytes, *, fresh: bool = False) -> Step:
        return done(super().start(user, plugin, auth, fresh=fresh))

    def answer(self, data: bytes) -> Step:
        return done(super().answer(data))


def done(step: Step) -> Step:
    return step.run() if isinstance(step, Costly) else step


def dialogue(
    known: Accounts,
    offered: str = NATIVE,
    secure: bool = False,
    peer: str | None = "10.0.0.1",
    certificate: bytes | None = None,
) -> LoginDialogue:
    return Patient(
        known, NONCE, offered, Channel(None if peer is None else ip_address(peer), secure, certificate)
    )


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


@pytest.mark.parametrize(("secret", "stored"), [(FULL, None), (SHA2_ONLY, "stored"), (SHA2_ONLY, "")])
def test_caching_sha2_fast_path(secret: Secret, stored: str | None) -> None:
    step = dialogue(accounts(secret, server_password=stored), SHA2).start(b"app", SHA2, scramble(SHA2))
    assert isinstance(step, Accept) and step.fast_path
    assert step.credential.password == (PASSWORD if stored is None else stored)


@pytest.mark.parametrize("secret", [*SLOW, NATIVE_ONLY, SHA2_ONLY, ED25519_ONLY])
def test_caching_sha2_with_a_verifier_only_asks_for_the_password_over_tls(secret: Secret) -> None:
    login = dialogue(accounts(secret), SHA2, secure=True)
    assert login.start(b"app", SHA2, scramble(SHA2)) == More(FULL_AUTH)
    step = login.answer(RAW + b"\0")
    assert isinstance(step, Accept) and not step.fast_path
    assert step.credential.password == PASSWORD


@pytest.mark.parametrize("ask_for_key", [True, False])
def test_caching_sha2_with_a_native_verifier_by_rsa(ask_for_key: bool) -> None:
    login = dialogue(accounts(NATIVE_ONLY), SHA2)
    assert login.start(b"app", SHA2, scramble(SHA2)) == More(FULL_AUTH)
    if ask_for_key:
        key = login.answer(REQUEST_PUBLIC_KEY[SHA2])
        assert isinstance(key, More) and key.data.startswith(b"-----BEGIN PUBLIC KEY-----")
        pem = key.data
    else:
        from mysqlproxy.gatekeeper.rsa import login_key

        pem = login_key().public_pem
    step = login.answer(_auth.sha2_rsa_encrypt(RAW, NONCE, pem))
    assert isinstance(step, Accept) and not step.fast_path
    assert step.credential.password == PASSWORD


@pytest.mark.parametrize("answer", [RAW + b"\0", b"", b"\0" * 256, b"x" * 5000, REQUEST_PUBLIC_KEY[SHA2] * 2])
def test_a_clear_password_on_a_clear_connection_never_counts(answer: bytes) -> None:
    login = dialogue(accounts(NATIVE_ONLY), SHA2)
    login.start(b"app", SHA2, scramble(SHA2))
    assert "encrypted with our key" in denied(login.answer(answer))


def test_a_password_encrypted_for_another_nonce_is_wrong() -> None:
    login = dialogue(accounts(NATIVE_ONLY), SHA2)
    login.start(b"app", SHA2, scramble(SHA2))
    key = login.answer(REQUEST_PUBLIC_KEY[SHA2])
    assert isinstance(key, More)
    denied(login.answer(_auth.sha2_rsa_encrypt(RAW, new_nonce(), key.data)))


@pytest.mark.parametrize("plugin", [NATIVE, SHA2, SHA256, ED25519, PARSEC, CLEAR, "dialog"])
@pytest.mark.parametrize("secret", [FULL, EMPTY, NATIVE_ONLY, SHA2_ONLY, ED25519_ONLY, *SLOW])
@pytest.mark.parametrize("stored", [None, "stored"])
@pytest.mark.parametrize("methods", [(), (PARSEC,), (ED25519, NATIVE)])
def test_wrong_passwords_and_unknown_accounts_take_the_same_steps(
    plugin: str, secret: Secret, stored: str | None, methods: tuple[str, ...]
) -> None:
    known = accounts(secret, server_password=stored, methods=methods)

    def steps(user: bytes) -> list[object]:
        login = dialogue(known, NATIVE, secure=True)
        taken = [login.start(user, plugin, scramble(plugin, b"wrong") if plugin in (NATIVE, SHA2) else b"")]
        while not isinstance(taken[-1], (Accept, Deny)):
            last = taken[-1]
            if isinstance(last, Switch) and last.plugin in (NATIVE, SHA2):
                taken.append(login.answer(scramble(last.plugin, b"wrong", last.data[:20])))
            elif isinstance(last, Switch) and last.plugin == PARSEC:
                taken.append(login.answer(b""))
            else:
                taken.append(login.answer(b"wrong\0"))
        return [(type(step), getattr(step, "plugin", ""), len(getattr(step, "data", ""))) for step in taken]

    assert steps(b"nobody")[-1] == (Deny, "", 0)
    assert steps(b"nobody") == steps(b"app")


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
    assert isinstance(step, Switch) and step.plugin == SHA2 and step.data[:20] != NONCE
    assert login.answer(scramble(SHA2, nonce=step.data[:20])) == More(FULL_AUTH)


def test_the_nonce_of_the_greeting_is_no_good_after_a_switch() -> None:
    login = dialogue(accounts(SHA2_ONLY))
    assert isinstance(login.start(b"app", NATIVE, scramble(NATIVE)), Switch)
    denied(login.answer(scramble(SHA2)))


@pytest.mark.parametrize("plugin", ["dialog", "mysql_clear_password", "\x00weird"])
@pytest.mark.parametrize("offered", [NATIVE, SHA2])
def test_a_method_we_cannot_do_is_switched_to_the_offered_one(plugin: str, offered: str) -> None:
    login = dialogue(accounts(FULL), offered)
    step = login.start(b"app", plugin, RAW + b"\0")
    assert isinstance(step, Switch) and step.plugin == offered
    assert isinstance(login.answer(scramble(offered, nonce=step.data[:20])), Accept)


def test_an_empty_answer_by_another_method_than_the_offered_waits_for_a_switch() -> None:
    login = dialogue(accounts(FULL), NATIVE)  # what MySQL 9's client does with a native greeting
    step = login.start(b"app", SHA2, b"")
    assert isinstance(step, Switch) and step.plugin == SHA2
    accepted = login.answer(scramble(SHA2, nonce=step.data[:20]))
    assert isinstance(accepted, Accept) and accepted.fast_path


def test_a_client_without_plugin_auth_is_native() -> None:
    assert isinstance(dialogue(accounts(FULL), SHA2).start(b"app", "", scramble(NATIVE)), Accept)


def test_change_user_never_takes_the_first_answer() -> None:
    login = dialogue(accounts(FULL))
    step = login.start(b"app", NATIVE, scramble(NATIVE), fresh=True)
    assert isinstance(step, Switch) and step.plugin == NATIVE
    assert isinstance(login.answer(scramble(NATIVE, nonce=step.data[:20])), Accept)


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
def test_any_of_several_passwords_and_the_first_is_for_the_servers(plugin: str) -> None:
    both = accounts(Secret.from_password("old"), Secret.from_password("new"))
    for password in ("old", "new"):
        step = dialogue(both, plugin).start(b"app", plugin, scramble(plugin, password.encode()))
        assert isinstance(step, Accept) and step.credential.password == "old"
    denied(dialogue(both, plugin).start(b"app", plugin, scramble(plugin, b"other")))


@pytest.mark.parametrize("secret", [FULL, ED25519_ONLY])
def test_ed25519_signs_32_bytes_of_its_own(secret: Secret) -> None:
    known = accounts(secret, server_password="stored")
    for password, right in ((RAW, True), (b"wrong", False)):
        login = dialogue(known)
        step = login.start(b"app", ED25519, b"")
        assert isinstance(step, Switch) and step.plugin == ED25519 and len(step.data) == 32
        answer = login.answer(_auth.ed25519_password(password, step.data))
        assert isinstance(answer, Accept) is right


@pytest.mark.parametrize("secrets", [(FULL,), (PARSEC_ONLY,), (SHA2_ONLY, FULL, PARSEC_ONLY)])
def test_parsec_signs_with_a_key_made_of_the_salt(secrets: tuple[Secret, ...]) -> None:
    known = accounts(*secrets, server_password="stored")
    salts = set()
    for password, right in ((RAW, True), (b"wrong", False)):
        login = dialogue(known)
        step = login.start(b"app", PARSEC, b"")
        assert isinstance(step, Switch) and step.plugin == PARSEC and len(step.data) == 32
        salt = login.answer(b"")
        assert isinstance(salt, Bare)
        salts.add(salt.data)
        answer = parsec.sign(password, *parsec.parse_ext_salt(salt.data), step.data)
        assert isinstance(login.answer(answer), Accept) is right
    assert len(salts) == 1


@pytest.mark.parametrize("answer", [b"", b"x" * 95, b"\0" * 96, b"\xff" * 96])
def test_what_is_no_signature_of_parsec(answer: bytes) -> None:
    login = dialogue(accounts(PARSEC_ONLY, server_password="stored"))
    login.start(b"app", PARSEC, b"")
    login.answer(b"")
    assert denied(login.answer(answer)) == "wrong password"
    login = dialogue(accounts(PARSEC_ONLY, server_password="stored"))
    login.start(b"app", PARSEC, b"")
    assert "salt" in denied(login.answer(b"x"))


def test_the_salt_of_an_unknown_account_is_always_the_same() -> None:
    for secret in (FULL, PARSEC_ONLY):
        salts = {}
        for name in (b"a", b"b", b"a", b"b"):
            login = dialogue(accounts(secret, server_password="stored"))
            login.start(name, PARSEC, b"")
            step = login.answer(b"")
            assert isinstance(step, Bare)
            assert salts.setdefault(name, step.data) == step.data
        assert salts[b"a"] != salts[b"b"]


def test_ed25519_proves_nothing_for_the_servers_so_a_verifier_alone_shows_the_password_another_way() -> None:
    step = dialogue(accounts(ED25519_ONLY)).start(b"app", ED25519, b"")
    assert isinstance(step, Switch) and step.plugin == SHA2


@pytest.mark.parametrize("secret", [FULL, NATIVE_ONLY, SHA2_ONLY, ED25519_ONLY, *SLOW])
@pytest.mark.parametrize("secure", [True, False])
def test_sha256_password(secret: Secret, secure: bool) -> None:
    for password in (RAW, b"wrong"):
        login = dialogue(accounts(secret, methods=(SHA256,)), secure=secure)
        step = login.start(b"app", NATIVE, scramble(NATIVE))
        assert isinstance(step, Switch) and step.plugin == SHA256
        if secure:
            end = login.answer(password + b"\0")
        else:
            key = login.answer(REQUEST_PUBLIC_KEY[SHA256])
            assert isinstance(key, More)
            end = login.answer(_auth.sha2_rsa_encrypt(password, step.data[:20], key.data))
        if password == RAW:
            assert isinstance(end, Accept) and end.credential.password == PASSWORD
        else:
            assert denied(end) == "wrong password"


def test_a_clear_password_is_asked_for_on_secure_channels_only_and_only_where_the_account_says_so() -> None:
    login = dialogue(accounts(NATIVE_ONLY, methods=(CLEAR,)), secure=True)
    step = login.start(b"app", NATIVE, b"")
    assert isinstance(step, Switch) and step.plugin == CLEAR
    assert isinstance(login.answer(RAW + b"\0"), Accept)
    assert "use TLS" in denied(dialogue(accounts(FULL, methods=(CLEAR,))).start(b"app", CLEAR, RAW + b"\0"))
    step = dialogue(accounts(FULL), secure=True).start(b"app", CLEAR, RAW + b"\0")
    assert isinstance(step, Switch) and step.plugin == NATIVE


def test_what_mysql_keeps_is_checked_slowly_once_and_remembered_as_in_its_cache() -> None:
    secret = Secret.from_verifier(crypt_verifier(PASSWORD))
    known = accounts(secret, server_password="stored")
    for turn in range(2):
        login = dialogue(known, SHA2, secure=True)
        step = login.start(b"app", SHA2, scramble(SHA2))
        if turn == 0:
            assert step == More(FULL_AUTH)
            step = login.answer(RAW + b"\0")
        assert isinstance(step, Accept) and step.fast_path is (turn == 1)
    # A wrong one takes the slow way again, as that of an account that nobody logged in to.
    login = dialogue(known, SHA2, secure=True)
    assert login.start(b"app", SHA2, scramble(SHA2, b"wrong")) == More(FULL_AUTH)
    denied(login.answer(b"wrong\0"))
    step = LoginDialogue(known, NONCE, SHA2, Channel(None, True)).start(b"app", SHA2, b"")
    assert isinstance(step, Costly)


def test_expired_and_locked_accounts_are_told_so_only_after_the_right_password() -> None:
    past, future = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    right, wrong = scramble(NATIVE), scramble(NATIVE, b"wrong")
    for more, errno in (({"locked": True}, 3118), ({"expires": past}, 1862)):
        found = dialogue(accounts(FULL, **more)).start(b"app", NATIVE, right)
        assert isinstance(found, Deny) and found.errno == errno
        found = dialogue(accounts(FULL, **more)).start(b"app", NATIVE, wrong)
        assert isinstance(found, Deny) and (found.errno, found.message) == (1045, "")
    assert isinstance(dialogue(accounts(FULL, expires=future)).start(b"app", NATIVE, right), Accept)


def test_tls_and_certificates_are_judged_with_the_password(tmp_path: Path) -> None:
    path, _ = Authority(tmp_path).issue("client", "someone")
    shown = ssl.PEM_cert_to_DER_cert(path.read_text())
    right, wrong = scramble(NATIVE), scramble(NATIVE, b"wrong")
    tls = accounts(FULL, tls_required=True)
    assert isinstance(dialogue(tls, secure=True).start(b"app", NATIVE, right), Accept)
    assert denied(dialogue(tls).start(b"app", NATIVE, right)) == "without TLS"
    print_ = sha256(shown).hexdigest()
    for rule, fits in (
        (CertificateRule(), True),
        (CertificateRule(subject="CN=someone"), True),
        (CertificateRule(subject="/CN=someone", issuer="/CN=tests' CA"), True),
        (CertificateRule(subject="CN=someone", issuer="CN=another CA"), False),
        (CertificateRule(subject="CN=someone else"), False),
        (CertificateRule(fingerprint=print_.upper()), True),
        (CertificateRule(fingerprint="0" * 64), False),
    ):
        known = accounts(FULL, certificate=rule)
        step = dialogue(known, secure=True, certificate=shown).start(b"app", NATIVE, right)
        assert isinstance(step, Accept) is fits, rule
        assert "certificate" in denied(dialogue(known, secure=True).start(b"app", NATIVE, right))
        step = dialogue(known, secure=True, certificate=shown).start(b"app", NATIVE, wrong)
        assert "wrong password" in denied(step)


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
    plugin=st.sampled_from([NATIVE, SHA2, SHA256, ED25519, PARSEC, CLEAR, "", "dialog"]),
    auth=st.binary(max_size=300),
    answers=st.lists(
        st.binary(max_size=300) | st.sampled_from(list(REQUEST_PUBLIC_KEY.values())), max_size=4
    ),
    secure=st.booleans(),
    secret=st.sampled_from([FULL, NATIVE_ONLY, SHA2_ONLY, ED25519_ONLY, *SLOW]),
    methods=st.sampled_from([(), (SHA256,), (CLEAR,), (ED25519,), (PARSEC,), (CLEAR, NATIVE)]),
)
def test_no_bytes_but_the_password_get_in(
    *,
    user: bytes,
    plugin: str,
    auth: bytes,
    answers: list[bytes],
    secure: bool,
    secret: Secret,
    methods: tuple[str, ...],
) -> None:
    login = dialogue(accounts(secret, methods=methods), secure=secure)
    step = login.start(user, plugin, auth)
    for data in answers:
        if isinstance(step, Deny):
            break
        step = login.answer(data)
    assert not isinstance(step, Accept)
