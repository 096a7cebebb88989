"""The composition root: makes the parts, ties them together, runs them, takes them down. Nothing else lives here.

The one module that may import everything.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from pathlib import Path
from time import monotonic

import uvloop

from mysqlproxy import __version__
from mysqlproxy.admin import http
from mysqlproxy.cluster.catalog_reader import CatalogReader, Source
from mysqlproxy.cluster.monitor import Monitor
from mysqlproxy.cluster.view import ClusterView
from mysqlproxy.config.certificates import expiries
from mysqlproxy.config.chain import is_hop
from mysqlproxy.config.load import load
from mysqlproxy.config.schema import ChainRole, Config, Tls
from mysqlproxy.config.secrets import resolve_secret
from mysqlproxy.errors import ConfigFault
from mysqlproxy.gatekeeper.account_reader import AccountReader, Place
from mysqlproxy.gatekeeper.accounts import Accounts
from mysqlproxy.gatekeeper.admission import Admission
from mysqlproxy.gatekeeper.chain import Chain, chain_of
from mysqlproxy.gatekeeper.failures import Failures
from mysqlproxy.gatekeeper.newcomers import Newcomers
from mysqlproxy.gatekeeper.rsa import login_key
from mysqlproxy.gatekeeper.rules.load import load_firewall
from mysqlproxy.gatekeeper.secrets import Secret
from mysqlproxy.gatekeeper.server_accounts import ServerAccount, accounts_of
from mysqlproxy.metrics.collector import Sources, registry
from mysqlproxy.metrics.counters import Counters
from mysqlproxy.net.listen import Listeners
from mysqlproxy.net.tasks import Tasks
from mysqlproxy.net.tls import server_context
from mysqlproxy.pool.login import Identity
from mysqlproxy.pool.manager_position import ManagerPosition
from mysqlproxy.pool.pools import Pools
from mysqlproxy.protocol.build import compiled
from mysqlproxy.protocol.credentials import ServerCredential
from mysqlproxy.routing.strategies import Balance
from mysqlproxy.session import ending, faults
from mysqlproxy.session.client import Client
from mysqlproxy.session.engine import Session
from mysqlproxy.session.login import UTF8MB4_GENERAL_CI
from mysqlproxy.session.passage import Passage
from mysqlproxy.session.services import Services
from mysqlproxy.session.sweep import TICK, sweep
from mysqlproxy.sql.classifier import Classifier
from mysqlproxy.supervisor import logs
from mysqlproxy.supervisor.limits import raise_open_files
from mysqlproxy.supervisor.notify import Notifier

log = logging.getLogger("mysqlproxy")

_SWEEPS_PER_POOL_SWEEP = 4  # pools look at their connections every second


def serve(path: Path) -> int:
    """Run the daemon until SIGTERM or SIGINT. Returns the exit status.

    Raises:
        ConfigFault: the configuration cannot be used, or what it names cannot be had.
    """
    config = load(path)
    logs.set_up(config.log)
    raise_open_files()
    uvloop.run(Daemon(path, config).run())
    return 0


class Daemon:
    """One process of the daemon."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self.notifier = Notifier()
        self.tasks = Tasks()
        self._ended = asyncio.Event()
        self._reloading = asyncio.Lock()

    async def run(self) -> None:
        config = self.config
        accounts, tls, chain = _admission_of(config)
        firewall = load_firewall(config)
        counters = Counters()
        self._expiries = _expiries(config)
        self.pools = Pools(self._server_failed, counters.waited, counters.waited_in_vain)
        self.pools.configure(config)
        classifier = Classifier()
        self.catalog = CatalogReader(config.monitor.interval, classifier.see)
        if not is_hop(config):
            classifier.see(self.catalog.catalog)
        self.services = services = Services(
            config=config,
            view=ClusterView(),
            pools=self.pools,
            classifier=classifier,
            catalog=self.catalog,
            counters=counters,
            accounts=accounts,
            admission=Admission(config.limits, config.listen.allow_from),
            failures=Failures(config.limits),
            newcomers=Newcomers(config.limits.max_unauthenticated),
            balance=Balance(self.pools.in_use),
            tasks=self.tasks,
            manager_position=ManagerPosition(self.pools, _own_identity(config), self.tasks),
            tls=tls,
            firewall=firewall,
            chain=chain,
        )
        # What a daemon before this one told its clients only the manager can tell: the first ``strong`` read asks it.
        services.position.void(monotonic())
        self._configured_accounts = accounts
        self._server_rows: tuple[ServerAccount, ...] = ()
        self._server_secrets: dict[tuple[str, str], Secret] = {}
        self.account_reader = AccountReader(config.accounts.interval, self._accounts_read)
        services.accounts_read = config.accounts.from_ == "configuration"
        self._monitor_password = resolve_secret(config.monitor.password)
        self.monitor = Monitor(
            config.servers,
            config.monitor,
            self._view_changed,
            password=self._monitor_password,
            hop=is_hop(config),
        )
        passes_on = chain is not None and chain.role is ChainRole.TRUSTED_HOST
        session = Passage if passes_on else Session
        self.listeners = Listeners(
            lambda: Client(
                lambda client: session(client, services),
                counters,
                lambda: services.config.listen.proxy_protocol_from,
            ).protocol()
        )
        endpoints: http.Server | None = None
        try:
            await asyncio.to_thread(login_key)  # made once, and not while somebody waits for a login
            await self.listeners.open(config.listen.mysql)
            endpoints = await self._start_http()
            self._install_signals()
            self.catalog.start()
            self.tasks.start(self._watch(), "monitor start")
            self.tasks.start(self.account_reader.run(), "accounts")
            self.tasks.start(self._tick(), "sweep")
            self.tasks.start(self._sign_of_life(), "watchdog")
            log.info(
                "mysqlproxy %s (%s) listens on %s",
                __version__,
                "compiled" if compiled() else "pure Python",
                ", ".join(config.listen.mysql),
            )
            self.notifier.ready(f"listening on {', '.join(config.listen.mysql)}")
            await self._ended.wait()
            await self._drain()
        finally:
            self.listeners.close()
            if endpoints is not None:
                await endpoints.close()
            await self.monitor.stop()
            await self.catalog.stop()
            await self.tasks.close()
            await self.pools.close()
            self.notifier.close()
        log.info("stopped")

    async def _watch(self) -> None:
        await self.monitor.start()

    async def _start_http(self) -> http.Server | None:
        if not self.config.listen.http:
            return None
        services = self.services
        sources = Sources(
            counters=services.counters,
            view=lambda: services.view,
            server_connections=self.pools.counts,
            client_connections=lambda: services.admission.connected,
            verdict_cache=lambda: (services.classifier.hits, services.classifier.misses),
            certificates=lambda: self._expiries,
            version=__version__,
            compiled=compiled(),
        )
        try:
            return await http.start(self.config.listen.http, registry(sources), self._ready)
        except OSError as error:
            raise ConfigFault(
                [f"{self.path}: listen.http: cannot listen on {self.config.listen.http}: {error.strerror}"]
            ) from error

    def _ready(self) -> tuple[bool, str]:
        view = self.services.view
        if self.services.draining:
            return False, "draining"
        if view.manager is None and not view.readers:
            return False, view.no_manager or "no server can be reached"
        if not self.catalog.looked and not is_hop(self.config):
            return False, "the servers' catalog has not been read yet"
        return True, "" if view.manager is not None else f"reads only: {view.no_manager}"

    def _view_changed(self, view: ClusterView) -> None:
        before = self.services.view
        self.pools.follow(view)
        self.services.see(view)
        self._follow_catalog()
        if before.epoch != view.epoch:
            for session in list(self.services.sessions.values()):
                if not session.busy:
                    faults.roles_changed(session)
        if (before.version, before.sql_mode, before.isolation) != (
            view.version,
            view.sql_mode,
            view.isolation,
        ):
            for session in self.services.sessions.values():
                session.context_changed()

    def _follow_catalog(self) -> None:
        """The catalog is read from the manager, where definitions come first; without one from a worker."""
        view, config = self.services.view, self.config
        asked = view.manager or next(iter(view.readers), None)
        server = next((one for one in config.servers if asked is not None and one.name == asked.name), None)
        if asked is None or server is None or is_hop(config):
            self.catalog.follow(None)
            self.account_reader.follow(None)
            return
        user, password = config.monitor.user, self._monitor_password
        self.catalog.follow(Source(server, asked.mariadb, asked.incarnation, user, password))
        from_servers = config.accounts.from_ == "servers"
        self.account_reader.follow(Place(server, asked.mariadb, user, password) if from_servers else None)

    def _accounts_read(self, rows: tuple[ServerAccount, ...] | None) -> None:
        """The servers' accounts are these now; with None they cannot be read, and those of the file must do."""
        if rows is not None:
            self._server_rows = rows
            self._combine_accounts()
            log.info("%d accounts of the servers", len(rows))
        self.services.accounts_read = True
        self.services.see(self.services.view)  # wakes the logins that wait

    def _combine_accounts(self) -> None:
        accounts = self._configured_accounts
        if self.config.accounts.from_ == "servers":
            of_servers, self._server_secrets = accounts_of(
                self._server_rows, self.config, self._server_secrets
            )
            accounts = accounts.beside(of_servers)
        self.services.accounts = accounts

    def _server_failed(self, name: str) -> None:
        self.monitor.report(name)

    # --- signals ----------------------------------------------------------------------------------------------

    def _install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.tasks.start(self._reload(), "reload"))

    async def _reload(self) -> None:
        """Take over the configuration as it is now, whole or not at all. No client is dropped for it.

        At once, for everybody: rules and learned statements, [limits], [log], [monitor], [listen] mysql,
        consistency_wait, and the servers: a new one is used as soon as it is up, one that went is drained. At the
        next login: accounts (passwords, strategies, limits; also those they take from [routing]) and [tls]; who is
        logged in stays, also when the account was removed, until then or COM_CHANGE_USER. Certificates and secrets
        in files are read anew, and count for new connections. Only [listen] http needs a restart.
        """
        async with self._reloading:
            if self.services.draining:
                return  # it would listen again
            self.notifier.reloading()
            try:
                config = load(self.path)
                accounts, tls, chain = _admission_of(config)
                firewall = load_firewall(config)
                password = resolve_secret(config.monitor.password)
                if config.listen.http != self.config.listen.http:
                    raise ConfigFault([f"{self.path}: listen.http: changes need a restart"])
                if _role(config) is not _role(self.config):
                    raise ConfigFault([f"{self.path}: chain.role: changes need a restart"])
                await self.listeners.open(config.listen.mysql)
            except ConfigFault as error:
                for fault in error.faults:
                    log.error("reload refused: %s", fault)
                self.notifier.ready("reload refused; the old configuration goes on")
                return
            services = self.services
            self.config = config
            self._expiries = _expiries(config)
            services.configure(config)
            self._configured_accounts, services.tls, services.chain = accounts, tls, chain
            self.account_reader.interval = config.accounts.interval
            self._combine_accounts()
            services.firewall = firewall
            services.classifier.clear()  # what the old rules found out is kept with the verdicts
            services.admission.reconfigure(config.limits, config.listen.allow_from)
            services.failures.limits = config.limits
            services.newcomers.limit = config.limits.max_unauthenticated
            services.manager_position.identity = _own_identity(config)
            logs.set_up(config.log)
            self.pools.configure(config)
            self._monitor_password, self.catalog.interval = password, config.monitor.interval
            self._follow_catalog()
            await self.monitor.reconfigure(config.servers, config.monitor, password=password)
            log.info("reloaded %s", self.path)
            self.notifier.ready(f"listening on {', '.join(config.listen.mysql)}")

    async def _drain(self) -> None:
        """No new clients; those who are here end when they may, or are ended at the deadline."""
        services = self.services
        services.draining = True
        log.info("draining: %d clients", len(services.sessions))
        self.notifier.stopping(f"draining {len(services.sessions)} clients")
        self.listeners.close()
        for session in list(services.sessions.values()):
            if session.login_packets is not None or ending.may_end(session):
                ending.shut_down(session)
        try:
            async with asyncio.timeout(self.config.limits.drain_timeout):
                while services.sessions:
                    services.emptied.clear()
                    await services.emptied.wait()
        except TimeoutError:
            log.warning("drain_timeout: %d clients are closed", len(services.sessions))
        for session in list(services.sessions.values()):
            ending.shut_down(session)

    # --- the daemon's heartbeat -------------------------------------------------------------------------------

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        turn = 0
        while True:
            await asyncio.sleep(TICK)
            turn += 1
            sweep(self.services, loop.time())
            if turn % _SWEEPS_PER_POOL_SWEEP == 0:
                self.pools.sweep(loop.time())

    async def _sign_of_life(self) -> None:
        if self.notifier.watchdog is None:
            return
        while True:
            self.notifier.alive()
            await asyncio.sleep(self.notifier.watchdog)


def _own_identity(config: Config) -> Identity:
    """Whom the daemon is on the servers when it asks for itself."""
    credential = ServerCredential(config.monitor.user, resolve_secret(config.monitor.password))
    return Identity(
        credential, capabilities=0, charset=UTF8MB4_GENERAL_CI, attributes=(("_client_name", "mysqlproxy"),)
    )


def _expiries(config: Config) -> dict[str, float]:
    return {key: end.timestamp() for key, _, end in expiries(config)}


def _role(config: Config) -> ChainRole | None:
    return None if config.chain is None else config.chain.role


def _client_tls(tls: Tls, chain: Chain | None) -> ssl.SSLContext:
    hops = chain is not None and chain.has_hops_before
    return server_context(tls.certificate, tls.key, tls.client_ca, hops=hops)


def _admission_of(config: Config) -> tuple[Accounts, ssl.SSLContext | None, Chain | None]:
    """What a reload may fail at besides the file itself.

    Raises:
        ConfigFault: a secret or a certificate cannot be used.
    """
    accounts = Accounts.from_config(config, resolve_secret)
    chain = chain_of(config)
    try:
        tls = None if config.tls is None else _client_tls(config.tls, chain)
    except (OSError, ssl.SSLError) as error:
        raise ConfigFault([f"tls: {error}"]) from error
    return accounts, tls, chain
