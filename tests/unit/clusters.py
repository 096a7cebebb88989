"""Clusters made of values, for the tests of what the monitor concludes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mysqlproxy.cluster.decide import decide
from mysqlproxy.cluster.gtid import GtidSet, parse_mariadb_list
from mysqlproxy.cluster.observation import Facts, Failure, Probe, Source, Thread
from mysqlproxy.cluster.track import ServerState, track
from mysqlproxy.cluster.view import ClusterView
from mysqlproxy.config.schema import Monitor, Server

VERSION = "5.5.5-10.11.19-MariaDB"
UUID = "00000000-0000-0000-0000-00000000000{}"


def source(server: int = 1, **changes: object) -> Source:
    """A row of SHOW ALL SLAVES STATUS on a worker that replicates from the server with this id."""
    row = Source("", "127.0.0.1", 3305 + server, str(server), Thread.RUNNING, Thread.RUNNING, 0.0, False, 0)
    return replace(row, **changes)  # type: ignore[arg-type]


CONNECTING = source(io=Thread.CONNECTING, lag=None)


def facts(server: int, sources: tuple[Source, ...] | None = (), **changes: object) -> Facts:
    """A MariaDB server: writable without sources, read only with some."""
    read_only = sources is None or sources != ()
    known = Facts(VERSION, 0xFF, True, str(server), str(server), read_only, sources, GtidSet(True))
    return replace(known, **changes)  # type: ignore[arg-type]


def at(position: str, *, state: str = "", mariadb: bool = True) -> dict[str, object]:
    """The changes to Facts for a position; ``state`` is what the binlog knows beyond it."""
    origins = {(d, s): n for d, s, n in parse_mariadb_list(f"{position},{state}")} if mariadb else {}
    return {"position": GtidSet.parse(position, mariadb), "origins": origins}


def mysql(server: int, executed: str, sources: tuple[Source, ...] = ()) -> Facts:
    """A MySQL server; in ``executed`` m and w stand for the UUIDs of the servers 1 and 2."""
    text = executed.replace("m", UUID.format(1)).replace("w", UUID.format(2))
    mark = UUID.format(server)
    known = facts(server, sources, version="9.7.4", mariadb=False, identity=mark, origin=mark)
    return replace(known, position=GtidSet.parse(text, False))


@dataclass
class Story:
    """A cluster to which things happen; ``see`` is a round of probes, one second long.

    The servers are probed one after the other in the given order, each for a millisecond.
    """

    servers: tuple[Server, ...] = (
        Server(name="manager", address="127.0.0.1:3306", role="manager"),
        Server(name="worker1", address="127.0.0.1:3307", role="worker"),
        Server(name="worker2", address="127.0.0.1:3308", role="worker"),
    )
    policy: Monitor = field(default_factory=lambda: Monitor(user="monitor"))
    view: ClusterView = field(default_factory=ClusterView)
    now: float = 1000.0
    states: dict[str, ServerState] = field(default_factory=dict)
    boots: dict[str, int] = field(default_factory=dict)

    def see(self, *, seconds: int = 1, **found: Facts | Failure) -> ClusterView:
        """Probe the named servers once a second; the view after it."""
        for _ in range(seconds):
            for number, (name, what) in enumerate(found.items()):
                self.probe(name, what, self.now + number / 100)
            self.now += 1
        return self.view

    def probe(self, name: str, what: Facts | Failure, started: float, ended: float | None = None) -> None:
        """One probe and what follows from it."""
        ended = started + 0.001 if ended is None else ended
        if isinstance(what, Failure):
            probe = Probe(started, ended, what, "no answer")
        else:
            probe = Probe(started, ended, facts=what, ping=0.001, booted=self.boots.get(name, 1))
        state = self.states.get(name, ServerState())
        self.states[name] = track(
            state, probe, down_after=self.policy.down_after, up_after=self.policy.up_after
        )
        self.decide(ended)

    def restart(self, name: str) -> None:
        """The server has been started anew since the last probe."""
        self.boots[name] = self.boots.get(name, 1) + 1

    def decide(self, now: float | None = None) -> ClusterView:
        self.view = decide(
            self.view, self.servers, self.states, self.policy, self.now if now is None else now
        )
        return self.view

    def configure(self, name: str, **changes: object) -> ClusterView:
        """Change a server's configuration."""
        self.servers = tuple(
            server.model_copy(update=changes) if server.name == name else server for server in self.servers
        )
        return self.decide()

    def set_policy(self, **changes: object) -> None:
        self.policy = self.policy.model_copy(update=changes)


HEALTHY: Mapping[str, Facts] = {
    "manager": facts(1),
    "worker1": facts(2, (source(),)),
    "worker2": facts(3, (source(),)),
}


def healthy() -> Story:
    """A manager with two workers, seen for some seconds."""
    story = Story()
    story.see(seconds=4, **HEALTHY)
    return story


def names(view: ClusterView) -> list[str]:
    """Who takes the reads."""
    return [server.name for server in view.readers]
