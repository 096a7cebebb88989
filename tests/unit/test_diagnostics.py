"""What a GET DIAGNOSTICS assigns."""

from __future__ import annotations

import pytest

from mysqlproxy.sql.diagnostics import Target, asked
from mysqlproxy.sql.verdict import SqlContext

MARIADB = SqlContext()


def targets(text: str, context: SqlContext = MARIADB) -> dict[str, tuple[str, str]] | None:
    found = asked(text.encode(), context)
    if found is None:
        return None
    return {key: (target.name.decode(), target.number.decode()) for key, target in found.targets.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET DIAGNOSTICS @n = NUMBER", {"N": ("@n", "UNSIGNED")}),
        (
            "get current diagnostics @n=number,@r = row_count;",
            {"N": ("@n", "UNSIGNED"), "R": ("@r", "SIGNED")},
        ),
        ("GET STACKED DIAGNOSTICS @n = NUMBER", {}),
        ("GET DIAGNOSTICS @n = NUMBER, @N = ROW_COUNT", {"N": ("@N", "SIGNED")}),
        ("GET DIAGNOSTICS @$ = NUMBER, @$c = NUMBER", {"$": ("@$", "UNSIGNED"), "$C": ("@$c", "UNSIGNED")}),
        ("GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT", {"M": ("@m", "")}),
        ("GET DIAGNOSTICS CONDITION ? @m = MYSQL_ERRNO", {"M": ("@m", "UNSIGNED")}),
        ("GET DIAGNOSTICS CONDITION NULL @m = CLASS_ORIGIN", {"M": ("@m", "")}),
        ("GET /* a */ DIAGNOSTICS CONDITION '2' @`a b` = RETURNED_SQLSTATE", {"A B": ("@`a b`", "")}),
        (
            "GET DIAGNOSTICS @a.b = NUMBER, @'c' = NUMBER",
            {"A.B": ("@a.b", "UNSIGNED"), "C": ("@'c'", "UNSIGNED")},
        ),
    ],
)
def test_it_assigns_these(text: str, expected: dict[str, tuple[str, str]]) -> None:
    assert targets(text) == expected


def test_it_may_read_which_condition() -> None:
    found = asked(b"GET DIAGNOSTICS CONDITION @`No` @m = MESSAGE_TEXT", MARIADB)
    assert found is not None
    assert found.reads == "NO"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT @n",
        "GET DIAGNOSTICS n = NUMBER",
        "GET DIAGNOSTICS @@n = NUMBER",
        "GET DIAGNOSTICS @n",
        "GET DIAGNOSTICS @n = ",
        "GET DIAGNOSTICS @n = NUMBER,",
        "GET DIAGNOSTICS @n = NUMBER @m = ROW_COUNT",
        "GET DIAGNOSTICS @ n = NUMBER",
        "GET DIAGNOSTICS @n/**/.a = NUMBER",
        "GET DIAGNOSTICS @'a\\'b' = NUMBER",
        "GET DIAGNOSTICS CONDITION @@server_id @m = MESSAGE_TEXT",
        "GET DIAGNOSTICS CONDITION n @m = MESSAGE_TEXT",
        "GET DIAGNOSTICS CONDITION",
        "GET DIAGNOSTICS @ä = NUMBER",
        "GET DIAGNOSTICS @n = NUMBER; SELECT @n",
        "GET DIAGNOSTICS /*!50000 @n = */ @m = NUMBER",
        "GET DIAGNOSTICS",
        "",
    ],
)
def test_what_cannot_be_told_for_certain_is_left(text: str) -> None:
    assert targets(text) is None


def test_quotes_mean_what_the_sql_mode_says() -> None:
    assert targets('GET DIAGNOSTICS @"n" = NUMBER') == targets(
        'GET DIAGNOSTICS @"n" = NUMBER', SqlContext(ansi_quotes=True)
    )


def test_values_keep_their_types() -> None:
    assert Target(b"@n", b"UNSIGNED").literal(b"3") == b"CAST(3 AS UNSIGNED)"
    assert Target(b"@n", b"SIGNED").literal(b"-1") == b"CAST(-1 AS SIGNED)"
    assert Target(b"@n", b"").literal(b"4142") == b"_utf8mb3 X'4142' COLLATE utf8mb3_general_ci"
    assert Target(b"@n", b"").literal(None) == b"NULL"
    assert Target(b"@n", b"").shown() == b"HEX(@n)"
    for target, value in (
        (Target(b"@n", b"SIGNED"), b"1+1"),
        (Target(b"@n", b""), b"41'"),
        (Target(b"@n", b""), b"\xff"),
    ):
        with pytest.raises(ValueError, match=r"invalid|non-hex|ordinal"):
            target.literal(value)
