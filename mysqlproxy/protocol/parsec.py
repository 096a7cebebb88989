"""MariaDB's parsec (11.6 and later): a signature whose key is derived from the password, slowly and with a salt.

The server sends 32 random bytes, and when it is asked by an empty packet its "ext-salt": ``P``, a factor, a salt. The
client derives an Ed25519 key (PBKDF2 with SHA-512, 1024 << factor rounds), and signs the server's random bytes
followed by 32 of its own, which come before the signature. https://mariadb.com/kb/en/authentication-plugin-parsec/

The gatekeeper checks, the pool signs. Deriving a key takes milliseconds: in a thread, please.
"""

from __future__ import annotations

from hashlib import pbkdf2_hmac
from secrets import token_bytes
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NONCE_SIZE: Final = 32  # of the server's random bytes, and of the client's
SALT_SIZE: Final = 18
KEY_SIZE: Final = 32
ANSWER_SIZE: Final = NONCE_SIZE + 64
MAX_FACTOR: Final = 6  # 65,536 rounds, some 150 ms; MariaDB's default is 0


def ext_salt(factor: int, salt: bytes) -> bytes:
    """The server's second packet."""
    return b"P" + bytes((factor,)) + salt


def parse_ext_salt(data: bytes) -> tuple[int, bytes]:
    """Factor and salt of the server's second packet.

    Raises:
        ValueError: another algorithm, more rounds than ``MAX_FACTOR`` stands for, no salt of ``SALT_SIZE``.
    """
    if len(data) != 2 + SALT_SIZE or data[:1] != b"P" or data[1] > MAX_FACTOR:
        raise ValueError("no ext-salt of PBKDF2 within bounds")
    return data[1], data[2:]


def public_key(password: bytes, factor: int, salt: bytes) -> bytes:
    """32 bytes; what MariaDB keeps. Takes milliseconds."""
    return _private_key(password, factor, salt).public_key().public_bytes_raw()


def sign(password: bytes, factor: int, salt: bytes, nonce: bytes) -> bytes:
    """The client's answer, ``ANSWER_SIZE`` bytes. Takes milliseconds."""
    own = token_bytes(NONCE_SIZE)
    return own + _private_key(password, factor, salt).sign(nonce + own)


def verify(key: bytes, nonce: bytes, answer: bytes) -> bool:
    """Whether the password of this public key made the answer."""
    if len(answer) != ANSWER_SIZE:
        return False
    own, signature = answer[:NONCE_SIZE], answer[NONCE_SIZE:]
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, nonce + own)
    except InvalidSignature:
        return False
    return True


def _private_key(password: bytes, factor: int, salt: bytes) -> Ed25519PrivateKey:
    derived = pbkdf2_hmac("sha512", password, salt, 1024 << factor, KEY_SIZE)
    return Ed25519PrivateKey.from_private_bytes(derived)
