"""GTID sets: reading, writing, and the laws of sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.cluster.gtid import MAX_TEXT, GtidSet, parse_mariadb_list

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562"

# Few domains, UUIDs and numbers, so that sets overlap and touch often.
_mariadb_triples = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 6)), max_size=6)
_intervals = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 4)), min_size=1, max_size=4)
_mysql_sources = st.dictionaries(st.sampled_from([A, B, f"{A}:tag", f"{B}:x"]), _intervals, max_size=4)


def _mariadb(triples: list[tuple[int, int, int]]) -> GtidSet:
    return GtidSet.parse(",".join("-".join(map(str, triple)) for triple in triples), True)


def _mysql(sources: dict[str, list[tuple[int, int]]]) -> GtidSet:
    texts = [
        source + "".join(f":{first}-{first + more}" for first, more in intervals)
        for source, intervals in sources.items()
    ]
    return GtidSet.parse(",\n".join(texts), False)


mariadb_sets = _mariadb_triples.map(_mariadb)
mysql_sets = _mysql_sources.map(_mysql)
pairs = st.one_of(st.tuples(mariadb_sets, mariadb_sets), st.tuples(mysql_sets, mysql_sets))
triples = st.one_of(
    st.tuples(mariadb_sets, mariadb_sets, mariadb_sets), st.tuples(mysql_sets, mysql_sets, mysql_sets)
)


def members(gtids: GtidSet) -> set[tuple[str, int]]:
    """Every transaction, one by one: the slow definition that the fast one is compared with."""
    if gtids.mariadb:
        return {(str(domain), n) for domain, _, last in gtids.domains for n in range(1, last + 1)}
    return {
        (source, n)
        for source, intervals in gtids.sources
        for first, last in intervals
        for n in range(first, last + 1)
    }


@given(pairs)
def test_covers_is_the_superset_of_the_transactions(pair: tuple[GtidSet, GtidSet]) -> None:
    assert pair[0].covers(pair[1]) == (members(pair[0]) >= members(pair[1]))


@given(pairs)
def test_merge_is_the_union(pair: tuple[GtidSet, GtidSet]) -> None:
    merged = pair[0].merge(pair[1])
    assert members(merged) == members(pair[0]) | members(pair[1])
    assert merged == pair[1].merge(pair[0])


@given(triples)
def test_merge_does_not_depend_on_the_order(sets: tuple[GtidSet, GtidSet, GtidSet]) -> None:
    a, b, c = sets
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a


@given(triples)
def test_covers_is_transitive(sets: tuple[GtidSet, GtidSet, GtidSet]) -> None:
    a, b, c = sets
    assert a.covers(a)
    if a.covers(b) and b.covers(c):
        assert a.covers(c)


@given(st.tuples(mysql_sets, mysql_sets))
def test_minus_is_the_difference(pair: tuple[GtidSet, GtidSet]) -> None:
    assert members(pair[0].minus(pair[1])) == members(pair[0]) - members(pair[1])


@given(st.tuples(mariadb_sets, mariadb_sets))
def test_minus_leaves_the_domains_that_are_further(pair: tuple[GtidSet, GtidSet]) -> None:
    ours, theirs = pair
    left = ours.minus(theirs)
    assert left.empty() == theirs.covers(ours)
    assert theirs.merge(left) == theirs.merge(ours) or {d for d, _, _ in left.domains}.issubset(
        {d for d, _, _ in ours.domains}
    )
    assert all(ours.covers(GtidSet(True, domains=(one,))) for one in left.domains)


@given(st.one_of(mariadb_sets, mysql_sets))
def test_what_is_written_reads_back_equal(gtids: GtidSet) -> None:
    assert GtidSet.parse(str(gtids), gtids.mariadb) == gtids


@given(st.text(alphabet="0123456789-:,abcdef_ \n", max_size=80), st.booleans())
def test_any_text_is_a_set_or_a_value_error(text: str, mariadb: bool) -> None:
    try:
        gtids = GtidSet.parse(text, mariadb)
    except ValueError:
        return
    assert GtidSet.parse(str(gtids), mariadb) == gtids


def test_mariadb_has_the_last_of_each_domain() -> None:
    gtids = GtidSet.parse("1-2-5,0-1-99,0-3-100", True)
    assert str(gtids) == "0-3-100,1-2-5"
    assert gtids.of("3") == GtidSet.parse("0-3-100", True)


def test_mariadb_compares_by_sequence_number_alone() -> None:
    assert GtidSet.parse("0-2-100", True).covers(GtidSet.parse("0-1-100", True))
    assert not GtidSet.parse("0-1-100", True).covers(GtidSet.parse("0-1-100,1-1-1", True))


def test_mysql_joins_intervals_and_ignores_case() -> None:
    gtids = GtidSet.parse(f"{A.upper()}:6:1-3:4-5,\n{B}:7-7", False)
    assert str(gtids) == f"{A}:1-6,{B}:7"


def test_mysql_tags_are_sources_of_their_own_and_of_one_server() -> None:
    gtids = GtidSet.parse(f"{A}:1-3:blue:1-2:9:red:4,{B}:1", False)
    assert str(gtids) == f"{A}:1-3,{A}:blue:1-2:9,{A}:red:4,{B}:1"
    assert gtids.of(A.upper()).minus(gtids).empty()
    assert str(gtids.minus(gtids.of(A))) == f"{B}:1"


def test_a_difference_inside_an_interval_leaves_both_ends() -> None:
    assert (
        str(GtidSet.parse(f"{A}:1-10", False).minus(GtidSet.parse(f"{A}:3:5-6", False))) == f"{A}:1-2:4:7-10"
    )


def test_sets_of_different_systems_have_nothing_in_common() -> None:
    mariadb, mysql = GtidSet.parse("0-1-1", True), GtidSet.parse(f"{A}:1", False)
    assert not mariadb.covers(mysql) and not mysql.covers(mariadb)
    assert mariadb.covers(GtidSet(False))
    with pytest.raises(ValueError, match="no union"):
        mariadb.merge(mysql)


@pytest.mark.parametrize(
    ("text", "mariadb"),
    [
        ("0-1", True),
        ("0-1-x", True),
        ("0-1-1-1", True),
        (f"{2**32}-1-1", True),
        (f"0-1-{2**64}", True),
        ("\u0660-1-1", True),
        (A, False),
        (f"{A}:0", False),
        (f"{A}:1-2-3", False),
        (f"{A}:{2**63}", False),
        (f"{A}:9tag:1", False),
        ("nonsense:1", False),
        ("0-1-1", False),
    ],
)
def test_what_is_no_set_is_refused(text: str, mariadb: bool) -> None:
    with pytest.raises(ValueError, match="GTID"):
        GtidSet.parse(text, mariadb)


def test_a_text_has_a_maximum() -> None:
    with pytest.raises(ValueError, match="characters"):
        GtidSet.parse("0-1-1," * (MAX_TEXT // 6 + 1), True)


def test_the_binlog_state_has_one_entry_per_server() -> None:
    assert parse_mariadb_list("0-2-5,0-1-9, 0-1-9") == ((0, 1, 9), (0, 2, 5))


UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_a_place_in_a_binary_log_is_a_set_that_no_server_understands() -> None:
    one, further = GtidSet.in_log(UUID, "bin.log.000009", 900), GtidSet.in_log(UUID, "bin.log.000010", 4)
    assert further.covers(one) and not one.covers(further)
    assert one.merge(further).place == (UUID, "bin.log.000010", 4)
    assert GtidSet.in_log(UUID, "b.1234567", 1 << 40).place == (UUID, "b.1234567", 1 << 40)
    other = GtidSet.in_log(UUID.replace("1", "2"), "bin.log.000011", 4)
    assert not other.covers(one)
    assert one.merge(other).place is None
    assert GtidSet.parse(f"{UUID}:1-5", False).place is None
    for file in ("binlog", "bin'log.000001", ".000001", "binlog.x", "binlog.-1"):
        with pytest.raises(ValueError, match="binary log"):
            GtidSet.in_log(UUID, file, 4)
