"""The configuration's schema: frozen, typed, unknown keys refused. A leaf: imports nothing of the package.

Sizes are bytes, durations seconds. Loading, secrets from files and the environment, and checks across
sections are in ``config.load``, ``config.secrets`` and ``config.crosscheck``. No secret is in any ``repr``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PlainValidator, Tag, model_validator


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError("is no text; write a network as in 10.0.0.0/8")
    try:
        return ip_network(value)
    except ValueError:
        try:
            meant = ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"{value!r} is no network; write it as in 10.0.0.0/8 or 2001:db8::/32") from None
        raise ValueError(f"{value!r} has bits beyond its prefix; write {meant}") from None


def _moment(value: object) -> datetime | None:
    """A TOML date or date-time, which ``config.load`` hands on as {"date": text}; without an offset it is UTC."""
    if value is None:
        return None
    text = value["date"] if isinstance(value, dict) and value.keys() == {"date"} else value
    if not isinstance(text, str | date):
        raise ValueError("is no date; write it as in 2031-12-31 or 2031-12-31T12:00:00Z")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError(f"{text!r} is no date; write it as in 2031-12-31 or 2031-12-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime | None, PlainValidator(_moment)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
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


class AutocommitReads(Enum):
    STRICT = "strict"
    OFFLOAD = "offload"
    OFFLOAD_ANY_ISOLATION = "offload_any_isolation"


class ChainRole(Enum):
    GATEKEEPER = "gatekeeper"
    TRUSTED_HOST = "trusted_host"
    PROXY = "proxy"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SecretFrom(Section):
    """A secret by reference: exactly one of the two."""

    env: str | None = Field(default=None, min_length=1)
    file: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> SecretFrom:
        if (self.env is None) == (self.file is None):
            raise ValueError('needs exactly one of env and file; write { env = "NAME" } or { file = "PATH" }')
        return self


def _form_of_secret(value: object) -> str | None:
    if isinstance(value, str):
        return "text"
    return "reference" if isinstance(value, dict | SecretFrom) else None


Secret = Annotated[
    Annotated[str, Tag("text")] | Annotated[SecretFrom, Tag("reference")],
    Discriminator(
        _form_of_secret,
        custom_error_type="secret",
        custom_error_message='is no secret; write "text", { env = "NAME" } or { file = "PATH" }',
    ),
]


class Listen(Section):
    mysql: tuple[str, ...] = Field(default=("127.0.0.1:6033",), min_length=1)
    allow_from: tuple[Network, ...] = ()  # empty: anywhere; others get 1130 in place of the greeting
    proxy_protocol_from: tuple[Network, ...] = ()  # who must say, and may be believed, for whom it connects
    http: str = "127.0.0.1:9104"
    processes: int = Field(default=1, ge=0)


class Tls(Section):
    certificate: Path
    key: Path
    required: bool = False
    client_ca: Path | None = None  # asks clients for a certificate that one of these has signed


class Routing(Section):
    strategy: Strategy = Strategy.CUSTOMIZED
    read_consistency: Consistency = Consistency.SESSION
    autocommit_reads: AutocommitReads = AutocommitReads.STRICT  # with autocommit off, and in transactions
    consistency_wait: float = Field(default=0.05, ge=0, le=60, allow_inf_nan=False)
    rules: tuple[Path, ...] = ()


class Limits(Section):
    login_timeout: Seconds = 10.0
    idle_timeout: Seconds = 28800.0
    max_connections: int = Field(default=10000, ge=1)
    max_packet: int = Field(default=67108864, ge=1024, le=1073741824)
    connect_timeout: Seconds = 5.0  # to a server, login included
    pool_wait: Seconds = 5.0  # for a free connection to a server, then error 1040
    drain_timeout: Seconds = 30.0  # after SIGTERM
    server_connection_max_age: Seconds = 3600.0
    server_connection_max_idle: Seconds = 300.0
    retain_request: int = Field(default=1048576, ge=0)  # largest read kept to be tried elsewhere
    max_connections_per_address: int | None = Field(default=None, ge=1)  # an IPv6 address counts with its /64
    max_unauthenticated: int = Field(default=1000, ge=1)  # clients that have not logged in yet
    max_login_failures: int = Field(
        default=100, ge=0
    )  # of an address within the window, then 1129; 0: no bound
    login_failure_window: Seconds = 60.0
    read_timeout: Seconds = 30.0  # between two pieces of one packet of a client, as net_read_timeout
    write_timeout: Seconds = (
        60.0  # for a client that takes nothing of what is sent to it, as net_write_timeout
    )


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    slow_statement: Seconds = 1.0


class Monitor(Section):
    user: str = Field(default="", max_length=80)  # a hop of a chain needs none
    password: Secret = Field(default="", repr=False)
    interval: Seconds = 1.0
    timeout: Seconds = 2.0  # for one probe
    max_replica_lag: Seconds = 10.0
    down_after: int = Field(default=3, ge=1)  # probes that fail in a row
    up_after: int = Field(default=2, ge=1)  # probes that succeed in a row, after it was down
    on_two_managers: Literal["refuse", "configured"] = "refuse"  # "configured": go on with the configured one


class Server(Section):
    name: Name
    address: str
    role: Literal["manager", "worker"] = "manager"  # the next hop of a chain has none
    max_connections: int = Field(default=200, ge=1)
    weight: int = Field(default=1, ge=0, le=1_000_000)
    maintenance: bool = False
    tls: Literal["off", "preferred", "required", "verify"] = "preferred"
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None


Method = Literal[
    "mysql_native_password",
    "caching_sha2_password",
    "sha256_password",
    "client_ed25519",
    "parsec",
    "mysql_clear_password",
]


class Certificate(Section):
    """What a client's certificate must be: all that is given; empty: any that a CA of tls.client_ca signed."""

    subject: str | None = None
    issuer: str | None = None
    fingerprint: str | None = None


class Gatekeeper(Section):
    """Whose assertions the trusted host and the proxy believe."""

    name: Name
    keys: Path  # PEM, Ed25519 public keys: any of them may have signed
    certificate: Certificate | None = None  # what it shows to the trusted host


class Chain(Section):
    """The daemon is one of three hosts in a row: gatekeeper, trusted host, proxy."""

    role: ChainRole
    signing_key: Path | None = None  # the gatekeeper's, PEM, Ed25519
    gatekeepers: tuple[Gatekeeper, ...] = ()
    trusted_host: Certificate | None = None  # who may connect to the proxy


class AccountSource(Section):
    from_: Literal["configuration", "servers"] = Field(default="configuration", alias="from")
    interval: Seconds = 2.0  # between two looks at the servers' accounts


class User(Section):
    name: str = Field(min_length=1, max_length=80)
    password: Secret | None = Field(default=None, repr=False)
    passwords: tuple[Secret, ...] = Field(default=(), repr=False)  # further ones, while they are changed
    verifier: str | None = Field(default=None, repr=False)
    verifiers: tuple[str, ...] = Field(default=(), repr=False)
    methods: tuple[Method, ...] = ()  # empty: all that its secrets can do but mysql_clear_password
    certificate: Certificate | None = None
    tls_required: bool = False
    expires: Moment = None
    locked: bool = False
    server_user: str | None = None
    server_password: Secret | None = Field(default=None, repr=False)
    allow_from: tuple[Network, ...] = ()
    max_connections: int | None = Field(default=None, ge=1)
    strategy: Strategy | None = None
    read_consistency: Consistency | None = None
    autocommit_reads: AutocommitReads | None = None
    hints: bool = True  # in its statements' comments
    statements: Literal["any", "learn", "enforce"] = "any"  # learn: add their digests to statements_file
    statements_file: Path | None = None
    statement_timeout: Seconds | None = None
    transaction_timeout: Seconds | None = None
    idle_transaction_timeout: Seconds | None = None


class Config(Section):
    listen: Listen = Listen()
    tls: Tls | None = None
    routing: Routing = Routing()
    limits: Limits = Limits()
    log: Log = Log()
    chain: Chain | None = None
    monitor: Monitor = Monitor()
    servers: tuple[Server, ...] = Field(min_length=1)
    accounts: AccountSource = AccountSource()
    users: tuple[User, ...] = ()
