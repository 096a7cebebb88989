"""What the view of the cluster says, as a specification: each test is a sentence about reads and writes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mysqlproxy.cluster.decide import version_key, why
from mysqlproxy.cluster.observation import Failure, Thread
from tests.unit.clusters import CONNECTING, HEALTHY, UUID, Story, at, facts, healthy, mysql, names, source

WORKER1, WORKER2 = HEALTHY["worker1"], HEALTHY["worker2"]
LOST = Failure.OTHER


class TestWritesGoToTheOneManager:
    def test_writes_go_to_the_server_that_is_writable_and_no_replica_and_reads_to_the_workers(self) -> None:
        view = healthy().view
        assert view.manager is not None and view.manager.name == "manager"
        assert view.no_manager == ""
        assert names(view) == ["worker1", "worker2"]
        assert view.alerts == ()
        assert view.epoch == 1

    def test_nobody_takes_anything_before_a_server_was_reached(self) -> None:
        view = Story().decide()
        assert view.manager is None and view.readers == ()
        assert view.no_manager == "no server has been reached yet"
        assert view.epoch == 0

    def test_the_observed_role_decides_not_the_configured_one(self) -> None:
        story = healthy()
        story.see(seconds=3, manager=LOST)
        view = story.see(worker1=facts(2), worker2=facts(3, (source(2),)))
        assert view.manager is not None and view.manager.name == "worker1"
        assert names(view) == ["worker2"]
        assert "role: worker1 is the manager, but configured as a worker" in view.alerts

    def test_a_former_manager_that_replicates_takes_reads(self) -> None:
        story = healthy()
        view = story.see(manager=facts(1, (source(2),)), worker1=facts(2), worker2=facts(3, (source(2),)))
        assert view.manager is not None and view.manager.name == "worker1"
        assert names(view) == ["manager", "worker2"]

    @pytest.mark.parametrize(
        ("found", "reason"),
        [
            (facts(1, read_only=True), "the manager manager is read only"),
            (facts(1, (source(9),), read_only=False), "the manager manager is a replica of another server"),
            (facts(1, None, read_only=False), "the manager manager is not known to replicate from nobody"),
        ],
    )
    def test_who_is_read_only_or_a_replica_or_not_known_to_be_none_takes_no_writes(
        self, found: object, reason: str
    ) -> None:
        view = healthy().see(manager=found)  # type: ignore[arg-type]
        assert view.manager is None
        assert reason in view.no_manager

    def test_a_replica_that_was_stopped_only_is_still_a_replica(self) -> None:
        stopped = source(io=Thread.STOPPED, sql=Thread.STOPPED, lag=None)
        view = healthy().see(worker1=facts(2, (stopped,), read_only=False))
        assert view.manager is not None and view.manager.name == "manager"
        assert not view.by_name["worker1"].writable

    def test_a_replica_that_was_stopped_and_reset_is_none_any_more(self) -> None:
        reset = source(io=Thread.STOPPED, sql=Thread.STOPPED, lag=None, reset=True)
        story = healthy()
        story.see(seconds=3, manager=LOST)
        view = story.see(worker1=facts(2, (reset,), read_only=False))
        assert view.manager is not None and view.manager.name == "worker1"

    def test_without_a_manager_writes_get_a_reason_without_an_address(self) -> None:
        story = healthy()
        view = story.see(seconds=3, manager=LOST)
        assert view.manager is None
        assert view.no_manager == "the manager manager is down"


class TestTheEpoch:
    def test_it_grows_when_the_manager_is_lost_and_when_it_comes_back(self) -> None:
        story = healthy()
        assert story.see(seconds=2, manager=LOST).epoch == 1  # not yet down
        assert story.see(manager=LOST).epoch == 2
        assert story.see(seconds=1, manager=facts(1)).epoch == 2  # not yet up
        assert story.see(seconds=1, manager=facts(1)).epoch == 3

    def test_it_grows_when_the_manager_changes(self) -> None:
        story = healthy()
        view = story.see(manager=facts(1, (source(2),)), worker1=facts(2))
        assert view.manager is not None and view.manager.name == "worker1"
        assert view.epoch == 3  # for a moment, after the first of the two probes, there was none

    def test_it_grows_when_the_manager_was_restarted_between_two_probes(self) -> None:
        story = healthy()
        story.restart("manager")
        view = story.see(**HEALTHY)
        assert view.epoch == 2 and view.manager is not None
        assert view.manager.incarnation == 2

    def test_it_grows_when_another_server_answers_at_the_managers_address(self) -> None:
        assert healthy().see(manager=facts(7)).epoch == 2

    def test_it_does_not_grow_for_workers_pings_and_positions(self) -> None:
        story = healthy()
        story.see(seconds=3, manager=facts(1, **at("0-1-9")), worker1=LOST, worker2=WORKER2)
        assert story.view.epoch == 1
        assert names(story.view) == ["worker2"]


class TestTwoManagers:
    def test_two_candidates_no_writes_and_an_alert(self) -> None:
        view = healthy().see(worker1=facts(2))
        assert view.manager is None
        assert view.no_manager == "more than one server would take writes (manager and worker1)"
        assert any(alert.startswith("two managers: manager and worker1") for alert in view.alerts)
        assert view.epoch == 2

    def test_writes_go_on_when_one_remains(self) -> None:
        story = healthy()
        story.see(worker1=facts(2))
        view = story.see(worker1=WORKER1)
        assert view.manager is not None and view.manager.name == "manager"
        assert view.alerts == ()
        assert view.epoch == 3

    def test_the_operator_may_choose_to_go_on_with_the_configured_one(self) -> None:
        story = healthy()
        story.set_policy(on_two_managers="configured")
        view = story.see(worker1=facts(2))
        assert view.manager is not None and view.manager.name == "manager"
        assert view.epoch == 1
        assert any("writes go to manager, as configured" in alert for alert in view.alerts)

    def test_the_choice_is_no_choice_when_no_candidate_is_configured_as_manager(self) -> None:
        story = healthy()
        story.set_policy(on_two_managers="configured")
        story.see(seconds=3, manager=LOST)
        assert story.see(worker1=facts(2), worker2=facts(3)).manager is None

    def test_reads_go_on_meanwhile(self) -> None:
        assert names(healthy().see(worker1=facts(2))) == ["worker2"]

    def test_neither_of_two_managers_takes_the_reads_when_no_worker_is_left(self) -> None:
        view = healthy().see(worker1=facts(2), worker2=facts(3))
        assert view.readers == ()

    def test_one_in_maintenance_competes_with_nobody(self) -> None:
        story = healthy()
        story.configure("manager", maintenance=True)
        view = story.see(worker1=facts(2))
        assert view.manager is not None and view.manager.name == "worker1"
        assert not any(alert.startswith("two managers") for alert in view.alerts)


class TestAManagerBehindItsWorkers:
    def back(self, story: Story, position: str, worker: str) -> None:
        story.see(seconds=3, manager=LOST, worker1=facts(2, (CONNECTING,), **at(worker)))
        story.restart("manager")
        story.see(seconds=2, worker1=facts(2, (CONNECTING,), **at(worker)), manager=facts(1, **at(position)))

    def test_a_manager_that_comes_back_without_its_own_transactions_takes_no_writes(self) -> None:
        story = healthy()
        self.back(story, "0-1-100", "0-1-120")
        assert story.view.manager is None
        assert (
            story.view.no_manager == "the manager manager lacks transactions of its own that are on worker1"
        )
        assert any(alert.startswith("manager behind: manager lacks") for alert in story.view.alerts)

    def test_one_that_comes_back_with_all_of_them_takes_writes_at_once(self) -> None:
        story = healthy()
        self.back(story, "0-1-120", "0-1-120")
        assert story.view.manager is not None and story.view.alerts == ()

    def test_writes_are_refused_until_it_is_resolved(self) -> None:
        story = healthy()
        self.back(story, "0-1-100", "0-1-120")
        assert story.see(seconds=30, manager=facts(1, **at("0-1-100"))).manager is None
        rebuilt = facts(2, (source(),), **at("0-1-100"))
        view = story.see(seconds=2, worker1=rebuilt, manager=facts(1, **at("0-1-100")))
        assert view.manager is not None and view.alerts == ()

    def test_taking_the_worker_out_of_service_resolves_it(self) -> None:
        story = healthy()
        self.back(story, "0-1-100", "0-1-120")
        assert story.configure("worker1", maintenance=True).manager is not None

    def test_the_operator_may_choose_to_go_on(self) -> None:
        story = healthy()
        story.set_policy(on_two_managers="configured")
        self.back(story, "0-1-100", "0-1-120")
        assert story.view.manager is not None
        assert any(alert.startswith("manager behind") for alert in story.view.alerts)

    def test_mysql_by_uuid(self) -> None:
        story = Story()
        worker = mysql(2, "m:1-120", (source(origin=UUID.format(1)),))
        view = story.see(seconds=2, worker1=worker, manager=mysql(1, "m:1-100"))
        assert view.manager is None and "lacks transactions of its own" in view.no_manager
        assert any("m:101-120".replace("m", UUID.format(1)) in alert for alert in view.alerts)

    def test_a_worker_seen_after_the_managers_probe_began_proves_nothing(self) -> None:
        story = Story()
        story.probe("worker1", facts(2, (source(),), **at("0-1-100")), 10.0)
        # Both probes begin together; what the manager wrote in between has reached the worker.
        story.probe("worker1", facts(2, (source(),), **at("0-1-101")), 11.0, 11.2)
        story.probe("manager", facts(1, **at("0-1-100")), 11.1, 11.3)
        assert story.view.manager is not None and story.view.alerts == ()

    def test_a_worker_seen_before_is_proof(self) -> None:
        story = Story()
        story.probe("worker1", facts(2, (source(),), **at("0-1-101")), 11.0, 11.05)
        story.probe("manager", facts(1, **at("0-1-100")), 11.1, 11.3)
        assert story.view.manager is None

    def test_a_working_mysql_manager_has_two_seconds_to_show_what_its_replica_already_has(self) -> None:
        row = (source(origin=UUID.format(1)),)
        story = Story()
        story.see(seconds=3, worker1=mysql(2, "m:1-99", row), manager=mysql(1, "m:1-99"))
        view = story.see(seconds=2, worker1=mysql(2, "m:1-100", row), manager=mysql(1, "m:1-99"))
        assert view.manager is not None and view.alerts == ()
        view = story.see(seconds=2, worker1=mysql(2, "m:1-100", row), manager=mysql(1, "m:1-99"))
        assert view.manager is None

    def test_probes_in_step_with_each_other_find_it_in_the_second_round(self) -> None:
        story = Story()
        story.probe("manager", facts(1, **at("0-1-100")), 10.0, 10.5)
        story.probe("worker1", facts(2, (source(),), **at("0-1-120")), 10.0, 10.5)
        story.probe("manager", facts(1, **at("0-1-100")), 11.0, 11.5)
        story.probe("worker1", facts(2, (source(),), **at("0-1-120")), 11.0, 11.5)
        assert story.view.manager is None


class TestErrantTransactions:
    def test_of_a_worker_alone_only_alert(self) -> None:
        story = healthy()
        worker = facts(2, (source(),), **at("0-1-100", state="0-2-101"))
        view = story.see(seconds=4, worker1=worker, manager=facts(1, **at("0-1-100")))
        assert view.manager is not None and view.epoch == 1
        assert view.alerts == (
            "errant transactions: worker1 has some that the manager manager lacks (0-2-101)",
        )
        assert names(view) == ["worker1", "worker2"]

    def test_on_mysql_too(self) -> None:
        story = Story()
        worker = mysql(2, "m:1-100,w:1-2", (source(origin=UUID.format(1)),))
        view = story.see(seconds=4, worker1=worker, manager=mysql(1, "m:1-100"))
        assert view.manager is not None
        assert [alert.partition(":")[0] for alert in view.alerts] == ["errant transactions"]

    def test_what_a_former_manager_wrote_is_not_errant_when_the_new_one_has_it(self) -> None:
        story = Story()
        worker = facts(1, (source(2),), **at("0-2-120", state="0-1-100"))
        view = story.see(seconds=4, manager=worker, worker1=facts(2, **at("0-2-120", state="0-1-100")))
        assert not any(alert.startswith("errant") for alert in view.alerts)

    def test_nor_when_the_new_one_does_not_log_what_it_replicates(self) -> None:
        story = Story()
        worker = facts(1, (source(2),), **at("0-2-120", state="0-1-100"))
        new = facts(2, **at("0-2-120"), logs_updates=False)
        view = story.see(seconds=4, manager=worker, worker1=new)
        assert not any(alert.startswith("errant") for alert in view.alerts)


class TestReads:
    def unreadable(self, story: Story, name: str = "worker1") -> str:
        view = story.view
        assert name not in names(view)
        assert names(view) == ["worker2"]
        assert why(view.by_name[name]) == f"{name} takes no reads: {view.by_name[name].unreadable}"
        return view.by_name[name].unreadable

    def test_a_worker_that_is_down_gets_none(self) -> None:
        story = healthy()
        story.see(seconds=3, worker1=LOST)
        assert self.unreadable(story) == "down: no answer"

    @pytest.mark.parametrize(
        "row",
        [
            source(sql=Thread.STOPPED, lag=None),
            source(io=Thread.STOPPED, lag=None),
            source(io=Thread.STOPPED, sql=Thread.STOPPED, lag=None),
        ],
    )
    def test_one_whose_replication_is_stopped_gets_none(self, row: object) -> None:
        story = healthy()
        story.see(worker1=facts(2, (row,)))  # type: ignore[arg-type]
        assert self.unreadable(story) == "its replication is stopped"

    def test_the_reason_names_the_error_by_number_only(self) -> None:
        story = healthy()
        story.see(worker1=facts(2, (source(sql=Thread.STOPPED, lag=None, errno=1062),)))
        assert self.unreadable(story) == "its replication is stopped (error 1062)"

    def test_one_of_several_channels_stopped_counts_as_stopped(self) -> None:
        story = healthy()
        story.see(worker1=facts(2, (source(), source(9, channel="b", io=Thread.STOPPED, lag=None))))
        assert self.unreadable(story) == "its replication is stopped"

    def test_one_that_replicates_from_nobody_gets_none(self) -> None:
        story = healthy()
        story.see(worker1=facts(2, (), read_only=True))
        assert self.unreadable(story) == "it replicates from nobody"

    def test_one_in_maintenance_gets_none(self) -> None:
        story = healthy()
        story.configure("worker1", maintenance=True)
        assert self.unreadable(story) == "in maintenance"

    def test_one_of_weight_zero_gets_none(self) -> None:
        story = healthy()
        story.configure("worker1", weight=0)
        assert self.unreadable(story) == "its weight is 0"

    def test_one_that_lags_more_than_max_replica_lag_gets_none(self) -> None:
        story = healthy()
        story.see(worker1=facts(2, (source(lag=10.0),)))
        assert names(story.view) == ["worker1", "worker2"]
        story.see(worker1=facts(2, (source(lag=11.0),)))
        assert self.unreadable(story) == "it lags more than 10 s"

    def test_the_furthest_of_several_channels_counts(self) -> None:
        story = healthy()
        story.see(worker1=facts(2, (source(), source(9, channel="b", lag=11.0))))
        assert self.unreadable(story) == "it lags more than 10 s"

    def test_one_whose_replica_status_may_not_be_read_gets_none_and_says_which_right_is_missing(self) -> None:
        story = healthy()
        story.see(worker1=facts(2, None))
        assert "SLAVE MONITOR" in self.unreadable(story)
        assert any(alert.startswith("grants: on worker1") for alert in story.view.alerts)

    def test_on_mysql_the_right_has_another_name(self) -> None:
        view = Story().see(worker1=facts(2, None, mariadb=False))
        assert "REPLICATION CLIENT" in view.by_name["worker1"].unreadable

    def test_one_that_follows_a_server_of_ours_which_follows_nobody_gets_none(self) -> None:
        story = healthy()
        promoted = {"manager": facts(1, read_only=True), "worker1": facts(2), "worker2": WORKER2}
        view = story.see(**promoted)
        assert view.manager is not None and view.manager.name == "worker1"
        assert view.by_name["worker2"].unreadable == (
            "it replicates from manager, which does not replicate from the manager worker1"
        )

    def test_one_that_follows_another_worker_takes_reads(self) -> None:
        assert names(healthy().see(worker2=facts(3, (source(2),)))) == ["worker1", "worker2"]

    def test_one_that_follows_a_relay_that_is_none_of_ours_takes_reads(self) -> None:
        assert names(healthy().see(worker2=facts(3, (source(77),)))) == ["worker1", "worker2"]

    def test_two_that_follow_each_other_take_none(self) -> None:
        view = healthy().see(worker1=facts(2, (source(3),)), worker2=facts(3, (source(2),)))
        assert names(view) == ["manager"]

    def test_with_no_worker_left_the_manager_takes_them(self) -> None:
        story = healthy()
        view = story.see(seconds=3, worker1=LOST, worker2=LOST, manager=facts(1))
        assert names(view) == ["manager"]
        assert view.manager is view.readers[0] is view.by_name["manager"]
        assert names(story.see(seconds=2, worker1=WORKER1)) == ["worker1"]

    def test_with_nobody_left_nobody_does(self) -> None:
        story = healthy()
        assert story.see(seconds=3, manager=LOST, worker1=LOST, worker2=LOST).readers == ()

    def test_a_server_that_comes_back_is_used_again(self) -> None:
        story = healthy()
        story.see(seconds=3, worker1=LOST)
        assert names(story.see(seconds=2, worker1=WORKER1)) == ["worker1", "worker2"]


class TestReadsWithoutAManager:
    def orphaned(self, lag: float | None = 3.0) -> Story:
        story = Story()
        story.see(seconds=3, manager=facts(1), worker1=facts(2, (source(lag=lag),)), worker2=WORKER2)
        story.see(seconds=4, manager=LOST, worker1=facts(2, (CONNECTING,)), worker2=facts(3, (CONNECTING,)))
        return story

    def test_they_go_on_with_the_lag_frozen(self) -> None:
        story = self.orphaned()
        view = story.see(seconds=1000, worker1=facts(2, (CONNECTING,)), manager=LOST)
        assert view.manager is None
        assert names(view) == ["worker1", "worker2"]
        worker = view.by_name["worker1"]
        assert worker.lag == 3.0 and worker.replicating

    def test_who_lagged_too_much_before_still_does(self) -> None:
        assert names(self.orphaned(lag=60.0).view) == ["worker2"]

    def test_they_go_on_too_when_the_daemon_was_started_without_a_manager(self) -> None:
        view = Story().see(manager=Failure.REFUSED, worker1=facts(2, (CONNECTING,)))
        assert view.manager is None and names(view) == ["worker1"]
        assert view.by_name["worker1"].lag is None
        assert "unknown" in why(view.by_name["worker1"])

    def test_a_worker_that_still_looks_for_a_manager_that_is_back_lags_more_and_more(self) -> None:
        story = self.orphaned()
        back = {"manager": facts(1), "worker1": facts(2, (CONNECTING,)), "worker2": WORKER2}
        assert names(story.see(seconds=2, **back)) == ["worker1", "worker2"]
        view = story.see(seconds=10, **back)
        assert names(view) == ["worker2"]
        assert view.by_name["worker1"].unreadable == "it lags more than 10 s"
        assert names(story.see(worker1=WORKER1)) == ["worker1", "worker2"]

    def test_one_that_never_told_its_lag_is_not_read_while_the_manager_is_up(self) -> None:
        view = Story().see(manager=facts(1), worker1=facts(2, (CONNECTING,)), worker2=WORKER2)
        assert names(view) == ["worker2"]
        assert view.by_name["worker1"].unreadable == "its lag is unknown"

    def test_the_lag_does_not_grow_while_the_manager_only_fails_to_answer(self) -> None:
        story = healthy()
        story.set_policy(max_replica_lag=0.5, down_after=100)
        view = story.see(seconds=20, manager=LOST, worker1=facts(2, (CONNECTING,)))
        assert "worker1" in names(view)

    def test_the_lag_behind_one_source_is_not_the_lag_behind_another(self) -> None:
        story = healthy()
        moved = replace(CONNECTING, host="10.0.0.1", origin="0")
        view = story.see(manager=facts(1), worker1=facts(2, (moved,)))
        assert view.by_name["worker1"].unreadable == "its lag is unknown"


class TestMaintenanceOfTheManager:
    def test_it_takes_no_new_writes_and_the_epoch_stays_so_that_what_is_open_may_end(self) -> None:
        story = healthy()
        view = story.configure("manager", maintenance=True)
        assert view.manager is None and view.no_manager == "the manager manager is in maintenance"
        assert view.epoch == 1
        view = story.configure("manager", maintenance=False)
        assert view.manager is not None and view.epoch == 1

    def test_it_does_not_take_the_reads_of_the_last_worker(self) -> None:
        story = healthy()
        story.configure("manager", maintenance=True)
        assert story.see(seconds=3, worker1=LOST, worker2=LOST).readers == ()


class TestTheGreeting:
    def test_it_is_the_lowest_version_and_what_all_can_do(self) -> None:
        story = Story()
        view = story.see(
            manager=facts(1, version="5.5.5-10.11.19-MariaDB", capabilities=0b1110),
            worker1=facts(2, (source(),), version="5.5.5-10.6.4-MariaDB", capabilities=0b0111),
            worker2=facts(3, (source(),), version="11.4.2-MariaDB", capabilities=0b1111),
        )
        assert view.version == "5.5.5-10.6.4-MariaDB"
        assert view.capabilities == 0b0110
        assert view.mariadb

    def test_it_outlives_the_servers(self) -> None:
        story = healthy()
        view = story.see(seconds=3, manager=LOST, worker1=LOST, worker2=LOST)
        assert view.version == "5.5.5-10.11.19-MariaDB" and view.capabilities == 0xFF

    def test_sql_mode_is_the_managers_and_outlives_it(self) -> None:
        story = healthy()
        story.see(manager=facts(1, sql_mode="ANSI_QUOTES"))
        assert story.view.sql_mode == "ANSI_QUOTES"
        assert story.see(seconds=3, manager=LOST).sql_mode == "ANSI_QUOTES"

    def test_of_mixed_kinds_it_is_the_managers(self) -> None:
        story = Story()
        view = story.see(manager=mysql(1, ""), worker1=facts(2, (source(),)))
        assert view.version == "9.7.4" and not view.mariadb
        assert any(alert.startswith("kinds:") for alert in view.alerts)

    @pytest.mark.parametrize(
        ("lower", "higher"),
        [
            ("5.5.5-10.6.4-MariaDB", "10.11.19-MariaDB"),
            ("8.0.9", "8.0.36-28 Percona"),
            ("5.7.44-log", "9.7.4"),
            ("nonsense", "0.1"),
        ],
    )
    def test_versions_compare_by_number(self, lower: str, higher: str) -> None:
        assert version_key(lower) < version_key(higher)
