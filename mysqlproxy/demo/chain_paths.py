"""Which doors of the chain's hosts are open, and what is said behind those that are. Called by ``demo.chain``.

Tries every path between two hosts, not only those that should be closed: a check that finds all doors shut because
nothing runs would find nothing.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from mysqlproxy.demo.network import Host, Network

SECONDS = 1.5  # within which a path that is open answers; dropped packets never do
_UNDER_WAY = (0, errno.EINPROGRESS)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that must be refused.

    Attributes:
        what: who tries what, for people.
        host: where from.
        arguments: of the mariadb client.
        password: for MYSQL_PWD.
        expected: what its error must contain.
    """

    what: str
    host: Host
    arguments: Sequence[str]
    password: str
    expected: Sequence[str]


def open_paths(network: Network, port: int) -> set[tuple[str, str]]:
    """All pairs (source, target) of hosts where a TCP connection comes about."""
    trying: dict[int, tuple[socket.socket, str, str]] = {}
    found: set[tuple[str, str]] = set()
    poll = select.poll()
    try:
        for source in network.hosts.values():
            with source.inside():
                for target in network.hosts.values():
                    if target is source:
                        continue
                    sock = socket.socket()
                    sock.setblocking(False)
                    trying[sock.fileno()] = sock, source.name, target.name
                    # EPERM: the host's own rules, before a packet leaves it.
                    if sock.connect_ex((target.address, port)) in _UNDER_WAY:
                        poll.register(sock, select.POLLOUT)
        deadline = time.monotonic() + SECONDS
        while (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                sock, source_name, target_name = trying[descriptor]
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    found.add((source_name, target_name))
                poll.unregister(sock)
    finally:
        for sock, _, _ in trying.values():
            sock.close()
    return found


def matrix(network: Network, found: set[tuple[str, str]], port: int) -> Table:
    """Who reaches whom."""
    result = Table(title=f"Who reaches port {port} of whom; every pair was tried")
    result.add_column("from \\ to")
    for number in range(1, len(network.hosts) + 1):
        result.add_column(str(number), justify="center")
    for number, source in enumerate(network.hosts, 1):
        cells = ["" if source == t else "open" if (source, t) in found else "shut" for t in network.hosts]
        result.add_row(f"{number} {source}", *cells)
    return result


def attempt(one: Attempt) -> tuple[bool, str]:
    """Whether it was refused as it must be, and the client's own words."""
    with one.host.inside():
        done = subprocess.run(
            ["mariadb", "--no-defaults", "--connect-timeout=5", *one.arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**os.environ, "MYSQL_PWD": one.password},
        )
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    said = (lines[0] if lines else done.stdout.strip()).partition(": /")[
        0
    ]  # not where a plugin was looked for
    return done.returncode != 0 and any(text in said for text in one.expected), said
