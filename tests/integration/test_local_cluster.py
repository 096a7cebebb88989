"""The local cluster: it starts, replicates, can be broken and reset, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pymysql
import pytest

import mysqlproxy
from mysqlproxy.demo import install
from mysqlproxy.demo.errors import LocalClusterError
from mysqlproxy.demo.local import LocalCluster, free_port, port_is_free


def processes_of(directory: Path) -> list[str]:
    """The command lines of servers with a data directory below ``directory``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if f"--datadir={directory}/".encode() in command:
            found.append(command.decode(errors="replace"))
    return found


def test_workers_replicate_and_refuse_writes(cluster: LocalCluster) -> None:
    cluster.manager.query("CREATE TABLE app.t (i INT PRIMARY KEY)")
    with cluster.manager.connect(database="app") as connection:
        connection.cursor().execute("INSERT INTO t VALUES (1), (2)")
    cluster.wait_in_sync()
    for worker in cluster.workers:
        assert worker.value("SELECT COUNT(*) FROM app.t") == 2
        with (
            worker.connect(database="app") as connection,
            pytest.raises(pymysql.err.OperationalError) as error,
        ):
            connection.cursor().execute("INSERT INTO t VALUES (3)")
        assert error.value.args[0] == 1290


def test_the_monitor_account_sees_replication_and_definitions_and_writes_nothing(
    cluster: LocalCluster,
) -> None:
    with cluster.workers[0].connect("monitor") as connection:
        cursor = connection.cursor()
        cursor.execute("SHOW SLAVE STATUS")
        assert cursor.fetchone() is not None
        cursor.execute("SHOW MASTER STATUS")
        cursor.execute("SELECT VIEW_DEFINITION FROM information_schema.VIEWS LIMIT 1")
        with pytest.raises(pymysql.err.OperationalError):
            cursor.execute("CREATE TABLE app.nothing (i INT)")


def test_a_large_packet_goes_through(cluster: LocalCluster) -> None:
    cluster.manager.query("CREATE TABLE app.blobs (b LONGBLOB)")
    with cluster.manager.connect(database="app") as connection:
        connection.cursor().execute("INSERT INTO blobs VALUES (REPEAT('x', 17000000))")
        cursor = connection.cursor()
        cursor.execute("SELECT b FROM blobs")
        assert cursor.fetchall()[0][0] == b"x" * 17000000


def test_served_tells_who_was_asked_what(cluster: LocalCluster) -> None:
    worker = cluster.workers[1]
    with worker.connect() as connection:
        connection.cursor().execute("SELECT 'needle'")
        worker.query("SELECT 'needle of root'")
    assert [(e.user, e.text) for e in worker.served("needle")] == [("app", "SELECT 'needle'")]
    assert cluster.manager.served("needle") == []
    worker.general_log.mark()
    assert worker.served("needle") == []


def test_replicated_statements_count_as_asked_by_nobody(cluster: LocalCluster) -> None:
    with cluster.manager.connect(database="app") as connection:
        connection.cursor().execute("CREATE TABLE replicated (i INT)")
    cluster.wait_in_sync()
    assert len(cluster.manager.served("replicated")) == 1
    assert all(worker.served("replicated") == [] for worker in cluster.workers)


@pytest.mark.parametrize(
    "damage",
    [
        "CREATE DATABASE other",
        "CREATE TABLE app.t (i INT)",
        "CREATE FUNCTION app.f() RETURNS INT RETURN 1",
        "CREATE USER visitor IDENTIFIED BY 'x'",
        "CREATE ROLE reader",
        "GRANT SELECT ON *.* TO app",
        "SET GLOBAL max_connections = 50",
        "SET GLOBAL sql_mode = 'ANSI_QUOTES'",
        "ALTER DATABASE app CHARACTER SET latin1",
        "RESET MASTER",
    ],
)
def test_reset_undoes_damage_on_the_manager(cluster: LocalCluster, damage: str) -> None:
    before = [server.value("SELECT @@max_connections, @@sql_mode") for server in cluster.servers]
    cluster.manager.query(damage)
    cluster.reset()
    assert [server.value("SELECT @@max_connections, @@sql_mode") for server in cluster.servers] == before
    for server in cluster.servers:
        schemas = {row["Database"] for row in server.query("SHOW DATABASES")}
        assert schemas == {"app", "information_schema", "mysql", "performance_schema"}
        assert server.query("SHOW TABLES FROM app") == []
        assert server.query("SHOW FUNCTION STATUS") == []
        assert server.value("SELECT @@character_set_database", schema="app") == "utf8mb4"
        assert server.value("SELECT COUNT(*) FROM mysql.global_priv WHERE User IN ('visitor', 'reader')") == 0
        assert "SELECT ON *.*" not in str(server.query("SHOW GRANTS FOR app"))


@pytest.mark.parametrize(
    "damage",
    ["STOP SLAVE", "SET GLOBAL read_only = OFF", "CREATE DATABASE errant", "STOP SLAVE; RESET SLAVE ALL"],
)
def test_reset_undoes_damage_on_a_worker(cluster: LocalCluster, damage: str) -> None:
    worker = cluster.workers[0]
    for statement in damage.split("; "):
        worker.query(statement)
    cluster.reset()
    assert worker.value("SELECT @@read_only") == 1
    assert worker.replicating()
    cluster.manager.query("CREATE TABLE app.after_reset (i INT)")
    cluster.wait_in_sync()
    assert worker.query("SELECT * FROM app.after_reset") == []
    assert worker.value("SELECT @@gtid_binlog_pos") == cluster.manager.value("SELECT @@gtid_binlog_pos")


def test_reset_brings_back_servers_that_were_killed_and_paused(cluster: LocalCluster) -> None:
    cluster.manager.kill()
    cluster.workers[0].pause()
    cluster.workers[1].terminate()
    assert not cluster.manager.running
    cluster.reset()
    cluster.manager.query("CREATE TABLE app.t (i INT)")
    cluster.wait_in_sync()


def test_reset_ends_what_a_test_left_open(cluster: LocalCluster) -> None:
    cluster.manager.query("CREATE TABLE app.t (i INT)")
    with cluster.manager.connect(database="app", autocommit=False) as connection:
        connection.cursor().execute("INSERT INTO t VALUES (1)")
        cluster.reset()
        with pytest.raises(pymysql.err.OperationalError):
            connection.cursor().execute("SELECT 1")


def test_a_server_that_was_killed_starts_again_with_its_data(cluster: LocalCluster) -> None:
    cluster.manager.query("CREATE TABLE app.t (i INT)")
    cluster.wait_in_sync()
    worker = cluster.workers[0]
    pid = worker.pid
    worker.kill()
    cluster.manager.query("INSERT INTO app.t VALUES (7)")
    worker.start()
    assert worker.pid != pid
    cluster.wait_in_sync()
    assert worker.value("SELECT i FROM app.t") == 7


def test_stop_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    directory = tmp_path / "made"
    cluster = LocalCluster(directory, workers=1)
    cluster.start()
    assert len(processes_of(directory)) == 2
    cluster.stop()
    assert processes_of(directory) == []
    assert not directory.exists()
    cluster.stop()


def test_other_files_in_the_directory_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with LocalCluster(tmp_path, workers=0):
        assert (tmp_path / "manager").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert not port_is_free(port)
        with pytest.raises(LocalClusterError, match=f"port {port} on 127.0.0.1 is in use"):
            LocalCluster(tmp_path / "c", workers=0, ports=[port]).start()
    assert not (tmp_path / "c").exists()


def test_a_port_taken_while_servers_start_is_named_and_all_of_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        monkeypatch.setattr("mysqlproxy.demo.local.port_is_free", lambda _: True)
        with pytest.raises(
            LocalClusterError, match=rf"worker1 (?s:.*)port {port} .* is in use(?s:.*)error log"
        ):
            LocalCluster(tmp_path / "c", workers=1, ports=[free_port(), port]).start()
    assert processes_of(tmp_path) == []
    assert not (tmp_path / "c").exists()


def test_too_little_disk_space_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5 << 20)
    monkeypatch.setattr("mysqlproxy.demo.local.shutil.disk_usage", lambda _: usage)
    with pytest.raises(LocalClusterError, match="5 MiB of free disk space"):
        LocalCluster(tmp_path / "c").start()
    assert not (tmp_path / "c").exists()


def test_disk_space_that_ends_on_the_way_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("mysqlproxy.demo.local.shutil.copytree", full)
    with pytest.raises(LocalClusterError, match="no disk space is left"):
        LocalCluster(tmp_path / "c").start()
    assert not (tmp_path / "c").exists()


def test_no_mariadb_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.shutil, "which", lambda *_, **__: None)
    with pytest.raises(LocalClusterError, match="apt-get install mariadb-server-core mariadb-client"):
        LocalCluster(tmp_path / "c").start()
    assert not (tmp_path / "c").exists()


def test_a_server_that_refuses_to_start_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match=r"(?s)manager ended.*unknown variable 'no-such-option=1'"):
        LocalCluster(tmp_path / "c", workers=0, options={"no_such_option": "1"}).start()
    assert not (tmp_path / "c").exists()


def test_a_directory_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "manager").mkdir()
    (tmp_path / "manager/data").write_text("somebody's")
    with pytest.raises(LocalClusterError, match="exists already"):
        LocalCluster(tmp_path).start()
    assert (tmp_path / "manager/data").read_text() == "somebody's"


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match="too long for a unix socket"):
        LocalCluster(tmp_path / ("x" * 100)).start()
    assert list(tmp_path.iterdir()) == []


def test_cancel_from_another_thread_ends_the_start(tmp_path: Path) -> None:
    begun = threading.Event()
    cluster = LocalCluster(tmp_path / "c", progress=lambda text: begun.set() if "starting" in text else None)
    errors: list[BaseException] = []

    def start() -> None:
        try:
            cluster.start()
        except LocalClusterError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    begun.wait(30)
    cluster.cancel()
    thread.join(60)
    assert [str(error) for error in errors] == ["interrupted while the servers were starting"]
    assert processes_of(tmp_path) == []
    assert not (tmp_path / "c").exists()


PROGRAM = """
import sys, time
from pathlib import Path
from mysqlproxy.demo.local import LocalCluster
cluster = LocalCluster(Path(sys.argv[1]), workers=1)
cluster.start()
print("up", flush=True)
time.sleep(60)
"""


def test_the_guardian_sweeps_when_the_program_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "c"
    environment = {**os.environ, "PYTHONPATH": str(Path(mysqlproxy.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory)], stdout=subprocess.PIPE, env=environment
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        assert len(processes_of(directory)) == 2
        program.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while directory.exists() or processes_of(directory):
        assert time.monotonic() < deadline, "the guardian did not sweep"
        time.sleep(0.05)
