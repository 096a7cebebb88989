"""The authentication methods: which an account can do, and what an answer proves. Pure; for ``gatekeeper.login``.

| method | the client shows | checked with |
|---|---|---|
| mysql_native_password | SHA1(password), to us only | the password, or SHA1(SHA1()) |
| caching_sha2_password, fast path | SHA256(password), to us only | the password, or SHA256(SHA256()) |
| caching_sha2_password, full path; sha256_password | the password, in TLS or RSA | anything |
| client_ed25519, parsec | nothing | the password, or its public key |
| mysql_clear_password | the password, in TLS or a unix socket only | anything |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from hmac import compare_digest

from mysqlproxy.gatekeeper.accounts import Account
from mysqlproxy.gatekeeper.secrets import Secret
from mysqlproxy.protocol import ed25519, parsec
from mysqlproxy.protocol.credentials import ServerCredential

NATIVE = "mysql_native_password"
SHA2 = "caching_sha2_password"
SHA256 = "sha256_password"
ED25519 = "client_ed25519"
PARSEC = "parsec"
CLEAR = "mysql_clear_password"

SCRAMBLE_LENGTHS = {NATIVE: 20, SHA2: 32}  # of the answers that a HandshakeResponse can already hold
_BY_CHOICE = (NATIVE, SHA2, ED25519, PARSEC, SHA256)


@dataclass(frozen=True, slots=True)
class Proof:
    """What a right answer proved about the password; the secret it matched is ``secret``."""

    secret: Secret = field(repr=False)
    password: str | None = field(default=None, repr=False)
    sha1: bytes | None = field(default=None, repr=False)
    sha256: bytes | None = field(default=None, repr=False)


def can(method: str, account: Account, secure: bool) -> bool:
    """Whether the method can check any of the account's secrets, and leads to the servers.

    Args:
        secure: TLS or a unix socket.
    """
    if account.methods:
        if method not in account.methods:
            return False
    elif method == CLEAR:
        return False
    elif method in (ED25519, PARSEC) and account.stored_password is None:
        return False  # it proves nothing that a server would take
    match method:
        case "mysql_native_password":
            return any(secret.sha1_stage2 is not None or secret.password == "" for secret in account.secrets)
        case "client_ed25519":
            return any(secret.ed25519_key is not None for secret in account.secrets)
        case "parsec":
            return any(secret.parsec is not None or secret.password for secret in account.secrets)
        case "mysql_clear_password":
            return secure
    return method in (SHA2, SHA256)


def choose(asked: str, offered: str, account: Account, secure: bool) -> str | None:
    """The method to go on with: the client's own, else the account's first, else the greeting's; None: none."""
    for method in (asked, *(account.methods or (offered, *_BY_CHOICE))):
        if can(method, account, secure):
            return method
    return None


def prove_scramble(method: str, secrets: Iterable[Secret], answer: bytes, nonce: bytes) -> list[Proof]:
    """What an answer to the nonce proves; nothing when it is wrong. Not for the methods that show the password."""
    check = {NATIVE: _native, SHA2: _sha2, ED25519: _ed25519}[method]
    return [proof for secret in secrets if (proof := check(secret, answer, nonce))]


def parsec_salt(account: Account, own: bytes) -> tuple[int, bytes]:
    """Factor and salt for all of the account's secrets: the first verifier's, else ``own``."""
    for secret in account.secrets:
        if secret.parsec is not None:
            return secret.parsec.factor, secret.parsec.salt
    return 0, own


def prove_parsec(
    secrets: Iterable[Secret], salt: tuple[int, bytes], answer: bytes, nonce: bytes
) -> list[Proof]:
    """What an answer of parsec proves, made with this factor and salt. Takes milliseconds for each password."""
    keys: list[tuple[Secret, bytes]] = []
    for secret in secrets:
        if secret.password:
            keys.append((secret, parsec.public_key(secret.password.encode(), *salt)))
        elif secret.parsec is not None and (secret.parsec.factor, secret.parsec.salt) == salt:
            keys.append((secret, secret.parsec.key))
    return [Proof(secret) for secret, key in keys if parsec.verify(key, nonce, answer)]


def prove_password(secrets: Iterable[Secret], password: bytes) -> list[Proof]:
    """What a password proves. Takes milliseconds for each secret that ``is_slow``."""
    text = password.decode("utf-8", "surrogateescape")
    # All of them, not the first that is right: the time tells nothing.
    return [
        proof for secret in secrets if (proof := Proof(secret, password=text)) and secret.matches(password)
    ]


def credential(account: Account, proof: Proof) -> ServerCredential:
    """Who to be on the servers: the configured password, else the account's own, else the client's proof."""
    for password in (account.stored_password, proof.secret.password, proof.password):
        if password is not None:
            return ServerCredential(account.server_user, password)
    return ServerCredential(account.server_user, sha1=proof.sha1, sha256=proof.sha256)


def _native(secret: Secret, answer: bytes, nonce: bytes) -> Proof | None:
    """SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))."""
    stage2 = secret.sha1_stage2
    if stage2 is None or len(answer) != 20:
        return None
    stage1 = _xor(answer, sha1(nonce + stage2).digest())
    return Proof(secret, sha1=stage1) if compare_digest(sha1(stage1).digest(), stage2) else None


def _sha2(secret: Secret, answer: bytes, nonce: bytes) -> Proof | None:
    """SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)."""
    stage2 = secret.fast_digest
    if stage2 is None or len(answer) != 32:
        return None
    stage1 = _xor(answer, sha256(stage2 + nonce).digest())
    return Proof(secret, sha256=stage1) if compare_digest(sha256(stage1).digest(), stage2) else None


def _ed25519(secret: Secret, answer: bytes, nonce: bytes) -> Proof | None:
    key = secret.ed25519_key
    return Proof(secret) if key is not None and ed25519.verify(key, nonce, answer) else None


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))
