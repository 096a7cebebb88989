"""Sets of global transaction ids, as MariaDB and MySQL write them.

The monitor reads them from the servers, ``cluster.decide`` compares managers with workers, and sessions
compare what they wrote with what a worker has applied. Values only: nothing here asks a server.

MariaDB: a position names the last transaction of each replication domain, ``domain-server-sequence``; within
a domain sequence numbers are one line, so a position covers all before it (https://mariadb.com/kb/en/gtid/).
MySQL: a set of intervals for each source UUID, since 8.3 also for each tag
(https://dev.mysql.com/doc/refman/9.0/en/replication-gtids-concepts.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MAX_TEXT = 4 * 1024 * 1024
"""Characters that one set may have; servers with long histories reach some 100 KB."""

_MARIADB = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_INTERVAL = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?", re.ASCII)
_LOG = re.compile(r"[\w.-]{1,200}", re.ASCII)
_OFFSET_BITS = 44  # 16 TiB in a file, 2^19 files
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}", re.ASCII)

Intervals = tuple[tuple[int, int], ...]


def parse_mariadb_list(text: str) -> tuple[tuple[int, int, int], ...]:
    """The (domain, server id, sequence) triples of a MariaDB list, sorted, doubles out.

    A position has one triple per domain, ``@@gtid_binlog_state`` one per domain and server.

    Raises:
        ValueError: the text is no such list, or longer than MAX_TEXT.
    """
    found: set[tuple[int, int, int]] = set()
    for item in _items(text):
        match = _MARIADB.fullmatch(item)
        if match is None:
            raise ValueError("not a MariaDB GTID: " + item[:80])
        domain, server, sequence = (int(part) for part in match.groups())
        if domain >= 1 << 32 or server >= 1 << 32 or sequence >= 1 << 64:
            raise ValueError("out of range in a MariaDB GTID: " + item[:80])
        found.add((domain, server, sequence))
    return tuple(sorted(found))


class GtidSet:
    """An immutable set of transactions; empty by default. Equal sets compare equal whatever their spelling.

    Attributes:
        mariadb: which of the two systems; sets of different systems have nothing in common.
        domains: MariaDB: (domain, server id of the last, last sequence), sorted, one per domain.
        sources: MySQL: ("uuid" or "uuid:tag", intervals that neither touch nor overlap), sorted.
    """

    __slots__ = ("domains", "mariadb", "sources")

    def __init__(
        self,
        mariadb: bool,
        domains: tuple[tuple[int, int, int], ...] = (),
        sources: tuple[tuple[str, Intervals], ...] = (),
    ) -> None:
        self.mariadb: Final = mariadb
        self.domains: Final = domains
        self.sources: Final = sources

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, GtidSet)
            and self.mariadb == other.mariadb
            and self.domains == other.domains
            and self.sources == other.sources
        )

    def __hash__(self) -> int:
        return hash((self.mariadb, self.domains, self.sources))

    @staticmethod
    def parse(text: str, mariadb: bool) -> GtidSet:
        """A set from the server's text; the empty text is the empty set.

        Raises:
            ValueError: the text is no such set, or longer than MAX_TEXT.
        """
        if mariadb:
            return GtidSet(True, _highest(parse_mariadb_list(text)))
        found: dict[str, list[tuple[int, int]]] = {}
        for item in _items(text.lower()):
            uuid, *parts = (part.strip() for part in item.split(":"))
            if not _UUID.fullmatch(uuid) or not parts:
                raise ValueError("not a MySQL GTID set: " + item[:80])
            source = uuid
            for part in parts:
                match = _INTERVAL.fullmatch(part)
                if match is not None:
                    first = int(match[1])
                    last = int(match[2] or first)
                    if not 0 < first < 1 << 63 or last >= 1 << 63:
                        raise ValueError("out of range in a MySQL GTID set: " + part[:80])
                    if first <= last:  # the server reads 5-3 as empty, too
                        found.setdefault(source, []).append((first, last))
                elif _TAG.fullmatch(part):
                    source = f"{uuid}:{part}"
                else:
                    raise ValueError("not an interval of a MySQL GTID set: " + part[:80])
        return GtidSet(False, sources=_sources(found))

    @staticmethod
    def in_log(origin: str, file: str, offset: int) -> GtidSet:
        """All that a MySQL server's binary log holds up to an offset of one of its files, for servers without GTIDs:
        a set as any other, but in words of our own, which no server understands.

        Raises:
            ValueError: it is no such file.
        """
        base, _, number = file.rpartition(".")
        if not _LOG.fullmatch(base) or not number.isdecimal() or not 0 < offset < 1 << _OFFSET_BITS:
            raise ValueError("not a file of a binary log: " + file[:80])
        return GtidSet(False, sources=((f"{origin}/{base}", ((1, (int(number) << _OFFSET_BITS) + offset),)),))

    @property
    def place(self) -> tuple[str, str, int] | None:
        """Origin, file and offset of a set made by ``in_log``; None for any other."""
        if len(self.sources) != 1 or "/" not in self.sources[0][0]:
            return None
        name, intervals = self.sources[0]
        origin, _, base = name.partition("/")
        number, offset = divmod(intervals[-1][1], 1 << _OFFSET_BITS)
        return origin, f"{base}.{number:06d}", offset

    def empty(self) -> bool:
        return not self.domains and not self.sources

    def covers(self, other: GtidSet) -> bool:
        """Whether all transactions of ``other`` are in this set.

        For MariaDB the sequence number alone decides, as it does in MASTER_GTID_WAIT.
        """
        if self is other:
            return True
        if self.mariadb and other.mariadb and len(other.domains) == 1:  # nearly always
            [(domain, _, sequence)] = other.domains
            return any(ours[0] == domain and ours[2] >= sequence for ours in self.domains)
        return other.minus(self).empty()

    def merge(self, other: GtidSet) -> GtidSet:
        """The union.

        Raises:
            ValueError: the sets are of different systems.
        """
        if self.mariadb != other.mariadb:
            raise ValueError("a MariaDB and a MySQL GTID set have no union")
        if self.mariadb:
            if len(self.domains) == 1 == len(other.domains):
                [ours], [theirs] = self.domains, other.domains
                if ours[0] == theirs[0]:
                    return self if (ours[2], ours[1]) >= (theirs[2], theirs[1]) else other
            return GtidSet(True, _highest((*self.domains, *other.domains)))
        found: dict[str, list[tuple[int, int]]] = {}
        for source, intervals in (*self.sources, *other.sources):
            found.setdefault(source, []).extend(intervals)
        return GtidSet(False, sources=_sources(found))

    def minus(self, other: GtidSet) -> GtidSet:
        """What this set has and ``other`` lacks.

        For MariaDB: the last transactions of the domains in which this set is further.
        """
        if self.mariadb != other.mariadb:
            return self
        if self.mariadb:
            there = {domain: sequence for domain, _, sequence in other.domains}
            return GtidSet(True, domains=tuple(one for one in self.domains if one[2] > there.get(one[0], 0)))
        held = dict(other.sources)
        left = ((source, _difference(intervals, held.get(source, ()))) for source, intervals in self.sources)
        return GtidSet(False, sources=tuple(pair for pair in left if pair[1]))

    def of(self, origin: str) -> GtidSet:
        """The transactions first executed on one server: its server id (MariaDB) or UUID (MySQL)."""
        if self.mariadb:
            return GtidSet(True, domains=tuple(one for one in self.domains if str(one[1]) == origin))
        uuid = origin.lower()
        kept = tuple(pair for pair in self.sources if pair[0].partition(":")[0] == uuid)
        return GtidSet(False, sources=kept)

    def __str__(self) -> str:
        if self.mariadb:
            return ",".join("-".join(map(str, one)) for one in self.domains)
        return ",".join(
            source + "".join(f":{a}" if a == b else f":{a}-{b}" for a, b in intervals)
            for source, intervals in self.sources
        )


def _items(text: str) -> Iterable[str]:
    if len(text) > MAX_TEXT:
        raise ValueError(f"a GTID set of more than {MAX_TEXT} characters")
    return [item.strip() for item in text.split(",") if item.strip()]


def _highest(triples: Iterable[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    best: dict[int, tuple[int, int]] = {}
    for domain, server, sequence in triples:
        if sequence:  # sequence 0 is "nothing yet"
            best[domain] = max(best.get(domain, (0, 0)), (sequence, server))
    return tuple(sorted((domain, server, sequence) for domain, (sequence, server) in best.items()))


def _sources(found: dict[str, list[tuple[int, int]]]) -> tuple[tuple[str, Intervals], ...]:
    return tuple((source, _joined(found[source])) for source in sorted(found))


def _joined(intervals: list[tuple[int, int]]) -> Intervals:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(joined)


def _difference(ours: Intervals, theirs: Intervals) -> Intervals:
    left: list[tuple[int, int]] = []
    index = 0
    for first, last in ours:
        while index < len(theirs) and theirs[index][1] < first:
            index += 1
        at = index
        while first <= last and at < len(theirs) and theirs[at][0] <= last:
            if theirs[at][0] > first:
                left.append((first, theirs[at][0] - 1))
            first = theirs[at][1] + 1
            at += 1
        if first <= last:
            left.append((first, last))
    return tuple(left)
