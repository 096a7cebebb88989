"""MariaDB's client_ed25519: a signature whose key is the password. The gatekeeper checks, the pool signs.

Ed25519 (RFC 8032) where SHA512(password) takes the place of SHA512(seed); what is signed are the server's 32 random
bytes. libsodium does the arithmetic, in constant time. https://mariadb.com/kb/en/authentication-plugin-ed25519/
"""

from __future__ import annotations

from hashlib import sha512
from typing import Final

from nacl.bindings import (
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_sign_open,
)
from nacl.exceptions import BadSignatureError

NONCE_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64


def public_key(password: bytes) -> bytes:
    """32 bytes; what MariaDB keeps, in base64, as authentication_string. An empty password has none."""
    return crypto_scalarmult_ed25519_base_noclamp(_scalar(sha512(password).digest()))


def sign(password: bytes, nonce: bytes) -> bytes:
    """The client's answer to the nonce, 64 bytes."""
    digest = sha512(password).digest()
    secret = _scalar(digest)
    once = crypto_core_ed25519_scalar_reduce(sha512(digest[32:] + nonce).digest())
    point = crypto_scalarmult_ed25519_base_noclamp(once)
    public = crypto_scalarmult_ed25519_base_noclamp(secret)
    challenge = crypto_core_ed25519_scalar_reduce(sha512(point + public + nonce).digest())
    return point + crypto_core_ed25519_scalar_add(crypto_core_ed25519_scalar_mul(challenge, secret), once)


def verify(key: bytes, nonce: bytes, signature: bytes) -> bool:
    """Whether the password of this public key made the signature."""
    if len(signature) != SIGNATURE_SIZE:
        return False
    try:
        crypto_sign_open(signature + nonce, key)
    except BadSignatureError:
        return False
    return True


def _scalar(digest: bytes) -> bytes:
    scalar = bytearray(digest[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return bytes(scalar)
