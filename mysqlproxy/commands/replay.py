"""``mysqlproxy replay``: what a configuration's rules would do to statements recorded earlier. Called by ``cli``.

The records are those of ``users.statements_file``: digests, so the rules see what they see in the daemon, but for the
client's address and the time of day. Runs nothing and changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mysqlproxy.commands.observe import configured_view, observe_catalog, probe_all, view_of
from mysqlproxy.config.load import read
from mysqlproxy.config.schema import Config
from mysqlproxy.gatekeeper.rules import learned
from mysqlproxy.gatekeeper.rules.learned import Record
from mysqlproxy.gatekeeper.rules.load import load_firewall
from mysqlproxy.gatekeeper.rules.trial import Trial, attempt
from mysqlproxy.session.context import context_of
from mysqlproxy.sql import catalog
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.verdict import SqlContext


def replay(file: Path, digests: Path, *, offline: bool, as_json: bool) -> int:
    """Prints a line for each digest that a rule would refuse, route, limit or log, and the sums. Returns 0.

    Raises:
        ConfigFault: the configuration, its rules or the records cannot be read.
    """
    config = read(file)
    records = learned.read(digests)
    counts: Counter[str] = Counter()
    for record, trial in _trials(config, records, offline):
        counts.update({action for _, action in trial.met} - {"allow"} or {"none"})
        if as_json:
            print(json.dumps(_as_object(record, trial)))
        elif trial.action not in {"none", "allow"}:
            print(_as_line(record, trial))
    if not as_json:
        what = ", ".join(f"{counts[key]} {word}" for key, word in _WORDS.items())
        print(f"{len(records)} digests: {what}, {counts['none']} as before")
    return 0


_WORDS = {"deny": "newly denied", "route": "newly routed", "limit": "limited", "log": "logged"}


def _trials(config: Config, records: frozenset[Record], offline: bool) -> Iterator[tuple[Record, Trial]]:
    firewall = load_firewall(config)
    view = configured_view(config) if offline else view_of(config, probe_all(config))
    known = catalog.make([]) if offline else observe_catalog(config, view)
    for record in sorted(records):
        context = replace(context_of(view, record.schema), catalog=known)
        context = _under(context, record.modes)
        text = record.digest.encode()
        verdict = classify(text, replace(context, catalog=catalog.NO_CATALOG) if offline else context)
        yield record, attempt(firewall, text, context, record.account, verdict=verdict)


def _under(context: SqlContext, modes: str) -> SqlContext:
    given = modes.split(",")
    return replace(
        context,
        ansi_quotes="ANSI_QUOTES" in given,
        no_backslash_escapes="NO_BACKSLASH_ESCAPES" in given,
        pipes_as_concat="PIPES_AS_CONCAT" in given,
        ignore_space="IGNORE_SPACE" in given,
    )


def _as_line(record: Record, trial: Trial) -> str:
    where = f"{record.account}@{record.schema}" if record.schema else record.account
    why = f" ({trial.outcome.detail})" if trial.outcome.detail else ""
    met = ", ".join(f"{action} {rule}" for rule, action in trial.met)
    return f"{met}{why}  {where}  {record.digest}"


def _as_object(record: Record, trial: Trial) -> dict[str, object]:
    return {
        **record._asdict(),
        "action": trial.action,
        "rule": trial.rule or None,
        "met": [name for name, _ in trial.met],
        "detail": trial.outcome.detail,
    }
