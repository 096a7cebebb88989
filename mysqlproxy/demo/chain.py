"""``mysqlproxy demo --chain``: gatekeeper, trusted host, proxy, a manager and two workers, each on a host of its own.

Called by the command line and by ``deploy/chain.sh``; needs root (``demo.network``). The workload of the demo goes in
at the client's host; then every door is tried, and what each hop costs is measured.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from mysqlproxy.demo import chain_cost, chain_paths, report, workload
from mysqlproxy.demo.chain_config import Place, chain_configs
from mysqlproxy.demo.chain_cost import Door
from mysqlproxy.demo.chain_paths import Attempt
from mysqlproxy.demo.command import Demo
from mysqlproxy.demo.daemon import Daemon, Metrics
from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster
from mysqlproxy.demo.network import Network, Rule, unavailable
from mysqlproxy.demo.terminal import run_typing

PORT, HTTP_PORT = 3306, 9104
HOSTS = {
    "client": "10.77.0.10",
    "outsider": "10.77.0.11",
    "gatekeeper": "10.77.0.20",
    "trusted-host": "10.77.0.30",
    "proxy": "10.77.0.40",
    "manager": "10.77.0.50",
    "worker1": "10.77.0.51",
    "worker2": "10.77.0.52",
}
SERVERS = ("manager", "worker1", "worker2")
RULES = (
    Rule("client", "gatekeeper", PORT),
    Rule("gatekeeper", "trusted-host", PORT),
    Rule("trusted-host", "proxy", PORT),
    *(Rule("proxy", server, PORT) for server in SERVERS),
    *(Rule(worker, "manager", PORT) for worker in SERVERS[1:]),  # replication
)
ROLES = {
    "proxy": "proxy",
    "trusted_host": "trusted-host",
    "gatekeeper": "gatekeeper",
}  # in the order of starting
OWN = 2  # statements of the gatekeeper for each login: it has the state reported, and the schema made the default
_PKI_SECONDS = 60
_CLIENT_SECONDS = 60


def run_chain(once: bool, directory: Path | None) -> int:
    """Run it; as ``demo.command.run_demo``. Where there is no root it says what it needs, and is 1."""
    why = unavailable()
    if why:
        print(f"mysqlproxy demo --chain: {why}", file=sys.stderr)
        return 1
    return _Chain(directory, {}).run(once)


class _Chain(Demo):
    def _make_cluster(self, directory: Path) -> LocalCluster:
        self._tag = f"mysqlproxy-{secrets.token_hex(3)}"
        self._network = Network(HOSTS, RULES, ("client", "outsider"), self._tag)
        self._daemons: dict[str, Daemon] = {}
        self._logins = {
            name: secrets.token_urlsafe(12) for name in (*workload.STRATEGIES, "far", "elsewhere")
        }
        return LocalCluster(
            directory,
            ports=[PORT] * len(SERVERS),
            progress=self._progress,
            general_log=True,
            folders=("pki", *ROLES),
            hosts={server: self._network[server] for server in SERVERS},
            origins={
                "app": HOSTS["proxy"],
                "monitor": HOSTS["proxy"],
                "replication": "10.77.0.%",
            },
        )

    def _run(self, once: bool) -> int:
        with self._status:
            self._progress(f"making eight hosts, {self._tag}-*")
            self._network.start()
            self._cluster.start()
            workload.create_tables(self._cluster)
            self._make_keys()
            self._start_daemons()
            wrong = self._work()
            wrong += self._try_doors()
            cost = self._measure()
        self._console.print(cost)
        for fault in wrong:
            self._console.print(f"wrong: {fault}", style="bold red", highlight=False)
        if not wrong:
            self._console.print(
                "Every statement was counted by every hop, and every door that must be closed is closed."
            )
        if not once:
            self._explain_chain()
            while not self._interrupted.wait(0.5):
                pass
        return 1 if wrong else 0

    def _make_keys(self) -> None:
        self._progress("keys and certificates for the three: mysqlproxy pki")
        command = [sys.executable, "-P", "-m", "mysqlproxy", "pki", "--dir", str(self._folder("pki"))]
        for role in ROLES.values():
            command += [f"--{role}", HOSTS[role]]
        package = Path(__file__).parent.parent.parent
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PKI_SECONDS,
            env={**os.environ, "PYTHONPATH": str(package)},
        )
        if done.returncode:
            raise LocalClusterError(f"no keys could be made: {done.stderr.strip()}")

    def _folder(self, name: str) -> Path:
        return self._cluster.directory / name

    def _start_daemons(self) -> None:
        password = self._cluster.passwords
        places = {
            # Metrics for everybody, so that what keeps others from them is the host's rules.
            name: Place(f"{HOSTS[name]}:{PORT}", f"0.0.0.0:{HTTP_PORT}", f"{HOSTS[name]}/32")
            for name in ROLES.values()
        }
        on_servers = {"server_user": "app", "server_password": password["app"]}
        configs = chain_configs(
            self._folder("pki"),
            places["gatekeeper"],
            places["trusted-host"],
            places["proxy"],
            monitor={"user": "monitor", "password": password["monitor"], "interval": 0.25},
            servers=[
                {"name": server.name, "address": server.address, "role": role}
                for server, role in zip(self._cluster.servers, ("manager", "worker", "worker"), strict=True)
            ],
            logins=self._logins,
            accounts=[
                *({"name": name, "strategy": name, **on_servers} for name in workload.STRATEGIES),
                {"name": "far", **on_servers},
                {"name": "elsewhere", "allow_from": ["10.99.0.0/24"], **on_servers},
            ],
        )
        for user in configs["gatekeeper"]["users"]:
            if user["name"] == "far":
                user["allow_from"] = ["10.99.0.0/24"]
        for role, host in ROLES.items():
            self._progress(f"starting the {host}")
            daemon = Daemon(self._folder(role), configs[role], inside=self._network[host].inside)
            self._daemons[role] = daemon
            daemon.start(cancelled=self._interrupted.is_set)

    # --- the workload -----------------------------------------------------------------------------------------

    def _work(self) -> list[str]:
        before = self._metrics()
        outcomes = [
            workload.observe(self._cluster, self._daemons["proxy"], strategy, self._send, self._progress)
            for strategy in workload.STRATEGIES
        ]
        after = self._metrics()
        self._console.print(report.table(outcomes))
        wrong = report.faults(outcomes, workload.ROUNDS, workload.ROUNDS)
        sent = len(workload.STRATEGIES) * 2 * workload.ROUNDS
        table = Table(title=f"What each hop counted of {sent} statements, and of their logins")
        table.add_column("hop")
        for heading in ("statements", "logins", "the gatekeeper's own"):
            table.add_column(heading, justify="right")
        for role, host in reversed(ROLES.items()):
            counts = [
                _grown(before[role], after[role], name)
                for name in ("mysqlproxy_statements_total", "mysqlproxy_logins_total")
            ]
            own = 0 if role == "gatekeeper" else OWN * len(workload.STRATEGIES)
            table.add_row(host, *(f"{count:g}" for count in (counts[0] - own, counts[1], own)))
            if counts != [sent + own, len(workload.STRATEGIES)]:
                wrong.append(f"the {host} counted {counts[0]:g} statements and {counts[1]:g} logins")
        self._console.print(table)
        return wrong

    def _send(self, strategy: str) -> int:
        """As a person would: mysql -u STRATEGY -h GATEKEEPER -p, with the statements as its input."""
        self._check_going_on()
        name = f"{strategy}_table"
        statements = "".join(
            f"INSERT INTO {name} VALUES ({n}, 'row {n}');\nSELECT note FROM {name} WHERE id = {n};\n"  # noqa: S608
            for n in range(workload.ROUNDS)
        )
        program = shutil.which("mysql") or "mariadb"
        who = ("-u", strategy, "-h", HOSTS["gatekeeper"], "-p", "app")
        self._progress(f"client: mysql {' '.join(who)}, the password typed at its prompt")
        with self._network["client"].inside():
            done = run_typing(
                [program, "--no-defaults", "-Nq", *who], self._logins[strategy], statements, _CLIENT_SECONDS
            )
        if done.returncode:
            raise LocalClusterError(f"the client on its host failed: {done.stderr.strip()}")
        wanted = [f"row {n}" for n in range(workload.ROUNDS)]
        return sum(a != b for a, b in zip(wanted, done.stdout.splitlines(), strict=True))

    def _metrics(self) -> dict[str, Metrics]:
        return {role: daemon.metrics() for role, daemon in self._daemons.items()}

    def _check_going_on(self) -> None:
        if self._interrupted.is_set():
            raise LocalClusterError("interrupted")

    # --- the doors --------------------------------------------------------------------------------------------

    def _try_doors(self) -> list[str]:
        self._check_going_on()
        self._progress("trying every path between two hosts")
        found = chain_paths.open_paths(self._network, PORT)
        allowed = {(rule.source, rule.target) for rule in RULES}
        self._console.print(chain_paths.matrix(self._network, found, PORT))
        wrong = [f"{source} reaches {target}, which must be closed" for source, target in found - allowed]
        wrong += [f"{source} does not reach {target}" for source, target in allowed - found]
        for source, target in chain_paths.open_paths(self._network, HTTP_PORT):
            wrong.append(f"{source} reaches port {HTTP_PORT} of {target}, which must be closed")
        table = Table(title="Behind the doors that are open")
        table.add_column("attempt", overflow="fold")
        table.add_column("answer", overflow="fold")
        for one in self._attempts():
            self._check_going_on()
            refused, said = chain_paths.attempt(one)
            table.add_row(one.what, said)
            if not refused:
                wrong.append(f"{one.what}: {said or 'was let in'}")
        self._console.print(table)
        return wrong

    def _attempts(self) -> list[Attempt]:
        network = self._network
        at_gatekeeper = ("-h", HOSTS["gatekeeper"])
        password = self._logins["direct"]

        def certificate(name: str) -> list[str]:
            folder = self._folder("pki") / name
            return [
                "--ssl",
                f"--ssl-ca={folder / 'ca.pem'}",
                f"--ssl-cert={folder / 'certificate.pem'}",
                f"--ssl-key={folder / 'certificate.key'}",
            ]

        client = network["client"]
        no_method = ("mysqlproxy_assertion", "ERROR 1045", "1045")
        return [
            Attempt(
                "client: a wrong password", client, ("-u", "direct", *at_gatekeeper), "wrong", ("ERROR 1045",)
            ),
            Attempt(
                "client: a table outside the account's grants",
                client,
                ("-u", "direct", *at_gatekeeper, "-e", "SELECT * FROM mysql.global_priv"),
                password,
                ("ERROR 1142", "ERROR 1044"),
            ),
            Attempt(
                "client: an account whose allow_from at the gatekeeper is another network",
                client,
                ("-u", "far", *at_gatekeeper),
                self._logins["far"],
                ("ERROR 1045",),
            ),
            Attempt(
                "client: an account whose allow_from at the proxy is another network",
                client,
                ("-u", "elsewhere", *at_gatekeeper),
                self._logins["elsewhere"],
                ("ERROR 1045",),
            ),
            Attempt(
                "gatekeeper's host, without its certificate, at the trusted host",
                network["gatekeeper"],
                ("-u", "direct", "-h", HOSTS["trusted-host"]),
                password,
                ("ERROR 1045", "ERROR 20"),
            ),
            Attempt(
                "gatekeeper's host, with its certificate and no signature, at the trusted host",
                network["gatekeeper"],
                (*certificate("gatekeeper"), "-u", "direct", "-h", HOSTS["trusted-host"]),
                password,
                no_method,
            ),
            Attempt(
                "trusted host, with its certificate and no signature, at the proxy",
                network["trusted-host"],
                (*certificate("trusted-host"), "-u", "direct", "-h", HOSTS["proxy"]),
                password,
                no_method,
            ),
        ]

    # --- what it costs ----------------------------------------------------------------------------------------

    def _measure(self) -> Table:
        self._progress(f"{chain_cost.ROUNDS} reads at each hop in turn, to see what it costs")
        account = "direct"
        method = chain_cost.asserted(self._folder("pki") / "gatekeeper", account, HOSTS["client"])
        asserted = chain_cost.assertion_map(method)

        def door(host: str, target: str, **options: Any) -> Door:
            place = {"host": HOSTS[target], "port": PORT, "database": "app"}
            return Door(target, self._network[host], place | options)

        def inside(host: str, target: str) -> Door:
            tls = chain_cost.tls(self._folder("pki") / host, shows=True)
            return door(host, target, user=account, ssl=tls, **asserted)

        of_app = {"user": "app", "password": self._cluster.passwords["app"], "ssl_disabled": True}
        of_client = {"user": account, "password": self._logins[account]}
        tls = chain_cost.tls(self._folder("pki") / "gatekeeper", shows=False)
        return chain_cost.measure(
            [
                door("proxy", "manager", **of_app),
                inside("trusted-host", "proxy"),
                inside("gatekeeper", "trusted-host"),
                door("client", "gatekeeper", ssl=tls, **of_client),
            ],
            f"SELECT note FROM {account}_table WHERE id = 1",  # noqa: S608
            lambda: {ROLES[role]: found for role, found in self._metrics().items()},
            self._check_going_on,
        )

    # --- the end ----------------------------------------------------------------------------------------------

    def _explain_chain(self) -> None:
        namespace = self._network["client"].namespace
        lines = ["", "Log in from the client's host, as the account of a strategy:", ""]
        for strategy in workload.STRATEGIES:
            lines.append(f"  ip netns exec {namespace} mysql -u {strategy} -h {HOSTS['gatekeeper']} -p app")
            lines.append(f"    password: {self._logins[strategy]}")
        lines += ["", f"Logs: {self._cluster.directory}/{{gatekeeper,trusted_host,proxy}}/daemon.log"]
        lines += ["", "Ctrl-C ends it and removes everything.", ""]
        for line in lines:
            self._console.print(line, highlight=False, markup=False)

    def _stop(self) -> None:
        for role in reversed(ROLES):
            if role in self._daemons:
                self._daemons[role].stop()
        super()._stop()
        self._network.stop()


def _grown(before: Metrics, after: Metrics, name: str) -> float:
    return after.total(name) - before.total(name)
