"""The reader of MariaDB's general log, on lines as the server writes them."""

from __future__ import annotations

from pathlib import Path

from mysqlproxy.demo.general_log import GeneralLog

BANNER = (
    "/usr/sbin/mariadbd, Version: 10.11.19-MariaDB (Debian 12). started with:\n"
    "Tcp port: 3306  Unix socket: /s\n"
    "Time\t\t    Id Command\tArgument\n"
)
LOGIN = "261121  9:00:00\t    12 Connect\tapp@127.0.0.1 on app using TCP/IP\n"


def test_entries_of_a_login_and_its_statements(tmp_path: Path) -> None:
    path = tmp_path / "general.log"
    path.write_text(BANNER + LOGIN + "\t\t    12 Query\tselect 1\n261121  9:00:01\t    12 Quit\t\n")
    entries = GeneralLog(path).matching("")
    assert [(e.thread, e.user, e.command, e.text) for e in entries] == [
        (12, "app", "Connect", "app@127.0.0.1 on app using TCP/IP"),
        (12, "app", "Query", "select 1"),
        (12, "app", "Quit", ""),
    ]


def test_a_statement_over_several_lines_is_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "general.log"
    path.write_text(LOGIN + "\t\t    12 Query\tselect\n\n  2 as b\n\t\t    12 Init DB\tapp\n")
    (entry,) = GeneralLog(path).matching("as b")
    assert entry.text == "select\n\n  2 as b"
    assert [e.command for e in GeneralLog(path).matching("")] == ["Connect", "Query", "Init DB"]


def test_mark_forgets_entries_but_not_who_logged_in(tmp_path: Path) -> None:
    path = tmp_path / "general.log"
    path.write_text(LOGIN + "\t\t    12 Query\tselect 1\n")
    log = GeneralLog(path)
    log.mark()
    with path.open("a") as file:
        file.write("\t\t    12 Query\tselect 2\n")
    (entry,) = log.matching("")
    assert (entry.user, entry.text) == ("app", "select 2")


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "general.log"
    path.write_text(LOGIN + "\t\t    12 Query\tsel")
    log = GeneralLog(path)
    assert not log.matching("sel")
    with path.open("a") as file:
        file.write("ect 1\n")
    assert [e.text for e in log.matching("sel")] == ["select 1"]


def test_the_banner_of_a_restart_is_no_part_of_the_last_statement(tmp_path: Path) -> None:
    path = tmp_path / "general.log"
    path.write_text(LOGIN + "\t\t    12 Query\tselect 1\n" + BANNER + LOGIN)
    assert [e.text for e in GeneralLog(path).matching("select")] == ["select 1"]


def test_a_change_of_user_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "general.log"
    path.write_text(LOGIN + "\t\t    12 Change user\tother@127.0.0.1 on \n\t\t    12 Query\tselect 1\n")
    assert [e.user for e in GeneralLog(path).matching("select")] == ["other"]


def test_a_log_made_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "general.log"
    path.write_text(LOGIN + "\t\t    12 Query\tselect 1\n")
    log = GeneralLog(path)
    log.mark()
    path.unlink()
    path.write_text(LOGIN.replace("app", "b") + "\t\t    12 Query\tselect 2\n")
    assert [(e.user, e.text) for e in log.matching("select")] == [("b", "select 2")]


def test_no_file_is_an_empty_log(tmp_path: Path) -> None:
    assert GeneralLog(tmp_path / "general.log").matching("") == []
