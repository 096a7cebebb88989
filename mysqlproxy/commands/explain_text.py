"""The words of ``explain``: why a statement goes where it goes, and not elsewhere. Pure; called by it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf
from typing import Any

from mysqlproxy.cluster.view import ClusterView, ServerView
from mysqlproxy.config.schema import Consistency, Strategy
from mysqlproxy.routing.route import Why
from mysqlproxy.sql.verdict import Kind

_STRATEGIES = {
    Strategy.DIRECT: "the manager takes everything",
    Strategy.RANDOM: "any reader at random",
    Strategy.CUSTOMIZED: "the reader with the lowest ping",
    Strategy.ROUND_ROBIN: "the readers in turn",
    Strategy.LEAST_CONNECTIONS: "the reader that runs the fewest statements now",
    Strategy.WEIGHTED: "the readers at random, by their weights",
}

ONWARD = "all statements go to the next hop; where they go then is the proxy's to say"


def sentence(why: str, kind: Kind, strategy: Strategy, consistency: Consistency) -> str:
    """Why a session with nothing to keep is sent to the server it is sent to."""
    if why == Why.WRITE:
        if kind is Kind.READ:
            return "its answer depends on the manager or on the connection: the manager takes it"
        what = "writes and what is not understood" if kind is Kind.WRITE else "session and administration"
        return f"kind {kind.value}: the manager takes {what}"
    words = {
        Why.STRATEGY: f"strategy {strategy.value}: {_STRATEGIES[strategy]}",
        Why.DIRECT: "strategy direct: the manager takes everything",
        Why.NO_WORKER: "no worker may take reads now: the manager takes them",
        Why.CONSISTENCY: f"read_consistency {consistency.value}: the manager takes the reads",
        Why.HINT: "the hint in the statement asks for the manager",
        Why.LAST_INSERT: "its answer depends on the last insert: the manager's connection has it",
        Why.NO_MANAGER: "session state while there is no manager: a reader keeps it",
    }
    return words.get(why, why)


def reason_for(
    server: ServerView, chosen: ServerView | None, why: str | None, view: ClusterView, strategy: Strategy
) -> str:
    """Why this server was chosen, could have been, or could not."""
    if server is chosen:
        return "chosen" + (f" (ping {_milliseconds(server.ping)})" if _compares_pings(why, strategy) else "")
    if why == Why.STRATEGY:
        if server not in view.readers:
            return server.unreadable or "takes no reads"
        if server.partial and chosen is not None and not chosen.partial:
            return f"takes only reads with read_consistency eventual: {server.partial}"
        if strategy is Strategy.CUSTOMIZED:
            if isinf(server.ping):
                return "its ping is not known"
            return f"not the lowest ping ({_milliseconds(server.ping)})"
        return "could have been chosen as well"
    if why in (Why.NO_WORKER, Why.NO_MANAGER) or why is None:
        return server.unreadable or "takes no writes"
    return "only the manager takes it"


def as_text(answer: Mapping[str, Any]) -> str:
    """The answer for people; one line each, the reasons and the servers below each other."""
    lines = [
        f"statement    {answer['digest'] or '(empty)'}",
        f"kind         {answer['kind']}",
        *_listed("because", answer["reasons"]),
        f"tables       {_joined(answer['tables'])}",
        f"functions    {_joined(answer['functions'])}",
        f"leaves       {_joined(answer['effects'])}",
    ]
    if answer["needs"]:
        lines.append(f"depends on   {answer['needs']}")
    if (hint := answer["hint"]) is not None:
        asked = [f"{key}={setting}" for key, setting in hint.items() if setting and key != "wrong"]
        lines.append(f"hint         {_joined([*asked, *(f'wrong: {fault}' for fault in hint['wrong'])])}")
    lines += [
        f"rule         {answer['rule'] or 'none'}",
        *(
            [f"strategy     {answer['strategy']}, read_consistency {answer['read_consistency']}"]
            if answer["strategy"]
            else []
        ),
        f"server       {answer['server'] or 'none'}: {answer['why']}",
    ]
    width = max(len(candidate["server"]) for candidate in answer["candidates"])
    candidates = [
        f"{candidate['server']:<{width}}  {candidate['role']:<7}  {candidate['reason']}"
        for candidate in answer["candidates"]
    ]
    lines += _listed("candidates", candidates)
    lines += _listed("alerts", answer["alerts"])
    if answer["view"] == "configuration":
        lines.append("             (from the configuration alone: no server was asked)")
    elif not answer["catalog"] and answer["strategy"]:
        lines.append(
            "             (what views and stored functions do is not known: the monitor may not see them)"
        )
    return "\n".join(lines)


def _listed(title: str, items: list[str]) -> list[str]:
    return [f"{title if number == 0 else '':<13}{item}" for number, item in enumerate(items)]


def _joined(names: list[str]) -> str:
    return ", ".join(names) or "-"  # none, or not looked for


def _compares_pings(why: str | None, strategy: Strategy) -> bool:
    return why == Why.STRATEGY and strategy is Strategy.CUSTOMIZED


def _milliseconds(seconds: float) -> str:
    return "unknown" if isinf(seconds) else f"{seconds * 1000:.2f} ms"
