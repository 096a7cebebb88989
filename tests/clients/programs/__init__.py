"""Small programs in the languages of the drivers, and how they are run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.site import Site

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache/clients"
CONNECTOR_J = Path("/usr/share/java/mariadb-java-client.jar")
SECONDS = 60.0


def run_program(name: str, site: Site, *arguments: str) -> Any:
    """Run one of the programs against the site; what it printed as JSON.

    Skips the test when the language or the driver is not on this machine.
    """
    environment = {
        **os.environ,
        "HOST": site.host,
        "PORT": str(site.port),
        "DATABASE_USER": site.user,
        "PASSWORD": site.password,
        "DATABASE": site.schema,
    }
    command = [*_COMMANDS[Path(name).suffix](name), *arguments]
    done = subprocess.run(
        command, env=environment, cwd=HERE, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, (
        f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}{done.stdout}"
    )
    return json.loads(done.stdout)


def _node(name: str) -> list[str]:
    modules = CACHE / "node_modules"
    _need(shutil.which("node") is not None, "node is not installed")
    _need(modules.is_dir(), "Node's drivers are not installed: tests/clients/get.sh gets them by npm")
    # Modules are looked up from where the program lies.
    for program in HERE.glob("*.mjs"):
        shutil.copyfile(program, CACHE / program.name)
    return ["node", str(CACHE / name)]


def _php(name: str) -> list[str]:
    _need(shutil.which("php") is not None, "php is not installed (packages php-cli, php-mysql)")
    modules = subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout.split()
    _need({"mysqli", "pdo_mysql"} <= set(modules), "PHP has no mysqli or PDO (package php-mysql)")
    return ["php", name]


def _perl(name: str) -> list[str]:
    _need(shutil.which("perl") is not None, "perl is not installed")
    found = (
        subprocess.run(["perl", "-MDBD::MariaDB", "-e1"], capture_output=True, check=False).returncode == 0
    )
    _need(found, "DBD::MariaDB is not installed (package libdbd-mariadb-perl)")
    return ["perl", name]


def _java(name: str) -> list[str]:
    _need(shutil.which("javac") is not None, "there is no JDK")
    _need(CONNECTOR_J.exists(), "MariaDB Connector/J is not installed (package libmariadb-java)")
    return ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", str(CONNECTOR_J), name]


def _need(there: bool, reason: str) -> None:
    if not there:
        pytest.skip(reason)


_COMMANDS = {
    ".py": lambda name: [sys.executable, name],
    ".mjs": _node,
    ".php": _php,
    ".pl": _perl,
    ".java": _java,
}
