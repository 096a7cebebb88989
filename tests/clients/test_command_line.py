"""The command-line clients of MariaDB and of MySQL 9.7 through the daemon: they print what they print without it."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clients.site import TEXT, Site
from tests.support.mysql import find_mysql
from tests.support.waiting import eventually

SECONDS = 60.0

# What people type, and what the clients make of it: several statements in a line, their own commands, errors.
SCRIPT = f"""
SELECT DATABASE(), @@character_set_client, @@version_comment LIKE '%';
SELECT HEX(bytes), name, nothing, day, moment, price, big, negative, 1 AS plain FROM fixed;
CREATE TABLE typed (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) UNIQUE);
INSERT INTO typed (name) VALUES ('{TEXT}'), ('b'); SELECT LAST_INSERT_ID(), ROW_COUNT();
UPDATE typed SET name = 'c' WHERE id = 2; UPDATE typed SET name = 'c' WHERE id = 2;
INSERT IGNORE INTO typed (name) VALUES ('c');
SHOW WARNINGS;
INSERT INTO typed (name) VALUES ('c');
SELECT FROM typed;
SELECT * FROM missing;
START TRANSACTION; DELETE FROM typed; SELECT COUNT(*) AS in_transaction FROM typed; ROLLBACK;
SELECT id, name, 1 AS plain FROM fixed\\G
USE information_schema
SELECT DATABASE();
\\u app
DELIMITER //
CREATE PROCEDURE typed_results() BEGIN SELECT 1; SELECT 2; UPDATE typed SET name = 'd' WHERE id = 2; END//
CALL typed_results()//
DELIMITER ;
SELECT CAST('x' AS SIGNED);
SET @a = 5; SELECT @a + 1;
PREPARE s FROM 'SELECT ? + 1'; EXECUTE s USING @a; DEALLOCATE PREPARE s;
SHOW TABLES;
DESCRIBE typed;
SELECT id, REPEAT(name, 3) FROM typed ORDER BY id;
DROP TABLE typed; DROP PROCEDURE typed_results;
"""


class Program:
    """A client program, and the options by which it reaches a site or the manager itself."""

    def __init__(self, path: str, *options: str) -> None:
        self.path = path
        self.options = options

    def command(self, site: Site, port: int, *more: str, schema: bool = True) -> list[str]:
        place = [
            f"--host={site.host}",
            f"--port={port}",
            f"--user={site.user}",
            f"--password={site.password}",
        ]
        first = [self.path, "--no-defaults", *place, *self.options, *more]
        return [*first, site.schema] if schema else first

    def run(
        self,
        site: Site,
        *more: str,
        text: str = "",
        port: int | None = None,
        schema: bool = True,
        status: int = 0,
    ) -> str:
        """What it prints; AssertionError when it ends otherwise than with ``status``."""
        command = self.command(site, port or site.port, *more, schema=schema)
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=SECONDS, check=False)
        errors = re.sub(r"mysql\w*: \[Warning\] Using a password.*\n", "", done.stderr.decode())
        assert done.returncode == status, errors
        return done.stdout.decode() + errors


def client(name: str) -> Program:
    """MariaDB's or MySQL's program; skips the test when it is not there."""
    family, _, what = name.partition(" ")
    if family == "mariadb":
        path = shutil.which({"client": "mariadb", "dump": "mariadb-dump"}[what])
        return Program(path or pytest.skip(f"MariaDB's {what} is not installed"))
    program = find_mysql() / "bin" / {"client": "mysql", "dump": "mysqldump"}[what]
    if not program.exists():
        pytest.skip(f"{program} is missing")
    # Since 9.0 it does not obey backslash and DELIMITER unless it is told to.
    commands = ["--commands"] if what == "client" else []
    return Program(str(program), "--get-server-public-key", *commands)


def untimed(output: str) -> str:
    """Without how long things took."""
    return re.sub(r" \(\d+[^)]*\)|\(\d+\.\d+ sec\)", "", re.sub(r"\d+\.\d+ sec", "0.0 sec", output))


CLIENTS = ("mariadb client", "mysql client")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_session_prints_what_it_prints_without_the_daemon(site: Site, name: str) -> None:
    program = client(name)
    options = [
        "-vvv",
        "--show-warnings",
        "--force",
        "--table",
        "--unbuffered",
        "--default-character-set=utf8mb4",
    ]
    through = program.run(site, *options, text=SCRIPT)
    assert "ERROR 1062 (23000)" in through
    assert "ERROR 1146 (42S02)" in through
    assert TEXT in through
    site.assert_routed()
    if name == "mysql client" and site.kind == "mariadb":
        return  # without the daemon it cannot log in: it knows no mysql_native_password
    direct = program.run(site, *options, text=SCRIPT, port=site.manager.port)
    assert untimed(through) == untimed(direct)


@pytest.mark.parametrize("name", CLIENTS)
def test_status_names_the_daemon_s_connection_and_the_cluster_s_version(site: Site, name: str) -> None:
    program = client(name)
    output = program.run(site, "--batch", text="\\s\nSELECT CONNECTION_ID() AS own;\n")
    number = re.search(r"Connection id:\s+(\d+)", output)
    own = re.search(r"own\n(\d+)", output)
    assert number is not None, output
    assert own is not None, output
    assert number[1] == own[1]
    assert int(own[1]) >= 2**31
    version = site.manager.value("SELECT VERSION()")
    assert re.search(rf"Server version:\s+(5\.5\.5-)?{re.escape(version)}", output), output
    assert re.search(r"Current database:\s+app", output), output
    assert re.search(rf"TCP port:\s+{site.port}", output), output


@pytest.mark.parametrize("name", CLIENTS)
def test_several_statements_in_one_option(site: Site, name: str) -> None:
    output = client(name).run(
        site,
        "--batch",
        "--skip-column-names",
        "-e",
        "INSERT INTO things (name) VALUES ('e'); SELECT name AS plain FROM things; SELECT 2",
    )
    assert output == "e\n2\n"


@pytest.mark.parametrize("name", CLIENTS)
def test_a_file_of_the_client_is_loaded_only_when_it_allows_it(site: Site, name: str, tmp_path: Path) -> None:
    program = client(name)
    file = tmp_path / "names.csv"
    file.write_text("".join(f"name {number}\n" for number in range(20_000)))
    site.manager.query("SET GLOBAL local_infile = ON")
    load = f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE things (name); SELECT COUNT(*) AS plain FROM things"
    try:
        output = program.run(site, "--local-infile=1", "--batch", "--skip-column-names", "-e", load)
        assert output == "20000\n"
        refused = program.run(site, "--local-infile=0", "-e", load, status=1)
        assert re.search(r"ERROR (2068|4166|3948|2000|1148)", refused), refused
    finally:
        site.manager.query(f"SET GLOBAL local_infile = {'ON' if site.kind == 'mariadb' else 'OFF'}")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_wrong_password_and_an_unknown_schema_are_refused_as_a_server_does(site: Site, name: str) -> None:
    program = client(name)
    denied = program.run(site, "--password=wrong", "-e", "SELECT 1", status=1)
    assert "ERROR 1045 (28000)" in denied
    assert "Access denied for user 'app'@" in denied
    unknown = program.run(site, "--database=app_missing", "-e", "SELECT 1", status=1, schema=False)
    assert re.search(r"ERROR (1049 \(42000\): Unknown database|1044 \(42000\): Access denied)", unknown), (
        unknown
    )


@pytest.mark.parametrize("name", CLIENTS)
def test_ctrl_c_ends_the_statement_on_the_server(site: Site, name: str) -> None:
    """The client opens a second connection and kills the first one's statement by the greeting's id."""
    program = client(name)
    slow = "SELECT SLEEP(50) AS interrupted FROM fixed"

    def running() -> int:
        text = "SELECT SLEEP(50) AS interrupted%"
        found = "SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE INFO LIKE %s"
        return sum(int(server.value(found, (text,))) for server in site.servers)

    with started(program.command(site, site.port, "--batch", "-e", slow)) as process:
        eventually(lambda: running() == 1, what="the statement runs")
        process.send_signal(signal.SIGINT)
        eventually(lambda: running() == 0, what="the statement has ended", timeout=10.0)
        process.wait(10)


@pytest.mark.parametrize("name", CLIENTS)
def test_at_a_terminal_a_killed_client_reconnects(site: Site, name: str) -> None:
    master, slave = os.openpty()
    command = client(name).command(site, site.port)
    environment = {**os.environ, "TERM": "dumb"}
    with (
        subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        ) as process,
        os.fdopen(master, "r+b", buffering=0) as terminal,
    ):
        os.close(slave)
        seen = ""

        def shown(pattern: str) -> str:
            """What matches in the output from here on."""
            nonlocal seen
            while not (match := re.search(pattern, seen)):
                assert select.select([terminal], [], [], 15)[0], seen
                seen += terminal.read(4096).decode()
            seen = seen[match.end() :]
            return match[1]

        def type_in(text: str) -> None:
            terminal.write(text.encode() + b"\n")

        first = int(shown(r"Your M\w+ connection id is (\d+)"))
        type_in("SELECT 'before' AS t\\G")
        shown(r"t: (before)")
        with site.daemon.connect() as other:
            other.cursor().execute(f"KILL {first}")
        type_in("SELECT 'lost' AS t\\G")
        shown(r"(ERROR \d+|reconnect)")
        type_in("SELECT CONNECTION_ID() AS t\\G")
        assert int(shown(r"\bt: (\d+)")) > first
        type_in("exit")
        shown(r"(Bye)")
        assert process.wait(10) == 0


def started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


# MySQL's program cannot log in to MariaDB without the daemon.
DUMPS = [("mariadb", "mariadb dump"), ("mysql", "mariadb dump"), ("mysql", "mysql dump")]


@pytest.mark.parametrize(("site", "name"), DUMPS, indirect=["site"])
def test_a_dump_is_the_same_as_without_the_daemon_and_can_be_loaded(site: Site, name: str) -> None:
    program = client(name)
    options = ["--single-transaction", "--triggers", "--skip-comments", "--hex-blob", "--no-tablespaces"]
    if name == "mysql dump":
        options += ["--set-gtid-purged=OFF", "--column-statistics=0", "--skip-masking-policies"]
    rows: list[Any] = [f"{number} {TEXT}" for number in range(3000)]
    site.manager.query("INSERT INTO app.things (name) VALUES " + ", ".join(["(%s)"] * len(rows)), rows)
    with site.daemon.connect(database="app") as connection:
        connection.cursor().execute(
            "CREATE TRIGGER before_things BEFORE INSERT ON things FOR EACH ROW SET NEW.nothing = 1"
        )
        connection.cursor().execute("CREATE VIEW shown AS SELECT name FROM things")
    direct = program.run(site, *options, port=site.manager.port)
    through = program.run(site, *options)
    assert through == direct
    assert TEXT in through
    assert "before_things" in through
    assert "shown" in through

    loader = client(name.replace("dump", "client"))
    site.manager.query("DROP DATABASE app")
    site.manager.query("CREATE DATABASE app CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    loader.run(site, "--default-character-set=utf8mb4", text=through)
    assert program.run(site, *options, port=site.manager.port) == direct
