"""What accounts may do on one server: what the monitor's lacks, and who could write to a worker.

For ``check --connect`` and ``cluster.catalog_query``. Asks over connections that are given to it and leaves them as
they were; grants nothing.

Privileges: https://mariadb.com/kb/en/grant/ and
https://dev.mysql.com/doc/refman/9.0/en/privileges-provided.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pymysql

from mysqlproxy.cluster.decide import version_key
from mysqlproxy.cluster.probe import ER_PARSE_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR

MAX_ROLES = 100

_GLOBAL = re.compile(r"GRANT (.+) ON \*\.\* TO ", re.IGNORECASE | re.DOTALL)
_ROLES = re.compile(r"GRANT (?!.* ON )(.+?) TO ", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"`(?:[^`]|``)*`(?:@`(?:[^`]|``)*`)?")


def missing_privileges(connection: Any) -> list[str]:
    """What the monitor's account, logged in on ``connection`` (PyMySQL), lacks on this server.

    Returns one sentence for each, with the statement that grants it; none when nothing is missing.

    Raises:
        pymysql.MySQLError: the server could not be asked.
    """
    mariadb, version = _kind(connection)
    # Since 10.5 MariaDB's REPLICATION CLIENT is another name of BINLOG MONITOR, which does not show a replica's.
    apart = mariadb and version >= (10, 5)
    replica = ("SHOW ALL SLAVES STATUS",) if mariadb else ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS")
    log = ("SHOW MASTER STATUS",) if mariadb else ("SHOW BINARY LOG STATUS", "SHOW MASTER STATUS")
    missing = {
        privilege: None
        for privilege, statements in (
            ("SLAVE MONITOR" if apart else "REPLICATION CLIENT", replica),
            ("BINLOG MONITOR" if apart else "REPLICATION CLIENT", log),
        )
        if not _may_ask(connection, statements)
    }
    if not missing:
        return []
    [[account]] = _rows(connection, "SELECT CURRENT_USER()")
    return [
        f"the account {account} may not ask whether and from whom this server replicates, and what it leaves out; "
        f"run: GRANT {', '.join(missing)} ON *.* TO {_quoted(str(account))};"
    ]


def _may_ask(connection: Any, statements: Sequence[str]) -> bool:
    """Whether the account may run the first of the statements that the server knows."""
    for statement in statements:
        try:
            _rows(connection, statement)
        except pymysql.MySQLError as error:
            if error.args[:1] == (ER_PARSE_ERROR,) and statement != statements[-1]:
                continue  # MySQL before 8.0.22 and before 8.2
            if error.args[:1] != (ER_SPECIFIC_ACCESS_DENIED_ERROR,):
                raise
            return False
        return True
    return True


def unseen_definitions(connection: Any) -> list[str]:
    """What the monitor's account, logged in on ``connection`` (PyMySQL), cannot see of views, functions and triggers.

    Returns at most one sentence, with its effect and the statement that grants it: nothing fails without.

    Raises:
        pymysql.MySQLError: the server could not be asked.
    """
    mariadb, _ = _kind(connection)
    held = _global_privileges(_grants(connection, mariadb))
    if held & {"ALL", "ALL PRIVILEGES"}:
        return []
    missing = [privilege for privilege in ("SELECT", "SHOW VIEW", "TRIGGER") if privilege not in held]
    if not missing:
        return []
    [[account]] = _rows(connection, "SELECT CURRENT_USER()")
    effects = []
    if {"SELECT", "SHOW VIEW"}.issubset(missing):
        effects.append("all that reads from tables goes to the manager, as any of them may be a view")
    elif "SELECT" in missing:
        effects.append("views are read at the manager, and stored functions, too")
    elif "SHOW VIEW" in missing:
        effects.append("views are read at the manager")
    if "TRIGGER" in missing:
        effects.append(
            "who has written stays at the manager, as a trigger may have left something in the session"
        )
    return [
        f"the account {account} may not see what views, stored functions and triggers do; without it "
        f"{', and '.join(effects)}; "
        f"run: GRANT {', '.join(missing)} ON *.* TO {_quoted(str(account))};"
    ]


def sees_triggers(connection: Any) -> bool:
    """Whether the account logged in on ``connection`` (PyMySQL) sees every trigger, by the roles that are active.

    Raises:
        pymysql.MySQLError: the server could not be asked.
    """
    mariadb, _ = _kind(connection)
    asked = "SHOW GRANTS"
    if not mariadb:
        [[roles]] = _rows(connection, "SELECT CURRENT_ROLE()")
        asked += "" if roles == "NONE" else f" FOR CURRENT_USER() USING {roles}"
    lines = [str(row[0]) for row in _rows(connection, asked)]
    if any(line.upper().startswith("REVOKE") for line in lines):
        return False  # MySQL's partial revokes: not in every schema
    return bool(_global_privileges(lines) & {"TRIGGER", "ALL", "ALL PRIVILEGES"})


def can_write_past_read_only(connection: Any) -> str | None:
    """The privilege by which the account logged in on ``connection`` writes to a read-only server, or None.

    Roles count, whether they are active or not: a client can switch them on.

    Raises:
        pymysql.MySQLError: the server could not be asked.
    """
    mariadb, version = _kind(connection)
    if mariadb:
        # Since 10.11 SUPER no longer includes it.
        past = ["READ_ONLY ADMIN", "READ ONLY ADMIN"] + (["SUPER"] if version < (10, 11) else [])
    else:
        past = ["CONNECTION_ADMIN", "SUPER"]
    held = _global_privileges(_grants(connection, mariadb))
    if "ALL PRIVILEGES" in held or "ALL" in held:
        return "ALL PRIVILEGES"
    return next((privilege for privilege in past if privilege in held), None)


def _kind(connection: Any) -> tuple[bool, tuple[int, ...]]:
    [[version]] = _rows(connection, "SELECT VERSION()")
    return "mariadb" in str(version).lower(), version_key(str(version))


def _grants(connection: Any, mariadb: bool) -> list[str]:
    """All lines of SHOW GRANTS, those of granted roles included."""
    lines = [str(row[0]) for row in _rows(connection, "SHOW GRANTS")]
    waiting = _roles(lines)
    if not mariadb:
        if not waiting:
            return lines
        using = ", ".join(waiting[:MAX_ROLES])
        return [str(row[0]) for row in _rows(connection, f"SHOW GRANTS FOR CURRENT_USER() USING {using}")]
    # MariaDB shows a role's grants, and those of the roles in it, to whom it is active for.
    [[active]] = _rows(connection, "SELECT CURRENT_ROLE()")
    try:
        for role in waiting[:MAX_ROLES]:
            _rows(connection, f"SET ROLE {role}")
            lines += [str(row[0]) for row in _rows(connection, "SHOW GRANTS")]
    finally:
        _rows(connection, "SET ROLE " + ("NONE" if active is None else _backquoted(str(active))))
    return lines


def _roles(lines: list[str]) -> list[str]:
    """The names, as the server quotes them, of roles in lines like GRANT `r`@`%`,`s`@`%` TO `u`@`h`."""
    found: list[str] = []
    for line in lines:
        match = _ROLES.match(line)
        if match is not None:
            found += _NAME.findall(match[1])
    return found


def _global_privileges(lines: list[str]) -> set[str]:
    held: set[str] = set()
    for line in lines:
        match = _GLOBAL.match(line)
        if match is not None:
            held |= {name.strip().upper() for name in match[1].split(",")}
    return held


def _rows(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _quoted(account: str) -> str:
    """'user'@'host' from user@host, for a statement to copy."""
    user, _, host = account.rpartition("@")
    return "@".join("'" + part.replace("'", "''") + "'" for part in (user, host))


def _backquoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
