"""The statements that an account may run, learned from those it did run: digests in a file, literals out.

With ``learn`` a digest that is new is added to the file, with ``enforce`` it is refused. One JSON object a line, so
that people can read and cut it, and ``mysqlproxy replay`` can read it. A digest counts under its default schema and
the sql_mode that it was read by, as it may mean something else under another.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

from mysqlproxy.errors import ConfigFault

MAX_DIGESTS = 100_000
MAX_BYTES = 256 * 1024 * 1024

_log = logging.getLogger("mysqlproxy.firewall")


class Record(NamedTuple):
    """One line.

    Attributes:
        modes: of sql_mode that change how a text is read, joined by commas.
    """

    account: str
    schema: str
    modes: str
    digest: str


class Learned:
    """The digests of one file."""

    def __init__(self, path: Path, records: frozenset[Record]) -> None:
        self._path = path
        self._records = set(records)
        self._full = False

    def knows(self, record: Record) -> bool:
        return record in self._records

    def learn(self, record: Record) -> None:
        """Add it to the file, if it is new. Never raises: a full disk stops no statement."""
        if record in self._records or self._full:
            return
        if len(self._records) >= MAX_DIGESTS:
            self._full = True
            _log.warning("%s holds %d digests; no more are learned", self._path, MAX_DIGESTS)
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record._asdict()) + "\n")
        except OSError as error:
            _log.error("%s cannot be written: %s", self._path, error.strerror)
            return
        self._records.add(record)


def read(path: Path) -> frozenset[Record]:
    """The records of a file.

    Raises:
        ConfigFault: it cannot be read, or a line is none of ours.
    """
    found = set()
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigFault([f"{path}: is larger than {MAX_BYTES} bytes; name a file of digests"])
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.add(_record(path, number, line))
    except OSError as error:
        raise ConfigFault([f"{path}: cannot be read: {error.strerror}; learn it first, or name it"]) from None
    except UnicodeDecodeError:
        raise ConfigFault([f"{path}: is not UTF-8; name a file of digests"]) from None
    return frozenset(found)


def _record(path: Path, number: int, line: str) -> Record:
    try:
        fields = json.loads(line)
        record = Record(**fields)
    except (ValueError, TypeError, RecursionError):
        raise ConfigFault([f"{path}: line {number}: is no record of a digest; remove it"]) from None
    if not all(isinstance(value, str) for value in record):
        raise ConfigFault([f"{path}: line {number}: holds something else than text; remove it"])
    return record
