"""How each suite is run, and what its tests came to: a mapping of test id to passed, failed or skipped.

A suite runs in a process of its own, with its own copy of its project from the source distribution.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from tests.suites.scene import ACCOUNT, OFFLOAD_ACCOUNT, STRONG_ACCOUNT
from tests.suites.sources import source

Outcomes = dict[str, str]
INSIDE = Path(__file__).parent / "inside"
MODULES = {"mysqldb": "MySQLdb", "pymysql": "pymysql", "mysqlconnector": "mysql.connector"}
_RANK = {"passed": 0, "skipped": 1, "failed": 2}
_JUNIT = {"failure": "failed", "error": "failed", "skipped": "skipped"}


def _labels(name: str) -> tuple[str, ...]:
    return tuple((Path(__file__).parent / name).read_text("utf-8").split())


# The parts of Django's suite that talk to the database; the rest asks it little or nothing.
DJANGO = _labels("django_labels.txt")
# Without transactions around them each test empties all tables at its end, which takes ten times as long.
DJANGO_AUTOCOMMIT = _labels("django_autocommit_labels.txt")
SQLALCHEMY = ("test/dialect/mysql", "test/dialect/test_suite.py")


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite with one driver.

    Attributes:
        parts: pytest's paths for SQLAlchemy, labels for Django.
        autocommit: reads run outside transactions, so that they may go to workers.
        account: whom it logs in as.
    """

    name: str
    project: str
    driver: str
    parts: Sequence[str]
    autocommit: bool = False
    account: str = ACCOUNT

    @property
    def missing(self) -> str:
        """The driver's module when it is not installed, "" when it is."""
        module = MODULES[self.driver]
        return "" if importlib.util.find_spec(module.partition(".")[0]) else module

    def of(self, *parts: str) -> Suite:
        """The same with other parts."""
        return replace(self, parts=parts)


SUITES = {
    suite.name: suite
    for suite in (
        Suite("sqlalchemy-pymysql", "SQLAlchemy", "pymysql", SQLALCHEMY),
        Suite("sqlalchemy-mysqldb", "SQLAlchemy", "mysqldb", SQLALCHEMY),
        Suite("sqlalchemy-mysqlconnector", "SQLAlchemy", "mysqlconnector", SQLALCHEMY),
        Suite("sqlalchemy-autocommit", "SQLAlchemy", "pymysql", SQLALCHEMY, True, STRONG_ACCOUNT),
        Suite("sqlalchemy-offload", "SQLAlchemy", "pymysql", SQLALCHEMY, account=OFFLOAD_ACCOUNT),
        Suite("django-mysqldb", "Django", "mysqldb", DJANGO),
        Suite("django-pymysql", "Django", "pymysql", DJANGO),
        Suite("django-offload", "Django", "mysqldb", DJANGO, account=OFFLOAD_ACCOUNT),
        Suite("django-autocommit", "Django", "pymysql", DJANGO_AUTOCOMMIT, True),
    )
}


def run(suite: Suite, port: int, password: str, files: Path, seconds: float) -> Outcomes:
    """Run it against this port of 127.0.0.1; ``files`` is the stem of the log and of what it writes.

    Raises:
        NoSource: the source distribution can't be had.
        RuntimeError: it took too long or ran no test.
    """
    folder = source(suite.project)
    files.parent.mkdir(parents=True, exist_ok=True)
    outcomes = files.with_suffix(".outcomes")
    outcomes.unlink(missing_ok=True)
    if suite.project == "Django":
        command, variables = _django(suite, folder, port, password, outcomes)
        folder /= "tests"
    else:
        command, variables = _sqlalchemy(suite, folder, port, password, outcomes)
    log = files.with_suffix(".log")
    with log.open("wb") as stream:
        try:
            subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"{suite.name} took more than {seconds:g} s; {log} says how far it got"
            ) from None
    read = _from_lines if suite.project == "Django" else _from_junit
    found = merge(read(outcomes)) if outcomes.exists() else {}
    if "passed" not in found.values():
        raise RuntimeError(f"{suite.name}: no test passed:\n{log.read_text('utf-8', 'replace')[-2000:]}")
    return found


def _sqlalchemy(
    suite: Suite, folder: Path, port: int, password: str, outcomes: Path
) -> tuple[list[str], Mapping[str, str]]:
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", f"--junit-xml={outcomes}"]
    # Theirs end the run at the 250th failure.
    options += ["-o", "addopts=-p warnings -p logging --strict-markers"]
    url = f"mysql+{suite.driver}://{suite.account}:{password}@127.0.0.1:{port}/test?charset=utf8mb4"
    if suite.autocommit:
        url += "&autocommit=1"
    command = [sys.executable, "-m", "pytest", *options, f"--dburi={url}", *suite.parts]
    return command, {"PYTHONPATH": str(folder / "lib"), "PYTEST_ADDOPTS": ""}


def _django(
    suite: Suite, folder: Path, port: int, password: str, outcomes: Path
) -> tuple[list[str], Mapping[str, str]]:
    options = ["--settings=split_settings", "--noinput", "--parallel=1"]
    command = [sys.executable, "-W", "ignore", "runtests.py", *options, *suite.parts]
    return command, {
        "PYTHONPATH": os.pathsep.join([str(folder), str(INSIDE)]),
        "SUITES_DRIVER": suite.driver,
        "SUITES_ATOMIC": "0" if suite.autocommit else "1",
        "SUITES_PORT": str(port),
        "SUITES_USER": suite.account,
        "SUITES_PASSWORD": password,
        "SUITES_OUTCOMES": str(outcomes),
    }


def _from_lines(path: Path) -> Iterable[tuple[str, str]]:
    for line in path.read_text("utf-8").splitlines():
        name, outcome = json.loads(line)
        yield name, outcome


def _from_junit(path: Path) -> Iterable[tuple[str, str]]:
    for case in ElementTree.parse(path).iter("testcase"):
        told = [_JUNIT[child.tag] for child in case if child.tag in _JUNIT] or ["passed"]
        for outcome in told:  # a test that fails may fail again in its teardown
            yield f"{case.get('classname')}.{case.get('name')}", outcome


def merge(told: Iterable[tuple[str, str]]) -> Outcomes:
    """One outcome for each test: the worst that was told of it."""
    merged: Outcomes = {}
    for name, outcome in told:
        if _RANK[outcome] >= _RANK[merged.get(name, "passed")]:
            merged[name] = outcome
    return merged
