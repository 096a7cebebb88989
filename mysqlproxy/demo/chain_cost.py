"""What each hop of the chain costs: one read at the manager, the proxy, the trusted host, the gatekeeper in turn.

Called by ``demo.chain``, which holds all keys: at the inner doors it is the hop before, with that one's certificate,
at that one's host, and signs who it is as the gatekeeper does. Medians, so that a pause counts for nobody; turn by
turn, so that what else the machine does counts for all alike.
"""

from __future__ import annotations

import ssl
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from secrets import randbelow
from typing import Any

import pymysql
from rich.table import Table

from mysqlproxy.config.schema import ChainRole
from mysqlproxy.demo.daemon import Metrics
from mysqlproxy.demo.network import Host
from mysqlproxy.gatekeeper.chain import Chain, private_key
from mysqlproxy.protocol.assertion import PLUGIN

ROUNDS = 1000
_FIRST_ID = 1 << 31  # session ids, as gatekeepers draw them


@dataclass(frozen=True, slots=True)
class Door:
    """Where the read is asked.

    Attributes:
        name: for people; of a hop also its key in the metrics.
        host: where from.
        options: of pymysql.connect.
    """

    name: str
    host: Host
    options: Mapping[str, Any]


def tls(folder: Path, *, shows: bool) -> ssl.SSLContext:
    """Of who has this folder of ``mysqlproxy pki``; with its certificate when it ``shows`` that."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if shows:
        context.load_cert_chain(folder / "certificate.pem", folder / "certificate.key")
    return context


def asserted(gatekeeper: Path, account: str, address: str) -> type:
    """The method by which PyMySQL is let in where assertions are asked for.

    Args:
        gatekeeper: its folder of ``mysqlproxy pki``.
        address: of the client who is said to have logged in.
    """
    der = ssl.PEM_cert_to_DER_cert((gatekeeper / "certificate.pem").read_text())
    chain = Chain(ChainRole.GATEKEEPER, private_key(gatekeeper / "signing.key"), sha256(der).digest())

    class Method:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def authenticate(self, packet: Any) -> Any:
            number = _FIRST_ID + randbelow(_FIRST_ID)
            signed = chain.sign(account, ip_address(address), number, packet.read_all())
            self._connection.write_packet(signed)
            answer = self._connection._read_packet()
            answer.check_error()
            return answer

    return Method


def assertion_map(method: type) -> dict[str, Any]:
    """For ``pymysql.connect``."""
    return {"auth_plugin_map": {PLUGIN: method}}


def measure(
    doors: Sequence[Door],
    statement: str,
    metrics: Callable[[], Mapping[str, Metrics]],
    check_going_on: Callable[[], None],
) -> Table:
    """A table of it.

    Args:
        doors: innermost first; the first is the server itself.
        metrics: of the hops, by the doors' names.
        check_going_on: raises when all this is to end.
    """
    with ExitStack() as stack:
        cursors = []
        for door in doors:
            with door.host.inside():
                connection: Any = pymysql.connect(autocommit=True, **door.options)
            cursors.append(stack.enter_context(connection).cursor())
        for cursor in cursors:
            cursor.execute(statement)
        before = metrics()
        seconds: list[list[float]] = [[] for _ in doors]
        for number in range(ROUNDS):
            check_going_on()
            for turn in range(len(doors)):
                place = (number + turn) % len(doors)
                began = time.perf_counter()
                cursors[place].execute(statement)
                seconds[place].append(time.perf_counter() - began)
        after = metrics()
    table = Table(title=f"What a read costs: medians of {ROUNDS}, one client, asked at each in turn")
    table.add_column("asked at")
    for heading in ("answered\nafter (us)", "more than\nbehind it (us)", "CPU of\nthe hop (us)"):
        table.add_column(heading, justify="right")
    medians = [statistics.median(one) * 1e6 for one in seconds]
    for number, door in enumerate(doors):
        more = f"{medians[number] - medians[number - 1]:.0f}" if number else ""
        cpu = f"{_cpu(before[door.name], after[door.name]):.0f}" if number else ""
        table.add_row(door.name, f"{medians[number]:.0f}", more, cpu)
    return table


def _cpu(before: Metrics, after: Metrics) -> float:
    """Microseconds for each statement, whoever asked for it; with what the hop did besides."""
    spent, count = (
        after.total(name) - before.total(name)
        for name in ("process_cpu_seconds_total", "mysqlproxy_statements_total")
    )
    return spent / max(count, 1.0) * 1e6
