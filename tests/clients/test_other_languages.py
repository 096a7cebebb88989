"""Drivers of other languages through the daemon, each by a small program in programs/ that does the scenario.

A program gets the address in its environment and prints the facts it saw as one JSON object.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients import scenario
from tests.clients.programs import run_program
from tests.clients.site import ROW, Site

PREPARED = {"fixed_prepared": ROW}
NODE = {"found_rows": True}
PROGRAMS: dict[str, dict[str, Any]] = {
    "node_mysql2.mjs": NODE | PREPARED,
    "node_mysql.mjs": NODE,
    "node_mariadb.mjs": NODE | PREPARED,
    "php_mysqli.php": {"found_rows": False} | PREPARED,
    "php_pdo.php": {"found_rows": False} | PREPARED,
    "perl_dbd_mariadb.pl": {"found_rows": True} | PREPARED,
    "ConnectorJ.java": {"found_rows": True} | PREPARED,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_driver_works_as_on_the_servers_themselves(site: Site, program: str) -> None:
    facts = run_program(program, site)
    scenario.check(site, facts, scenario.expected(**PROGRAMS[program]))
