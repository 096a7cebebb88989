"""Gatekeeper, trusted host and proxy in a row: everything works through them as through one daemon."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from mysqlproxy.demo.local import LocalCluster
from tests.support.chain import ChainOfDaemons, standing_chain
from tests.support.sessions import ask


@pytest.fixture(scope="module")
def chain(session_cluster: LocalCluster) -> Iterator[ChainOfDaemons]:
    with standing_chain(session_cluster) as chain:
        yield chain


def test_the_client_program_logs_in_and_selects(chain: ChainOfDaemons) -> None:
    port, password = chain.gatekeeper.port, "of the gatekeeper"
    done = subprocess.run(
        ["mariadb", "-h127.0.0.1", f"-P{port}", "-uapp", f"-p{password}", "-Nse", "SELECT 40 + 2"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr


def test_a_driver(chain: ChainOfDaemons) -> None:
    with chain.gatekeeper.connect() as connection:
        assert ask(connection, "SELECT 1") == [(1,)]
