"""Counts of addresses, addresses whose logins fail, and the crowd that has not logged in."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from mysqlproxy.config.schema import Limits
from mysqlproxy.errors import PolicyDenied, TooManyConnections
from mysqlproxy.gatekeeper.admission import Admission
from mysqlproxy.gatekeeper.failures import MAX_ADDRESSES, Failures
from mysqlproxy.gatekeeper.newcomers import Newcomers

V4 = ip_address("192.0.2.1")
V6 = ip_address("2001:db8:0:1::1")
NEIGHBOUR = ip_address("2001:db8:0:1:ffff::2")  # the same /64
STRANGER = ip_address("2001:db8:0:2::1")


def test_the_limit_of_an_address_counts_the_64_of_ipv6() -> None:
    admission = Admission(Limits(max_connections_per_address=2))
    first = admission.connect(V6)
    admission.connect(NEIGHBOUR)
    with pytest.raises(PolicyDenied) as caught:
        admission.connect(V6)
    assert (caught.value.errno, caught.value.sqlstate) == (1203, "42000")
    admission.connect(STRANGER)
    for _ in range(3):
        admission.connect(None)
    assert admission.connected == 6
    first.release()
    first.release()
    admission.connect(NEIGHBOUR)
    with pytest.raises(PolicyDenied):
        admission.connect(NEIGHBOUR)


def test_a_mapped_address_is_the_ipv4_one() -> None:
    admission = Admission(Limits(max_connections_per_address=1))
    admission.connect(ip_address("::ffff:192.0.2.1"))
    with pytest.raises(PolicyDenied):
        admission.connect(V4)


def test_networks_that_may_not_come_at_all_are_told_so_before_anything_else() -> None:
    admission = Admission(Limits(max_connections=1), (ip_network("192.0.2.0/24"),))
    admission.connect(V4)
    with pytest.raises(PolicyDenied) as caught:
        admission.connect(V6)
    assert (caught.value.errno, caught.value.sqlstate) == (1130, "HY000")
    with pytest.raises(TooManyConnections):
        admission.connect(V4)
    admission.reconfigure(Limits(max_connections=2), ())
    admission.connect(V6)


def test_failures_slow_an_address_and_then_refuse_it_for_a_while() -> None:
    failures = Failures(Limits(max_login_failures=20, login_failure_window=60.0))
    assert failures.wait(V4, 0.0) == 0.0
    for _ in range(2):
        failures.note(V4, 0.0)
    assert failures.wait(V4, 0.0) == 0.0, "people mistype"
    pauses = []
    for _ in range(8):
        failures.note(V4, 0.0)
        pauses.append(failures.wait(V4, 100.0 * len(pauses) % 50))
    assert pauses == sorted(pauses) and 0 < pauses[0] < 0.1 and pauses[-1] > 1
    for _ in range(10):
        failures.note(V4, 1.0)
    with pytest.raises(PolicyDenied) as caught:
        failures.wait(V4, 60.9)
    assert (caught.value.errno, caught.value.sqlstate) == (1129, "HY000")
    assert failures.wait(V6, 60.9) == failures.wait(None, 60.9) == 0.0
    assert failures.wait(V4, 61.1) == 0.0
    failures.note(V4, 61.1)
    assert failures.wait(V4, 61.1) == 0.0, "it begins anew"


def test_many_at_once_from_a_slowed_address_take_turns() -> None:
    failures = Failures(Limits(max_login_failures=100, login_timeout=10.0))
    for _ in range(16):
        failures.note(V6, 0.0)
    turns = [failures.wait(address, 0.0) for address in (V6, NEIGHBOUR) * 2]
    assert turns == [1.6, 3.2, pytest.approx(4.8), 6.4]
    failures.wait(V6, 0.0), failures.wait(V6, 0.0), failures.wait(V6, 0.0)
    with pytest.raises(PolicyDenied):
        failures.wait(V6, 0.0)  # its turn would come after login_timeout
    assert failures.wait(STRANGER, 0.0) == 0.0


def test_the_memory_of_failures_is_bounded() -> None:
    failures = Failures(Limits(max_login_failures=1))
    for number in range(MAX_ADDRESSES + 5):
        failures.note(ip_address(number + (1 << 24)), 0.0)
    assert len(failures._records) == MAX_ADDRESSES
    assert failures.wait(ip_address(1 << 24), 0.0) == 0.0, "the oldest are forgotten"
    off = Failures(Limits(max_login_failures=0))
    for _ in range(1000):
        off.note(V4, 0.0)
    assert off.wait(V4, 0.0) == 0.0


def test_of_too_many_newcomers_the_oldest_silent_one_leaves() -> None:
    left: list[int] = []
    newcomers = Newcomers(3)

    def come(number: int) -> None:
        newcomers.come(number, lambda: left.append(number))

    for number in (1, 2, 3):
        come(number)
    newcomers.spoke(1)
    come(4)
    assert left == [2]
    newcomers.spoke(3)
    newcomers.spoke(4)
    come(5)
    assert left == [2, 1], "all have spoken: whose last word is the oldest"
    newcomers.gone(3)
    newcomers.gone(5)
    come(6)
    come(7)
    assert left == [2, 1]
    assert len(newcomers) == 3
