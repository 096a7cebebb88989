"""The one adapter to mysql_mimic: its table of collations, completed where it ends.

Called for the client's character set, which the lexer and the verdict's cache depend on. Nothing else imports
mysql_mimic outside of the console.
"""

from __future__ import annotations

from functools import lru_cache

from mysql_mimic.charset import Collation

# Ids mysql_mimic does not know, as first and last of a block and the character set. They do not fit a login's
# one byte, but COM_CHANGE_USER has two. From the servers' information_schema (MySQL 9.7, MariaDB 10.11).
_BLOCKS = (
    (76, 76, "utf8mb3"),
    (255, 323, "utf8mb4"),  # MySQL: UCA 9.0.0
    (576, 578, "utf8mb3"),  # MariaDB
    (608, 610, "utf8mb4"),
    (640, 642, "ucs2"),
    (672, 674, "utf16"),
    (736, 738, "utf32"),
    (2048, 2303, "utf8mb3"),  # MariaDB: UCA 14.0.0
    (2304, 2559, "utf8mb4"),
    (2560, 2815, "ucs2"),
    (2816, 3071, "utf16"),
    (3072, 3327, "utf32"),
)
_NOPAD = 1024  # MariaDB: added to a collation's id for its NO PAD twin


@lru_cache(maxsize=512)
def charset_name(collation_id: int) -> str:
    """The character set of a collation, as servers name it today ("utf8mb4", "latin1"); "" when unknown."""
    for first, last, name in _BLOCKS:
        if first <= collation_id <= last:
            return name
    if _NOPAD < collation_id < 2 * _NOPAD:
        return charset_name(collation_id - _NOPAD)
    try:
        name = Collation(collation_id).charset.name
    except (KeyError, ValueError):
        return ""
    return "utf8mb3" if name == "utf8" else str(name)
