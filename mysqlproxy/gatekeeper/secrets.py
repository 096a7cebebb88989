"""What is known about a password, and the verifiers an account can be configured with instead of one.

Used by ``gatekeeper.accounts``, ``gatekeeper.methods`` and the command ``mysqlproxy user hash``. Never shows a
secret in a repr or an error.

A verifier is one of these texts:

- ``*`` and 40 hexadecimal digits, SHA1(SHA1(password)): what MariaDB and MySQL keep for mysql_native_password
  and what PASSWORD() prints.
- ``$caching_sha2_password$`` and 64 hexadecimal digits, SHA256(SHA256(password)): what a server keeps in
  memory for the fast path of caching_sha2_password. This form is our own: the servers' stored form costs
  5,000 rounds for each attempt of whoever knocks.
- ``$ed25519$`` and 43 base64 characters: the public key that MariaDB keeps for ed25519.
- ``$parsec$P0:``, 24 and 43 base64 characters with a colon between: what MariaDB keeps for parsec, salt and public
  key. Slow to check a password with, and so slow to guess.
- ``$A$005$...`` and ``$5$...``: what MySQL keeps for caching_sha2_password and sha256_password
  (``gatekeeper.crypt``). Slow to check, and so slow to guess for who stole it.

None lets its reader log in by itself. Who also records a login's bytes on a clear connection gets
SHA1(password) or SHA256(password) out of the first two, and logs in with that. The methods:
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods.html.
"""

from __future__ import annotations

import re
import secrets as random
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1, sha256
from hmac import compare_digest

from mysqlproxy.gatekeeper.crypt import Crypt, sha256_form
from mysqlproxy.gatekeeper.parsec import Parsec
from mysqlproxy.protocol import ed25519

NATIVE_PREFIX = "*"
SHA2_PREFIX = "$caching_sha2_password$"
ED25519_PREFIX = "$ed25519$"
PARSEC_PREFIX = "$parsec$"

_NATIVE = re.compile(r"\*([0-9A-Fa-f]{40})", re.ASCII)
_SHA2 = re.compile(r"\$caching_sha2_password\$([0-9A-Fa-f]{64})", re.ASCII)
_ED25519 = re.compile(r"\$ed25519\$([0-9A-Za-z+/]{43})", re.ASCII)


def sha1_twice(password: bytes) -> bytes:
    """SHA1(SHA1(password)), 20 bytes."""
    return sha1(sha1(password).digest()).digest()


def sha256_twice(password: bytes) -> bytes:
    """SHA256(SHA256(password)), 32 bytes."""
    return sha256(sha256(password).digest()).digest()


def native_verifier(password: str) -> str:
    """The verifier for mysql_native_password, as PASSWORD() of a server prints it.

    Raises:
        ValueError: the password is empty; an empty password has no verifier. So do the others.
    """
    return NATIVE_PREFIX + sha1_twice(_not_empty(password)).hex().upper()


def sha2_verifier(password: str) -> str:
    """The verifier for caching_sha2_password in our own form (see the module)."""
    return SHA2_PREFIX + sha256_twice(_not_empty(password)).hex()


def ed25519_verifier(password: str) -> str:
    """The verifier for client_ed25519: MariaDB's, with a prefix."""
    return ED25519_PREFIX + b64encode(ed25519.public_key(_not_empty(password))).decode().rstrip("=")


def parsec_verifier(password: str) -> str:
    """The verifier for parsec: MariaDB's, with a prefix and a new salt."""
    return PARSEC_PREFIX + Parsec.of(_not_empty(password)).text()


def crypt_verifier(password: str) -> str:
    """The verifier for the methods that show the password: sha256_password, mysql_clear_password."""
    return sha256_form(_not_empty(password))


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
        ed25519_key: the public key, enough to check client_ed25519.
        parsec: salt and public key, enough to check parsec, and slowly a password.
        crypt: as MySQL keeps it, enough to check a password.
        learned: of the two slow ones, sha256_stage2 of the password after it was right once, as a server's cache
            does. Everybody who has the secret shares it.
    """

    password: str | None = field(default=None, repr=False)
    sha1_stage2: bytes | None = field(default=None, repr=False)
    sha256_stage2: bytes | None = field(default=None, repr=False)
    ed25519_key: bytes | None = field(default=None, repr=False)
    crypt: Crypt | None = field(default=None, repr=False)
    parsec: Parsec | None = field(default=None, repr=False)
    learned: list[bytes] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def from_password(cls, password: str) -> Secret:
        """All that follows from a known password; nothing does of "", which an empty answer proves."""
        if not password:
            return cls("")
        raw = password.encode()
        return cls(password, sha1_twice(raw), sha256_twice(raw), ed25519.public_key(raw))

    @classmethod
    def from_verifier(cls, text: str) -> Secret:
        """Reads any form of verifier (see the module).

        Raises:
            ValueError: with a sentence that names the forms, and nothing of the text.
        """
        if match := _NATIVE.fullmatch(text):
            secret = cls(sha1_stage2=bytes.fromhex(match[1]))
        elif match := _SHA2.fullmatch(text):
            secret = cls(sha256_stage2=bytes.fromhex(match[1]))
        elif match := _ED25519.fullmatch(text):
            secret = cls(ed25519_key=b64decode(match[1] + "="))
        elif text.startswith(PARSEC_PREFIX) and (parsec := Parsec.parse(text.removeprefix(PARSEC_PREFIX))):
            secret = cls(parsec=parsec)
        elif crypt := Crypt.parse(text):
            secret = cls(crypt=crypt)
        else:
            raise ValueError(
                f"a verifier is {NATIVE_PREFIX} and 40 hexadecimal digits, {SHA2_PREFIX} and 64 hexadecimal "
                f"digits, {ED25519_PREFIX} and 43 base64 characters, {PARSEC_PREFIX} and what MariaDB keeps (P0:...) "
                "or what MySQL keeps ($A$005$..., $5$...)"
            )
        if secret.sha1_stage2 == sha1_twice(b"") or secret.sha256_stage2 == sha256_twice(b""):
            raise ValueError('this is the digest of an empty password; say password = "" if that is meant')
        return secret

    @classmethod
    def decoy_of(cls, real: Secret, salt: bytes) -> Secret:
        """A secret of the same kind that no password opens: a stranger cannot tell the two apart.

        Args:
            salt: always the same one for the same name, as it is shown to who asks.
        """
        if real.password:
            return _nobodys()
        empty = real.password == ""  # any answer proves it wrong at once, as it does of a full secret
        nobodys = _nobodys()
        return cls(
            sha1_stage2=nobodys.sha1_stage2 if empty or real.sha1_stage2 is not None else None,
            sha256_stage2=nobodys.sha256_stage2 if empty or real.sha256_stage2 is not None else None,
            ed25519_key=nobodys.ed25519_key if real.ed25519_key is not None else None,
            crypt=None if real.crypt is None else Crypt.decoy(real.crypt.rounds),
            parsec=None if real.parsec is None else Parsec.decoy(real.parsec.factor, salt),
        )

    @property
    def fast_digest(self) -> bytes | None:
        """What the fast path of caching_sha2_password is checked with; None when nothing is known for it."""
        return self.learned[0] if self.learned else self.sha256_stage2

    @property
    def is_slow(self) -> bool:
        """Checking a password with it takes milliseconds."""
        return self.crypt is not None or self.parsec is not None

    def matches(self, password: bytes) -> bool:
        """Whether this is the password. Takes milliseconds where ``is_slow``; may be called in a thread."""
        slow = self.crypt or self.parsec
        if slow is None:
            return self._matches_digest(password)
        fast = sha256_twice(password)
        if self.learned and compare_digest(self.learned[0], fast):
            return True
        if not slow.matches(password):
            return False
        self.learned[:] = [fast]
        return True

    def _matches_digest(self, password: bytes) -> bool:
        if self.sha256_stage2 is not None:
            return compare_digest(sha256_twice(password), self.sha256_stage2)
        if self.sha1_stage2 is not None:
            return compare_digest(sha1_twice(password), self.sha1_stage2)
        if self.ed25519_key is not None:
            return compare_digest(ed25519.public_key(password), self.ed25519_key)
        return self.password == "" and not password


@cache
def _nobodys() -> Secret:
    """Of a password that nobody knows: made once, as every login takes the time of a decoy's."""
    return Secret.from_password(random.token_urlsafe(32))
