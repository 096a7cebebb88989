"""The ``site`` fixtures: where the client programs are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mysqlproxy.demo.daemon import Daemon
from mysqlproxy.demo.local import LocalCluster, free_port
from tests.clients import site as sites
from tests.clients.site import Site
from tests.conftest import Factory
from tests.support.mysql import MysqlPair
from tests.support.waiting import eventually


@pytest.fixture(params=["mariadb", "mysql"])
def site(request: pytest.FixtureRequest) -> Site:
    """The daemon in front of either cluster."""
    made: Site = request.getfixturevalue(f"{request.param}_site")
    return made


@pytest.fixture
def mariadb_site(cluster: LocalCluster, shared_proxy: Callable[..., Daemon]) -> Site:
    """The daemon in front of the MariaDB cluster."""
    made = sites.mariadb_site(
        cluster, shared_proxy(routing=sites.ROUTING, users=sites.users(cluster.passwords["app"]))
    )
    made.prepare()
    return made


@pytest.fixture(scope="package")
def mysql_daemon(mysql_pair: MysqlPair, session_daemons: Factory) -> Iterator[Daemon]:
    """One daemon in front of the MySQL pair for all of these tests."""
    port = free_port()
    daemon = session_daemons.start(sites.mysql_config(mysql_pair, port, free_port({port})))
    yield daemon
    daemon.stop()


@pytest.fixture
def mysql_site(mysql97: MysqlPair, mysql_daemon: Daemon) -> Iterator[Site]:
    """The daemon in front of the MySQL pair."""
    up = "mysqlproxy_server_up"
    eventually(lambda: mysql_daemon.metrics().total(up) == len(mysql97.servers), what="both servers up")
    made = sites.mysql_site(mysql97, mysql_daemon)
    made.prepare()
    yield made
    for server in mysql97.servers:
        server.query("SET GLOBAL general_log = OFF")
