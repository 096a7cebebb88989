"""What is known about a password, and the verifiers an account can be configured with instead of one.

Used by ``gatekeeper.accounts``, ``gatekeeper.login`` and the command ``mysqlproxy user hash``. Never shows a
secret in a repr or an error.

A verifier is one of two texts:

- ``*`` and 40 hexadecimal digits, SHA1(SHA1(password)): what MariaDB and MySQL keep for mysql_native_password
  and what PASSWORD() prints.
- ``$caching_sha2_password$`` and 64 hexadecimal digits, SHA256(SHA256(password)): what a server keeps in
  memory for the fast path of caching_sha2_password. This form is our own: the servers' stored form costs
  5,000 rounds for each attempt of whoever knocks.

Neither lets its reader log in by itself. Who also records a login's bytes on a clear connection gets
SHA1(password) or SHA256(password) out of the two, and logs in with that. The methods:
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha1, sha256

NATIVE_PREFIX = "*"
SHA2_PREFIX = "$caching_sha2_password$"

_NATIVE = re.compile(r"\*([0-9A-Fa-f]{40})", re.ASCII)
_SHA2 = re.compile(r"\$caching_sha2_password\$([0-9A-Fa-f]{64})", re.ASCII)


def sha1_twice(password: bytes) -> bytes:
    """SHA1(SHA1(password)), 20 bytes."""
    return sha1(sha1(password).digest()).digest()


def sha256_twice(password: bytes) -> bytes:
    """SHA256(SHA256(password)), 32 bytes."""
    return sha256(sha256(password).digest()).digest()


def native_verifier(password: str) -> str:
    """The verifier for mysql_native_password, as PASSWORD() of a server prints it.

    Raises:
        ValueError: the password is empty; an empty password has no verifier.
    """
    return NATIVE_PREFIX + sha1_twice(_not_empty(password)).hex().upper()


def sha2_verifier(password: str) -> str:
    """The verifier for caching_sha2_password in our own form (see the module).

    Raises:
        ValueError: the password is empty; an empty password has no verifier.
    """
    return SHA2_PREFIX + sha256_twice(_not_empty(password)).hex()


def _not_empty(password: str) -> bytes:
    if not password:
        raise ValueError("an empty password has no verifier")
    return password.encode()


@dataclass(frozen=True, slots=True)
class Secret:
    """What is known about one password of an account. At least one attribute is set.

    Attributes:
        password: the clear password; "" is an account without password.
        sha1_stage2: SHA1(SHA1(password)), enough to check mysql_native_password.
        sha256_stage2: SHA256(SHA256(password)), enough to check the fast path of caching_sha2_password.
    """

    password: str | None = field(default=None, repr=False)
    sha1_stage2: bytes | None = field(default=None, repr=False)
    sha256_stage2: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_password(cls, password: str) -> Secret:
        """All that follows from a known password; nothing does of "", which an empty answer proves."""
        if not password:
            return cls("")
        raw = password.encode()
        return cls(password, sha1_twice(raw), sha256_twice(raw))

    @classmethod
    def from_verifier(cls, text: str) -> Secret:
        """Reads either form of verifier (see the module).

        Raises:
            ValueError: with a sentence that names the forms, and nothing of the text.
        """
        if match := _NATIVE.fullmatch(text):
            secret = cls(sha1_stage2=bytes.fromhex(match[1]))
        elif match := _SHA2.fullmatch(text):
            secret = cls(sha256_stage2=bytes.fromhex(match[1]))
        else:
            raise ValueError(
                f"a verifier is {NATIVE_PREFIX} and 40 hexadecimal digits, "
                f"or {SHA2_PREFIX} and 64 hexadecimal digits"
            )
        if secret.sha1_stage2 == sha1_twice(b"") or secret.sha256_stage2 == sha256_twice(b""):
            raise ValueError('this is the digest of an empty password; say password = "" if that is meant')
        return secret
