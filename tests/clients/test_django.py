"""Django 5.2 through the daemon, over both of its drivers, by a small application in programs/."""

from __future__ import annotations

import pytest

from tests.clients.programs import run_program
from tests.clients.site import Site


@pytest.mark.parametrize("driver", ["PyMySQL", "mysqlclient"])
def test_a_django_application(site: Site, driver: str) -> None:
    pytest.importorskip("django")
    if driver == "mysqlclient":
        pytest.importorskip("MySQLdb", reason="mysqlclient is not installed: it is built from source")
    facts = run_program("django_app.py", site, driver)
    assert facts == {
        "tables": ["auth_user", "shop_customer"],
        "password": True,
        "read": True,
        "count": 102,
        "duplicate": 1062,
        "in_transaction": "13.50",
        "after": ["13.50", 0],
        "updated": 1,
        "get_or_create": False,
        "deleted": 100,
        "killed": True,
        "again": 1,
        "healthy": 1,
        "ids": True,
    }
    manager, workers = site.served(r"^SELECT .* FROM `shop_customer`")
    assert workers > 0, f"no read went to a worker, {manager} to the manager"
    assert site.served(r"FOR UPDATE|^\s*(INSERT|UPDATE|DELETE|CREATE|ALTER|SAVEPOINT)\b")[1] == 0
