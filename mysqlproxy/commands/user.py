"""``mysqlproxy user hash``: a password in, verifiers out. Called by ``cli``. Stores and shows no password."""

from __future__ import annotations

import getpass
import sys

from mysqlproxy.gatekeeper.secrets import (
    crypt_verifier,
    ed25519_verifier,
    native_verifier,
    parsec_verifier,
    sha2_verifier,
)

MAX_PASSWORD = 256  # bytes, as the servers

_HINT = """\
# One of these lines goes into the account's [[users]] section, in place of password.
# For clients that log in with mysql_native_password (MariaDB's, older ones):
verifier = "{native}"
# For clients that log in with caching_sha2_password (MySQL 8 and newer):
verifier = "{sha2}"
# For clients that log in with client_ed25519 (MariaDB's); the servers then need server_password:
verifier = "{ed25519}"
# For clients that log in with parsec (MariaDB's newer ones); the servers then need server_password:
verifier = "{parsec}"
# For clients that show the password, over TLS (sha256_password, mysql_clear_password, caching_sha2_password):
verifier = "{crypt}"
# verifiers = [...] takes several of them, for clients of several kinds.\
"""
_MAKE = {
    "mysql_native_password": native_verifier,
    "caching_sha2_password": sha2_verifier,
    "client_ed25519": ed25519_verifier,
    "parsec": parsec_verifier,
    "sha256_password": crypt_verifier,
    "mysql_clear_password": crypt_verifier,
}


def hash_password(method: str | None = None) -> int:
    """Asks on the terminal, twice and unseen, or takes a line of standard input. Returns the exit status.

    Args:
        method: print the verifier for this one alone; None: all of them, with what they are for.
    """
    try:
        password = _from_terminal() if sys.stdin.isatty() else _from_line()
    except (EOFError, ValueError) as error:
        print(str(error) or "no password was given", file=sys.stderr)
        return 1
    if not password:
        print("an empty password has no verifier; give one", file=sys.stderr)
        return 1
    if method is not None:
        print(_MAKE[method](password))
        return 0
    print(
        _HINT.format(
            native=native_verifier(password),
            sha2=sha2_verifier(password),
            ed25519=ed25519_verifier(password),
            parsec=parsec_verifier(password),
            crypt=crypt_verifier(password),
        )
    )
    return 0


def _from_terminal() -> str:
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise ValueError("the two are not the same; try again")
    return password


def _from_line() -> str:
    line = sys.stdin.buffer.readline(MAX_PASSWORD + 2)
    text = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(text) > MAX_PASSWORD:
        raise ValueError(f"a password has at most {MAX_PASSWORD} bytes")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ValueError("the password is not UTF-8") from None
