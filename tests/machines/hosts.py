"""Machines for the tests of deploy/provision: namespaces on a switch, each a copy of this machine, changes are lost.

The module's user data is carried out in them, from fetching the bundle to ``host.sh``, with the rules of the module's
security groups between them. In place of cloud-init, systemd, AWS's command line and CloudWatch's agent stand the few
lines of ``stand_ins``; the bundle is ``bundle.sh``'s, but for the wheels, of which one runs the checkout.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mysqlproxy.demo.install import Installation, make_template
from mysqlproxy.demo.network import Network, Rule
from tests.machines.module import DEPLOY, edges, user_data

CHECKOUT = DEPLOY.parent
STAND_INS = Path(__file__).parent / "stand_ins"
ROLES = {
    "gatekeeper": "gatekeeper",
    "trusted-host": "trusted_host",
    "proxy": "proxy",
    "manager": "manager",
    "worker1": "worker",
}
ADDRESSES = {name: f"10.78.0.{number}" for number, name in enumerate((*ROLES, "client"), 10)}
_ROOT = (
    "CREATE USER root@localhost IDENTIFIED VIA unix_socket",
    "GRANT ALL PRIVILEGES ON *.* TO root@localhost WITH GRANT OPTION",
)


class Machines:
    """All hosts of a chain; ``stage`` has a folder for each, with its log."""

    def __init__(self, stage: Path, network: Network) -> None:
        self.stage = stage
        self.network = network

    def status(self, name: str) -> str:
        """How host.sh ended: ok, failed, or "" as long as it runs."""
        path = self.stage / name / "status"
        return path.read_text().strip() if path.exists() else ""

    def log(self, name: str) -> str:
        paths = (self.stage / name / file for file in ("init.log", "log"))
        return "".join(path.read_text("utf-8", "replace") for path in paths if path.exists())

    def within(self, name: str) -> list[str]:
        """What begins a command in the host's network."""
        return ["ip", "netns", "exec", self.network[name].namespace]

    def reaches(self, name: str, target: str) -> bool:
        """Whether this host can connect to port 3306 of that one."""
        probe = f"exec 3<>/dev/tcp/{ADDRESSES[target]}/3306"
        command = [*self.within(name), "timeout", "2", "bash", "-c", probe]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


def rules() -> list[Rule]:
    """The module's security groups, and its clients'."""
    names: dict[str, list[str]] = {}
    for name, role in ROLES.items():
        names.setdefault(role, []).append(name)
    found = [Rule("client", "gatekeeper", 3306)]
    for edge in edges():
        found += [
            Rule(source, target, edge["port"])
            for source in names[edge["from"]]
            for target in names.get(edge["to"], ())
        ]
    return found


@contextmanager
def machines(
    stage: Path, names: Sequence[str] = tuple(ROLES), given: Mapping[str, str] | None = None
) -> Iterator[Machines]:
    """Start these at once, as Terraform does, with more or other values for their user data."""
    network = Network(ADDRESSES, rules(), ("client",), f"mysqlproxy-{secrets.token_hex(3)}")
    made = Machines(stage, network)
    environment = {**os.environ, "CHECKOUT": str(CHECKOUT), "PYTHON": str(STAND_INS / "python3.11")}
    environment["TEST_PYTHON"] = sys.executable
    bundle = [str(DEPLOY / "provision/bundle.sh"), str(stage / "bundle.tar.gz")]
    subprocess.run(bundle, env=environment, check=True, stdout=subprocess.DEVNULL)
    if "manager" in names:
        make_template(Installation.find(), stage / "template", _ROOT, lambda: None)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        network.start()
        for name in names:
            _furnish(stage / name, name, stage, given or {})
            folders = {str(CHECKOUT), sys.prefix, sys.base_prefix}
            command = [
                *made.within(name),
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *(str(STAND_INS / "init"), str(stage / name), *sorted(folders)),
            ]
            with (stage / name / "init.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        yield made
    finally:
        for process in processes:
            process.kill()
            process.wait()
        network.stop()


def _furnish(folder: Path, name: str, stage: Path, given: Mapping[str, str]) -> None:
    role = ROLES[name]
    folder.mkdir(exist_ok=True)
    (folder / "bundle.tar.gz").hardlink_to(stage / "bundle.tar.gz")
    values = {
        "role": role,
        "name": name,
        "secret": f"test/{name}",
        "workers": "worker1" if role == "proxy" else "",
        "managed": "",
        "master": "",
        "log_group": "/test/hosts",
        "region": "eu-central-1",
        "packages": "[]",
        "addresses": "\n      ".join(f"{ADDRESSES[other]} {other}" for other in neighbours(name)),
        "bundle": "s3://test/bundle.tar.gz",
        **given,
    }
    (folder / "user-data").write_text(user_data(values))
    if role in ("manager", "worker"):
        shutil.copytree(stage / "template", folder / "data")


def neighbours(name: str) -> list[str]:
    """The hosts that this one is told of, as main.tf has it: itself, and whom it may reach or be reached by."""
    arrows = {(edge["from"], edge["to"]) for edge in edges()}
    own = ROLES[name]
    return [one for one, role in ROLES.items() if one == name or {(own, role), (role, own)} & arrows]
