"""Addresses as the configuration writes them: ``host:port``, ``[v6]:port``, ``unix:/path``.

For the checks of the configuration, the listeners, the pool and the monitor. Nothing is resolved here: a name is
looked up anew at each connect.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

MAX_UNIX_PATH = 107
"""Bytes that fit into Linux' sockaddr_un with its closing NUL, unix(7)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket is: host and port, or a path.

    Attributes:
        host: name or IP address without brackets; "" for a unix socket.
        port: 1..65535; 0 for a unix socket.
        path: of the unix socket; "" for TCP.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return "unix:" + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address that ``text`` names.

    Raises:
        ValueError: with a sentence that says what is wrong and how it should look.
    """
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        if not path.startswith("/"):
            raise ValueError(
                f"{text!r}: a unix socket needs an absolute path, as in unix:/run/mysqlproxy.sock"
            )
        if len(path.encode("utf-8", "surrogateescape")) > MAX_UNIX_PATH or "\0" in path:
            raise ValueError(
                f"{text!r}: the path of a unix socket has at most {MAX_UNIX_PATH} bytes and no NUL"
            )
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r}: the port is missing, as in 127.0.0.1:3306")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            IPv6Address(host)
        except ValueError:
            raise ValueError(f"{text!r}: what is in brackets is no IPv6 address, as in [::1]:3306") from None
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address needs brackets, as in [::1]:3306")
    if not host:
        raise ValueError(f"{text!r}: the host is missing, as in 127.0.0.1:3306")
    if any(char.isspace() or char in "\0[]/@" for char in host):
        raise ValueError(f"{text!r}: {host!r} is no host name")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r}: the port is a number from 1 to 65535")
    return Address(host=host, port=int(port))
