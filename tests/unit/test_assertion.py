"""What a gatekeeper signs, and that nothing else is believed."""

from __future__ import annotations

import time
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.config.schema import ChainRole
from mysqlproxy.errors import MalformedPacket
from mysqlproxy.gatekeeper.accounts import Account, Accounts
from mysqlproxy.gatekeeper.certificates import CertificateRule
from mysqlproxy.gatekeeper.chain import (
    LIFETIME,
    AssertionDialogue,
    Chain,
    Gatekeeper,
    Refused,
    private_key,
    public_keys,
)
from mysqlproxy.gatekeeper.login import Accept, Channel, Deny, Switch
from mysqlproxy.protocol.assertion import CONTEXT, PLUGIN, Assertion, parse_assertion
from tests.support.chain import make_pki

NONCE = b"n" * 32
PEER = ip_address("192.0.2.7")


class Scene:
    """A gatekeeper, and what the other two make of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_pki(folder / "pki")
        self.certificates = {
            name: x509.load_pem_x509_certificate(
                (self.folder / name / "certificate.pem").read_bytes()
            ).public_bytes(Encoding.DER)
            for name in ("gatekeeper", "trusted-host", "proxy")
        }
        self.gatekeeper = self.signing()

    def signing(self) -> Chain:
        fingerprint = sha256(self.certificates["gatekeeper"]).digest()
        key = private_key(self.folder / "gatekeeper" / "signing.key")
        return Chain(ChainRole.GATEKEEPER, key, fingerprint)

    @property
    def trusted_host(self) -> Chain:
        rule = CertificateRule("CN=gatekeeper")
        keys = public_keys(self.folder / "trusted-host" / "gatekeeper.pub")
        return Chain(ChainRole.TRUSTED_HOST, gatekeepers=(Gatekeeper("gatekeeper", keys, rule),))

    @property
    def proxy(self) -> Chain:
        keys = public_keys(self.folder / "proxy" / "gatekeeper.pub")
        rule = CertificateRule("CN=trusted-host")
        return Chain(ChainRole.PROXY, gatekeepers=(Gatekeeper("gatekeeper", keys),), trusted_host=rule)

    def signed(self, **changes: object) -> bytes:
        """An assertion as the gatekeeper would make it, but for the changes."""
        body = Assertion(
            account="app",
            peer=PEER,
            session=1 << 31,
            expires=int((time.time() + 10) * 1000),
            fingerprint=self.gatekeeper.fingerprint,
            nonce=NONCE,
        )
        text = replace(body, **changes).build()  # type: ignore[arg-type]
        assert self.gatekeeper.key is not None
        return text + self.gatekeeper.key.sign(CONTEXT + text)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


def test_what_is_signed_is_believed_by_both(scene: Scene) -> None:
    data = scene.gatekeeper.sign("app", PEER, 4_000_000_000, NONCE)
    for found in (
        scene.proxy.check(data, account="app", nonce=NONCE),
        scene.trusted_host.check(
            data, account="app", nonce=NONCE, certificate=scene.certificates["gatekeeper"]
        ),
    ):
        assert (found.account, found.peer, found.session) == ("app", PEER, 4_000_000_000)


def test_the_client_of_a_unix_socket_has_no_address(scene: Scene) -> None:
    data = scene.gatekeeper.sign("app", None, 1 << 31, NONCE)
    assert scene.proxy.check(data, account="app", nonce=NONCE).peer is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nonce": b"m" * 32}, "another login"),
        ({"nonce": b""}, "another login"),
        ({"expires": int((time.time() - 1) * 1000)}, "has expired"),
        ({"expires": int((time.time() + 1000 * LIFETIME) * 1000)}, "too late"),
        ({"account": "root"}, "another account"),
    ],
)
def test_a_signed_one_that_does_not_fit(scene: Scene, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        scene.proxy.check(scene.signed(**changes), account="app", nonce=NONCE)


def test_a_forged_one(scene: Scene, tmp_path: Path) -> None:
    other = Scene(tmp_path)
    with pytest.raises(Refused, match="no known gatekeeper"):
        scene.proxy.check(other.signed(), account="app", nonce=NONCE)
    data = scene.signed()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(Refused):
            scene.proxy.check(bytes(changed), account="app", nonce=NONCE)


def test_a_signature_over_something_else_is_none(scene: Scene) -> None:
    assert scene.gatekeeper.key is not None
    body = scene.signed()[:-64]
    with pytest.raises(Refused, match="no known gatekeeper"):
        scene.proxy.check(body + scene.gatekeeper.key.sign(body), account="app", nonce=NONCE)


def test_another_certificate_than_the_one_it_names(scene: Scene) -> None:
    certificate = scene.certificates["trusted-host"]
    for data in (scene.signed(), scene.signed(fingerprint=sha256(certificate).digest())):
        with pytest.raises(Refused, match="another certificate"):
            scene.trusted_host.check(data, account="app", nonce=NONCE, certificate=certificate)


def test_who_may_connect_at_all(scene: Scene) -> None:
    admitted = {
        (chain.role, name)
        for chain in (scene.trusted_host, scene.proxy)
        for name, certificate in scene.certificates.items()
        if chain.admits(certificate)
    }
    assert admitted == {(ChainRole.TRUSTED_HOST, "gatekeeper"), (ChainRole.PROXY, "trusted-host")}
    assert not scene.proxy.admits(None)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_assertion_or_a_documented_error(data: bytes) -> None:
    try:
        found, signed, signature = parse_assertion(data)
    except MalformedPacket:
        return
    assert found.build() + signature == signed + signature == data


# The dialogue.


def dialogue(scene: Scene, certificate: str = "trusted-host") -> AssertionDialogue:
    account = Account("app", (), server_user="app", server_password="x")
    return AssertionDialogue(
        Accounts([account]), scene.proxy, Channel(PEER, True, scene.certificates[certificate])
    )


def asked(login: AssertionDialogue) -> bytes:
    step = login.start(b"app", PLUGIN, b"")
    assert isinstance(step, Switch) and step.plugin == PLUGIN
    return step.data


def test_a_nonce_is_good_for_one_login_and_one_answer(scene: Scene) -> None:
    login = dialogue(scene)
    data = scene.gatekeeper.sign("app", PEER, 1 << 31, asked(login))
    accepted = login.answer(data)
    assert isinstance(accepted, Accept) and accepted.asserted is not None
    assert accepted.asserted.peer == PEER
    assert isinstance(login.answer(data), Deny)
    replayed = dialogue(scene)
    asked(replayed)
    assert isinstance(replayed.answer(data), Deny)


def test_only_the_trusted_host_is_asked(scene: Scene) -> None:
    assert isinstance(dialogue(scene, "gatekeeper").start(b"app", PLUGIN, b""), Deny)


# Keys.


def test_renewed_keys_overlap(scene: Scene, tmp_path: Path) -> None:
    changing = Scene(tmp_path)
    first = changing.gatekeeper
    make_pki(changing.folder, "--renew")
    second = changing.signing()
    for chain in (first, second):
        data = chain.sign("app", PEER, 1 << 31, NONCE)
        assert changing.proxy.check(data, account="app", nonce=NONCE).account == "app"
    make_pki(changing.folder, "--renew")
    with pytest.raises(Refused):
        changing.proxy.check(first.sign("app", PEER, 1 << 31, NONCE), account="app", nonce=NONCE)
    assert changing.proxy.check(second.sign("app", PEER, 1 << 31, NONCE), account="app", nonce=NONCE)


def test_keys_are_for_their_owner_only(scene: Scene) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in scene.folder.rglob("*") if path.is_file()}
    assert {name: mode for name, mode in modes.items() if name.endswith(".key")} == {
        "ca.key": 0o600,
        "certificate.key": 0o600,
        "signing.key": 0o600,
    }
    assert all(path.stat().st_mode & 0o77 == 0 for path in scene.folder.rglob("*") if path.is_dir())
