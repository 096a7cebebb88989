"""Checks across the configuration's sections, and against this machine: files, environment, limits.

Called by ``config.load`` and by ``mysqlproxy check``. Reads files and the environment, opens no connection,
changes nothing. Each finding reads ``file: key: reason; remedy``.
"""

from __future__ import annotations

import re
import resource
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mysqlproxy.config.addresses import Address, parse_address, parse_listen
from mysqlproxy.config.certificates import chain_fault, expiries, trust_fault
from mysqlproxy.config.chain import check_chain, is_hop
from mysqlproxy.config.schema import ChainRole, Config, Secret, SecretFrom, Strategy, User
from mysqlproxy.config.secrets import exposed, resolve_secret
from mysqlproxy.errors import ConfigFault

SPARE_FILES = 64  # log, event loop, monitor, metrics, and what libraries open for a moment
SOON = timedelta(days=30)
_NATIVE = re.compile(r"\*[0-9A-Fa-f]{40}")


@dataclass(slots=True)
class Findings:
    """What is wrong (``faults``: the daemon must not start) and what is doubtful (``warnings``)."""

    file: Path
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, key: str, sentence: str) -> None:
        self.faults.append(f"{self.file}: {key}: {sentence}")

    def warn(self, key: str, sentence: str) -> None:
        self.warnings.append(f"{self.file}: {key}: {sentence}")


def crosscheck(config: Config, file: Path) -> Findings:
    """All findings; ``config`` as ``config.load.read`` gives it, with absolute paths."""
    found = Findings(file)
    for check in (_unsupported, _listeners, _tls, _open_files, _servers, _strategies, _users, _secrets):
        check(config, found)
    check_chain(config, found.fault, found.warn)
    _expiries(config, found)
    return found


def _unsupported(config: Config, found: Findings) -> None:
    if config.listen.processes != 1:
        found.fault("listen.processes", "only 1 process is supported in this version; write 1")
    if not config.monitor.user and not is_hop(config):
        found.fault("monitor.user", "is missing; add it")


def _listeners(config: Config, found: Findings) -> None:
    taken: list[tuple[str, Address]] = []
    texts = [("listen.mysql", text) for text in config.listen.mysql]
    if config.listen.http:
        texts.append(("listen.http", config.listen.http))
    for key, text in texts:
        address = _parsed(parse_listen, text, key, found)
        if address is None:
            continue
        if key == "listen.http" and address.path:
            found.fault(key, "cannot be a unix socket; write host:port, or an empty text to turn it off")
        for other_key, other in taken:
            if _overlap(address, other):
                found.fault(key, f"{address} is taken by {other_key}; choose another port")
        taken.append((key, address))
        if address.path and not Path(address.path).parent.is_dir():
            found.warn(key, f"the folder of {address.path} does not exist; make it before the daemon starts")


def _overlap(one: Address, other: Address) -> bool:
    if one.path or other.path:
        return one.path == other.path
    everywhere = {"", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    return one.port == other.port != 0 and (
        one.host == other.host or one.host in everywhere or other.host in everywhere
    )


def _tls(config: Config, found: Findings) -> None:
    if config.tls is not None and (fault := chain_fault(config.tls.certificate, config.tls.key)):
        found.fault(f"tls.{fault[0]}", fault[1])
    if config.tls is not None and (warning := exposed(config.tls.key)):
        found.warn("tls.key", warning)
    client_ca = None if config.tls is None else config.tls.client_ca
    if client_ca is not None and (sentence := trust_fault(client_ca)):
        found.fault("tls.client_ca", sentence)


def _expiries(config: Config, found: Findings) -> None:
    now = datetime.now(UTC)
    for key, path, end in expiries(config):
        if end - now < SOON:
            expires = "expires" if end > now else "expired"
            found.warn(key, f"{path} {expires} at {end:%Y-%m-%d %H:%M} UTC; renew it and reload")


def _open_files(config: Config, found: Findings) -> None:
    clients = config.limits.max_connections
    servers = sum(server.max_connections for server in config.servers)
    needed = clients + servers + SPARE_FILES
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard not in (resource.RLIM_INFINITY, -1) and needed > hard:
        found.fault(
            "limits.max_connections",
            f"{clients} clients and {servers} connections to servers need {needed} open files, and this "
            f"system allows {hard}; raise the limit (LimitNOFILE= of the unit, ulimit -Hn) or lower it",
        )
    for user in config.users:
        if user.max_connections is not None and user.max_connections > clients:
            key = f"users[{user.name}].max_connections"
            found.warn(key, f"is above limits.max_connections, {clients}, which comes first; lower it")


def _servers(config: Config, found: Findings) -> None:
    for name in _repeated(server.name for server in config.servers):
        found.fault(f"servers[{name}].name", "is given twice; names are unique")
    managers = [server.name for server in config.servers if server.role == "manager"]
    if len(managers) != 1:
        which = f"{len(managers)} have it: {', '.join(managers)}" if managers else "none has it"
        found.fault("servers", f'exactly one has the role "manager", and {which}; make the others "worker"')
    seen: dict[Address, str] = {}
    for server in config.servers:
        key = f"servers[{server.name}]"
        address = _parsed(parse_address, server.address, f"{key}.address", found)
        if address is not None and (other := seen.setdefault(address, server.name)) != server.name:
            found.fault(
                f"{key}.address", f"{address} is the address of {other}, too; each server has its own"
            )
        if server.tls == "verify" and address is not None and address.path:
            found.fault(f"{key}.tls", 'a unix socket has no host name to verify; write "off"')
        if server.tls_ca is not None:
            if server.tls != "verify":
                found.warn(f"{key}.tls_ca", f'is not used with tls = "{server.tls}"; write tls = "verify"')
            if fault := trust_fault(server.tls_ca):
                found.fault(f"{key}.tls_ca", fault)
        if (server.tls_certificate is None) != (server.tls_key is None):
            given = "tls_certificate" if server.tls_key is None else "tls_key"
            missing = "tls_key" if server.tls_key is None else "tls_certificate"
            found.fault(f"{key}.{given}", f"needs {missing} beside it; add it")
        if server.tls_certificate is not None and server.tls_key is not None:
            if wrong := chain_fault(server.tls_certificate, server.tls_key):
                found.fault(f"{key}.tls_{wrong[0]}", wrong[1])
            if server.tls == "off":
                found.warn(
                    f"{key}.tls_certificate", 'is not used with tls = "off"; write "required" or "verify"'
                )
            if warning := exposed(server.tls_key):
                found.warn(f"{key}.tls_key", warning)


def _strategies(config: Config, found: Findings) -> None:
    workers = [server for server in config.servers if server.role == "worker"]
    if not workers or any(server.weight for server in workers):
        return
    places = [("routing", config.routing.strategy)]
    places += [(f"users[{user.name}]", user.strategy) for user in config.users if user.strategy]
    for place, strategy in places:
        if strategy is Strategy.WEIGHTED:
            sentence = "is weighted and every worker has weight 0; give one of them a weight above 0"
            found.fault(f"{place}.strategy", sentence)


def _users(config: Config, found: Findings) -> None:
    for name in _repeated(user.name for user in config.users):
        found.fault(f"users[{name}].name", "is given twice; names are unique")
    role = None if config.chain is None else config.chain.role
    if not config.users and config.accounts.from_ == "configuration" and role is not ChainRole.TRUSTED_HOST:
        found.warn("users", "there is none, so nobody can log in; add [[users]]")
    for user in config.users:
        key = f"users[{user.name}]"
        if role is ChainRole.PROXY:
            continue  # no password opens it
        if not _passwords(user) and not _verifiers(user) and user.certificate is None:
            found.fault(key, "has neither password nor verifier; add one of them")
        if user.password is not None and user.verifier is not None:
            found.fault(key, "has both password and verifier; leave one of them out")
        if user.verifier is not None and (sentence := verifier_fault(user.verifier)):
            found.fault(f"{key}.verifier", sentence)
        for verifier in user.verifiers:
            if sentence := verifier_fault(verifier):
                found.fault(f"{key}.verifiers", sentence)
        _ways_in(config, user, found)
        if role is not ChainRole.GATEKEEPER:
            _way_on(user, found)


def _ways_in(config: Config, user: User, found: Findings) -> None:
    """What keeps everybody from logging in to an account."""
    key = f"users[{user.name}]"
    tls = config.tls is not None
    secure = tls or any(address.startswith("unix:") for address in config.listen.mysql)
    if user.certificate is not None and (config.tls is None or config.tls.client_ca is None):
        found.fault(f"{key}.certificate", "needs tls.client_ca, so that clients are asked for one; add it")
    if user.tls_required and not secure:
        found.fault(f"{key}.tls_required", "needs the section [tls]; add it")
    if user.methods == ("mysql_clear_password",) and not secure:
        found.fault(f"{key}.methods", "mysql_clear_password is for TLS and unix sockets only; add [tls]")
    if user.expires is not None and user.expires <= datetime.now(UTC):
        found.warn(
            f"{key}.expires", "is past, so nobody can log in to it; set another date or remove the account"
        )


def _way_on(user: User, found: Findings) -> None:
    """What keeps those who have logged in from the servers: no password is stored, and their login shows none."""
    key = f"users[{user.name}]"
    if _passwords(user) or user.server_password is not None:
        return
    if not _verifiers(user):
        if user.certificate is not None:
            found.warn(
                key, "logs in to the servers with an empty password; give server_password if it has one there"
            )
    elif user.methods and set(user.methods) <= {"client_ed25519", "parsec"}:
        found.fault(
            f"{key}.methods",
            f"{' and '.join(user.methods)} show nothing that a server would take, and no password is stored: "
            "nobody gets to the servers; add server_password, or another method",
        )


def _passwords(user: User) -> list[Secret]:
    return [*([] if user.password is None else [user.password]), *user.passwords]


def _verifiers(user: User) -> list[str]:
    return [*([] if user.verifier is None else [user.verifier]), *user.verifiers]


def verifier_fault(verifier: str) -> str:
    """What the form alone shows; "" when it may be one. The gatekeeper knows the methods' own forms."""
    if not verifier:
        return "is empty; write what mysqlproxy user hash prints"
    if verifier.startswith("*") and not _NATIVE.fullmatch(verifier):
        return "is no mysql_native_password verifier (* and 40 hexadecimal digits); see mysqlproxy user hash"
    if not verifier.startswith(("*", "$")):
        return "begins with neither * nor $; write what mysqlproxy user hash prints"
    return ""


def _secrets(config: Config, found: Findings) -> None:
    secrets: list[tuple[str, Secret | None]] = [("monitor.password", config.monitor.password)]
    signing = None if config.chain is None else config.chain.signing_key
    if signing is not None and (warning := exposed(signing)):
        found.warn("chain.signing_key", warning)
    for user in config.users:
        secrets.append((f"users[{user.name}].password", user.password))
        secrets += [(f"users[{user.name}].passwords", password) for password in user.passwords]
        secrets.append((f"users[{user.name}].server_password", user.server_password))
    for key, secret in secrets:
        if secret is None:
            continue
        try:
            value = resolve_secret(secret)
        except ConfigFault as error:
            found.fault(key, error.faults[0])
            continue
        if "\0" in value:
            found.fault(key, "holds a NUL, which no login packet can carry; change the password")
        if isinstance(secret, SecretFrom) and secret.file is not None and (warning := exposed(secret.file)):
            found.warn(key, warning)
    plain = any(isinstance(secret, str) and secret for _, secret in secrets)
    if plain and (warning := exposed(found.file.absolute())):
        found.warn("password", warning)


def _parsed(parse: Callable[[str], Address], text: str, key: str, found: Findings) -> Address | None:
    try:
        return parse(text)
    except ValueError as error:
        found.fault(key, f"{error}; write host:port, [ipv6]:port or unix:/path")
        return None


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
