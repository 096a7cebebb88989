"""The configurations of the three daemons of a chain, in front of a local cluster.

Used by ``deploy/chain.sh`` (``demo.chain``) and by the tests. Never imports the daemon's modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENTS = 500  # each has a connection from hop to hop


@dataclass(frozen=True, slots=True)
class Place:
    """Where one of them listens, and what the next one sees of it.

    Attributes:
        address: of clients or of the hop before, host:port.
        http: of its metrics, host:port.
        network: that it comes from, as in "10.0.0.2/32".
    """

    address: str
    http: str
    network: str


def chain_configs(
    pki: Path,
    gatekeeper: Place,
    trusted_host: Place,
    proxy: Place,
    *,
    monitor: Mapping[str, Any],
    servers: Sequence[Mapping[str, Any]],
    logins: Mapping[str, str],
    accounts: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """By role, sections as ``demo.daemon.Daemon`` takes them.

    Args:
        pki: the folder that ``mysqlproxy pki`` made.
        monitor, servers: of the proxy, as in its configuration.
        logins: name -> password, at the gatekeeper.
        accounts: the proxy's ``[[users]]``.
    """

    def tls(name: str, **more: Any) -> dict[str, Any]:
        folder = pki / name
        return {
            "certificate": str(folder / "certificate.pem"),
            "key": str(folder / "certificate.key"),
            **more,
        }

    def hop(name: str, place: Place, own: str) -> list[dict[str, Any]]:
        folder = pki / own
        server = {
            "name": name,
            "address": place.address,
            "max_connections": CLIENTS,
            "tls": "verify",
            "tls_ca": str(folder / "ca.pem"),
            "tls_certificate": str(folder / "certificate.pem"),
            "tls_key": str(folder / "certificate.key"),
        }
        return [server]

    def believed(own: str, **more: Any) -> list[dict[str, Any]]:
        return [{"name": "gatekeeper", "keys": str(pki / own / "gatekeeper.pub"), **more}]

    watch = {"interval": monitor.get("interval", 1.0)}
    return {
        "gatekeeper": {
            "listen": {"mysql": [gatekeeper.address], "http": gatekeeper.http},
            "limits": {"drain_timeout": 5.0, "max_connections": CLIENTS},
            "tls": tls("gatekeeper"),
            "chain": {"role": "gatekeeper", "signing_key": str(pki / "gatekeeper" / "signing.key")},
            "monitor": watch,
            "servers": hop("trusted-host", trusted_host, "gatekeeper"),
            "users": [{"name": name, "password": password} for name, password in logins.items()],
        },
        "trusted_host": {
            "listen": {
                "mysql": [trusted_host.address],
                "http": trusted_host.http,
                "allow_from": [gatekeeper.network],
            },
            "limits": {"drain_timeout": 5.0, "max_connections": CLIENTS},
            "tls": tls("trusted-host", client_ca=str(pki / "trusted-host" / "ca.pem")),
            "chain": {
                "role": "trusted_host",
                "gatekeepers": believed("trusted-host", certificate={"subject": "CN=gatekeeper"}),
            },
            "monitor": watch,
            "servers": hop("proxy", proxy, "trusted-host"),
        },
        "proxy": {
            "listen": {"mysql": [proxy.address], "http": proxy.http, "allow_from": [trusted_host.network]},
            "limits": {"drain_timeout": 5.0, "max_connections": CLIENTS},
            "tls": tls("proxy", client_ca=str(pki / "proxy" / "ca.pem")),
            "chain": {
                "role": "proxy",
                "trusted_host": {"subject": "CN=trusted-host"},
                "gatekeepers": believed("proxy"),
            },
            "monitor": dict(monitor),
            "servers": [dict(server) for server in servers],
            "users": [dict(account) for account in accounts],
        },
    }
