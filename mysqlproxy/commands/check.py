"""``mysqlproxy check``: the configuration with every fault and warning, and with --connect the servers, too.

Called by ``cli``. Starts nothing and changes nothing, on this machine or on a server.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mysqlproxy.commands.connect import try_servers
from mysqlproxy.config.chain import is_hop
from mysqlproxy.config.crosscheck import Findings, crosscheck
from mysqlproxy.config.load import read
from mysqlproxy.config.schema import Config
from mysqlproxy.errors import ConfigFault
from mysqlproxy.gatekeeper.certificates import CertificateRule
from mysqlproxy.gatekeeper.chain import chain_of
from mysqlproxy.gatekeeper.rules.firewall import Firewall
from mysqlproxy.gatekeeper.rules.load import load_files, load_learned
from mysqlproxy.gatekeeper.rules.trial import try_cases
from mysqlproxy.gatekeeper.secrets import Secret


def check(file: Path, *, connect: bool) -> int:
    """Prints ``ok: ...`` on standard output, or every fault on standard error. Returns the exit status.

    Raises:
        ConfigFault: the file cannot be read as a configuration; then nothing else could be checked.
    """
    config = read(file)
    found = crosscheck(config, file)
    _verifiers(config, found)
    order = _rules(config, found)
    try:
        chain_of(config)
    except ConfigFault as error:
        found.faults += [f"{file}: {fault}" for fault in error.faults]
    if connect and not found.faults:
        try_servers(config, found)
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for fault in found.faults:
        print(fault, file=sys.stderr)
    if found.faults:
        return 1
    for line in order:
        print(line)
    print(f"ok: {_count(len(config.servers), 'server')}, {_count(len(config.users), 'user')}")
    return 0


def _verifiers(config: Config, found: Findings) -> None:
    """The gatekeeper's own parser has the last word; what ``crosscheck`` refused is not said twice."""
    for user in config.users:
        verifiers = [("verifiers", text) for text in user.verifiers]
        if user.verifier is not None:
            verifiers.append(("verifier", user.verifier))
        for name, text in verifiers:
            key = f"users[{user.name}].{name}"
            if any(f": {key}: " in fault for fault in found.faults):
                continue
            try:
                Secret.from_verifier(text)
            except ValueError as error:
                found.fault(key, f"{error}; write what mysqlproxy user hash prints")
        if (wanted := user.certificate) is not None:
            try:
                CertificateRule(wanted.subject, wanted.issuer, wanted.fingerprint)
            except ValueError as error:
                found.fault(f"users[{user.name}]", str(error))


def _rules(config: Config, found: Findings) -> list[str]:
    """The rules in the order in which they are asked, one a line; their cases are run."""
    try:
        files, learned = load_files(config), load_learned(config)
    except ConfigFault as error:
        found.faults += error.faults
        return []
    for file in files:
        tried = try_cases(file)
        found.faults += tried.faults
        found.warnings += tried.warnings
        named = [
            rule.name for rule in file.content.rule if rule.action == "deny" and (rule.tables or rule.columns)
        ]
        if is_hop(config) and named:
            found.warn(
                "routing.rules",
                f"{', '.join(named)}: no views are known here, so a deny rule that lists tables or columns refuses "
                'every statement with a table, or logs it with not_understood = "pass"; move it to the proxy',
            )
    return [
        f"rule {number}: priority {entry.rule.priority}, {entry.rule.action} {entry.rule.name}"
        for number, entry in enumerate(Firewall(files, learned).entries, 1)
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
