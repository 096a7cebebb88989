"""Every parser that sees bytes of a client or a server, each as a function of bytes: it returns, or something is
found that should not be. What a parser may raise are the documented errors; anything else goes through.

Used by ``test_targets.py`` (hypothesis, in every run) and by ``atheris_run.py`` (coverage-guided, by command).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from mysqlproxy.cluster.gtid import GtidSet, parse_mariadb_list
from mysqlproxy.errors import ProxyError
from mysqlproxy.gatekeeper.accounts import Account, Accounts
from mysqlproxy.gatekeeper.certificates import CertificateRule
from mysqlproxy.gatekeeper.login import Accept, Channel, Costly, Deny, LoginDialogue, new_nonce
from mysqlproxy.gatekeeper.methods import CLEAR, ED25519, NATIVE, PARSEC, SHA2, SHA256
from mysqlproxy.gatekeeper.rules.firewall import Firewall, Loaded
from mysqlproxy.gatekeeper.rules.load import read_rules
from mysqlproxy.gatekeeper.rules.trial import attempt
from mysqlproxy.gatekeeper.secrets import Secret
from mysqlproxy.pool.server_auth import ServerAuth
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol import packets, prepared, response, tracking
from mysqlproxy.protocol.commands import statement_offset
from mysqlproxy.protocol.credentials import ServerCredential
from mysqlproxy.protocol.framing import PacketReader, payload_of
from mysqlproxy.protocol.handshake import (
    is_ssl_request,
    parse_auth_switch,
    parse_change_user,
    parse_greeting,
    parse_handshake_response,
    parse_ssl_request,
)
from mysqlproxy.protocol.proxy_header import parse_proxy_header
from mysqlproxy.sql import hints
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.digest import normaliser
from mysqlproxy.sql.uses import uses_of
from mysqlproxy.sql.verdict import SqlContext
from tests.unit.firewall_evasions import CATALOG, PASSES, REFUSED, RULES
from tests.wire import captured
from tests.wire.answers import recorded

EVERYTHING = (1 << 64) - 1
CAPABILITIES = (
    EVERYTHING,
    flags.PROTOCOL_41,
    flags.PROTOCOL_41 | flags.SECURE_CONNECTION | flags.PLUGIN_AUTH | flags.QUERY_ATTRIBUTES,
    flags.PROTOCOL_41 | flags.SESSION_TRACK | flags.DEPRECATE_EOF,
)
METHODS = (NATIVE, SHA2, SHA256, ED25519, PARSEC, CLEAR, "dialog")


@dataclass(frozen=True)
class Target:
    """``parse`` any bytes; ``seeds`` are good ones to begin with."""

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


TARGETS: dict[str, Target] = {}


def target(*seeds: bytes) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    def add(function: Callable[[bytes], object]) -> Callable[[bytes], object]:
        def parse(data: bytes) -> object:
            try:
                return function(data)
            except ProxyError as error:
                assert 0 < error.errno <= 65535 and len(error.sqlstate) == 5, error
                return None

        TARGETS[function.__name__] = Target(parse, seeds)
        return function

    return add


def _variant(data: bytes) -> tuple[int, bytes]:
    """A number that chooses among variants, and the rest."""
    return (data[0] if data else 0), data[1:]


# --- from clients --------------------------------------------------------------------------------------------------


@target(b"\x05\x01\0\0\0\x0e", b"\x09\x03\0\0\0abc\x01\0\0\1a")
def framing(data: bytes) -> None:
    step, stream = _variant(data)
    reader = PacketReader(1 << 20)
    for start in range(0, len(stream), step + 1):
        reader.feed(stream[start : start + step + 1])
        while (raw := reader.next()) is not None:
            payload_of(raw)
        assert reader.pending <= len(stream)


@target(
    captured.PYMYSQL_TO_MARIADB,
    captured.MARIADB_CLI_LOGIN,
    captured.MYSQL_CLI_TO_MYSQL,
    captured.MYSQL_CLI_SSL_REQUEST,
)
def login(data: bytes) -> None:
    if is_ssl_request(data):
        parse_ssl_request(data)
    parse_handshake_response(data)


@target(b"\0" + captured.CONNECTOR_C_CHANGE_USER, b"\0" + captured.CONNECTOR_PYTHON_CHANGE_USER)
def change_user(data: bytes) -> None:
    number, payload = _variant(data)
    parse_change_user(payload, CAPABILITIES[number % len(CAPABILITIES)])


@target(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + b"\1" * 12)
def proxy_header(data: bytes) -> None:
    found = parse_proxy_header(data)
    assert found is None or 0 < found.size <= len(data)


@target(b"\0" + captured.QUERY_WITH_ATTRIBUTES, b"\2\x03\0\1SELECT 1")
def query(data: bytes) -> None:
    number, payload = _variant(data)
    capabilities = CAPABILITIES[number % len(CAPABILITIES)]
    assert 0 < statement_offset(b"\x03" + payload, 0, capabilities) <= len(payload) + 1


@target(
    b"\2\2" + captured.EXECUTE_WITH_ATTRIBUTE,
    b"\1\1" + captured.MARIADB_EXECUTE,
    b"\1\0" + captured.MARIADB_EXECUTE_NO_PARAMETERS,
)
def execute(data: bytes) -> None:
    number, rest = _variant(data)
    parameters, payload = _variant(rest)
    capabilities = CAPABILITIES[number % len(CAPABILITIES)]
    prepared.cursor_requested(payload)
    types = prepared.parameter_types(payload, parameters, capabilities)
    if types is not None:
        prepared.with_parameter_types(payload, parameters, types, capabilities)
    prepared.with_parameter_types(payload, parameters, b"\xfd\0" * parameters, capabilities)


_PASSWORD = "the right one"
_SECRETS = [Secret.from_password(_PASSWORD)]
_ACCOUNTS = Accounts(
    [Account(method, tuple(_SECRETS), "s", methods=(method,)) for method in METHODS[:-1]]
    + [Account("app", tuple(_SECRETS), "s")]
)


@target(b"\0\0\3app" + b"x" * 20, b"\4\1\6parsec", b"\2\1\3app\0\1\2\1")
def dialogue(data: bytes) -> None:
    """A whole login: nobody gets in. Pieces with their length before them."""
    method, rest = _variant(data)
    secure, rest = _variant(rest)
    nonce = new_nonce()
    channel = Channel(ip_address("10.0.0.1"), secure % 2 == 1)
    talk = LoginDialogue(_ACCOUNTS, nonce, (NATIVE, SHA2)[secure // 2 % 2], channel)
    name, rest = _piece(rest)
    answer, rest = _piece(rest)
    step = talk.start(name, METHODS[method % len(METHODS)], answer, fresh=secure // 4 % 2 == 1)
    for _ in range(6):
        if isinstance(step, Costly):
            step = step.run()
        assert not isinstance(step, Accept) or _PASSWORD.encode() in data
        if isinstance(step, Accept | Deny):
            return
        answer, rest = _piece(rest)
        step = talk.answer(answer)
    raise AssertionError("a login without end")


def _piece(data: bytes) -> tuple[bytes, bytes]:
    size, rest = _variant(data)
    return rest[:size], rest[size:]


@target(b"")
def certificate(data: bytes) -> None:
    CertificateRule("CN=app", "/CN=ca").fits(data)


_STATEMENTS = tuple(
    sql if isinstance(sql, bytes) else sql.encode()
    for sql in (*(sql for statements in REFUSED.values() for sql in statements), *PASSES)
)
_CONTEXTS = [
    SqlContext(schema="app", catalog=CATALOG),
    SqlContext(schema="", mariadb=False, catalog=CATALOG, ansi_quotes=True),
    SqlContext(schema="app", catalog=CATALOG, no_backslash_escapes=True, charset="gbk"),
    SqlContext(schema="app", oracle=True, pipes_as_concat=True, ignore_space=True),
]


@target(*(b"\0" + sql for sql in _STATEMENTS))
def statement(data: bytes) -> None:
    """Lexer, digest, classification, hints, what it uses."""
    number, text = _variant(data)
    context = _CONTEXTS[number % len(_CONTEXTS)]
    digest = normaliser(context.ansi_quotes, context.no_backslash_escapes)(text)
    assert len(digest) <= 2 * len(text) + 16
    classify(text, context)
    hints.read(text)
    uses_of(text, context)


def _firewall() -> Firewall:
    with TemporaryDirectory() as folder:
        path = Path(folder, "rules.toml")
        path.write_text(RULES, encoding="utf-8")
        return Firewall([Loaded(path, read_rules(path))])


_FIREWALL = _firewall()


@target(*(b"\0" + sql for sql in _STATEMENTS))
def judgement(data: bytes) -> None:
    """The firewall has an opinion on any text; behind an executed read of what is denied, always the same."""
    number, text = _variant(data)
    context = replace(_CONTEXTS[number % len(_CONTEXTS)], mariadb=True)
    assert attempt(_FIREWALL, text, context, "app").action in {"none", "deny"}


# --- from servers --------------------------------------------------------------------------------------------------


@target(
    captured.MARIADB_GREETING, captured.MYSQL_GREETING, captured.MARIADB_TOO_MANY, captured.MYSQL_TOO_MANY
)
def greeting(data: bytes) -> None:
    assert len(parse_greeting(data).nonce) == 20


@target(captured.MARIADB_AUTH_SWITCH, b"\xfeparsec\0" + b"x" * 32)
def auth_switch(data: bytes) -> None:
    parse_auth_switch(data)


@target(b"\0\1\x20" + b"x" * 32 + b"\x14P\0" + b"s" * 18, b"\1\0\x14" + b"n" * 20 + b"\1\4")
def server_auth(data: bytes) -> None:
    """What a server may ask of our login; the password never goes out in clear."""
    number, rest = _variant(data)
    nonce, rest = _piece(rest)
    auth = ServerAuth(ServerCredential("app", _PASSWORD), secure=False)
    sent = [auth.initial(METHODS[number % len(METHODS)], nonce[:20])]
    for method in METHODS:
        asked, rest = _piece(rest)
        for step in (auth.more, lambda data, name=method: auth.switch(name, data), _cheaply(auth.signed)):
            try:
                sent.append(step(asked) or b"")  # type: ignore[operator]
            except ProxyError:
                continue
    assert all(_PASSWORD.encode() not in answer for answer in sent)


def _cheaply(signed: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """65,536 rounds are for the daemon's threads."""
    return lambda data: signed(data[:1] + b"\0" + data[2:])


@target(
    b"\0" + captured.OK_WITH_INFO,
    b"\0" + captured.MARIADB_OK_GTID,
    b"\0" + captured.MYSQL_OK_GTID,
    b"\0" + captured.OK_SET_NAMES,
)
def ok(data: bytes) -> None:
    number, payload = _variant(data)
    capabilities = CAPABILITIES[number % len(CAPABILITIES)]
    found = packets.parse_ok(payload, capabilities)
    packets.translate_ok(payload, capabilities & ~flags.SESSION_TRACK)
    tracking.parse_session_state(found.session_state)
    packets.with_session_state(
        payload, lambda state: tracking.only_kinds(state, frozenset(tracking.ChangeKind), None)
    )


@target(b"\0\xff\x10\x04#08004Too many connections")
def err(data: bytes) -> None:
    number, payload = _variant(data)
    packets.parse_err(payload, CAPABILITIES[number % len(CAPABILITIES)])


@target(captured.PREPARE_OK)
def prepare_ok(data: bytes) -> None:
    prepared.parse_prepare_ok(data)


_FORMS = (
    response.QUERY,
    response.PREPARE,
    response.FIELD_LIST,
    response.FETCH,
    response.STRING,
    response.OK,
    response.CURSOR,
)
_WALKED = (
    flags.PROTOCOL_41,
    flags.PROTOCOL_41 | flags.SESSION_TRACK,
    flags.PROTOCOL_41 | flags.DEPRECATE_EOF | flags.SESSION_TRACK,
)


@target(*(b"\0\7" + part for answer in recorded()[:40] for part in answer.parts))
def answer(data: bytes) -> None:
    """The response walker, in chunks."""
    form, rest = _variant(data)
    step, stream = _variant(rest)
    walker = response.ResponseWalker(_WALKED[form // len(_FORMS) % len(_WALKED)])
    walker.begin(_FORMS[form % len(_FORMS)], 1)
    held = b""
    for start in range(0, len(stream), step + 1):
        held += stream[start : start + step + 1]
        held = held[walker.feed(held) :]
        if walker.done or walker.local_infile is not None:
            return
        assert len(held) <= response.MAX_CONTROL + 4


@target(b"0-1-5,1-2-7", b"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:11")
def gtids(data: bytes) -> None:
    text = data.decode("latin-1")
    for parse in (
        lambda: GtidSet.parse(text, True),
        lambda: GtidSet.parse(text, False),
        lambda: parse_mariadb_list(text),
    ):
        try:
            parse()  # type: ignore[no-untyped-call]
        except ValueError:
            continue
