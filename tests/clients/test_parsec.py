"""parsec, which only newer clients of MariaDB know, with the one of Node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.gatekeeper.secrets import parsec_verifier
from tests.clients.programs import run_program
from tests.clients.site import Site


@pytest.mark.parametrize("known_by", ["password", "verifier"])
def test_nodes_mariadb_signs(mariadb_site: Site, proxy: Callable[..., Daemon], known_by: str) -> None:
    secret = (
        {"password": "sign here"} if known_by == "password" else {"verifier": parsec_verifier("sign here")}
    )
    server = {"server_user": "app", "server_password": mariadb_site.password}
    daemon = proxy(users=[{"name": "signed", "methods": ["parsec"], **secret, **server}])
    site = replace(mariadb_site, daemon=daemon, user="signed", password="sign here")
    assert run_program("node_parsec.mjs", site) == {"who": "app@%", "wrong": 1045}
