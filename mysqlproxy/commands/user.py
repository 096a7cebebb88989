"""``mysqlproxy user hash``: a password in, verifiers out. Called by ``cli``. Stores and shows no password."""

from __future__ import annotations

import getpass
import sys

from mysqlproxy.gatekeeper.secrets import native_verifier, sha2_verifier

MAX_PASSWORD = 4096  # bytes; the servers take 256 and fewer

_HINT = """\
# One of these lines goes into the account's [[users]] section, in place of password.
# For clients that log in with mysql_native_password (MariaDB's, older ones):
verifier = "{native}"
# For clients that log in with caching_sha2_password (MySQL 8 and newer):
verifier = "{sha2}"\
"""


def hash_password() -> int:
    """Asks on the terminal, twice and unseen, or takes a line of standard input. Returns the exit status."""
    try:
        password = _from_terminal() if sys.stdin.isatty() else _from_line()
    except (EOFError, ValueError) as error:
        print(str(error) or "no password was given", file=sys.stderr)
        return 1
    if not password:
        print("an empty password has no verifier; give one", file=sys.stderr)
        return 1
    print(_HINT.format(native=native_verifier(password), sha2=sha2_verifier(password)))
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
