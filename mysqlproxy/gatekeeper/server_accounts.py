"""The servers' own accounts as accounts of the daemon ([accounts] from = "servers"). Pure; for ``account_reader``.

A host of a server's account becomes the networks it may come from: the client's address counts, not the daemon's,
which is what the server sees. Left out, and so unknown here: accounts without a password that could be checked
(unix_socket, PAM), of hosts given by name or by an odd pattern, roles, and the anonymous ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, ip_network
from typing import Any, NamedTuple

from mysqlproxy.config.schema import Config, Network, User
from mysqlproxy.config.secrets import resolve_secret
from mysqlproxy.gatekeeper.accounts import Account, account_of
from mysqlproxy.gatekeeper.certificates import CertificateRule
from mysqlproxy.gatekeeper.secrets import ED25519_PREFIX, PARSEC_PREFIX, Secret

QUESTION_MARIADB = "SELECT Host, User, Priv FROM mysql.global_priv WHERE User <> ''"
QUESTION_MYSQL = (
    "SELECT Host, User, plugin, authentication_string, account_locked, password_expired, ssl_type, x509_issuer, "
    "x509_subject, JSON_UNQUOTE(JSON_EXTRACT(User_attributes, '$.additional_password')) AS additional "
    "FROM mysql.user WHERE User <> ''"
)

MAX_NAME = 80  # characters, as in [[users]]

_LOCAL: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_WILD = re.compile(r"(\d{1,3}\.){1,3}%")
_METHODS = ("mysql_native_password", "ed25519", "parsec", "caching_sha2_password", "sha256_password", "")

_PREFIXES = {"ed25519": ED25519_PREFIX, "parsec": PARSEC_PREFIX}


class ServerAccount(NamedTuple):
    """One row, the same for both kinds of server.

    Attributes:
        passwords: (plugin, authentication_string) of each way in; any will do.
        ssl_type: "", ANY, X509 or SPECIFIED.
    """

    name: str
    host: str
    passwords: tuple[tuple[str, str], ...]
    locked: bool
    expired: bool
    ssl_type: str
    issuer: str
    subject: str


def of_mysql(row: Mapping[str, Any]) -> ServerAccount:
    """A row of ``QUESTION_MYSQL``."""
    plugin = str(row["plugin"])
    passwords = [(plugin, row["authentication_string"] or "")]
    if row["additional"]:
        passwords.append((plugin, str(row["additional"])))
    return ServerAccount(
        str(row["User"]),
        str(row["Host"]),
        tuple(passwords),
        row["account_locked"] == "Y",
        row["password_expired"] == "Y",  # noqa: S105
        str(row["ssl_type"] or ""),
        _text(row["x509_issuer"]),
        _text(row["x509_subject"]),
    )


def of_mariadb(row: Mapping[str, Any]) -> ServerAccount | None:
    """A row of ``QUESTION_MARIADB``; None for a role."""
    given = json.loads(row["Priv"])
    if given.get("is_role"):
        return None
    ways = given.get("auth_or") or [{}]
    passwords = tuple(
        (str({**given, **way}.get("plugin", "")), str({**given, **way}.get("authentication_string", "")))
        for way in ways
    )
    ssl_type = ("", "ANY", "X509", "SPECIFIED")[int(given.get("ssl_type", 0)) & 3]
    return ServerAccount(
        str(row["User"]),
        str(row["Host"]),
        passwords,
        bool(given.get("account_locked")),
        given.get("password_last_changed") == 0,
        ssl_type,
        str(given.get("x509_issuer", "")),
        str(given.get("x509_subject", "")),
    )


def accounts_of(
    rows: Iterable[ServerAccount], config: Config, known: Mapping[tuple[str, str], Secret]
) -> tuple[list[Account], dict[tuple[str, str], Secret]]:
    """The accounts, of one name the most specific host first, with the defaults of [routing].

    Args:
        known: the secrets of the reading before: what they have learned stays.

    Returns:
        the accounts, and their secrets.
    """
    found: list[tuple[int, Account]] = []
    secrets: dict[tuple[str, str], Secret] = {}
    for row in rows:
        networks = networks_of(row.host)
        for password in row.passwords:
            if password not in secrets and (secret := known.get(password) or _secret(*password)) is not None:
                secrets[password] = secret
        own = tuple(secrets[password] for password in row.passwords if password in secrets)
        if networks is None or not own or len(row.name) > MAX_NAME:
            continue
        rule = None
        if row.ssl_type == "X509" or row.issuer or row.subject:
            rule = CertificateRule(_slashed(row.subject), _slashed(row.issuer))
        account = replace(
            account_of(User(name=row.name, password=""), config, resolve_secret),
            secrets=own,
            allow_from=networks,
            locked=row.locked,
            expired=row.expired,
            tls_required=row.ssl_type != "",
            certificate=rule,
        )
        found.append((max((network.prefixlen for network in networks), default=-1), account))
    found.sort(key=lambda item: -item[0])
    return [account for _, account in found], secrets


def networks_of(host: str) -> tuple[Network, ...] | None:
    """From where an account of this host may come, () from anywhere; None for what addresses cannot say."""
    if host in ("%", ""):
        return ()
    if host == "localhost":
        return _LOCAL
    if _WILD.fullmatch(host):
        parts = host.split(".")[:-1]
        host = f"{'.'.join(parts + ['0'] * (4 - len(parts)))}/{8 * len(parts)}"
    try:
        network = ip_network(host)
    except ValueError:
        return None
    if network == IPv4Network("127.0.0.1/32"):
        return _LOCAL  # the daemon's own host has more names for itself
    return (network,)


def _secret(plugin: str, text: str) -> Secret | None:
    if plugin not in _METHODS:
        return None
    if not text:
        return Secret("")
    try:
        return Secret.from_verifier(_PREFIXES.get(plugin, "") + text)
    except ValueError:
        return None  # "invalid" of MariaDB; a hash from before MySQL 4.1


def _slashed(name: str) -> str | None:
    """As REQUIRE SUBJECT has it; a text that is no name fits nothing."""
    return (name if name.startswith("/") else f"/{name}") if name else None


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
