"""``mysqlproxy explain``: what a statement is, where it would go, and why. Called by ``cli``.

Asks the same functions as the daemon: ``sql`` for the verdict, ``cluster`` for the view, ``routing`` for the
server. The statement is not run. Prints the digest, never the text.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from mysqlproxy.cluster.view import ServerView
from mysqlproxy.commands.explain_text import ONWARD, as_text, reason_for, sentence
from mysqlproxy.commands.observe import configured_view, observe_catalog, probe_all, view_of
from mysqlproxy.config.chain import is_hop
from mysqlproxy.config.load import read
from mysqlproxy.config.schema import Config, Consistency, Strategy
from mysqlproxy.errors import ConfigFault, NoServer, PolicyDenied
from mysqlproxy.gatekeeper.rules.firewall import Moment
from mysqlproxy.gatekeeper.rules.load import load_firewall
from mysqlproxy.gatekeeper.rules.trial import Trial, attempt
from mysqlproxy.routing.route import Stay, route
from mysqlproxy.routing.strategies import Balance
from mysqlproxy.session.context import context_of
from mysqlproxy.sql.catalog import make
from mysqlproxy.sql.classifier import Classifier
from mysqlproxy.sql.hints import Hint
from mysqlproxy.sql.hints import read as read_hint
from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext, Verdict


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        sql: the text, one statement or several.
        user: name of an account, for its strategy and consistency; None: those of [routing].
        schema: the default schema, "" for none.
        offline: make the view from the configuration, connect to nothing.
    """

    sql: str
    user: str | None = None
    schema: str = ""
    offline: bool = False


def explain(file: Path, question: Question, *, as_json: bool) -> int:
    """Prints the answer. Returns the exit status.

    Raises:
        ConfigFault: the configuration cannot be read, or has no such account.
    """
    answer = answer_to(read(file), file, question)
    print(json.dumps(answer, indent=2) if as_json else as_text(answer))
    return 0


def answer_to(config: Config, file: Path, question: Question) -> dict[str, object]:
    """The answer as the object that --json prints; what its keys say is in the text form, too."""
    strategy, consistency = _policy(config, file, question.user)
    view = configured_view(config) if question.offline else view_of(config, probe_all(config))
    text = question.sql.encode("utf-8", "surrogateescape")
    classifier = Classifier()
    if not question.offline:
        classifier.see(observe_catalog(config, view))
    context = context_of(view, question.schema)
    verdict = classifier.verdict(text, context)
    hint = read_hint(text) if _hints_count(config, question.user) else None
    if hint is not None:
        strategy, consistency = hint.strategy or strategy, hint.consistency or consistency
    trial = _trial(config, question, text, replace(context, catalog=classifier.catalog), verdict)
    routes = [entry for entry in trial.outcome.applied if entry.rule.action == "route"]
    directed = hint
    if verdict.kind is Kind.READ and routes:
        directed = routes[-1].hint
        strategy, consistency = directed.strategy or strategy, directed.consistency or consistency
    chosen: ServerView | None = None
    why: str | None = None
    failure = ""
    try:
        if trial.action == "deny":
            raise PolicyDenied(f"the rule {trial.rule} refuses it")
        chosen, why = route(verdict, view, Stay(), strategy, consistency, Balance({}), hint=directed)
    except (NoServer, PolicyDenied) as error:
        failure = str(error)
    hop = is_hop(config)
    return {
        "digest": verdict.digest,
        "kind": verdict.kind.value,
        "reasons": list(verdict.reasons),
        "statements": verdict.statements,
        "tables": list(verdict.tables),
        "functions": list(verdict.functions),
        "effects": _effects(verdict),
        "needs": None if verdict.needs is Needs.ANY else verdict.needs.value,
        "cached_by_digest": verdict.cacheable,
        "hint": None if hint is None else _hint(hint),
        "rule": ", ".join(f"{action} {name}" for name, action in trial.met) or None,
        "strategy": None if hop else strategy.value,
        "read_consistency": None if hop else consistency.value,
        "server": chosen.name if chosen else None,
        "why": failure if not why else ONWARD if hop else sentence(why, verdict.kind, strategy, consistency),
        "candidates": [
            {
                "server": server.name,
                "role": "next hop" if hop else server.role.value,
                "chosen": server is chosen,
                "reason": reason_for(server, chosen, why, view, strategy),
            }
            for server in view.servers
        ],
        "catalog": classifier.catalog.available,
        "view": "configuration" if question.offline else "servers",
        "alerts": list(view.alerts),
    }


def _trial(config: Config, question: Question, text: bytes, context: SqlContext, verdict: Verdict) -> Trial:
    """What the rules say, at this time and for a client of this machine."""
    known = replace(context, catalog=make([])) if question.offline else context
    now = time.localtime()
    moment = Moment(now.tm_wday, now.tm_hour * 60 + now.tm_min)
    return attempt(load_firewall(config), text, known, question.user or "", None, moment, verdict)


def _policy(config: Config, file: Path, name: str | None) -> tuple[Strategy, Consistency]:
    routing = config.routing
    if name is None:
        return routing.strategy, routing.read_consistency
    for user in config.users:
        if user.name == name:
            return user.strategy or routing.strategy, user.read_consistency or routing.read_consistency
    known = ", ".join(user.name for user in config.users) or "none"
    raise ConfigFault([f"{file}: users: has no account {name!r}; those there are: {known}"])


def _hints_count(config: Config, name: str | None) -> bool:
    return all(user.hints for user in config.users if user.name == name)


def _hint(hint: Hint) -> dict[str, object]:
    return {
        "server": hint.server or None,
        "role": hint.role or None,
        "strategy": hint.strategy.value if hint.strategy else None,
        "consistency": hint.consistency.value if hint.consistency else None,
        "wrong": list(hint.wrong),
    }


def _effects(verdict: Verdict) -> list[str]:
    return [name.lower() for name, bit in vars(Effect).items() if name.isupper() and bit & verdict.effects]
