"""Records what real servers answer, for test_response_walker.py. Run by hand when a server version is added.

    python -m tests.wire.record --mariadb PORT --mysql PORT

needs servers on 127.0.0.1 whose ``root`` has no password and may do anything (a schema ``recorded`` is made
and dropped; local_infile is switched on). Every answer is taken from the socket as it is, in a raw
conversation that knows nothing of the code under test: an answer has ended when the server stays silent.
One file for each server and set of capability flags, in ``recorded/``.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
from pathlib import Path
from typing import Any

from mysqlproxy.protocol import capabilities as cap

HERE = Path(__file__).parent / "recorded"
SILENCE = 0.25  # seconds after which an answer has ended; the slowest statement here takes some milliseconds
LONG_SILENCE = 5.0  # where a statement works for seconds, reporting its progress meanwhile
BASE = (
    cap.LONG_PASSWORD
    | cap.LONG_FLAG
    | cap.LOCAL_FILES
    | cap.PROTOCOL_41
    | cap.TRANSACTIONS
    | cap.SECURE_CONNECTION
    | cap.MULTI_STATEMENTS
    | cap.MULTI_RESULTS
    | cap.PS_MULTI_RESULTS
    | cap.PLUGIN_AUTH
    | cap.SESSION_TRACK
)
EXTENDED = cap.MARIADB_PROGRESS | cap.MARIADB_STMT_BULK | cap.MARIADB_EXTENDED_METADATA
QUERY, PREPARE, EXECUTE, FETCH, RESET = 0x03, 0x16, 0x17, 0x1C, 0x1A

SETUP = """
DROP DATABASE IF EXISTS recorded
CREATE DATABASE recorded
USE recorded
CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100), note TEXT)
INSERT INTO t (name) VALUES ('a'), ('b'), ('c'), ('d'), ('e')
CREATE TABLE numbers AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) \
SELECT i FROM n
CREATE TABLE loaded (a INT, b VARCHAR(20))
CREATE PROCEDURE two_sets() BEGIN SELECT 1; SELECT 2, 'b'; END
CREATE PROCEDURE with_out(OUT x INT) BEGIN SET x = 7; SELECT 1; END
CREATE PROCEDURE fails_late() BEGIN SELECT 1; \
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'late', MYSQL_ERRNO = 5000; END
CREATE PROCEDURE own_cursor() BEGIN DECLARE v INT; \
DECLARE c CURSOR FOR SELECT i FROM numbers; OPEN c; FETCH c INTO v; SELECT v; \
SELECT i FROM numbers LIMIT 3; CLOSE c; END
SET GLOBAL log_bin_trust_function_creators = 1
CREATE FUNCTION own_cursor_too() RETURNS INT DETERMINISTIC READS SQL DATA BEGIN DECLARE v INT; \
DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id DESC; OPEN c; FETCH c INTO v; RETURN v; END
SET GLOBAL local_infile = 1
"""


class Raw:
    """One connection, spoken to in bytes."""

    def __init__(self, port: int, flags: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        greeting = self.packet()
        end = greeting.index(b"\0", 1)
        extended = struct.unpack_from("<I", greeting, end + 1 + 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 6)[0]
        low, high = (struct.unpack_from("<H", greeting, end + 1 + 4 + 8 + 1 + at)[0] for at in (0, 5))
        server = low | high << 16
        if not server & cap.LONG_PASSWORD:
            server |= extended << 32
            flags &= ~cap.LONG_PASSWORD
        else:
            flags &= cap.CLASSIC
        self.flags = flags & (server | cap.SESSION_TRACK)
        head = struct.pack("<IIB19xI", self.flags & cap.CLASSIC, 1 << 30, 45, self.flags >> 32)
        self.send(head + b"root\0\0mysql_native_password\0", 1)
        answer = self.packet()
        if answer[0] == 0xFE:  # to caching_sha2_password, where no password is an empty one too
            self.send(b"", 3)
            answer = self.packet()
        assert answer[0] == 0, answer

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            assert piece, "the server closed"
            data += piece
        return data

    def packet(self) -> bytes:
        head = self.exactly(4)
        return self.exactly(int.from_bytes(head[:3], "little"))

    def send(self, payload: bytes, sequence: int = 0) -> None:
        self.socket.sendall(len(payload).to_bytes(3, "little") + bytes([sequence]) + payload)

    def until_silent(self, silence: float = SILENCE) -> bytes:
        self.socket.settimeout(silence)
        data = b""
        try:
            while piece := self.socket.recv(1 << 20):
                data += piece
        except TimeoutError:
            pass
        self.socket.settimeout(10)
        return data

    def ask(self, payload: bytes, silence: float = SILENCE) -> bytes:
        self.send(payload)
        return self.until_silent(silence)

    def prepare(self, sql: str) -> int:
        answer = self.ask(bytes([PREPARE]) + sql.encode())
        assert answer[4] == 0, answer
        return int.from_bytes(answer[5:9], "little")


def execute(statement: int, cursor: bool = False, integers: tuple[int, ...] = ()) -> bytes:
    payload = bytes([EXECUTE]) + struct.pack("<IBI", statement, 1 if cursor else 0, 1)
    if integers:
        payload += bytes((len(integers) + 7) // 8) + b"\1" + b"\x08\0" * len(integers)
        payload += b"".join(struct.pack("<q", value) for value in integers)
    return payload


def record(port: int, flags: int) -> dict[str, Any]:
    """All answers: name -> {"form", "server": hex parts, two when the client sent a file between them}."""
    raw = Raw(port, flags)
    for line in SETUP.strip().splitlines():
        answer = raw.ask(bytes([QUERY]) + line.encode())
        assert answer[4] != 0xFF, (line, answer)
    answers: dict[str, Any] = {}

    def add(name: str, payload: bytes, form: str = "QUERY", silence: float = SILENCE) -> None:
        answers[name] = {"form": form, "server": [raw.ask(payload, silence).hex()]}

    def query(name: str, sql: str, silence: float = SILENCE) -> None:
        add(name, bytes([QUERY]) + sql.encode(), silence=silence)

    query("ok", "DO 1")
    query("insert", "INSERT INTO t (name) VALUES ('f'), ('g')")
    query("update with info", "UPDATE t SET name = 'h' WHERE id = 1")
    query("error", "SELECT * FROM missing")
    query("syntax error", "SELEC")
    query("error 65535", "SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 65535, MESSAGE_TEXT = 'highest'")
    query("empty result", "SELECT * FROM t WHERE id < 0")
    query("one row", "SELECT id, name, note FROM t WHERE id = 2")
    query("a row of NULL and of an empty string", "SELECT NULL UNION ALL SELECT ''")
    query("100 rows", "SELECT i, REPEAT('x', i % 7) FROM numbers")
    query("251 columns", "SELECT " + ", ".join(["1"] * 251))
    query("a warning", "SELECT CAST('1x' AS SIGNED)")
    query(
        "multi-statement", "SELECT 1; DO 1; SELECT i FROM numbers LIMIT 3; INSERT INTO t (name) VALUES ('m')"
    )
    query("multi-statement that fails", "SELECT 1; SELECT * FROM missing; SELECT 2")
    query("error among the rows", "SELECT IF(i < 3, i, (SELECT i FROM numbers)) FROM numbers")
    query("call", "CALL two_sets()")
    query("call that fails late", "CALL fails_late()")
    query("call with a cursor of its own", "CALL own_cursor()")
    query("a function with a cursor of its own", "SELECT id FROM t WHERE id = own_cursor_too()")
    query("track: schema", "USE recorded")
    tracked = "last_gtid" if port_is_mariadb(raw) else "transaction_isolation"
    query(
        "track: variables",
        f"SET session_track_system_variables = 'autocommit,character_set_client,time_zone,{tracked}'",
    )
    query("track: two variables", "SET time_zone = '+01:00', autocommit = 1")
    query(
        "track: state change on",
        "SET session_track_state_change = 1, session_track_transaction_info = 'CHARACTERISTICS'",
    )
    query("track: begin", "START TRANSACTION READ ONLY")
    query("track: read in a transaction", "SELECT id FROM t LIMIT 1")
    query("track: commit", "COMMIT")
    query("track: off", "SET session_track_state_change = 0, session_track_transaction_info = 'OFF'")
    if port_is_mariadb(raw):
        query("insert returning", "INSERT INTO t (name) VALUES ('r') RETURNING id, name")

    raw.send(
        bytes([QUERY]) + b"LOAD DATA LOCAL INFILE 'some file.csv' INTO TABLE loaded FIELDS TERMINATED BY ','"
    )
    asked = raw.until_silent()
    raw.send(b"1,one\n2,two\n", 2)
    raw.send(b"", 3)
    answers["local infile"] = {
        "form": "QUERY",
        "server": [asked.hex(), raw.until_silent().hex()],
        "client": 3,
    }
    raw.send(bytes([QUERY]) + b"LOAD DATA LOCAL INFILE 'gone' INTO TABLE loaded; SELECT 1")
    asked = raw.until_silent()
    raw.send(b"", 2)
    answers["local infile, then a result"] = {
        "form": "QUERY",
        "server": [asked.hex(), raw.until_silent().hex()],
        "client": 2,
    }

    for name, sql in {
        "prepare": "SELECT 1",
        "prepare with parameters": "SELECT id, name FROM t WHERE id = ? OR id = ?",
        "prepare, parameters only": "INSERT INTO t (name) VALUES (?)",
        "prepare, nothing": "DO 1",
        "prepare that fails": "SELECT * FROM missing",
    }.items():
        add(name, bytes([PREPARE]) + sql.encode(), "PREPARE")
    select = raw.prepare("SELECT id, name FROM t WHERE id = ? OR id = ?")
    add("execute", execute(select, integers=(2, 3)))
    add("execute, no rows", execute(select, integers=(-1, -1)))
    add("execute an insert", execute(raw.prepare("INSERT INTO t (name) VALUES ('p')")))
    add(
        "execute a function with a cursor of its own",
        execute(raw.prepare("SELECT id FROM t WHERE id = own_cursor_too()")),
    )
    add("execute a call with OUT", execute(raw.prepare("CALL with_out(?)"), integers=(1,)))
    add("execute an unknown statement", execute(4_000_000))
    add("execute with a cursor", execute(select, cursor=True, integers=(2, 3)), "CURSOR")
    add("fetch one", bytes([FETCH]) + struct.pack("<II", select, 1), "FETCH")
    add("fetch the rest", bytes([FETCH]) + struct.pack("<II", select, 10), "FETCH")
    add("fetch beyond the end", bytes([FETCH]) + struct.pack("<II", select, 10), "FETCH")
    add("reset statement", bytes([RESET]) + struct.pack("<I", select), "OK")
    add("execute with a cursor, no rows", execute(select, cursor=True, integers=(-1, -1)), "CURSOR")
    add("fetch of no rows", bytes([FETCH]) + struct.pack("<II", select, 10), "FETCH")
    query("a query while a cursor is open", "SELECT id FROM t LIMIT 2")
    call = raw.prepare("CALL two_sets()")
    add("execute a call with a cursor", execute(call, cursor=True), "CURSOR")
    add(
        "execute a call with a cursor of its own",
        execute(raw.prepare("CALL own_cursor()"), cursor=True),
        "CURSOR",
    )
    add(
        "execute an insert with a cursor",
        execute(raw.prepare("INSERT INTO t (name) VALUES ('q')"), cursor=True),
        "CURSOR",
    )
    add("execute SHOW with a cursor", execute(raw.prepare("SHOW TABLES"), cursor=True), "CURSOR")
    if raw.flags & cap.MARIADB_STMT_BULK:
        insert = raw.prepare("INSERT INTO loaded (a) VALUES (?)")
        values = b"".join(b"\0" + struct.pack("<q", value) for value in (1, 2, 3))
        add("bulk execute", b"\xfa" + struct.pack("<IH", insert, 128) + b"\x08\0" + values)
    if raw.flags & cap.MARIADB_PROGRESS:
        query("progress on", "SET progress_report_time = 0.1")
        query(
            "fill",
            "CREATE TABLE big (x CHAR(250)) ENGINE=MyISAM AS SELECT a.i FROM numbers a, numbers b, numbers c",
            LONG_SILENCE,
        )
        query("progress", "ALTER TABLE big ADD INDEX (i), ADD COLUMN y CHAR(250) DEFAULT 'y'", LONG_SILENCE)
        del answers["progress on"], answers["fill"]

    add("ping", b"\x0e", "OK")
    add("init db", b"\x02recorded", "OK")
    add("init db that fails", b"\x02missing", "OK")
    add("set option", b"\x1b\1\0", "OK")
    add("set option back", b"\x1b\0\0", "OK")
    add("statistics", b"\x09", "STRING")
    add("field list", b"\x04t\0", "FIELD_LIST")
    add("field list of nothing", b"\x04missing\0", "FIELD_LIST")
    add("unknown command", b"\x7f", "OK")
    add("reset connection", b"\x1f", "OK")
    raw.ask(bytes([QUERY]) + b"DROP DATABASE recorded")
    raw.send(b"\x01")
    return {"capabilities": raw.flags, "answers": answers}


def port_is_mariadb(raw: Raw) -> bool:
    return b"MariaDB" in raw.ask(bytes([QUERY]) + b"SELECT VERSION()")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mariadb", type=int)
    parser.add_argument("--mysql", type=int)
    ports = parser.parse_args()
    HERE.mkdir(exist_ok=True)
    for server, port in (("mariadb", ports.mariadb), ("mysql", ports.mysql)):
        if port is None:
            continue
        for variant, flags in {
            "eof": BASE,
            "deprecate_eof": BASE | cap.DEPRECATE_EOF,
            "extended": BASE | EXTENDED,
            "deprecate_eof_extended": BASE | cap.DEPRECATE_EOF | EXTENDED,
        }.items():
            if server == "mysql" and "extended" in variant:
                continue
            text = json.dumps(record(port, flags), indent=1)
            (HERE / f"{server}_{variant}.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
