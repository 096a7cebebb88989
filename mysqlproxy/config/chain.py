"""Checks of a configuration with [chain]: what each role must have, and what it must not know.

Called by ``config.crosscheck``. The point of three hosts is that none of them holds what another one needs: the
gatekeeper no database's password or address, the trusted host no accounts, the proxy nothing that opens a login.
"""

from __future__ import annotations

from collections.abc import Callable

from mysqlproxy.config.schema import Chain, ChainRole, Config, User

Fault = Callable[[str, str], None]

HOPS = (ChainRole.GATEKEEPER, ChainRole.TRUSTED_HOST)  # whose only server is the next hop
_TIMEOUTS = ("statement_timeout", "transaction_timeout", "idle_transaction_timeout")


def is_hop(config: Config) -> bool:
    """Whether another daemon comes behind this one, and not servers."""
    return config.chain is not None and config.chain.role in HOPS


def check_chain(config: Config, fault: Fault, warn: Fault) -> None:
    """Tells ``fault`` and ``warn`` (key, ``reason; remedy``) what is wrong."""
    chain = config.chain
    if chain is None:
        return
    _own_keys(chain, fault)
    if config.accounts.from_ != "configuration":
        fault("accounts.from", "cannot be used in a chain: no hop sees the servers' passwords; leave it out")
    if chain.role is not ChainRole.GATEKEEPER:
        _before(config, chain, fault)
    if chain.role in HOPS:
        _next_hop(config, fault, warn)
    if chain.role is ChainRole.GATEKEEPER:
        for user in config.users:
            _gatekeeper_account(user, fault)
    elif chain.role is ChainRole.PROXY:
        for user in config.users:
            _proxy_account(user, fault)
    elif config.users or config.routing.rules:
        fault(
            "users" if config.users else "routing.rules",
            "belong to the gatekeeper and to the proxy; remove them",
        )


def _own_keys(chain: Chain, fault: Fault) -> None:
    signs = chain.role is ChainRole.GATEKEEPER
    if signs != (chain.signing_key is not None):
        fault(
            "chain.signing_key", "is the gatekeeper's, and only its; " + ("add it" if signs else "remove it")
        )
    if signs == bool(chain.gatekeepers):
        fault(
            "chain.gatekeepers",
            "are for the trusted host and the proxy; remove them"
            if signs
            else "is empty, so nobody is believed; add [[chain.gatekeepers]]",
        )
    if (chain.role is ChainRole.PROXY) != (chain.trusted_host is not None):
        missing = chain.trusted_host is None
        fault(
            "chain.trusted_host",
            'is missing: whose certificate may connect; write it as { subject = "CN=trusted-host" }'
            if missing
            else "is for the proxy; remove it",
        )
    for one in chain.gatekeepers:
        key = f"chain.gatekeepers[{one.name}].certificate"
        if chain.role is ChainRole.TRUSTED_HOST and one.certificate is None:
            fault(key, 'is missing: what it shows; write it as { subject = "CN=gatekeeper" }')
        if chain.role is ChainRole.PROXY and one.certificate is not None:
            fault(key, "is for the trusted host, which sees it; remove it")


def _before(config: Config, chain: Chain, fault: Fault) -> None:
    """Hops connect here, and nobody else."""
    before = "gatekeepers" if chain.role is ChainRole.TRUSTED_HOST else "the trusted host"
    if config.tls is None or config.tls.client_ca is None:
        fault(
            "tls.client_ca",
            f"is missing: {before} must show a certificate; add certificate, key and client_ca",
        )
    if not config.listen.allow_from:
        fault("listen.allow_from", f"is empty; name the networks that {before} come from")
    if any(address.startswith("unix:") for address in config.listen.mysql):
        fault(
            "listen.mysql", "cannot have a unix socket here, over which nobody shows a certificate; remove it"
        )
    if config.listen.proxy_protocol_from:
        fault(
            "listen.proxy_protocol_from",
            "is the gatekeeper's; assertions say for whom a hop connects; remove it",
        )
    if config.limits.max_connections_per_address is not None:
        fault("limits.max_connections_per_address", "would count hops here; write it at the gatekeeper")


def _next_hop(config: Config, fault: Fault, warn: Fault) -> None:
    if config.monitor.user or config.monitor.password:
        fault("monitor", "needs no user here, where no server is known; remove user and password")
    if len(config.servers) != 1:
        fault("servers", f"is the next hop here, one, and {len(config.servers)} are given; leave one")
        return
    server = config.servers[0]
    key = f"servers[{server.name}]"
    if server.tls != "verify" or server.tls_ca is None or server.tls_certificate is None:
        fault(
            f"{key}.tls",
            'must be "verify" to the next hop, with tls_ca, tls_certificate and tls_key; write them',
        )
    if server.max_connections < config.limits.max_connections:
        warn(
            f"{key}.max_connections",
            f"is below limits.max_connections, {config.limits.max_connections}, and each client keeps one; raise it",
        )


def _gatekeeper_account(user: User, fault: Fault) -> None:
    for name in (
        "server_user",
        "server_password",
        "strategy",
        "read_consistency",
        "autocommit_reads",
        *_TIMEOUTS,
    ):
        if getattr(user, name) is not None:
            fault(f"users[{user.name}].{name}", "is the proxy's business; write it there")


def _proxy_account(user: User, fault: Fault) -> None:
    key = f"users[{user.name}]"
    given = [name for name in ("password", "verifier", "certificate") if getattr(user, name) is not None]
    given += [name for name in ("passwords", "verifiers", "methods") if getattr(user, name)]
    for name in given:
        fault(f"{key}.{name}", "is the gatekeeper's business: here an assertion opens the account; remove it")
    if user.server_password is None:
        fault(f"{key}.server_password", "is missing: no login shows a password here; add it")
