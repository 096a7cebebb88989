"""The connection phase: recorded bytes, round trips, lies and cut-off packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.errors import ClientFault, MalformedPacket, ProxyError, ServerFault
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.handshake import (
    ChangeUser,
    Greeting,
    HandshakeResponse,
    build_auth_more,
    build_auth_switch,
    build_ssl_request,
    is_ssl_request,
    parse_auth_switch,
    parse_change_user,
    parse_greeting,
    parse_handshake_response,
    parse_ssl_request,
)
from tests.wire import captured

LOGINS = [
    captured.PYMYSQL_TO_MARIADB,
    captured.MARIADB_CLI_LOGIN,
    captured.MYSQL_CLI_TO_MARIADB,
    captured.MYSQL_CLI_TO_MYSQL,
]
CHANGE_USERS = [captured.CONNECTOR_C_CHANGE_USER, captured.CONNECTOR_PYTHON_CHANGE_USER]
BASE = flags.PROTOCOL_41 | flags.SECURE_CONNECTION | flags.LONG_PASSWORD
ALL = BASE | flags.PLUGIN_AUTH | flags.CONNECT_ATTRS

no_nul = st.binary(max_size=40).filter(lambda value: b"\0" not in value)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
attributes = st.dictionaries(text, text, max_size=5)


# --- greeting


def test_mariadbs_greeting() -> None:
    greeting = parse_greeting(captured.MARIADB_GREETING)
    assert greeting.version == "5.5.5-10.11.19-MariaDB-0+deb12u1-log"
    assert greeting.mariadb
    assert greeting.connection_id == 17
    assert greeting.nonce == b"`uL[ddH}[0|Bq3JYa\\(S"
    assert greeting.capabilities >> 32 == 0x1D
    assert not greeting.capabilities & flags.LONG_PASSWORD
    assert (greeting.charset, greeting.status) == (8, flags.STATUS_AUTOCOMMIT)
    assert greeting.plugin == "mysql_native_password"
    assert greeting.build() == captured.MARIADB_GREETING


def test_mysqls_greeting() -> None:
    greeting = parse_greeting(captured.MYSQL_GREETING)
    assert greeting.version == "9.7.4-2"
    assert not greeting.mariadb
    assert len(greeting.nonce) == 20
    assert greeting.capabilities >> 32 == 0
    assert greeting.plugin == "caching_sha2_password"
    assert greeting.build() == captured.MYSQL_GREETING


@given(
    st.binary(min_size=20, max_size=20).filter(lambda value: b"\0" not in value),
    st.integers(min_value=0, max_value=(1 << 64) - 1),
    st.integers(min_value=0, max_value=0xFFFFFFFF),
    st.integers(min_value=0, max_value=0xFF),
)
def test_greetings_round_trip(nonce: bytes, capabilities: int, connection_id: int, charset: int) -> None:
    capabilities |= ALL & ~flags.LONG_PASSWORD
    if capabilities & flags.LONG_PASSWORD:
        capabilities &= flags.CLASSIC
    greeting = Greeting("11.4.2-MariaDB", connection_id, nonce, capabilities, charset, 2, "ed25519")
    assert parse_greeting(greeting.build()) == greeting


@pytest.mark.parametrize("nonce", [b"short", b"\0" * 20, b"x" * 21])
def test_a_nonce_that_clients_would_misread_is_refused(nonce: bytes) -> None:
    with pytest.raises(ValueError, match="nonce"):
        Greeting("8.0", 1, nonce, ALL, 45, 2, "mysql_native_password").build()


@pytest.mark.parametrize("payload", [captured.MARIADB_TOO_MANY, captured.MYSQL_TOO_MANY])
def test_too_many_connections_instead_of_a_greeting(payload: bytes) -> None:
    with pytest.raises(ServerFault) as caught:
        parse_greeting(payload)
    assert (caught.value.errno, caught.value.sqlstate) == (1040, "08004")
    assert caught.value.__notes__ == ["Too many connections"]


def test_what_a_refusing_server_says_stays_out_of_the_clients_error() -> None:
    said = b"\xff\x6a\x04Host '10.1.2.3' is not allowed to connect to this MariaDB server"
    with pytest.raises(ServerFault) as caught:
        parse_greeting(said)
    assert caught.value.errno == 1130
    assert "10.1.2.3" not in str(caught.value)


@pytest.mark.parametrize("payload", [b"\x09old\0", b"\x00", b"", b"HTTP/1.1 400 Bad Request"])
def test_other_protocols_are_the_servers_fault(payload: bytes) -> None:
    with pytest.raises(ServerFault):
        parse_greeting(payload)


@pytest.mark.parametrize("payload", [captured.MARIADB_GREETING, captured.MYSQL_GREETING])
def test_a_cut_off_greeting_is_malformed_up_to_its_plugin(payload: bytes) -> None:
    whole = parse_greeting(payload)
    plugin_at = len(payload) - len(whole.plugin) - 1
    for size in range(1, plugin_at):
        with pytest.raises(MalformedPacket):
            parse_greeting(payload[:size])
    assert parse_greeting(payload[:plugin_at]).plugin == ""


# --- login


def test_pymysqls_login() -> None:
    login = parse_handshake_response(captured.PYMYSQL_TO_MARIADB)
    assert (login.user, login.schema, login.plugin) == (b"app", b"shop", "mysql_native_password")
    assert (len(login.auth), login.charset, login.max_packet) == (20, 45, 0xFFFFFF)
    assert login.attributes["_client_name"] == "pymysql"
    assert not login.capabilities & flags.DEPRECATE_EOF


def test_the_mariadb_clients_login_has_extended_flags() -> None:
    login = parse_handshake_response(captured.MARIADB_CLI_LOGIN)
    assert login.capabilities >> 32 == 0x1D
    assert not login.capabilities & flags.LONG_PASSWORD
    assert login.attributes["program_name"] == "mysql"


def test_extended_flags_count_only_without_long_password() -> None:
    payload = bytearray(captured.PYMYSQL_TO_MARIADB)
    payload[28:32] = b"\x08\x00\x00\x00"
    assert parse_handshake_response(bytes(payload)).capabilities >> 32 == 0
    payload[0] &= 0xFE
    assert parse_handshake_response(bytes(payload)).capabilities >> 32 == 8


def test_the_mysql_clients_logins() -> None:
    login = parse_handshake_response(captured.MYSQL_CLI_TO_MARIADB)
    assert (login.auth, login.plugin) == (b"", "caching_sha2_password")
    assert login.capabilities & flags.QUERY_ATTRIBUTES
    login = parse_handshake_response(captured.MYSQL_CLI_TO_MYSQL)
    assert (len(login.auth), login.charset) == (32, 255)
    assert login.attributes["_client_version"] == "9.7.4"


@pytest.mark.parametrize("payload", LOGINS)
def test_recorded_logins_are_built_again_byte_by_byte(payload: bytes) -> None:
    assert parse_handshake_response(payload).build() == payload


@given(
    user=no_nul,
    auth=st.binary(max_size=300),
    schema=st.none() | no_nul.filter(bool),
    plugin=text,
    attrs=attributes,
    lenenc=st.booleans(),
    extended=st.integers(min_value=0, max_value=0xFFFFFFFF),
)
def test_logins_round_trip(
    *,
    user: bytes,
    auth: bytes,
    schema: bytes | None,
    plugin: str,
    attrs: dict[str, str],
    lenenc: bool,
    extended: int,
) -> None:
    capabilities = ALL & ~flags.LONG_PASSWORD | extended << 32
    capabilities |= flags.PLUGIN_AUTH_LENENC_CLIENT_DATA if lenenc else 0
    capabilities |= flags.CONNECT_WITH_DB if schema else 0
    login = HandshakeResponse(capabilities, 1 << 24, 45, user, auth, schema, plugin, attrs)
    if len(auth) > 255 and not lenenc:
        with pytest.raises(ValueError, match="255"):
            login.build()
        return
    assert parse_handshake_response(login.build()) == login


def test_the_schema_decides_about_its_flag() -> None:
    login = HandshakeResponse(BASE | flags.CONNECT_WITH_DB, 1, 8, b"a")
    assert not parse_handshake_response(login.build()).capabilities & flags.CONNECT_WITH_DB
    login = HandshakeResponse(BASE, 1, 8, b"a", schema=b"s")
    assert parse_handshake_response(login.build()).schema == b"s"


def test_the_oldest_form_ends_its_answer_with_nul() -> None:
    login = HandshakeResponse(flags.PROTOCOL_41 | flags.LONG_PASSWORD, 1, 8, b"app", b"hash")
    assert login.build().endswith(b"app\0hash\0")
    assert parse_handshake_response(login.build()).auth == b"hash"


@pytest.mark.parametrize("payload", LOGINS)
def test_a_cut_off_login_is_a_login_only_where_servers_take_it_for_one(payload: bytes) -> None:
    """Without its schema, without or inside its plugin's name, or without attributes; nowhere else."""
    whole = parse_handshake_response(payload)
    after_auth = payload.index(b"shop\0")
    plugin_at = after_auth + len(b"shop\0")
    plugin_end = plugin_at + len(whole.plugin) + 1
    allowed = {after_auth, *range(plugin_at, plugin_end + 1), len(payload)}
    for size in range(len(payload) + 1):
        if size in allowed:
            login = parse_handshake_response(payload[:size])
            assert login.user == whole.user
            assert login.auth == whole.auth
            continue
        with pytest.raises(ClientFault):
            parse_handshake_response(payload[:size])


def test_a_user_without_end_is_refused() -> None:
    head = HandshakeResponse(ALL, 1 << 24, 45, b"").build()[:32]
    with pytest.raises(MalformedPacket):
        parse_handshake_response(head + b"a" * 100)


@pytest.mark.parametrize("lie", [b"\xff", b"\xfb", b"\xfe" + b"\xff" * 8, b"\xfd\xff\xff\xff", b"\x05abcd"])
def test_an_answers_length_that_lies_is_refused(lie: bytes) -> None:
    capabilities = BASE | flags.PLUGIN_AUTH_LENENC_CLIENT_DATA
    head = HandshakeResponse(capabilities, 1 << 24, 45, b"app").build()[:36]
    with pytest.raises(MalformedPacket):
        parse_handshake_response(head + lie)


@pytest.mark.parametrize(
    "block",
    [
        b"\x05",  # more than there is
        b"\x03\x05abc",  # a name beyond the block, though inside the packet
        b"\x02\x01a\x01b\x01c\x01d",  # a name without value inside the block
        b"\xfe" + b"\xff" * 8,
        b"\xfd\x00\x00\x01" + b"\x01a\x01b" * (1 << 14),  # 64 KiB and more
    ],
)
def test_attributes_that_lie_are_refused(block: bytes) -> None:
    capabilities = BASE | flags.PLUGIN_AUTH | flags.CONNECT_ATTRS
    login = HandshakeResponse(capabilities, 1 << 24, 45, b"app", b"x", None, "p").build()
    with pytest.raises(MalformedPacket):
        parse_handshake_response(login[:-1] + block)


def test_a_login_from_before_4_1_is_refused_by_name() -> None:
    with pytest.raises(ClientFault) as caught:
        parse_handshake_response(b"\x05\x00\x00\x00\x00app\0hash\0")
    assert (caught.value.errno, caught.value.sqlstate) == (1251, "08004")


# --- TLS


def test_the_mysql_clients_ssl_request() -> None:
    payload = captured.MYSQL_CLI_SSL_REQUEST
    assert is_ssl_request(payload)
    capabilities, max_packet, charset = parse_ssl_request(payload)
    assert capabilities & flags.SSL
    assert (max_packet, charset) == (1 << 24, 255)
    assert build_ssl_request(capabilities & ~flags.SSL, max_packet, charset) == payload


@pytest.mark.parametrize("payload", LOGINS)
def test_a_login_is_no_ssl_request(payload: bytes) -> None:
    assert not is_ssl_request(payload)
    with_flag = payload[:1] + bytes((payload[1] | 0x08,)) + payload[2:]
    assert not is_ssl_request(with_flag)


def test_an_ssl_request_carries_extended_flags() -> None:
    capabilities = flags.PROTOCOL_41 | flags.SSL | flags.MARIADB_STMT_BULK
    assert parse_ssl_request(build_ssl_request(capabilities, 5, 45)) == (capabilities, 5, 45)


# --- another method


def test_mariadbs_auth_switch() -> None:
    plugin, nonce = parse_auth_switch(captured.MARIADB_AUTH_SWITCH)
    assert (plugin, nonce) == ("mysql_native_password", b"(.Kpqh6qWA!|o8j->2~G")
    assert build_auth_switch(plugin, nonce + b"\0") == captured.MARIADB_AUTH_SWITCH


def test_random_data_that_ends_in_zero_is_left_alone() -> None:
    data = b"\x07" * 31 + b"\0"
    assert parse_auth_switch(b"\xfeclient_ed25519\0" + data) == ("client_ed25519", data)


def test_the_old_password_hash_is_refused() -> None:
    with pytest.raises(ServerFault):
        parse_auth_switch(b"\xfe")


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\xfeno end", b"\x01x"])
def test_what_is_no_auth_switch(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_auth_switch(payload)


def test_auth_more_data() -> None:
    assert build_auth_more(b"\x04") == b"\x01\x04"


# --- COM_CHANGE_USER


def test_connector_cs_change_user() -> None:
    request = parse_change_user(captured.CONNECTOR_C_CHANGE_USER, ALL)
    assert (request.user, request.schema, request.charset) == (b"app", b"shop", 45)
    assert (len(request.auth), request.plugin) == (20, "mysql_native_password")
    assert request.attributes["_client_name"] == "libmariadb"


def test_connector_pythons_change_user() -> None:
    request = parse_change_user(captured.CONNECTOR_PYTHON_CHANGE_USER, ALL)
    assert (request.user, request.schema, request.charset) == (b"app", b"shop", 255)
    assert (len(request.auth), request.plugin) == (32, "caching_sha2_password")
    assert request.attributes["_client_name"] == "mysql-connector-python"


@pytest.mark.parametrize("payload", CHANGE_USERS)
def test_recorded_change_users_are_built_again_byte_by_byte(payload: bytes) -> None:
    assert parse_change_user(payload, ALL).build(ALL) == payload


@given(no_nul, st.binary(max_size=255), st.none() | no_nul.filter(bool), text, attributes)
def test_change_users_round_trip(
    user: bytes, auth: bytes, schema: bytes | None, plugin: str, attrs: dict[str, str]
) -> None:
    request = ChangeUser(user, auth, schema, 2304, plugin, attrs)
    assert parse_change_user(request.build(ALL), ALL) == request


def test_a_change_user_may_end_early() -> None:
    assert parse_change_user(b"\x11app\0\x00\0", ALL) == ChangeUser(b"app")
    assert parse_change_user(b"\x11app\0\x00s\0\x2d\x00", ALL) == ChangeUser(b"app", b"", b"s", 45)
    assert parse_change_user(b"\x11app\0hash\0\0", flags.PROTOCOL_41) == ChangeUser(b"app", b"hash")


@pytest.mark.parametrize(
    "payload", [b"", b"\x11", b"\x11app", b"\x11app\0\x05abc", b"\x11app\0\0s", b"\x03app\0\0\0"]
)
def test_a_broken_change_user_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parse_change_user(payload, ALL)


# --- any bytes


@st.composite
def damaged(draw: st.DrawFn, packets: list[bytes]) -> bytes:
    """A recorded packet with some bytes replaced, and cut somewhere."""
    data = bytearray(draw(st.sampled_from(packets)))
    for _ in range(draw(st.integers(min_value=0, max_value=4))):
        data[draw(st.integers(min_value=0, max_value=len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(min_value=0, max_value=len(data)))])


@given(st.binary(max_size=200) | damaged(LOGINS))
def test_any_bytes_are_a_login_or_an_error(payload: bytes) -> None:
    try:
        login = parse_handshake_response(payload)
    except ProxyError:
        return
    assert b"\0" not in login.user
    assert len(login.user) + len(login.auth) < len(payload)
    is_ssl_request(payload)


@given(st.binary(max_size=120) | damaged([captured.MARIADB_GREETING, captured.MYSQL_GREETING]))
def test_any_bytes_are_a_greeting_or_an_error(payload: bytes) -> None:
    try:
        greeting = parse_greeting(payload)
    except ProxyError as error:
        assert 0 < error.errno <= 65535
        assert len(error.sqlstate) == 5
        return
    assert len(greeting.nonce) == 20


@given(st.binary(max_size=120) | damaged(CHANGE_USERS), st.sampled_from([ALL, BASE, flags.PROTOCOL_41]))
def test_any_bytes_are_a_change_user_or_an_error(payload: bytes, capabilities: int) -> None:
    try:
        request = parse_change_user(payload, capabilities)
    except ProxyError:
        return
    assert b"\0" not in request.user


@given(st.binary(max_size=60))
def test_any_bytes_are_an_auth_switch_or_an_error(payload: bytes) -> None:
    try:
        plugin, _ = parse_auth_switch(payload)
    except ProxyError:
        return
    assert "\0" not in plugin
