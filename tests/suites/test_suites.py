"""SQLAlchemy's and Django's own tests: none fails through the split that passes against the manager.

A subset of some two minutes. All of it: ``python -m tests.suites``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.compare import Comparison, compare
from tests.suites.runs import SUITES, Suite, merge
from tests.suites.scene import Scene, open_scene
from tests.suites.sources import NoSource

SECONDS = 250.0  # for one run of one subset, on a machine that does other things, too

pytestmark = pytest.mark.timeout(2 * SECONDS + 400)  # the first one downloads


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="mysqlproxy-suites-") as name, open_scene(Path(name)) as opened:
        yield opened


def both_ways(suite: Suite, scene: Scene) -> Comparison:
    if suite.missing:
        pytest.skip(f"{suite.missing} is not installed")
    try:
        return compare(suite, scene, SECONDS)
    except NoSource as error:
        pytest.skip(str(error))


def test_sqlalchemys_dialect_tests_pass_as_against_the_manager(scene: Scene) -> None:
    suite = SUITES["sqlalchemy-pymysql"].of(
        "test/dialect/mysql/test_for_update.py",
        "test/dialect/mysql/test_on_duplicate.py",
        "test/dialect/mysql/test_query.py",
        "test/dialect/mysql/test_reflection.py",
    )
    found = both_ways(suite, scene)
    assert not found.faults


def test_djangos_tests_pass_as_against_the_manager(scene: Scene) -> None:
    labels = "backends basic bulk_create ordering select_for_update transaction_hooks transactions"
    found = both_ways(SUITES["django-pymysql"].of(*labels.split()), scene)
    assert not found.faults


def test_djangos_tests_in_autocommit_pass_and_most_of_their_reads_go_to_workers(scene: Scene) -> None:
    found = both_ways(SUITES["django-autocommit"].of("basic", "get_or_create"), scene)
    assert not found.faults
    assert found.worker_reads > 4 * sum(found.manager_reads.values())


def test_a_test_that_passes_direct_only_is_a_fault() -> None:
    direct = {"a": "passed", "b": "passed", "c": "passed", "d": "failed", "e": "passed"}
    proxy = {"a": "passed", "b": "failed", "c": "skipped", "d": "failed", "f": "failed"}
    found = Comparison(SUITES["django-pymysql"], {"direct": direct, "proxy": proxy}, 0, {}, 0, [])
    assert found.lost == ["b", "c", "e"]
    assert found.faults[-1] == "e: not run through the daemon only"


def test_a_test_that_fails_in_part_has_failed() -> None:
    told = [("a", "failed"), ("a", "passed"), ("b", "skipped"), ("b", "failed"), ("c", "passed")]
    assert merge(told) == {"a": "failed", "b": "failed", "c": "passed"}
