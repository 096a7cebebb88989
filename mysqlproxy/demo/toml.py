"""Writes the daemon's configuration as TOML: tables, arrays of tables, strings, numbers, booleans, arrays.

Called by ``demo.daemon``. The standard library reads TOML (tomllib) and does not write it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Value = str | int | float | bool | Sequence["Value"] | Mapping[str, "Value"]


def dumps(config: Mapping[str, Value]) -> str:
    """The text of a configuration; every value at the top is a table or a list of tables."""
    lines: list[str] = []
    for name, section in config.items():
        if isinstance(section, Mapping):
            lines += [f"[{name}]", *_pairs(section), ""]
        elif isinstance(section, Sequence) and not isinstance(section, str):
            for table in section:
                if not isinstance(table, Mapping):
                    raise TypeError(f"{name} is no list of tables")
                lines += [f"[[{name}]]", *_pairs(table), ""]
        else:
            raise TypeError(f"{name} is no table")
    return "\n".join(lines)


def _pairs(table: Mapping[str, Value]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Value) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_pairs(value)) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return repr(value)
