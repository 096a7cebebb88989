"""Rules files from the disk: TOML, the schema, and what must be unique over all of them. Called by ``app``, ``check``
and ``replay``; gives all of the rules or every fault, as ``file: key: reason; remedy``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mysqlproxy.config.load import toml
from mysqlproxy.config.schema import Config
from mysqlproxy.config.wording import sentences
from mysqlproxy.errors import ConfigFault
from mysqlproxy.gatekeeper.rules.firewall import Firewall, Loaded
from mysqlproxy.gatekeeper.rules.learned import Learned, read
from mysqlproxy.gatekeeper.rules.schema import Rule, RulesFile


def load_files(config: Config) -> list[Loaded]:
    """The files of ``routing.rules`` in their order.

    Raises:
        ConfigFault: with every fault in any of them.
    """
    loaded: list[Loaded] = []
    faults: list[str] = []
    seen: dict[str, Path] = {}
    servers = {server.name for server in config.servers}
    for path in config.routing.rules:
        try:
            content = read_rules(path)
        except ConfigFault as error:
            faults += error.faults
            continue
        for rule in content.rule:
            if rule.name in seen:
                faults.append(
                    f"{path}: rule[{rule.name}].name: is the name of another rule in {seen[rule.name]}; "
                    "names are unique over all files"
                )
            seen[rule.name] = path
            faults += [f"{path}: rule[{rule.name}].{fault}" for fault in _faults(rule, servers)]
        loaded.append(Loaded(path, content))
    if faults:
        raise ConfigFault(faults)
    return loaded


def load_learned(config: Config) -> dict[str, tuple[bool, Learned]]:
    """Account -> whether what is new is refused, and what is known.

    Raises:
        ConfigFault: a file that is to be enforced cannot be read.
    """
    found: dict[str, tuple[bool, Learned]] = {}
    files: dict[Path, Learned] = {}
    faults: list[str] = []
    for user in config.users:
        path = user.statements_file
        if user.statements == "any":
            continue
        if path is None:
            faults.append(f"users[{user.name}].statements: needs a file for the digests; add statements_file")
            continue
        enforced = user.statements == "enforce"
        try:
            if path not in files:
                files[path] = Learned(path, read(path) if enforced or path.exists() else frozenset())
            found[user.name] = enforced, files[path]
        except ConfigFault as error:
            faults += [f"users[{user.name}].statements_file: {fault}" for fault in error.faults]
    if faults:
        raise ConfigFault(faults)
    return found


def load_firewall(config: Config) -> Firewall:
    """All rules and learned statements.

    Raises:
        ConfigFault: with every fault in any of the files.
    """
    return Firewall(load_files(config), load_learned(config))


def _faults(rule: Rule, servers: set[str]) -> Sequence[str]:
    if rule.server is not None and rule.server not in servers:
        return [
            f"server: no server has the name {rule.server}; those there are: {', '.join(sorted(servers))}"
        ]
    return []


def read_rules(path: Path) -> RulesFile:
    """One rules file.

    Raises:
        ConfigFault: with every fault that it alone shows.
    """
    document: dict[str, Any] = toml(path)
    text = json.dumps(document, default=str)
    try:
        return RulesFile.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigFault([f"{path}: {line}" for line in sentences(error, document, RulesFile)]) from None
