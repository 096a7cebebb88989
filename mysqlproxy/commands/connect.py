"""What ``check --connect`` finds on the servers: the monitor's account, each known login, the roles.

Called by ``check``. Blocking, with the deadlines of [limits] and [monitor]; only asks, and says nothing of
what it was told but errors, privileges and roles.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pymysql

from mysqlproxy.cluster.grants import can_write_past_read_only, missing_privileges, unseen_definitions
from mysqlproxy.cluster.observation import Probe
from mysqlproxy.cluster.probe import describe
from mysqlproxy.cluster.pymysql_adapter import LimitedConnection
from mysqlproxy.commands.observe import AT_ONCE, probe_all, view_of
from mysqlproxy.config.chain import is_hop
from mysqlproxy.config.crosscheck import Findings
from mysqlproxy.config.schema import Config, Secret, Server, User
from mysqlproxy.config.secrets import resolve_secret
from mysqlproxy.errors import ProxyError

# What a broken or hostile server can make PyMySQL raise.
_FAILS = (pymysql.MySQLError, ProxyError, OSError, ValueError, LookupError, TypeError)
_ACCESS = {1044, 1045, 1698, 1820, 3118, 3159, 3955, 4151}  # denied, locked, expired, TLS required

_UNSEEN_BY_RULES = (
    "what the monitor's account may not see is not understood: views and routines, and without both privileges any "
    "table, which may be a view then, meet every deny rule that lists tables or columns; grant what is named"
)


class _Finding(NamedTuple):
    fault: bool
    key: str
    sentence: str


def try_servers(config: Config, found: Findings) -> None:
    """Adds what is wrong and what is doubtful to ``found``, whose configuration has no fault so far."""
    probes = probe_all(config)
    reached = [server for server in config.servers if probes[server.name].facts is not None]
    if is_hop(config):
        for name, probe in probes.items():
            if probe.facts is None:
                remedy = "see that it runs, that this host may reach it, and that its own next hop is there"
                found.fault(f"servers[{name}]", f"{probe.error or 'does not answer'}; {remedy}")
        return
    for server in config.servers:
        _reachable(config, server, probes[server.name], found)
    asked: list[Callable[[], list[_Finding]]] = []
    for server in reached:
        asked.append(partial(_monitor, config, server))
        for user in config.users:
            if (login := _login(user)) is not None:
                asked.append(partial(_user, config, server, user, *login))
    with ThreadPoolExecutor(AT_ONCE, "check") as threads:
        for findings in threads.map(lambda ask: ask(), asked):
            for finding in findings:
                (found.fault if finding.fault else found.warn)(finding.key, finding.sentence)
    for user in config.users:
        if _login(user) is None:
            found.warn(
                f"users[{user.name}]", "its login to the servers was not tried: no password is known here"
            )
            if user.methods == ("mysql_native_password",):
                _only_sha1(user, probes, found)
    if reached:
        _cluster(config, probes, found)


def _only_sha1(user: User, probes: Mapping[str, Probe], found: Findings) -> None:
    """Of a password that only mysql_native_password shows, MySQL 9 takes nothing."""
    for name, probe in probes.items():
        if probe.facts is None or probe.facts.mariadb or int(probe.facts.version.partition(".")[0]) < 9:
            continue
        found.fault(
            f"users[{user.name}].methods",
            f"mysql_native_password shows SHA1 of the password, and {name} is MySQL {probe.facts.version}, which has "
            "no such method; add server_password, or let clients use caching_sha2_password",
        )


def _reachable(config: Config, server: Server, probe: Probe, found: Findings) -> None:
    if probe.facts is None:
        remedy = "see that it runs, that this host may reach it, and that the monitor's account exists on it"
        found.fault(f"servers[{server.name}]", f"{probe.error or 'does not answer'}; {remedy}")
        return
    if server.role == "worker" and not probe.facts.read_only:
        found.warn(
            f"servers[{server.name}]", "is a worker and not read_only; run SET GLOBAL read_only = 1 there"
        )
    if probe.facts.max_packet > config.limits.max_packet:
        found.warn(
            "limits.max_packet",
            f"is below max_allowed_packet of {server.name}, {probe.facts.max_packet}: "
            "clients get less than they would from the server; raise it",
        )


def _cluster(config: Config, probes: Mapping[str, Probe], found: Findings) -> None:
    view = view_of(config, probes)
    if view.manager is None:
        found.fault("servers", f"no server takes writes: {view.no_manager}; correct it on the servers")
    for alert in view.alerts:
        found.warn("servers", alert)
    for server in view.servers:
        if server.up and server.unreadable and server.role.value == "worker" and not server.maintenance:
            found.warn(f"servers[{server.name}]", f"takes no reads: {server.unreadable}")


def _monitor(config: Config, server: Server) -> list[_Finding]:
    user, password = config.monitor.user, resolve_secret(config.monitor.password)
    key = f"servers[{server.name}]"
    try:
        with _connected(config, server, user, password) as connection:
            findings = [_Finding(True, key, sentence) for sentence in missing_privileges(connection)]
            unseen = unseen_definitions(connection)
            findings += [_Finding(False, key, sentence) for sentence in unseen]
            if unseen and config.routing.rules and server.role == "manager":
                findings.append(_Finding(False, "routing.rules", _UNSEEN_BY_RULES))
            return findings + _writes_past(connection, server, "monitor.user", user)
    except _FAILS as error:
        return [_Finding(True, key, f"the monitor's account {user!r}: {describe(error)}; correct it there")]


def _user(config: Config, server: Server, user: User, name: str, secret: Secret) -> list[_Finding]:
    key = f"users[{user.name}]"
    try:
        with _connected(config, server, name, resolve_secret(secret)) as connection:
            return _writes_past(connection, server, key, name)
    except _FAILS as error:
        wrong = "cannot log in to" if error.args and error.args[0] in _ACCESS else "fails on"
        remedy = "create the account there or correct server_user and server_password"
        return [_Finding(True, key, f"{wrong} {server.name} as {name!r}: {describe(error)}; {remedy}")]


def _writes_past(connection: Any, server: Server, key: str, name: str) -> list[_Finding]:
    if server.role != "worker":
        return []
    privilege = can_write_past_read_only(connection)
    if privilege is None:
        return []
    sentence = f"{name!r} could write to {server.name} past read_only by {privilege}; revoke it there"
    return [_Finding(False, key, sentence)]


def _login(user: User) -> tuple[str, Secret] | None:
    """Name and password on the servers, where the configuration has them."""
    secret = user.password if user.server_password is None else user.server_password
    return None if secret is None else (user.server_user or user.name, secret)


@contextlib.contextmanager
def _connected(config: Config, server: Server, user: str, password: str) -> Iterator[Any]:
    connection = LimitedConnection(server, user, password, config.limits.connect_timeout)
    try:
        connection.login()
        yield connection
    finally:
        with contextlib.suppress(*_FAILS):
            connection.close()
