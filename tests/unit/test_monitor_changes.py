"""What the monitor logs: each change once, and nothing that only moved."""

from __future__ import annotations

import logging

from mysqlproxy.cluster.changes import changes
from mysqlproxy.cluster.hop import in_hops_words
from mysqlproxy.cluster.observation import Failure
from mysqlproxy.cluster.view import ClusterView
from tests.unit.clusters import HEALTHY, Story, at, facts, healthy, source


def lines(story: Story, before: ClusterView) -> list[str]:
    return [f"{change.server} {change.text}".strip() for change in changes(before, story.view)]


def test_the_first_sight_of_a_cluster() -> None:
    story = healthy()
    found = lines(story, ClusterView())
    assert "manager up: 5.5.5-10.11.19-MariaDB" in found
    assert "manager takes the writes (epoch 1)" in found
    assert "worker1 takes reads" in found
    assert "manager takes no reads: it is the manager" in found


def test_pings_positions_and_lags_within_bounds_are_no_news() -> None:
    story = healthy()
    before = story.view
    story.see(manager=facts(1, **at("0-1-7")), worker1=facts(2, (source(lag=4.0),), **at("0-1-5")))
    assert story.view != before
    assert lines(story, before) == []


def test_a_lost_manager_is_a_warning_once() -> None:
    story = healthy()
    before = story.view
    story.see(seconds=3, manager=Failure.OTHER)
    found = changes(before, story.view)
    assert [change.text for change in found] == [
        "down: no answer",
        "writes are refused: the manager manager is down (epoch 2)",
    ]
    assert {change.level for change in found} == {logging.WARNING}
    before = story.view
    story.see(seconds=3, manager=Failure.OTHER)
    assert lines(story, before) == []


def test_a_next_hop_has_words_of_its_own() -> None:
    story = healthy()
    view = in_hops_words(story.view)
    found = [f"{change.server} {change.text}" for change in changes(ClusterView(), view, hop=True)]
    assert "manager takes the statements (epoch 1)" in found
    assert not any(line.endswith("takes reads") for line in found)
    story.see(seconds=3, manager=Failure.OTHER)
    after = in_hops_words(story.view)
    assert [change.text for change in changes(view, after, hop=True)] == [
        "down: no answer",
        "statements are refused: the next hop manager is down (epoch 2)",
    ]


def test_a_lagging_worker_is_named_once_and_so_is_its_return() -> None:
    story = healthy()
    before = story.view
    story.see(worker1=facts(2, (source(lag=99.0),)))
    assert lines(story, before) == ["worker1 takes no reads: it lags more than 10 s"]
    before = story.view
    story.see(worker1=facts(2, (source(lag=100.0),)))
    assert lines(story, before) == []
    story.see(worker1=HEALTHY["worker1"])
    assert lines(story, before) == ["worker1 takes reads"]


def test_an_alert_whose_gtids_grow_is_named_once_and_so_is_its_end() -> None:
    def errant(last: int) -> None:
        story.see(
            seconds=4,
            worker1=facts(2, (source(),), **at("0-1-5", state=f"0-2-{last}")),
            manager=facts(1, **at("0-1-5")),
        )

    story = healthy()
    before = story.view
    errant(6)
    assert [line.partition(":")[0] for line in lines(story, before)] == ["alert"]
    before = story.view
    errant(7)
    assert story.view.alerts != before.alerts
    assert lines(story, before) == []
    before = story.view
    errant(0)
    assert [line.partition(":")[0] for line in lines(story, before)] == ["resolved"]


def test_a_restart_between_two_probes_is_named() -> None:
    story = healthy()
    before = story.view
    story.restart("manager")
    story.see(**HEALTHY)
    assert lines(story, before) == [
        "manager was restarted or replaced",
        "manager takes the writes (epoch 2)",
    ]


def test_the_manager_taking_the_reads_is_named() -> None:
    story = healthy()
    story.see(seconds=3, worker1=Failure.OTHER)
    before = story.view
    story.see(seconds=3, worker2=Failure.OTHER)
    assert "manager takes the reads: no worker can" in lines(story, before)
