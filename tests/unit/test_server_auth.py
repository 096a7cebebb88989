"""Our side of a login to a server, against PyMySQL's scrambles and the gatekeeper's own checks."""

from __future__ import annotations

from hashlib import sha1, sha256

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from pymysql import _auth

from mysqlproxy.errors import ServerFault
from mysqlproxy.pool.server_auth import CLEAR, NATIVE, SHA2, SHA256, ServerAuth
from mysqlproxy.protocol.credentials import ServerCredential

NONCE = b"abcdefghij0123456789"
PASSWORD = "s3cret ü"
RAW = PASSWORD.encode()
KNOWN = ServerCredential("app", PASSWORD)
BY_SHA1 = ServerCredential("app", sha1=sha1(RAW).digest())
BY_SHA256 = ServerCredential("app", sha256=sha256(RAW).digest())
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def decrypted(data: bytes | None) -> bytes:
    assert data is not None
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
    return bytes(_auth._xor_password(KEY.decrypt(data, oaep), NONCE))


@pytest.mark.parametrize("credential", [KNOWN, BY_SHA1])
def test_native(credential: ServerCredential) -> None:
    auth = ServerAuth(credential, secure=False)
    assert auth.initial(NATIVE, NONCE) == _auth.scramble_native_password(RAW, NONCE)
    assert auth.plugin == NATIVE


@pytest.mark.parametrize("credential", [KNOWN, BY_SHA256])
def test_caching_sha2_fast(credential: ServerCredential) -> None:
    auth = ServerAuth(credential, secure=False)
    assert auth.initial(SHA2, NONCE) == _auth.scramble_caching_sha2(RAW, NONCE)
    assert auth.plugin == SHA2
    assert auth.more(b"\x03") is None


def test_the_nonce_of_a_switch_may_end_in_nul() -> None:
    auth = ServerAuth(KNOWN, secure=False)
    assert auth.switch(SHA2, NONCE + b"\0") == _auth.scramble_caching_sha2(RAW, NONCE)


def test_caching_sha2_full_in_clear_only_when_secure() -> None:
    secure = ServerAuth(KNOWN, secure=True)
    secure.initial(SHA2, NONCE)
    assert secure.more(b"\x04") == RAW + b"\0"
    clear = ServerAuth(KNOWN, secure=False)
    clear.initial(SHA2, NONCE)
    assert clear.more(b"\x04") == b"\x02"
    assert decrypted(clear.more(PEM)) == RAW + b"\0"


def test_sha256_password() -> None:
    assert ServerAuth(KNOWN, secure=True).initial(SHA256, NONCE) == RAW + b"\0"
    clear = ServerAuth(KNOWN, secure=False)
    assert clear.initial(SHA256, NONCE) == b"\x01"
    assert decrypted(clear.more(PEM)) == RAW + b"\0"


def test_clear_password_only_when_secure_and_asked_for() -> None:
    assert ServerAuth(KNOWN, secure=True).switch(CLEAR, b"") == RAW + b"\0"
    with pytest.raises(ServerFault, match="in clear"):
        ServerAuth(KNOWN, secure=False).switch(CLEAR, b"")
    auth = ServerAuth(KNOWN, secure=True)
    assert auth.initial(CLEAR, NONCE) == _auth.scramble_native_password(RAW, NONCE)
    assert auth.plugin == NATIVE


@pytest.mark.parametrize("plugin", [NATIVE, SHA2, SHA256, CLEAR, "dialog"])
def test_an_empty_password_is_an_empty_answer(plugin: str) -> None:
    assert ServerAuth(ServerCredential("app", ""), secure=False).initial(plugin, NONCE) == b""


@pytest.mark.parametrize(
    ("credential", "plugin", "named"),
    [
        (KNOWN, "auth_gssapi_client", NATIVE),
        (KNOWN, "", NATIVE),
        (BY_SHA1, SHA2, NATIVE),
        (BY_SHA1, SHA256, NATIVE),
        (BY_SHA256, NATIVE, SHA2),
    ],
)
def test_the_greetings_method_may_be_one_we_cannot_do(
    credential: ServerCredential, plugin: str, named: str
) -> None:
    auth = ServerAuth(credential, secure=False)
    assert auth.initial(plugin, NONCE)
    assert auth.plugin == named


@pytest.mark.parametrize(
    ("credential", "plugin"),
    [
        (KNOWN, "dialog"),
        (KNOWN, "mysql_old_password"),
        (BY_SHA1, SHA2),
        (BY_SHA1, SHA256),
        (BY_SHA256, NATIVE),
        (ServerCredential("app"), NATIVE),
    ],
)
def test_a_switch_to_what_we_cannot_do_is_the_servers_fault(
    credential: ServerCredential, plugin: str
) -> None:
    with pytest.raises(ServerFault, match=f"cannot log in with {plugin}"):
        ServerAuth(credential, secure=False).switch(plugin, NONCE)


@pytest.mark.parametrize("secure", [True, False])
def test_full_authentication_needs_the_password(secure: bool) -> None:
    auth = ServerAuth(BY_SHA256, secure=secure)
    auth.initial(SHA2, NONCE)
    with pytest.raises(ServerFault, match="needs the password"):
        auth.more(b"\x04")


def _ec_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("pem", [b"", b"not a key", PEM[:-40], PEM * 30, _ec_pem()])
def test_a_key_that_is_none(pem: bytes) -> None:
    auth = ServerAuth(KNOWN, secure=False)
    auth.initial(SHA2, NONCE)
    auth.more(b"\x04")
    with pytest.raises(ServerFault, match="no usable public key") as caught:
        auth.more(pem)
    assert PASSWORD not in str(caught.value)


def test_a_password_too_long_for_the_key() -> None:
    auth = ServerAuth(ServerCredential("app", "x" * 250), secure=False)
    auth.initial(SHA2, NONCE)
    auth.more(b"\x04")
    with pytest.raises(ServerFault):
        auth.more(PEM)


@given(
    st.sampled_from([NATIVE, SHA2, SHA256, CLEAR, ""]),
    st.binary(max_size=40),
    st.lists(st.binary(max_size=60), max_size=4),
    st.sampled_from([KNOWN, BY_SHA1, BY_SHA256]),
)
def test_a_hostile_server_gets_a_value_or_a_fault_and_never_the_password(
    plugin: str, nonce: bytes, data: list[bytes], credential: ServerCredential
) -> None:
    auth = ServerAuth(credential, secure=False)
    sent = [auth.initial(plugin, nonce)]
    for item in data:
        try:
            sent.append(auth.more(item) or b"")
            sent.append(auth.switch(plugin, item))
        except ServerFault:
            pass
    assert all(RAW not in item for item in sent)


def test_secrets_do_not_show() -> None:
    shown = repr(KNOWN) + repr(BY_SHA1) + repr(BY_SHA256)
    assert PASSWORD not in shown
    assert shown.count("user='app'") == 3 and "sha" not in shown
