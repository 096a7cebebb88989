"""Schemas whose contents differ from server to server. Called by ``sql.reading``.

https://mariadb.com/kb/en/information-schema-tables/ and
https://dev.mysql.com/doc/refman/8.4/en/information-schema.html
"""

from __future__ import annotations

from mysqlproxy.sql.words import words

_OWN_STATE = frozenset({"mysql", "performance_schema", "sys", "ndbinfo"})

# What follows from the schema alone, and the schema is replicated.
_SAME_EVERYWHERE = words(
    """
        character_sets check_constraints collation_character_set_applicability collations columns
        key_column_usage keywords parameters referential_constraints routines schemata sql_functions
        st_geometry_columns table_constraints triggers views
        """
)


def why_manager(schema: str, table: str, default_schema: str) -> str:
    """Why this table is asked of the manager alone, or "" when every server has the same."""
    owner = (schema or default_schema).lower()
    if owner in _OWN_STATE:
        return f"the schema {owner} is each server's own"
    if owner == "information_schema" and table.lower() not in _SAME_EVERYWHERE:
        return f"information_schema.{table.lower()} differs from server to server"
    return ""
