"""Collation ids and their character sets; the servers' own tables are compared in tests/integration."""

from __future__ import annotations

import pytest

from mysqlproxy.protocol.mimic import charset_name


@pytest.mark.parametrize(
    ("collation", "name"),
    [
        (8, "latin1"),
        (28, "gbk"),
        (33, "utf8mb3"),
        (45, "utf8mb4"),
        (63, "binary"),
        (76, "utf8mb3"),
        (224, "utf8mb4"),
        (255, "utf8mb4"),
        (309, "utf8mb4"),
        (1057, "utf8mb3"),
        (1069, "utf8mb4"),
        (2304, "utf8mb4"),
    ],
)
def test_known(collation: int, name: str) -> None:
    assert charset_name(collation) == name


@pytest.mark.parametrize("collation", [-1, 0, 17, 400, 1024, 1041, 2047, 65535])
def test_unknown(collation: int) -> None:
    assert charset_name(collation) == ""
