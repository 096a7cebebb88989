"""What is offered, agreed and asked of servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.errors import ClientFault, ServerFault
from mysqlproxy.protocol import capabilities as flags
from mysqlproxy.protocol.capabilities import for_server, negotiate, offer
from mysqlproxy.protocol.handshake import parse_greeting, parse_handshake_response
from tests.wire import captured

MARIADB = parse_greeting(captured.MARIADB_GREETING).capabilities
MYSQL = parse_greeting(captured.MYSQL_GREETING).capabilities
MYSQL_CLI = parse_handshake_response(captured.MYSQL_CLI_TO_MARIADB).capabilities
NEVER = (
    flags.COMPRESS
    | flags.ZSTD_COMPRESSION_ALGORITHM
    | flags.OPTIONAL_RESULTSET_METADATA
    | flags.CAN_HANDLE_EXPIRED_PASSWORDS
    | flags.MULTI_FACTOR_AUTHENTICATION
    | flags.MARIADB_CACHE_METADATA
    | flags.MARIADB_COM_MULTI
)
any_flags = st.integers(min_value=0, max_value=(1 << 64) - 1)
clients = any_flags.map(lambda value: value | flags.PROTOCOL_41)


def test_the_captured_servers_have_what_the_tests_below_assume() -> None:
    assert MARIADB & flags.MARIADB_CACHE_METADATA
    assert not MARIADB & (flags.LONG_PASSWORD | flags.QUERY_ATTRIBUTES)
    assert MYSQL & flags.LONG_PASSWORD
    assert MYSQL & flags.QUERY_ATTRIBUTES
    assert MYSQL & flags.ZSTD_COMPRESSION_ALGORITHM


def test_mariadb_is_offered_with_its_own_extended_flags_and_without_mysqls() -> None:
    offered = offer(MARIADB, tls=False)
    for flag in (flags.MARIADB_PROGRESS, flags.MARIADB_STMT_BULK, flags.MARIADB_EXTENDED_METADATA):
        assert offered & flag
    for flag in (flags.LONG_PASSWORD, flags.QUERY_ATTRIBUTES, flags.SSL):
        assert not offered & flag


def test_mysql_is_offered_with_query_attributes_and_no_extended_flag() -> None:
    offered = offer(MYSQL, tls=True)
    for flag in (flags.LONG_PASSWORD, flags.QUERY_ATTRIBUTES, flags.SSL, flags.DEPRECATE_EOF):
        assert offered & flag
    assert offered >> 32 == 0


@given(any_flags, st.booleans())
def test_what_cannot_be_relayed_is_never_offered(cluster: int, tls: bool) -> None:
    offered = offer(cluster, tls)
    assert not offered & NEVER
    assert bool(offered & flags.SSL) is tls
    for flag in (flags.SESSION_TRACK, flags.PLUGIN_AUTH, flags.PROTOCOL_41, flags.CONNECT_WITH_DB):
        assert offered & flag
    assert not (offered & flags.LONG_PASSWORD and offered >> 32)


def test_flags_nobody_offered_are_masked() -> None:
    """The mysql 9.7 client asks even a MariaDB server for QUERY_ATTRIBUTES."""
    assert MYSQL_CLI & flags.QUERY_ATTRIBUTES
    agreed = negotiate(offer(MARIADB, tls=False), MYSQL_CLI)
    assert not agreed & flags.QUERY_ATTRIBUTES
    assert agreed & flags.DEPRECATE_EOF


def test_a_client_from_before_4_1_is_refused() -> None:
    with pytest.raises(ClientFault) as caught:
        negotiate(offer(MYSQL, tls=False), flags.LONG_PASSWORD | flags.CONNECT_WITH_DB)
    assert (caught.value.errno, caught.value.sqlstate) == (1251, "08004")


@given(clients, st.sampled_from([MARIADB, MYSQL]), st.booleans())
def test_server_and_client_agree_on_what_changes_the_bytes(client: int, server: int, tls: bool) -> None:
    agreed = negotiate(offer(server, tls), client)
    asked = for_server(agreed, server)
    same = (
        flags.DEPRECATE_EOF
        | flags.QUERY_ATTRIBUTES
        | flags.FOUND_ROWS
        | flags.IGNORE_SPACE
        | flags.INTERACTIVE
        | flags.LOCAL_FILES
        | flags.MULTI_STATEMENTS
        | flags.MULTI_RESULTS
        | flags.PS_MULTI_RESULTS
    )
    assert asked & same == agreed & same
    assert asked >> 32 == agreed >> 32
    assert asked & flags.SESSION_TRACK
    assert not asked & (NEVER | flags.SSL | flags.CONNECT_WITH_DB)
    assert asked & ~server == 0
    assert bool(asked & flags.LONG_PASSWORD) is bool(server & flags.LONG_PASSWORD)


@pytest.mark.parametrize("flag", [flags.DEPRECATE_EOF, flags.FOUND_ROWS, flags.QUERY_ATTRIBUTES])
def test_a_server_without_what_the_client_was_promised_is_refused(flag: int) -> None:
    with pytest.raises(ServerFault):
        for_server(flags.PROTOCOL_41 | flag, MYSQL & ~flag)
    assert for_server(flags.PROTOCOL_41, MYSQL & ~flag)


def test_a_server_without_session_trackers_is_refused() -> None:
    with pytest.raises(ServerFault):
        for_server(flags.PROTOCOL_41, MYSQL & ~flags.SESSION_TRACK)


def test_a_server_that_has_switched_local_files_off_is_still_used() -> None:
    asked = for_server(flags.PROTOCOL_41 | flags.LOCAL_FILES, MYSQL & ~flags.LOCAL_FILES)
    assert not asked & flags.LOCAL_FILES
