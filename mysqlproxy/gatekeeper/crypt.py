"""SHA-crypt as MySQL keeps passwords in mysql.user: 5,000 rounds of SHA-256 and more, some milliseconds each time.

Called by ``gatekeeper.secrets``, in a thread and within a bound on concurrency. Two forms:

- caching_sha2_password: ``$A$005$``, 20 bytes of salt, 43 characters; the three digits are
  thousands of rounds (hexadecimal).
- sha256_password: ``$5$``, the salt, ``$``, 43 characters; 5,000 rounds.

The algorithm: https://www.akkadia.org/drepper/SHA-crypt.txt, with salts of 20 bytes instead of 16.
"""

from __future__ import annotations

import re
import secrets as random
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest

MAX_PASSWORD = 256  # bytes, as the servers; the cost grows with the length
MAX_ROUNDS = 100_000  # one attempt of whoever knocks may cost no more than some tens of milliseconds

_CACHING = re.compile(r"\$A\$([0-9A-F]{3})\$([^$\0]{20})([./0-9A-Za-z]{43})", re.DOTALL)
_SHA256 = re.compile(r"\$5\$([^$\0]{1,20})\$([./0-9A-Za-z]{43})", re.DOTALL)
_ALPHABET = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PRINTABLE = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Crypt:
    """One stored password."""

    salt: bytes = field(repr=False)
    rounds: int
    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Crypt | None:
        """Either form; None for anything else, and for more rounds than ``MAX_ROUNDS``."""
        if match := _CACHING.fullmatch(text):
            rounds, salt, digest = int(match[1], 16) * 1000, match[2], match[3]
        elif match := _SHA256.fullmatch(text):
            rounds, salt, digest = 5000, match[1], match[2]
        else:
            return None
        if not 1000 <= rounds <= MAX_ROUNDS:
            return None
        return cls(salt.encode(), rounds, digest.encode())

    @classmethod
    def decoy(cls, rounds: int) -> Crypt:
        """Costs what a real one does, and is nobody's."""
        return cls(_new_salt(), rounds, bytes(random.choice(_ALPHABET) for _ in range(43)))

    def matches(self, password: bytes) -> bool:
        """Whether it is the password. Takes about 1 ms for 1,000 rounds, whatever the answer."""
        usable = len(password) <= MAX_PASSWORD
        digest = sha256_crypt(password if usable else password[:MAX_PASSWORD], self.salt, self.rounds)
        return compare_digest(digest, self.digest) and usable


def sha256_form(password: bytes) -> str:
    """A new verifier in the form of sha256_password, with a printable salt."""
    salt = _new_salt()
    return f"$5${salt.decode()}${sha256_crypt(password, salt, 5000).decode()}"


def _new_salt() -> bytes:
    return bytes(random.choice(_PRINTABLE) for _ in range(20))


def sha256_crypt(password: bytes, salt: bytes, rounds: int) -> bytes:
    """The 43 characters."""
    size = len(password)
    other = sha256(password + salt + password).digest()
    first = sha256(password + salt + _repeated(other, size))
    bits = size
    while bits:
        first.update(other if bits & 1 else password)
        bits >>= 1
    digest = first.digest()
    p = _repeated(sha256(password * size).digest(), size)
    s = _repeated(sha256(salt * (16 + digest[0])).digest(), len(salt))
    for turn in range(rounds):
        middle = (s if turn % 3 else b"") + (p if turn % 7 else b"")
        digest = sha256(p + middle + digest if turn & 1 else digest + middle + p).digest()
    return _encoded(digest)


def _repeated(digest: bytes, size: int) -> bytes:
    return (digest * (size // len(digest) + 1))[:size]


def _encoded(digest: bytes) -> bytes:
    characters = bytearray()
    a, b, c = 0, 10, 20
    for _ in range(10):
        characters += _base64(digest[a] << 16 | digest[b] << 8 | digest[c], 4)
        a, b, c = c + 1, a + 1, b + 1
    return bytes(characters + _base64(digest[31] << 8 | digest[30], 3))


def _base64(value: int, count: int) -> bytes:
    return bytes(_ALPHABET[value >> 6 * place & 63] for place in range(count))
