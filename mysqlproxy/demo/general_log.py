"""Reads a MariaDB server's general log from its file: what the server itself says it was asked.

Called by ``LocalServer.served``. The file also tells of a server that is stopped or dead; the table form
(log_output=TABLE) would not. https://mariadb.com/kb/en/general-query-log/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# "251121  9:00:00\t    12 Query\tselect 1", or two tabs in place of an unchanged time.
_ENTRY = re.compile(rb"^(?:\d{6} [ \d]\d:\d\d:\d\d)?\t+ *(\d+) ([A-Z][A-Za-z]+(?: [A-Za-z]+)*)\t(.*)$", re.S)
_BANNER = re.compile(rb"^\S+, Version: ")
_CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One command that the server received.

    Attributes:
        thread: the server's connection id.
        user: the account that the thread had logged in with; "" when the log was off at that time.
        command: Query, Prepare, Execute, Init DB, Connect, Quit, ...
        text: the statement, or what goes with the command.
    """

    thread: int
    user: str
    command: str
    text: str


class GeneralLog:
    """Follows one log file; holds the entries since the last mark.

    Args:
        path: the file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._users: dict[int, str] = {}
        self._entries: list[Entry] = []
        self._inode = 0

    def mark(self) -> None:
        """Forget what has been logged so far. Who logged in is remembered."""
        self._read()
        self._entries.clear()

    def matching(self, pattern: str) -> list[Entry]:
        """The entries since the mark whose text contains the regular expression, case ignored."""
        self._read()
        wanted = re.compile(pattern, re.I | re.S)
        return [entry for entry in self._entries if wanted.search(entry.text)]

    def _read(self) -> None:
        if not self._path.exists():
            return
        status = self._path.stat()
        if status.st_ino != self._inode or status.st_size < self._offset:  # made anew by a rebuild
            self._inode, self._offset = status.st_ino, 0
            self._users.clear()
        with self._path.open("rb") as file:
            file.seek(self._offset)
            kept = b""
            while chunk := file.read(_CHUNK):
                kept += chunk
                complete = kept.rfind(b"\n") + 1
                self._take(kept[:complete])
                self._offset += complete
                kept = kept[complete:]

    def _take(self, data: bytes) -> None:
        begun: tuple[int, str, bytes] | None = None
        for line in data.split(b"\n"):
            match = _ENTRY.match(line)
            if match or _BANNER.match(line):
                self._add(begun)
                begun = None
            if match:
                begun = (int(match[1]), match[2].decode("ascii"), match[3])
            elif begun:
                begun = (begun[0], begun[1], begun[2] + b"\n" + line)
        self._add(begun)

    def _add(self, begun: tuple[int, str, bytes] | None) -> None:
        if begun is None:
            return
        thread, command, raw = begun
        text = raw.decode("utf-8", "replace").rstrip("\n")
        if command in ("Connect", "Change user"):
            self._users[thread] = text.partition("@")[0]
        self._entries.append(Entry(thread, self._users.get(thread, ""), command, text))
