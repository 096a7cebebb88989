"""What every session is given: the rest of the daemon, through one narrow door. Filled by the composition root.

A reload replaces attributes; sessions read them at each statement and so follow without being told.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from secrets import randbelow
from time import monotonic
from typing import TYPE_CHECKING

from mysqlproxy.cluster.catalog_reader import CatalogReader
from mysqlproxy.cluster.view import ClusterView, is_within
from mysqlproxy.config.schema import ChainRole, Config
from mysqlproxy.gatekeeper.accounts import Accounts
from mysqlproxy.gatekeeper.admission import Admission
from mysqlproxy.gatekeeper.chain import Chain
from mysqlproxy.gatekeeper.failures import Failures
from mysqlproxy.gatekeeper.newcomers import Newcomers
from mysqlproxy.gatekeeper.rules.firewall import Firewall
from mysqlproxy.metrics.counters import Counters
from mysqlproxy.net.tasks import Tasks
from mysqlproxy.pool.manager_position import ManagerPosition
from mysqlproxy.pool.pools import Pools
from mysqlproxy.routing.strategies import Balance
from mysqlproxy.session.position import Position
from mysqlproxy.sql.classifier import Classifier

if TYPE_CHECKING:
    from mysqlproxy.session.engine import Session

log = logging.getLogger("mysqlproxy.session")

FIRST_ID = 1 << 31  # below are the servers' own thread ids
LAST_ID = (1 << 32) - 1
COSTLY_LOGINS = 4  # at a time; others wait their turn within login_timeout


@dataclass
class Services:
    """See the attributes' types.

    Attributes:
        sessions: by connection id, logged in or not.
        position: of all sessions together, for read_consistency "strong".
        strangers: servers whose positions cannot be compared with the manager's since ``began_anew``.
        hints_logged: digests with the fault of their hint that the log has told already.
        view_changed: set, and replaced by a new one, with each new view.
        accounts_read: the accounts are known, as far as they can be; False until the servers were asked for theirs.
        slow_statement, retain_request: of the configuration, for the path of every statement.
        emptied: set whenever the last session ends.
        costly_logins: taken by logins that cost milliseconds, and by those that fail.
        chain: its place in a chain of daemons, None for one that stands alone.
        boot: another number for each process.
        draining: the daemon is going down: sessions end as soon as they may.
    """

    config: Config
    view: ClusterView
    pools: Pools
    classifier: Classifier
    catalog: CatalogReader
    counters: Counters
    accounts: Accounts
    admission: Admission
    failures: Failures
    newcomers: Newcomers
    balance: Balance
    tasks: Tasks
    manager_position: ManagerPosition
    position: Position = field(default_factory=Position)
    firewall: Firewall = field(default_factory=Firewall)
    chain: Chain | None = None
    boot: int = field(default_factory=lambda: randbelow(1 << 62))
    strangers: frozenset[str] = frozenset()
    began_anew: float = 0.0
    tls: ssl.SSLContext | None = None
    sessions: dict[int, Session] = field(default_factory=dict)
    draining: bool = False
    accounts_read: bool = True
    hints_logged: set[tuple[str, str]] = field(default_factory=set)
    view_changed: asyncio.Event = field(default_factory=asyncio.Event)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    costly_logins: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(COSTLY_LOGINS))
    last_id: int = FIRST_ID - 1
    slow_statement: float = field(init=False)
    retain_request: int = field(init=False)

    def __post_init__(self) -> None:
        self.configure(self.config)

    def configure(self, config: Config) -> None:
        """What holds from now on."""
        self.config = config
        self.slow_statement = config.log.slow_statement
        self.retain_request = config.limits.retain_request

    def see(self, view: ClusterView) -> None:
        """A new view: sessions route by it from now on, and who waits for one looks again."""
        before, self.view = self.view.by_name, view
        if any(before.get(server.name, server).histories != server.histories for server in view.servers):
            self.begin_anew()
        elif self.strangers and view.manager is not None and view.manager.observed > self.began_anew:
            seen = (server for server in view.servers if server.observed > self.began_anew)
            self.strangers -= {server.name for server in seen if is_within(server, view.manager)}
        changed, self.view_changed = self.view_changed, asyncio.Event()
        changed.set()

    def begin_anew(self) -> None:
        """GTIDs mean something else than before (RESET MASTER, a manager that lost some): what sessions have written
        and seen is unknown, and a worker counts again once it has been seen not to be ahead of the manager, which
        one is that was not reset with it.
        """
        log.warning("GTIDs began anew: sessions' positions are asked of the manager again")
        self.began_anew = now = monotonic()
        self.strangers = frozenset(self.view.by_name)
        for position in (self.position, *(session.position for session in self.sessions.values())):
            position.void(now)

    def next_id(self) -> int:
        """A connection id that no session has; they wrap around at 2^32.

        A gatekeeper's are drawn: the proxy takes them over, from all its gatekeepers.
        """
        while True:
            if self.chain is not None and self.chain.role is ChainRole.GATEKEEPER:
                self.last_id = FIRST_ID + randbelow(FIRST_ID)
            self.last_id = FIRST_ID if self.last_id >= LAST_ID else self.last_id + 1
            if self.last_id not in self.sessions:
                return self.last_id
