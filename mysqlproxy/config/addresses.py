"""Addresses as they are written in the configuration: ``host:port``, ``[ipv6]:port`` and ``unix:/path``.

Called by ``config.crosscheck``, the listeners, the pool and the monitor. A leaf; it resolves no name and
opens nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

MYSQL_PORT = 3306
_UNIX_PATH_MAX = 107  # bytes; sun_path of unix(7) is 108 with its NUL
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener or a server is.

    Attributes:
        host: name or IP address (IPv6 without brackets); "" for a unix socket and for all interfaces.
        port: 0 for a unix socket, and for a listener that takes any free port.
        path: of the unix socket, or "".
    """

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str, *, default_port: int | None = MYSQL_PORT) -> Address:
    """A server's address; with ``default_port`` None the port must be there.

    Raises:
        ValueError: with a sentence that names what is wrong.
    """
    if text.startswith("unix:"):
        return _parse_unix(text[5:])
    host, port = _split(text, default_port)
    if not host:
        raise ValueError(f"{text!r} has no host")
    if port == 0:
        raise ValueError(f"{text!r} has port 0, which no server listens on")
    return Address(host, port)


def parse_listen(text: str) -> Address:
    """A listener: the port must be there, 0 is any free one; a host of "" or * is all interfaces."""
    if text.startswith("unix:"):
        return _parse_unix(text[5:])
    if text.startswith(("*:", ":")) and text.count(":") == 1:
        return Address("", _port(text.partition(":")[2], text))
    host, port = _split(text, None)
    return Address(host, port)


def _split(text: str, default_port: int | None) -> tuple[str, int]:
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not of the form [ipv6]:port")
        try:
            IPv6Address(inside)
        except AddressValueError:
            raise ValueError(f"{inside!r} is no IPv6 address") from None
        host, colon, port = inside, rest[:1], rest[1:]
    elif text.count(":") > 1:
        raise ValueError(f"{text!r} has several colons")
    else:
        host, colon, port = text.partition(":")
        if host and not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} is no host name")
    if not colon:
        if default_port is None:
            raise ValueError(f"{text!r} has no port")
        return host, default_port
    return host, _port(port, text)


def _port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65535):
        raise ValueError(f"{text!r} has no port between 0 and 65535")
    return int(digits)


def _parse_unix(path: str) -> Address:
    if not path:
        raise ValueError("unix: needs a path, as in unix:/run/mysqlproxy/mysql.sock")
    if "\0" in path or len(path.encode()) > _UNIX_PATH_MAX:
        raise ValueError(f"the path of a unix socket has at most {_UNIX_PATH_MAX} bytes and no NUL")
    return Address("", 0, path)
