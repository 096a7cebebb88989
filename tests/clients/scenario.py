"""What every client does, and what it must see. The programs in other languages do the same, in the same order.

A client reports what it saw as a mapping of facts; ``expected`` is what they must be. Where a client cannot say
something (a driver that shows no SQLSTATE), its test leaves the fact out on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from tests.clients.site import BIG, BYTES, COLUMNS, DAY, MOMENT, NEGATIVE, PRICE, ROW, TEXT, Site

LONG = bytes(range(256)) * (5 * 4096)  # 5 MiB
LONG_FACT = [len(LONG), hashlib.md5(LONG).hexdigest()]
FIXED = f"SELECT {COLUMNS}, 1 AS plain FROM fixed WHERE id = "
MINE = f"SELECT {COLUMNS}, 1 AS in_transaction FROM things WHERE name = "


def expected(*, found_rows: bool, **changes: Any) -> dict[str, Any]:
    """The facts; ``found_rows`` says whether the client asks for the rows found instead of those changed."""
    return {
        "schema": "app",
        "charset": "utf8mb4",
        "same_id": True,
        "fixed": ROW,
        "inserted": ROW,
        "insert_ids": [1, 2],
        "changed": 2,
        "unchanged": 2 if found_rows else 0,
        "after_rollback": 2,
        "after_commit": 3,
        "duplicate": [1062, "23000"],
        "syntax": [1064, "42000"],
        "several": [1, 2],
        "procedure": [1, 2],
        "long": LONG_FACT,
        "killed": True,
        "again": 1,
    } | changes


class Api:
    """A DB-API 2.0 driver: how it connects, and what the standard leaves open.

    Args:
        connect: a new connection to the site, autocommit on.
        thread_id: the connection id of the greeting.
        sqlstate: of an error, None when the driver does not tell it.
        mark: of a parameter.
        cursor: one for statements with parameters; ``connection.cursor()`` is for all others.
        several: connection, text -> the first column of each of its results; else by ``nextset``.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        thread_id: Callable[[Any], int],
        sqlstate: Callable[[Exception], str | None] = lambda error: None,
        mark: str = "%s",
        cursor: Callable[[Any], Any] = lambda connection: connection.cursor(),
        several: Callable[[Any, str], list[Any]] | None = None,
    ) -> None:
        self.connect = connect
        self.thread_id = thread_id
        self.sqlstate = sqlstate
        self.mark = mark
        self.cursor = cursor
        self.several = several


def run(api: Api) -> dict[str, Any]:
    """Do it all with a DB-API driver; the facts. Closes what it opens."""
    connection = api.connect()
    other = api.connect()
    try:
        return _facts(api, connection, other)
    finally:
        other.close()
        connection.close()


def _facts(api: Api, connection: Any, other: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    mark = api.mark
    cursor = api.cursor(connection)

    def ask(sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        cursor.execute(sql, parameters)
        (row,) = cursor.fetchall()
        return tuple(row)

    def do(sql: str, parameters: Sequence[Any] = ()) -> int:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)

    def command(sql: str, on: Any = connection) -> None:
        other_cursor = on.cursor()
        other_cursor.execute(sql)
        other_cursor.close()

    schema, charset, number = ask("SELECT DATABASE(), @@character_set_client, CONNECTION_ID()")
    facts["schema"], facts["charset"] = text(schema), text(charset)
    facts["same_id"] = number == api.thread_id(connection)

    facts["fixed"] = plain(ask(f"{FIXED}{mark}", (1,))[:-1])
    insert = f"INSERT INTO things ({COLUMNS}) VALUES ({', '.join([mark] * 8)})"
    values = (
        TEXT,
        BYTES,
        None,
        date.fromisoformat(DAY),
        datetime.fromisoformat(MOMENT),
        Decimal(PRICE),
        int(BIG),
        int(NEGATIVE),
    )
    do(insert, values)
    ids = [cursor.lastrowid]
    do(f"INSERT INTO things (name) VALUES ({mark})", ("second",))
    facts["insert_ids"] = [*ids, cursor.lastrowid]
    facts["changed"] = do("UPDATE things SET negative = -1")
    facts["unchanged"] = do("UPDATE things SET negative = -1")
    do(f"UPDATE things SET negative = {mark} WHERE id = 1", (int(NEGATIVE),))

    command("START TRANSACTION")
    facts["inserted"] = plain(ask(f"{MINE}{mark}", (TEXT,))[:-1])
    do("INSERT INTO things (name) VALUES ('undone')")
    assert ask("SELECT COUNT(*) AS in_transaction FROM things") == (3,)
    connection.rollback()
    facts["after_rollback"] = ask("SELECT COUNT(*) AS plain FROM things")[0]
    command("START TRANSACTION")
    do("INSERT INTO things (name) VALUES ('third')")
    connection.commit()
    facts["after_commit"] = ask("SELECT COUNT(*) AS plain FROM things")[0]

    facts["duplicate"] = error_of(api, lambda: do("INSERT INTO things (name) VALUES ('third')"))
    facts["syntax"] = error_of(api, lambda: command("SELECT FROM things"))

    do(f"UPDATE things SET bytes = {mark} WHERE name = 'third'", (LONG,))
    (found,) = ask("SELECT bytes AS plain FROM things WHERE name = 'third'")
    facts["long"] = [len(found), hashlib.md5(found).hexdigest()]

    # The last, for CALL may keep the session on the manager.
    if api.several is not None:
        facts["several"] = api.several(connection, "SELECT 1; SELECT 2")
        facts["procedure"] = api.several(connection, "CALL two_results()")
    else:
        facts["several"] = all_results(api.cursor(connection), "SELECT 1; SELECT 2")
        facts["procedure"] = all_results(api.cursor(connection), "CALL two_results()")

    command(f"KILL {number}", other)
    facts["killed"] = error_of(api, lambda: ask("SELECT 1")) is not None
    anew = api.connect()
    try:
        cursor = api.cursor(anew)
        facts["again"] = ask("SELECT 1")[0]
    finally:
        anew.close()
    return facts


def all_results(cursor: Any, sql: str) -> list[Any]:
    """The first column of the first row of each result."""
    cursor.execute(sql)
    found = []
    while True:
        if cursor.description:
            found.append(cursor.fetchall()[0][0])
        if not cursor.nextset():
            break
    cursor.close()
    return found


def error_of(api: Api, action: Callable[[], Any]) -> list[Any] | None:
    """Number and SQLSTATE of the error that ``action`` raises; None without one."""
    try:
        action()
    except Exception as error:  # each driver has its own
        number = getattr(error, "errno", None) or error.args[0]
        return [number, api.sqlstate(error)]
    return None


def plain(row: Sequence[Any]) -> list[str | None]:
    """A row as the facts show it."""
    name, data, *others = row
    shown = [None if value is None else str(value) for value in others]
    return [text(name), bytes(data).hex(), *shown]


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)


def check(site: Site, facts: dict[str, Any], wanted: dict[str, Any]) -> None:
    """The facts are the expected ones, and the servers say that each statement went where it should."""
    different = {
        name: (facts.get(name), wanted.get(name))
        for name in facts | wanted
        if facts.get(name) != wanted.get(name)
    }
    assert not different, f"what was seen, and what was expected: {different}"
    site.assert_routed()
