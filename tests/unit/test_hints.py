"""What a hint may say, where it may stand, and what is not taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.config.schema import Consistency, Strategy
from mysqlproxy.sql.classifier import Classifier
from mysqlproxy.sql.hints import Hint, read
from mysqlproxy.sql.verdict import SqlContext

WORKER1 = Hint(server="worker1")


@pytest.mark.parametrize(
    "text",
    [
        "/* mysqlproxy: server=worker1 */ SELECT 1",
        "/*mysqlproxy:server = worker1*/SELECT 1",
        "/* any comment */ # another\n /* mysqlproxy: SERVER=worker1 */ SELECT 1",
        "SELECT /* mysqlproxy: server=worker1 */ 1",
        "( /* mysqlproxy: server=worker1 */ SELECT 1)",
        "(SELECT /* mysqlproxy: server=worker1 */ 1)",
        "SELECT/* x *//* mysqlproxy: server=worker1, */1",
    ],
)
def test_a_hint_stands_before_the_first_word_or_right_behind_it(text: str) -> None:
    assert read(text.encode()) == WORKER1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1",
        "SELECT 1 /* mysqlproxy: server=worker1 */",
        "SELECT '/* mysqlproxy: server=worker1 */'",
        "-- /* mysqlproxy: server=worker1 */\nSELECT 1",
        "# mysqlproxy: server=worker1\nSELECT 1",
        "/*! mysqlproxy: server=worker1 */ SELECT 1",
        "/*+ mysqlproxy: server=worker1 */ SELECT 1",
        "/* not mysqlproxy: server=worker1 */ SELECT 1",
        "/* mysqlproxy: server=worker1",
    ],
)
def test_elsewhere_and_in_other_comments_there_is_none(text: str) -> None:
    assert read(text.encode()) is None


def test_several_settings_are_separated_by_spaces_or_commas() -> None:
    expected = Hint(role="worker", strategy=Strategy.ROUND_ROBIN, consistency=Consistency.EVENTUAL)
    for between in (" ", ",", " , ", "\n"):
        settings = between.join(("role=Worker", "strategy=round_robin", "consistency=eventual"))
        assert read(f"SELECT /* mysqlproxy: {settings} */ 1".encode()) == expected
    both = "/* mysqlproxy: role=worker strategy=round_robin */ SELECT /*mysqlproxy: consistency=eventual*/ 1"
    assert read(both.encode()) == expected


def test_what_is_wrong_is_left_out_and_told_without_its_text() -> None:
    hint = read(
        b"/* mysqlproxy: secret server=worker1 colour=secret role=secret strategy=secret server=secret x='secret' */"
    )
    assert hint is not None and hint.server == "worker1"
    assert (hint.role, hint.strategy, hint.consistency) == ("", None, None)
    assert hint.wrong == (
        "something that is not key=value",
        "a key that is not known",
        "a value of role that is not known",
        "a value of strategy that is not known",
        "server given twice",
    )


@given(st.binary(max_size=200))
def test_any_text_is_read(rest: bytes) -> None:
    for text in (rest, b"/* mysqlproxy: " + rest, b"SELECT /* mysqlproxy:" + rest + b"*/ 1"):
        read(text)


def test_a_hint_changes_no_verdict() -> None:
    classifier, context = Classifier(), SqlContext()
    for statement in ("SELECT 1", "DELETE FROM t", "SET @x = 1"):
        plain = classifier.verdict(statement.encode(), context)
        hinted = f"/* mysqlproxy: role=worker */ {statement}"
        assert classifier.verdict(hinted.encode(), context).kind is plain.kind
