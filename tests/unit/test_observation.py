"""Rows as MariaDB and MySQL have shown them over the years, and rows that no server should show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.cluster.observation import Thread, mariadb_facts, mysql_facts, read_source

MARIADB_SOURCE = {
    "Connection_name": "",
    "Slave_SQL_State": "Slave has read all relay log",
    "Slave_IO_State": "Waiting for master to send event",
    "Master_Host": "10.0.0.1",
    "Master_Port": 3306,
    "Master_Log_File": "binlog.000002",
    "Slave_IO_Running": "Yes",
    "Slave_SQL_Running": "Yes",
    "Seconds_Behind_Master": 3,
    "Last_IO_Errno": 0,
    "Last_SQL_Errno": 0,
    "Master_Server_Id": 1,
}
MYSQL_SOURCE = {
    "Channel_Name": "",
    "Source_Host": "10.0.0.1",
    "Source_Port": 3306,
    "Source_Log_File": "binlog.000002",
    "Replica_IO_Running": "Yes",
    "Replica_SQL_Running": "Yes",
    "Seconds_Behind_Source": 0,
    "Last_IO_Errno": 0,
    "Last_SQL_Errno": 0,
    "Source_Server_Id": 1,
    "Source_UUID": "3E11FA47-71CA-11E1-9E33-C80AA9429562",
}
MYSQL57_SOURCE = {
    "Master_Host": "10.0.0.1",
    "Master_Port": 3306,
    "Master_Log_File": "binlog.000002",
    "Slave_IO_Running": "Connecting",
    "Slave_SQL_Running": "Yes",
    "Seconds_Behind_Master": None,
    "Last_IO_Errno": 2003,
    "Master_Server_Id": 1,
    "Master_UUID": "3e11fa47-71ca-11e1-9e33-c80aa9429562",
}
MARIADB = {
    "read_only": 0,
    "server_id": 1,
    "lower_case_table_names": 0,
    "wait_timeout": 28800,
    "max_allowed_packet": 16777216,
    "sql_mode": "STRICT_TRANS_TABLES",
    "gtid_slave_pos": "",
    "gtid_binlog_pos": "0-1-9",
    "gtid_binlog_state": "0-2-3,0-1-9",
    "log_bin": 1,
    "log_slave_updates": 1,
}
MYSQL = {
    "read_only": 0,
    "super_read_only": 0,
    "server_id": 1,
    "server_uuid": "3E11FA47-71CA-11E1-9E33-C80AA9429562",
    "lower_case_table_names": 0,
    "wait_timeout": 28800,
    "max_allowed_packet": 67108864,
    "sql_mode": "",
    "gtid_mode": "ON",
    "gtid_executed": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
}


def test_mariadb() -> None:
    source = read_source(MARIADB_SOURCE)
    assert (source.host, source.port, source.origin) == ("10.0.0.1", 3306, "1")
    assert (source.io, source.sql, source.lag, source.errno) == (Thread.RUNNING, Thread.RUNNING, 3.0, 0)
    assert not source.inert


def test_mysql_tells_its_source_by_uuid() -> None:
    source = read_source(MYSQL_SOURCE)
    assert source.origin == "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    assert source.lag == 0.0


def test_mysql_before_8() -> None:
    source = read_source(MYSQL57_SOURCE)
    assert (source.io, source.lag, source.errno) == (Thread.CONNECTING, None, 2003)
    assert source.origin == "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_mariadb_that_prepares_to_connect_is_connecting() -> None:
    assert read_source(MARIADB_SOURCE | {"Slave_IO_Running": "Preparing"}).io is Thread.CONNECTING


@pytest.mark.parametrize(
    ("changes", "inert"),
    [
        ({"Slave_IO_Running": "No", "Slave_SQL_Running": "No"}, False),
        ({"Master_Log_File": ""}, False),
        ({"Slave_IO_Running": "No", "Slave_SQL_Running": "No", "Master_Log_File": ""}, True),
        ({"Slave_IO_Running": "Connecting", "Slave_SQL_Running": "No", "Master_Log_File": ""}, False),
    ],
)
def test_stopped_and_reset_is_inert(changes: dict[str, str], inert: bool) -> None:
    assert read_source(MARIADB_SOURCE | changes).inert is inert


@pytest.mark.parametrize("lag", ["nan", "inf", "-inf"])
def test_a_lag_that_is_no_number_is_unknown(lag: str) -> None:
    assert read_source(MARIADB_SOURCE | {"Seconds_Behind_Master": lag}).lag is None


@pytest.mark.parametrize(
    ("value", "read_only"), [(0, False), ("OFF", False), (1, True), ("ON", True), ("NO_LOCK_NO_ADMIN", True)]
)
def test_whatever_is_not_off_is_read_only(value: Any, read_only: bool) -> None:
    assert mariadb_facts(MARIADB | {"read_only": value}, (), "v", 0).read_only is read_only
    assert mysql_facts(MYSQL | {"super_read_only": value}, (), "v", 0).read_only is read_only


def test_the_position_of_a_mariadb_manager_is_what_it_wrote_and_of_a_worker_what_it_applied() -> None:
    row = MARIADB | {"gtid_slave_pos": "0-1-8", "gtid_binlog_pos": "0-2-12"}
    assert str(mariadb_facts(row, (), "v", 0).position) == "0-2-12"
    # A worker's own errant transaction is nothing that it has applied of the manager's.
    assert str(mariadb_facts(row, (read_source(MARIADB_SOURCE),), "v", 0).position) == "0-1-8"
    # Whether it is one is not known: the less that is claimed the better.
    assert str(mariadb_facts(row, None, "v", 0).position) == "0-1-8"


def test_without_gtids_there_is_no_position() -> None:
    row = MARIADB | {"gtid_binlog_pos": None, "gtid_binlog_state": None, "log_bin": 0}
    assert mariadb_facts(row, (), "v", 0).position is None
    assert mysql_facts(MYSQL | {"gtid_mode": "OFF"}, (), "v", 0).position is None
    assert mysql_facts(MYSQL | {"gtid_mode": "ON_PERMISSIVE"}, (), "v", 0).position is None


def test_a_fresh_mariadb_has_an_empty_position() -> None:
    row = MARIADB | {"gtid_binlog_pos": "", "gtid_binlog_state": ""}
    position = mariadb_facts(row, (), "v", 0).position
    assert position is not None and position.empty()


def test_origins_are_the_furthest_of_all_that_the_server_knows() -> None:
    facts = mariadb_facts(MARIADB | {"gtid_slave_pos": "0-2-5,1-7-1"}, (), "v", 0)
    assert facts.origins == {(0, 1): 9, (0, 2): 5, (1, 7): 1}


_values = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=12), st.binary(max_size=12))


@given(st.fixed_dictionaries(dict.fromkeys(MARIADB_SOURCE, _values)))
def test_any_source_row_is_a_value_or_a_documented_error(row: dict[str, Any]) -> None:
    try:
        source = read_source(row)
    except (ValueError, OverflowError):
        return
    assert source.lag is None or source.lag == source.lag


@given(
    st.fixed_dictionaries(dict.fromkeys(MYSQL, _values)),
    st.fixed_dictionaries(dict.fromkeys(MARIADB, _values)),
)
def test_any_row_of_variables_is_a_value_or_a_documented_error(
    mysql: dict[str, Any], mariadb: dict[str, Any]
) -> None:
    for read, row in ((mysql_facts, mysql), (mariadb_facts, mariadb)):
        try:
            facts = read(row, (), "v", 0)
        except (ValueError, TypeError, OverflowError):
            continue
        assert isinstance(facts.read_only, bool)
