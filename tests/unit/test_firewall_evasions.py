"""No statement of the corpus walks around its rule, and none of the harmless ones is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies

from mysqlproxy.gatekeeper.rules.firewall import Firewall, Loaded, Moment
from mysqlproxy.gatekeeper.rules.load import read_rules
from mysqlproxy.gatekeeper.rules.trial import Trial, attempt
from mysqlproxy.sql.catalog import NO_CATALOG, doubting
from mysqlproxy.sql.classifier import Classifier
from mysqlproxy.sql.digest import MAX_TEXT
from mysqlproxy.sql.uses import executed, uses_of
from mysqlproxy.sql.verdict import SqlContext
from tests.support.steps import steps
from tests.unit.firewall_evasions import CATALOG, PASSES, REFUSED, RULES

CONTEXT = SqlContext(schema="app", catalog=CATALOG)
EVASIONS = [(rule, sql) for rule, statements in REFUSED.items() for sql in statements]


@pytest.fixture(scope="module")
def firewall(tmp_path_factory: pytest.TempPathFactory) -> Firewall:
    path = tmp_path_factory.mktemp("rules") / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return Firewall([Loaded(path, read_rules(path))])


def judged(firewall: Firewall, sql: str | bytes, context: SqlContext = CONTEXT) -> Trial:
    text = sql if isinstance(sql, bytes) else sql.encode()
    return attempt(firewall, text, context, "app")


@pytest.mark.parametrize(("rule", "sql"), EVASIONS, ids=lambda value: repr(value)[:70])
def test_refused(firewall: Firewall, rule: str, sql: str | bytes) -> None:
    trial = judged(firewall, sql)
    assert trial.action == "deny"
    # What may do anything meets the first rule of all.
    assert trial.rule == rule or trial.outcome.reason == "not_understood"


@pytest.mark.parametrize("sql", PASSES)
def test_passes(firewall: Firewall, sql: str) -> None:
    trial = judged(firewall, sql)
    assert trial.action == "none", (trial.rule, trial.outcome.detail)


def test_what_was_prepared_by_name_is_judged_when_it_is_executed(firewall: Firewall) -> None:
    selection = firewall.selection("app", None)
    assert selection is not None
    for inner, denied in (("SELECT * FROM secrets", True), ("SELECT * FROM orders", False)):
        uses = executed(uses_of(b"EXECUTE S USING @a", CONTEXT), {"s": (inner.encode(), CONTEXT)}, CATALOG)
        assert (selection.plan(uses, "app").outcome(Moment(0, 0)).denied is not None) is denied
    # Whether a name in other letters is another one is for the servers to know.
    other = uses_of("PREPARE ſ FROM 'SELECT 1'".encode(), CONTEXT)
    assert other.prepares is None and other.disturbs
    uses = executed(uses_of("EXECUTE ſ".encode(), CONTEXT), {"s": (b"SELECT 1", CONTEXT)}, CATALOG)
    assert selection.plan(uses, "app").outcome(Moment(0, 0)).denied is not None
    # Another statement of the same text may have prepared something else.
    uses = executed(uses_of(b"SELECT 1; EXECUTE s", CONTEXT), {"s": (b"SELECT 1", CONTEXT)}, CATALOG)
    assert selection.plan(uses, "app").outcome(Moment(0, 0)).denied is not None


def test_without_a_catalog_any_table_may_be_a_view(firewall: Firewall) -> None:
    blind = replace(CONTEXT, catalog=NO_CATALOG)
    assert judged(firewall, "SELECT * FROM orders", blind).action == "deny"
    assert judged(firewall, "SELECT 1", blind).action == "none"
    assert judged(firewall, "SET NAMES utf8", blind).action == "none"


def test_a_name_in_doubt_is_refused_until_it_is_known(firewall: Firewall) -> None:
    doubtful = replace(CONTEXT, catalog=doubting(CATALOG, frozenset({"orders"}), 2))
    trial = judged(firewall, "SELECT * FROM orders", doubtful)
    assert trial.action == "deny" and trial.outcome.reason == "not_understood"
    assert any(use.doubtful for use in uses_of(b"SELECT * FROM orders", doubtful).each)
    assert judged(firewall, "SELECT * FROM t", doubtful).action == "none"


def test_under_other_modes_and_charsets(firewall: Firewall) -> None:
    ansi = replace(CONTEXT, ansi_quotes=True)
    assert judged(firewall, 'SELECT * FROM "secrets"', ansi).action == "deny"
    no_backslash = replace(CONTEXT, no_backslash_escapes=True)
    assert judged(firewall, r"SELECT '\', id FROM secrets -- '", no_backslash).action == "deny"
    assert (
        judged(firewall, r"SELECT '\', id FROM secrets -- '", CONTEXT).action == "none"
    )  # it is all one string
    gbk = replace(CONTEXT, charset="gbk")
    assert judged(firewall, b"SELECT '\xbf\\' FROM secrets #'", gbk).action == "deny"
    assert judged(firewall, "SELECT 1 FROM orders", replace(CONTEXT, oracle=True)).action == "deny"


_WORDS = sorted({word for statements in REFUSED.values() for sql in statements if isinstance(sql, str) for word in
    sql.split() if len(word) < 40})  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    strategies.one_of(
        strategies.binary(max_size=200), strategies.lists(strategies.sampled_from(_WORDS), max_size=25)
    )
)
def test_any_text_is_judged(firewall: Firewall, text: bytes | list[str]) -> None:
    raw = text if isinstance(text, bytes) else " ".join(text).encode()
    assert judged(firewall, raw).action in {"none", "deny"}


@settings(max_examples=300, deadline=None)
@given(
    strategies.sampled_from(EVASIONS),
    strategies.sampled_from(["", ";", " ; SELECT 1", " -- x", "\n#", "/**/"]),
)
def test_no_evasion_is_one_with_something_behind_it(
    firewall: Firewall, evasion: tuple[str, str | bytes], end: str
) -> None:
    sql = evasion[1] if isinstance(evasion[1], bytes) else evasion[1].encode()
    assert judged(firewall, b"SELECT 1; " + sql + end.encode()).action == "deny"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT "
        + ",".join(f"a{n}" for n in range(1400))
        + " FROM "
        + ",".join(f"t{n}" for n in range(1400)),
        "SELECT "
        + ",".join(f"x.a{n}" for n in range(900))
        + " FROM "
        + ",".join(f"t{n} x" for n in range(900)),
        "WITH "
        + ",".join(f"c{n} AS (SELECT 1)" for n in range(300))
        + " SELECT 1 FROM "
        + ",".join(["u"] * 1000),
        "CALL p();" * 1500,
        "DO v_nested.a" + "(peek" * 90 + ")" * 90,
        "SELECT " + "peek()," * 1500 + "1",
    ],
    ids=range(6),
)
def test_no_text_takes_long(firewall: Firewall, text: str) -> None:
    assert len(text) <= MAX_TEXT
    assert steps(lambda: judged(firewall, text)) < 2_000_000  # a square would be far more


def test_nothing_is_cached_by_digest_that_depends_on_its_literals() -> None:
    classifier = Classifier()
    one = classifier.verdict(b"EXECUTE IMMEDIATE 'SELECT 1'", CONTEXT)
    other = classifier.verdict(b"EXECUTE IMMEDIATE 'SELECT 2 FROM secrets'", CONTEXT)
    assert one is not other
