"""What sysbench cannot do: clients that are logged in and idle, and one that reads its result slowly.

Called by ``bench.runner``; memory is read beside them.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pymysql
import pymysql.cursors

from mysqlproxy.bench.errors import BenchError, Interrupted
from mysqlproxy.bench.plan import BIG
from mysqlproxy.bench.sysbench import Login

SPARE_FILES = 100
ROWS_AT_A_TIME = 100
PAUSE_SECONDS = 0.02


def idle(login: Login, clients: int, cancelled: Callable[[], bool], look: Callable[[], float]) -> float:
    """What ``look`` gives grows by for each client that logs in and stays.

    Raises:
        BenchError: this process may not open so many files.
        Interrupted: ``cancelled`` said so.
        pymysql.MySQLError: a login failed.
    """
    _allow_files(clients + SPARE_FILES)
    with ExitStack() as stack:
        stack.callback(_login(login).close)  # what the first client ever costs is no client's own
        before = look()
        for _ in range(clients):
            if cancelled():
                raise Interrupted
            stack.callback(_login(login).close)
        return (look() - before) / clients


def read_slowly(login: Login, seconds: float, cancelled: Callable[[], bool]) -> None:
    """Ask for the big result, take a few rows at a time for so long, then the rest at once."""
    connection = _login(login, cursorclass=pymysql.cursors.SSCursor)
    try:
        cursor = connection.cursor()
        cursor.execute(BIG)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if cancelled():
                raise Interrupted
            cursor.fetchmany(ROWS_AT_A_TIME)
            time.sleep(PAUSE_SECONDS)
        while cursor.fetchmany(10 * ROWS_AT_A_TIME):
            if cancelled():
                raise Interrupted
    finally:
        connection.close()


def _login(login: Login, **options: Any) -> Any:
    """A PyMySQL connection that has logged in and said nothing more."""
    connection: Any = pymysql.Connection(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        database=login.schema,
        autocommit=None,
        ssl_disabled=True,
        connect_timeout=10,
        defer_connect=True,
        **options,
    )
    connection.set_character_set = lambda *_: None  # it would send SET NAMES
    connection.connect()
    return connection


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if number <= soft:
        return
    if hard not in {-1, resource.RLIM_INFINITY} and number > hard:
        raise BenchError(f"this process may open {hard} files and needs {number}; see ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
