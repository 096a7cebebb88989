"""Hosts on one machine: network namespaces on a switch, each with an address and with rules as a security group has.

Used by ``mysqlproxy demo --chain``. Needs root, ip(8) and nft(8). Everything is inside namespaces of this program's
own name: the machine's network is not touched, and nothing is left when they are deleted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mysqlproxy.demo.errors import LocalClusterError

_CLONE_NEWNET = 0x40000000  # setns(2)
_SWITCH = "switch"
_NAMED = Path("/run/netns")  # where ip-netns(8) puts them

# The last to leave, as in ``demo.guardian``: deletes the namespaces when this program is gone, however it went.
_SWEEP = 'cat >/dev/null; for name; do ip netns del "$name" 2>/dev/null; done'


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a security group: this host may reach a port of that one."""

    source: str
    target: str
    port: int


class Host:
    """A namespace.

    Attributes:
        name: its role.
        address: of its one interface.
    """

    def __init__(self, name: str, namespace: str, address: str) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets and processes that this thread makes meanwhile are the host's."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as here,
            (_NAMED / self.namespace).open("rb") as there,
        ):
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())


class Network:
    """The hosts, made by ``start`` and gone after ``stop``.

    Args:
        hosts: name -> address, all in one /24.
        rules: all that is allowed; every host drops everything else, in and out, except that the hosts of
            ``anywhere`` may try to reach whom they like.
        tag: begins the namespaces' names.
    """

    def __init__(
        self, hosts: Mapping[str, str], rules: Sequence[Rule], anywhere: Sequence[str], tag: str
    ) -> None:
        self.hosts = {name: Host(name, f"{tag}-{name}", address) for name, address in hosts.items()}
        self._rules = rules
        self._anywhere = anywhere
        self._switch = f"{tag}-{_SWITCH}"
        self._guardian: subprocess.Popen[bytes] | None = None

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def start(self) -> None:
        """Raises LocalClusterError, with the remedy, where namespaces cannot be made."""
        why = unavailable()
        if why:
            raise LocalClusterError(why)
        namespaces = [self._switch, *(host.namespace for host in self.hosts.values())]
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _SWEEP, "mysqlproxy-guardian", *namespaces],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        for namespace in namespaces:
            _run("ip", "netns", "add", namespace)
        _run("ip", "-n", self._switch, "link", "add", "name", _SWITCH, "type", "bridge")
        _run("ip", "-n", self._switch, "link", "set", _SWITCH, "up")
        for host in self.hosts.values():
            self._plug_in(host)

    def stop(self) -> None:
        """Delete all of it. May be called again."""
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            assert guardian.stdin is not None
            guardian.stdin.close()
            guardian.wait()

    def _plug_in(self, host: Host) -> None:
        inside = ("ip", "-n", host.namespace)
        cable = ("type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        _run("ip", "-n", self._switch, "link", "add", host.name, *cable)
        _run("ip", "-n", self._switch, "link", "set", host.name, "master", _SWITCH, "up")
        with host.inside():
            _run("nft", "-f", "-", given=self._group(host))
        _run(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
        for interface in ("lo", "eth0"):
            _run(*inside, "link", "set", interface, "up")

    def _group(self, host: Host) -> str:
        """The host's security group in nft's own words."""
        comes = [rule for rule in self._rules if rule.target == host.name]
        goes = [rule for rule in self._rules if rule.source == host.name]
        lines_in = [f"ip saddr {self[rule.source].address} tcp dport {rule.port} accept" for rule in comes]
        lines_out = [f"ip daddr {self[rule.target].address} tcp dport {rule.port} accept" for rule in goes]
        if host.name in self._anywhere:
            lines_out = ["ip protocol tcp accept"]
        common = ["ct state established,related accept"]
        return "\n".join(
            (
                "table inet group {",
                "chain inbound { type filter hook input priority 0; policy drop;",
                *("iif lo accept", *common, *lines_in, "}"),
                "chain outbound { type filter hook output priority 0; policy drop;",
                *("oif lo accept", *common, *lines_out, "}"),
                "}",
                "",
            )
        )


def unavailable() -> str:
    """Why hosts cannot be made here, and what it takes; "" when they can."""
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program, path=_path()) is None:
            return f"{program} is not installed; apt-get install {package}"
    if os.geteuid() != 0:
        return "network namespaces need root; run it with sudo"
    name = f"mysqlproxy-try-{os.getpid()}"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "netns", "exec", name, "nft", "list", "tables")
    except LocalClusterError as error:
        return f"network namespaces cannot be made here ({error}); it takes CAP_SYS_ADMIN and CAP_NET_ADMIN"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, env=_environment())
    return ""


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": _path()}


def _run(*command: str, given: str | None = None) -> None:
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, env=_environment()
    )
    if done.returncode:
        raise LocalClusterError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
