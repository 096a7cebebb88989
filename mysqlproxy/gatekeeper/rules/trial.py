"""What rules would say to a statement, without a session. Called by ``check`` for the cases of rules files, by
``explain`` and by ``replay``; pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from mysqlproxy.gatekeeper.accounts import Address
from mysqlproxy.gatekeeper.rules.firewall import ALLOW_LIST, NOTHING, Entry, Firewall, Loaded, Moment, Outcome
from mysqlproxy.gatekeeper.rules.schema import Case
from mysqlproxy.sql import catalog
from mysqlproxy.sql.catalog import Relation, What
from mysqlproxy.sql.classify import classify
from mysqlproxy.sql.uses import executed, uses_of
from mysqlproxy.sql.verdict import Kind, Needs, SqlContext, Verdict


@dataclass(frozen=True, slots=True)
class Trial:
    """What happens to a text.

    Attributes:
        action: of the rule that decides: allow, deny, route, limit or log; "none" without any.
        rule: its name, or "".
        met: names and actions of all rules that it meets, in order.
    """

    action: str
    rule: str
    outcome: Outcome
    met: tuple[tuple[str, str], ...] = ()


def attempt(
    firewall: Firewall,
    text: bytes,
    context: SqlContext,
    account: str,
    peer: Address | None = None,
    now: Moment = Moment(0, 12 * 60),  # noqa: B008 - a value that never changes
    verdict: Verdict | None = None,
) -> Trial:
    """What these rules make of a text of this account."""
    selection = firewall.selection(account, peer)
    if selection is None:
        return Trial("none", "", NOTHING)
    # Nothing has been prepared by name.
    plan = selection.plan(executed(uses_of(text, context), {}, context.catalog), context.schema)
    outcome = plan.outcome(now)
    if outcome.denied is not None:
        name = outcome.denied.rule.name
        return Trial("deny", name, outcome, ((name, "deny"),))
    if plan.unlearned and outcome.allowed is None:
        return Trial("deny", ALLOW_LIST, outcome, ((ALLOW_LIST, "deny"),))
    verdict = classify(text, context) if verdict is None else verdict
    plain_read = verdict.kind is Kind.READ and verdict.needs is Needs.ANY
    applied = [entry for entry in outcome.applied if plain_read or entry.rule.action != "route"]
    met: list[Entry] = applied if outcome.allowed is None else [outcome.allowed, *applied]
    if not met:
        return Trial("none", "", outcome)
    first = met[0].rule
    return Trial(
        first.action, first.name, outcome, tuple((entry.rule.name, entry.rule.action) for entry in met)
    )


@dataclass(slots=True)
class Findings:
    """Of one file: cases that came out otherwise than they should, and rules of which no case tells."""

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def try_cases(file: Loaded) -> Findings:
    """Run the cases of one file against its own rules."""
    found = Findings()
    firewall = Firewall([file])
    seen: set[str] = set()
    views = []
    for name, body in file.content.views.items():
        schema, _, view = name.rpartition(".")
        views.append((schema, view, Relation(What.VIEW, body)))
    known = catalog.make(views)
    for number, case in enumerate(file.content.case, 1):
        key = f"{file.path}: case[{number}]"
        try:
            peer = ip_address(case.address)
        except ValueError:
            found.faults.append(f"{key}.address: is no address; write it as in 127.0.0.1")
            continue
        context = SqlContext(schema=case.schema_, catalog=known)
        text = case.statement.encode("utf-8", "surrogateescape")
        # Without a catalog all other names are those of tables.
        verdict = classify(text, SqlContext(schema=case.schema_))
        trial = attempt(firewall, text, context, case.account, peer, Moment(*case.at), verdict)
        seen.update(name for name, _ in trial.met)
        if not _as_expected(case, trial):
            expected = case.expect + (f" by {case.rule}" if case.rule else "")
            came = trial.action + (f" by {trial.rule}" if trial.rule else "")
            found.faults.append(
                f"{key}: expects {expected} and it is {came} ({case.why}); correct rule or case"
            )
    for rule in file.content.rule:
        if rule.name not in seen:
            found.warnings.append(f"{file.path}: rule[{rule.name}]: no case meets it; add one that does")
    return found


def _as_expected(case: Case, trial: Trial) -> bool:
    if case.rule is None or trial.action == "deny" or case.expect in {"deny", "none"}:
        return case.expect == trial.action and case.rule in (None, trial.rule)
    return (case.rule, case.expect) in trial.met
