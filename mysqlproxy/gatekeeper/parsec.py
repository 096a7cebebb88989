"""A password as MariaDB keeps it for parsec: ``P0:``, a salt of 18 bytes, ``:``, a public key, both in base64.

Called by ``gatekeeper.secrets``. The digit stands for 1024 << digit rounds of PBKDF2.
"""

from __future__ import annotations

import re
import secrets as random
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hmac import compare_digest

from mysqlproxy.gatekeeper.crypt import MAX_PASSWORD
from mysqlproxy.protocol import parsec

_FORM = re.compile(rf"P([0-{parsec.MAX_FACTOR}]):([0-9A-Za-z+/]{{24}}):([0-9A-Za-z+/]{{43}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parsec:
    """One stored password."""

    factor: int
    salt: bytes = field(repr=False)
    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Parsec | None:
        """None for anything else, and for more rounds than the daemon spends on who knocks."""
        if (match := _FORM.fullmatch(text)) is None:
            return None
        return cls(int(match[1]), b64decode(match[2]), b64decode(match[3] + "="))

    @classmethod
    def of(cls, password: bytes) -> Parsec:
        """With a new salt."""
        salt = random.token_bytes(parsec.SALT_SIZE)
        return cls(0, salt, parsec.public_key(password, 0, salt))

    @classmethod
    def decoy(cls, factor: int, salt: bytes) -> Parsec:
        """Costs what a real one does, and is nobody's."""
        return cls(factor, salt, random.token_bytes(parsec.KEY_SIZE))

    def text(self) -> str:
        key = b64encode(self.key).decode().rstrip("=")
        return f"P{self.factor}:{b64encode(self.salt).decode()}:{key}"

    def matches(self, password: bytes) -> bool:
        """Whether it is the password. Takes some 3 ms for factor 0, whatever the answer."""
        found = parsec.public_key(password[:MAX_PASSWORD], self.factor, self.salt)
        return compare_digest(found, self.key) and len(password) <= MAX_PASSWORD
