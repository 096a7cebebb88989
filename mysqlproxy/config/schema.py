"""The configuration's schema: frozen, typed, unknown keys refused. A leaf: imports nothing of the package.

Sizes are bytes, durations seconds. Loading, secrets from files and the environment, and checks across sections are
in ``config.load`` and ``config.crosscheck``.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Network = IPv4Network | IPv6Network
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]


class Strategy(Enum):
    DIRECT = "direct"
    RANDOM = "random"
    CUSTOMIZED = "customized"
    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    WEIGHTED = "weighted"


class Consistency(Enum):
    EVENTUAL = "eventual"
    SESSION = "session"
    STRONG = "strong"
    GLOBAL = "global"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class SecretFrom(Section):
    """A secret by reference: exactly one of the two."""

    env: str | None = None
    file: Path | None = None


Secret = str | SecretFrom


class Listen(Section):
    mysql: tuple[str, ...] = Field(("127.0.0.1:6033",), min_length=1)
    http: str = "127.0.0.1:9104"
    processes: int = Field(1, ge=0)


class Tls(Section):
    certificate: Path
    key: Path
    required: bool = False


class Routing(Section):
    strategy: Strategy = Strategy.CUSTOMIZED
    read_consistency: Consistency = Consistency.SESSION
    consistency_wait: float = Field(0.05, ge=0, le=60, allow_inf_nan=False)
    rules: tuple[Path, ...] = ()


class Limits(Section):
    login_timeout: Seconds = 10.0
    idle_timeout: Seconds = 28800.0
    max_connections: int = Field(10000, ge=1)
    max_packet: int = Field(67108864, ge=1024, le=1073741824)
    connect_timeout: Seconds = 5.0  # to a server, login included
    pool_wait: Seconds = 5.0  # for a free connection to a server, then error 1040
    drain_timeout: Seconds = 30.0  # after SIGTERM
    server_connection_max_age: Seconds = 3600.0
    server_connection_max_idle: Seconds = 300.0
    retain_request: int = Field(1048576, ge=0)  # largest read that is kept to be tried on another server


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    slow_statement: Seconds = 1.0


class Monitor(Section):
    user: str = Field(min_length=1, max_length=80)
    password: Secret = ""
    interval: Seconds = 1.0
    timeout: Seconds = 2.0  # for one probe
    max_replica_lag: Seconds = 10.0
    down_after: int = Field(3, ge=1)  # probes that fail in a row
    up_after: int = Field(2, ge=1)  # probes that succeed in a row, after it was down
    on_two_managers: Literal["refuse", "configured"] = "refuse"  # "configured": go on with the configured one


class Server(Section):
    name: Name
    address: str
    role: Literal["manager", "worker"]
    max_connections: int = Field(200, ge=1)
    weight: int = Field(1, ge=0, le=1_000_000)
    maintenance: bool = False
    tls: Literal["off", "preferred", "required", "verify"] = "preferred"
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None


class User(Section):
    name: str = Field(min_length=1, max_length=80)
    password: Secret | None = None
    verifier: str | None = None
    server_user: str | None = None
    server_password: Secret | None = None
    allow_from: tuple[Network, ...] = ()
    max_connections: int | None = Field(None, ge=1)
    strategy: Strategy | None = None
    read_consistency: Consistency | None = None
    statement_timeout: Seconds | None = None
    transaction_timeout: Seconds | None = None
    idle_transaction_timeout: Seconds | None = None


class Config(Section):
    listen: Listen = Listen()
    tls: Tls | None = None
    routing: Routing = Routing()
    limits: Limits = Limits()
    log: Log = Log()
    monitor: Monitor
    servers: tuple[Server, ...] = Field(min_length=1)
    users: tuple[User, ...] = ()
