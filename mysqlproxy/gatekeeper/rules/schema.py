"""The schema of a rules file: frozen, typed, unknown keys refused. Read by ``gatekeeper.rules.load``.

What each key means stands in docs/rules.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, model_validator

from mysqlproxy.config.schema import Consistency, Network, Section, Strategy

SQLSTATES = {1142: "42000", 1148: "42000", 1227: "42000"}
"""The error numbers that a denial may have."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])\Z")
_NAME = re.compile(r"[^.]+(\.[^.]+)?\Z", re.DOTALL)
_COLUMN = re.compile(r"([^.]+\.){1,2}[^.]+\Z", re.DOTALL)
_MOMENT = re.compile(rf"({'|'.join(DAYS)}) ([01][0-9]|2[0-3]):([0-5][0-9])\Z")


def _hours(value: object) -> tuple[int, int]:
    """Minutes of the day, from and to (not included)."""
    found = _HOURS.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('is no span of hours; write it as in "22:00-06:00"')
    first, second = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if first == second or second > 24 * 60:
        raise ValueError("is no span of hours; the end is another time than the begin, 24:00 at the latest")
    return first, second


def _moment(value: object) -> tuple[int, int]:
    """Day of the week from 0 on, and minute of the day."""
    found = _MOMENT.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('is no day and time; write it as in "sat 23:30"')
    return DAYS.index(found[1]), int(found[2]) * 60 + int(found[3])


def _pattern(value: object) -> re.Pattern[str]:
    if not isinstance(value, str):
        raise ValueError('is not text; write a regular expression in quotes, as in "^SELECT"')
    try:
        return re.compile(value, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error}); correct it") from None


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.match(value):
        raise ValueError('is no name; write "name" or "schema.name", with * and ? for any characters')
    return value


def _column(value: object) -> str:
    if not isinstance(value, str) or not _COLUMN.match(value):
        raise ValueError('is no column; write "table.column" or "schema.table.column"')
    return value


Hours = Annotated[tuple[int, int], PlainValidator(_hours)]
Moment = Annotated[tuple[int, int], PlainValidator(_moment)]
Pattern = Annotated[re.Pattern[str], PlainValidator(_pattern)]
Named = Annotated[str, PlainValidator(_name)]
Column = Annotated[str, PlainValidator(_column)]
Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_]+$")]
Kind = Literal["read", "write", "other", "ddl", "accounts"]
Action = Literal["allow", "deny", "route", "limit", "log"]

_ROUTE = ("role", "server", "strategy", "consistency")
_LIMIT = ("rate", "concurrency")


class Rule(Section):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    action: Action
    priority: int = 100
    # whom it is about
    accounts: tuple[str, ...] = ()
    except_accounts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    # what it is about
    schemas: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    statements: tuple[Word, ...] = ()
    tables: tuple[Named, ...] = ()
    columns: tuple[Column, ...] = ()
    access: Literal["any", "read", "write"] = "any"
    functions: tuple[Named, ...] = ()
    keywords: tuple[Word, ...] = ()
    missing: tuple[Literal["where", "limit"], ...] = ()
    digests: tuple[str, ...] = ()
    pattern: Pattern | None = None
    multi_statements: bool | None = None
    # when
    hours: Hours | None = None
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()
    # deny
    errno: Literal[1142, 1148, 1227] | None = None
    message: str | None = Field(default=None, min_length=1, max_length=400)
    # route
    role: Literal["manager", "worker"] | None = None
    server: str | None = Field(default=None, min_length=1)
    strategy: Strategy | None = None
    consistency: Consistency | None = None
    # limit
    rate: float | None = Field(default=None, gt=0, le=1_000_000, allow_inf_nan=False)  # statements a second
    burst: int | None = Field(default=None, ge=1, le=1_000_000)
    concurrency: int | None = Field(default=None, ge=1, le=1_000_000)
    per: Literal["account", "digest"] = "account"
    queue: int = Field(default=0, ge=0, le=100_000)
    deadline: float = Field(default=1.0, gt=0, le=3600, allow_inf_nan=False)  # seconds in the queue

    @model_validator(mode="after")
    def _of_its_action(self) -> Rule:
        given = self.model_fields_set
        for action, keys in (
            ("deny", ("errno", "message")),
            ("route", _ROUTE),
            ("limit", (*_LIMIT, "burst", "per", "queue", "deadline")),
        ):
            wrong = [key for key in keys if key in given]
            if self.action != action and wrong:
                raise ValueError(f'has {wrong[0]}, which is for action = "{action}"; leave it out')
        if self.action == "route" and not given & set(_ROUTE):
            raise ValueError("says not where to; add role, server, strategy or consistency")
        if self.role is not None and self.server is not None:
            raise ValueError("has both role and server; leave one of them out")
        if self.action == "limit" and not given & set(_LIMIT):
            raise ValueError("says not how much; add rate or concurrency")
        if "access" in given and not self.tables and not self.columns:
            raise ValueError("has access and neither tables nor columns; add them")
        if self.action in {"allow", "route"}:
            for key in ("columns", "functions", "keywords", "missing"):
                if key in given:
                    raise ValueError(
                        f"has {key}, which tells what to refuse; {self.action} needs tables, statements or kinds"
                    )
        return self


class Case(Section):
    statement: str
    account: str = ""
    schema_: str = Field(default="app", alias="schema")
    address: str = "127.0.0.1"
    at: Moment = (0, 12 * 60)
    expect: Literal["allow", "deny", "route", "limit", "log", "none"]
    rule: str | None = None
    why: str = Field(min_length=1)


class RulesFile(Section):
    not_understood: Literal["deny", "pass"] = "deny"
    rule: tuple[Rule, ...] = ()
    case: tuple[Case, ...] = ()
    views: dict[str, str] = {}  # noqa: RUF012 - pydantic copies it
