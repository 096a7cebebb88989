"""The writer of TOML, checked with the standard library's reader."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlproxy.demo.toml import dumps

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    texts | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["env", "file"]), inner),
    max_leaves=5,
)
tables = st.dictionaries(st.from_regex(r"\A[a-z_]{1,10}\Z"), values, max_size=4)


@given(st.dictionaries(st.from_regex(r"\A[a-z_]{1,10}\Z"), tables | st.lists(tables, min_size=1, max_size=3)))
def test_what_is_written_reads_the_same(config: dict[str, object]) -> None:
    assert tomllib.loads(dumps(config)) == config  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [{"listen": "text"}, {"servers": ["text"]}, {"listen": 1}])
def test_what_is_no_table_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        dumps(config)  # type: ignore[arg-type]
