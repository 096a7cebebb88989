"""The records in the database: one table. Called by the server, from several threads."""

from __future__ import annotations

import hashlib

from tests.apps.database import Database

# The key's digest makes any key, of any length and in all its bytes, the primary key; the key itself is for people.
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    digest BINARY(32) NOT NULL PRIMARY KEY,
    name MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    value MEDIUMBLOB NOT NULL
)
"""


class Storage:
    """Records by key. That a read sees all that was written before, by whichever connection, is the account's
    ``read_consistency = "strong"``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> bytes | None:
        row = self._database.read("SELECT value FROM records WHERE digest = %s", (_digest(key),))
        return None if row is None else row["value"]

    def put(self, key: str, value: bytes) -> None:
        sql = (
            "INSERT INTO records (digest, name, value) VALUES (%s, %s, %s) "
            "ON DUPLICATE KEY UPDATE value = VALUES(value)"
        )
        self._database.write(sql, (_digest(key), key, value))

    def delete(self, key: str) -> bool:
        """Whether it was there."""
        rows, _ = self._database.write("DELETE FROM records WHERE digest = %s", (_digest(key),))
        return rows > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
