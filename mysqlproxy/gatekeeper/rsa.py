"""The key with which clients without TLS encrypt the password for caching_sha2_password's full
authentication.

Used by ``gatekeeper.login``. One key per process, made in memory and never stored; a new start makes a new
one, which clients accept as they ask for the public key at each login
(https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html).
"""

from __future__ import annotations

from functools import cached_property, lru_cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

# The servers' choice; SHA-1 inside OAEP rests on no collision resistance.
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


class LoginKey:
    """A 2048-bit RSA key pair. Making one takes 50 to 500 ms: call ``login_key`` in a thread at start-up."""

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def public_pem(self) -> bytes:
        """The public key as a client gets it (PEM, SubjectPublicKeyInfo)."""
        return self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def decrypt(self, data: bytes, nonce: bytes) -> bytes | None:
        """The password a client encrypted, or None for anything else. Takes about 1 ms."""
        try:
            plain = self._private.decrypt(data, OAEP)
        except ValueError:
            return None
        clear = xor_nonce(plain, nonce)
        return clear[:-1] if clear.endswith(b"\0") else None


def xor_nonce(data: bytes, nonce: bytes) -> bytes:
    """Each byte with the nonce's, which repeats."""
    return bytes(byte ^ nonce[index % len(nonce)] for index, byte in enumerate(data))


@lru_cache(maxsize=1)
def login_key() -> LoginKey:
    """This process's key, made at the first call."""
    return LoginKey()
