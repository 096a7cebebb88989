"""The configuration from its file: TOML, the schema, absolute paths, then the checks across sections.

``load`` is called by ``serve`` at start and at each reload; ``read`` alone by the commands that show warnings
beside faults. Either gives a whole Config or every fault at once, without any value that may be a secret.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mysqlproxy.config.crosscheck import crosscheck
from mysqlproxy.config.schema import (
    AccountSource,
    Certificate,
    Chain,
    Config,
    Gatekeeper,
    Limits,
    Listen,
    Log,
    Monitor,
    Routing,
    Secret,
    SecretFrom,
    Server,
    Tls,
    User,
)
from mysqlproxy.config.wording import sentences
from mysqlproxy.errors import ConfigFault

_BUILTIN = "builtin:"  # in routing.rules: a file that comes with the package
MAX_FILE = 4 * 1024 * 1024  # bytes
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_log = logging.getLogger(__name__)


_SECTIONS: tuple[type[BaseModel], ...] = (
    Config, Listen, Tls, Routing, Limits, Log, Monitor, Server, AccountSource, User, Certificate, Chain,
    Gatekeeper,
)  # fmt: skip
# The place of an error in a union names the alternative that was tried, too, which is no key.
_ALL_KEYS = frozenset(
    field.alias or name for section in _SECTIONS for name, field in section.model_fields.items()
)


def load(path: Path) -> Config:
    """The configuration, checked; warnings go to the log.

    Raises:
        ConfigFault: with every fault found, as ``file: key: reason; remedy``.
    """
    config = read(path)
    findings = crosscheck(config, path)
    if findings.faults:
        raise ConfigFault(findings.faults)
    for warning in findings.warnings:
        _log.warning("%s", warning)
    return config


def read(path: Path) -> Config:
    """The configuration as its schema has it, relative paths resolved against the file's folder.

    Raises:
        ConfigFault: as ``load``, but only for what one section alone shows.
    """
    document = toml(path)
    base = path.absolute().parent
    try:
        return _absolute(_validated(document), base)
    except ValidationError as error:
        faults = [f"{path}: {line}" for line in sentences(error, document)]
        rest = _without_faults(document, error)
        if rest is not None:
            faults += crosscheck(_absolute(rest, base), path).faults
        raise ConfigFault(faults) from None


def _validated(document: dict[str, Any]) -> Config:
    # By way of JSON, because only there a strict model takes text for an enum and an array for a tuple.
    text = json.dumps(document, default=lambda date: {"date": str(date)})
    return Config.model_validate_json(text, strict=True)


def _without_faults(document: dict[str, Any], error: ValidationError) -> Config | None:
    """The configuration as if the wrong keys were not there, so that the checks across sections find what else is
    wrong; None when something is missing without them."""
    rest = copy.deepcopy(document)
    for detail in error.errors():
        node: Any = rest
        keys = [key for key in detail["loc"] if isinstance(key, int) or key in _ALL_KEYS]
        for key in keys[:-1]:
            inner = node.get(key) if isinstance(node, dict) else node[key] if isinstance(key, int) else None
            if not isinstance(inner, dict | list) or (isinstance(inner, list) and not inner):
                break
            if isinstance(inner, list) and not all(isinstance(item, dict) for item in inner):
                node.pop(key, None)  # one wrong item of a list of values: the whole list
                break
            node = inner
        else:
            if keys and isinstance(node, dict):
                node.pop(keys[-1], None)
        if isinstance(node, dict) and detail["type"] == "extra_forbidden":
            node.pop(detail["loc"][-1], None)
    try:
        return _validated(rest)
    except ValidationError:
        return None


def toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of ours, of bounded size.

    Raises:
        ConfigFault: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigFault([f"{path}: cannot be read: {reason}; name the file with --config FILE"]) from None
    if len(data) > MAX_FILE:
        raise ConfigFault([f"{path}: is larger than {MAX_FILE} bytes; name a configuration file"])
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigFault([f"{path}: line {line}: is not UTF-8; save the file as UTF-8"]) from None
    except RecursionError:
        raise ConfigFault([f"{path}: is nested too deeply; no key needs more than three levels"]) from None
    except ValueError as error:  # TOMLDecodeError, and a number with thousands of digits
        at = _AT_LINE.search(str(error))
        where = f"line {at[1]}" if at else "at its end" if "end of document" in str(error) else "syntax"
        reason = _AT_LINE.sub("", str(error)).removesuffix(" (at end of document)")
        raise ConfigFault([f"{path}: {where}: {reason}; write it as TOML (https://toml.io)"]) from None


def _rules_file(rule: Path, base: Path) -> Path:
    return shipped_rules(str(rule)[len(_BUILTIN) :]) if str(rule).startswith(_BUILTIN) else base / rule


def shipped_rules(name: str) -> Path:
    """The file of rules of this name that comes with the package, as in "default"."""
    package = Path(__file__).parent.parent
    folder = package / "rules"  # where setup.py puts them; in a checkout they lie beside the package
    return (folder if folder.is_dir() else package.parent / "rules") / f"{name}.toml"


def _absolute(config: Config, base: Path) -> Config:
    def secret(value: Secret | None) -> Secret | None:
        if isinstance(value, SecretFrom) and value.file is not None:
            return value.model_copy(update={"file": base / value.file})
        return value

    def path(value: Path | None) -> Path | None:
        return None if value is None else base / value

    def socket(address: str) -> str:
        return f"unix:{base / address[5:]}" if address.startswith("unix:") and address[5:] else address

    def server(old: Server) -> Server:
        paths = {name: path(getattr(old, name)) for name in ("tls_ca", "tls_certificate", "tls_key")}
        return old.model_copy(update={"address": socket(old.address), **paths})

    def user(old: User) -> User:
        update = {
            "password": secret(old.password),
            "passwords": tuple(map(secret, old.passwords)),
            "server_password": secret(old.server_password),
            "statements_file": path(old.statements_file),
        }
        return old.model_copy(update=update)

    chain = config.chain
    if chain is not None:
        known = (one.model_copy(update={"keys": base / one.keys}) for one in chain.gatekeepers)
        chain = chain.model_copy(update={"signing_key": path(chain.signing_key), "gatekeepers": tuple(known)})
    tls = config.tls
    if tls is not None:
        paths = {name: path(getattr(tls, name)) for name in ("certificate", "key", "client_ca")}
        tls = tls.model_copy(update=paths)
    return config.model_copy(
        update={
            "tls": tls,
            "chain": chain,
            "listen": config.listen.model_copy(update={"mysql": tuple(map(socket, config.listen.mysql))}),
            "routing": config.routing.model_copy(
                update={"rules": tuple(_rules_file(rule, base) for rule in config.routing.rules)}
            ),
            "monitor": config.monitor.model_copy(update={"password": secret(config.monitor.password)}),
            "servers": tuple(map(server, config.servers)),
            "users": tuple(map(user, config.users)),
        }
    )
