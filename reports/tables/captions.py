"""What stands over a table: which cohort, how it was run, and from which state of the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.tables.shuffled import SAID, is_shuffled
from reports.tables.table import BOLD_RULE, task_title
from results.plan import Landmark, Plan
from results.rows import basis_of, reference_row, rows_of
from results.storage.store import Store

SHARES = (
    "Share of the way from knowing nothing to the ceiling: (AUC - 1/2) / (ceiling - 1/2), and the same of the log loss, between the "
    "constant prevalence of the other folds (0) and the ceiling (1); rows that read the series are held against "
    "the ceiling with series. Ratios of means over folds{spread}. {dataset}: {description}; "
    "{protocol}; {source}"
)
PROTOCOLS = {"strict": "strict protocol", "paper": "the paper's protocol (one landmark at the end of the stay)"}


def caption(store: Store, plan: Plan, statistics: dict[str, Any] | None) -> str:
    """Cohort, landmarks, N, positives, folds, seeds, schedule, protocol, tuning, rectifier, tests, commit and date, in sentences."""
    return " ".join([
        f"{plan.dataset}: {plan.description.rstrip('.')}{_arm(plan)}.",
        *(_landmark(name, facts) for name, facts in plan.landmarks.items()),
        *([SAID] if is_shuffled(plan) else []),
        *_how(plan),
        _tests(store, plan, statistics),
        f"C{_source(store, plan)[1:]}",
    ])  # fmt: skip


def short_caption(store: Store, plans: Sequence[Plan], what: str) -> str:
    """``what`` a table or figure shows, in a sentence, then which cohort, how it was run and from which state of the source.

    N and positives are given where there is one plan; several are the arms of one experiment on one dataset, whose numbers differ.
    """
    plan = plans[0]
    landmarks = [_landmark(name, facts) for name, facts in plan.landmarks.items()] if len(plans) == 1 else []
    landmarks += [SAID] if is_shuffled(plan) else []
    sources = dict.fromkeys(_source(store, p) for p in plans)
    start = f"{what} {plan.dataset}: {plan.description.rstrip('.')}."
    return " ".join([start, *landmarks, *_how(plan), f"C{' '.join(sources)[1:]}"])


def share_caption(store: Store, plan: Plan) -> str:
    """What a share is, and of which cohort and source state."""
    return SHARES.format(
        spread=" ± standard deviation over seeds" if plan.seeds > 1 else "",
        dataset=plan.dataset,
        description=plan.description.rstrip("."),
        protocol=PROTOCOLS.get(plan.protocol, plan.protocol),
        source=_source(store, plan),
    )


def setting(store: Store, plan: Plan, *landmarks: str) -> str:
    """Cohort, N, positives, folds, seeds, protocol, schedule and source of a plan at these landmarks (at all of them without any), for a
    caption that has said what its table is."""
    return " ".join([
        f"{plan.dataset}: {plan.description.rstrip('.')}{_arm(plan)}.",
        *(_landmark(name, facts) for name, facts in plan.landmarks.items() if not landmarks or name in landmarks),
        f"{_count(plan.folds, 'fold')}, {_count(plan.seeds, 'seed')}; "
        f"{PROTOCOLS.get(plan.protocol, plan.protocol)}{_split(plan)}{_shuffled(plan)}; schedule: {plan.schedule}; "
        f"{_source(store, plan)}",
    ])  # fmt: skip


def contexts(store: Store, plan: Plan) -> dict[str, str]:
    """``setting`` by landmark, and under ``all`` that of all of them."""
    return {name: setting(store, plan, name) for name in plan.landmarks} | {"all": setting(store, plan)}


def _how(plan: Plan) -> list[str]:
    """Folds, seeds, spread, protocol, schedule, tuning, rectifier, and what was asked for but is not known of the cohort."""
    spread = (
        "mean over folds ± standard deviation over seeds" if plan.seeds > 1 else "mean ± standard deviation over folds"
    )
    asked = plan.settings.known
    unknown = [name for name in asked if name not in {"all", "none", *(row.method for row in plan.rows)}]
    return [
        f"{_count(plan.folds, 'fold')}, {_count(plan.seeds, 'seed')} ({spread}); "
        f"{PROTOCOLS.get(plan.protocol, plan.protocol)}{_split(plan)}; schedule: {plan.schedule}; "
        f"tuning: {plan.tuning}; rectifier: {_rectifier(plan)}.",
        *(f"{row.title} under this schedule: {row.cut}." for row in plan.rows if row.cut),
        *([f"Not known of this cohort: {', '.join(unknown)}."] if unknown else []),
    ]


def named(name: str, plan: Plan) -> str:
    """The name of a plan's figure: of its kind, dataset, protocol and arm."""
    return "-".join((name, plan.dataset, plan.protocol, *([plan.arm.name] if plan.arm else [])))


def title_of(plan: Plan, plans: Sequence[Plan]) -> str:
    """What tells a plan apart from the others of its report, to stand behind a title; nothing where it is alone."""
    if len(plans) == 1:
        return ""
    names = [plan.dataset, *([plan.protocol] if len({p.protocol for p in plans}) > 1 else [])]
    return f" ({', '.join(names + ([plan.arm.name] if plan.arm else []))})"


def _landmark(name: str, facts: Landmark) -> str:
    tasks = "; ".join(
        f"{task_title(task)} {t.positives:,} positive of {t.n:,}"
        + (f" ({t.positives / t.n:.1%})" if t.n else "")
        for task, t in facts.tasks.items()
    )  # fmt: skip
    notes = "".join(f"; {note}" for note in facts.notes)
    return f"Landmark {name}: N = {facts.n:,}; {tasks}{notes}."


def _arm(plan: Plan) -> str:
    return f"; arm {plan.arm.name}" if plan.arm else ""


def _split(plan: Plan) -> str:
    whole = plan.settings.split == "sites"
    return "; whole hospitals are tested, none of which is in training or validation" if whole else ""


def _shuffled(plan: Plan) -> str:
    return "; outcomes shuffled, the truth is an AUC of 0.5" if is_shuffled(plan) else ""


def _rectifier(plan: Plan) -> str:
    # a cell's name has "on" for the default kind, which its configuration names
    kinds = {
        p.cell.group[3:6]: p.config["rectifier"]["kind"] + p.cell.rectifier.removeprefix("on")
        for p in plan.cells
        if p.cell.rectifier.startswith("on") and "rectifier" in p.config
    }
    used = [
        f"{r.title} ({kinds.get((r.method, r.variant, r.rectifier), r.rectifier)})"
        for r in plan.rows
        if r.rectifier != "off" and not r.change
    ]
    return ", ".join(used) or "off"


def _tests(store: Store, plan: Plan, statistics: dict[str, Any] | None) -> str:
    rows = rows_of(plan)
    reference = reference_row(plan, rows)
    if reference is None:
        return "No reference method among the rows, so no test and no bold."
    if statistics is None:
        return "No statistics are stored for this plan, so no win is called."
    rule = BOLD_RULE.format(reference=reference.title)
    done = {p.key for row in rows for p in row.cells if (store.record(p) or {}).get("status") == "done"}
    if statistics["basis"] != basis_of(done):
        rule += " The tests were derived from other cells than are done now: run again to renew them."
    return rule


def _source(store: Store, plan: Plan) -> str:
    """Commit and date of the plan, and of the cells where they come from others."""
    dirty = not plan.clean
    commits = {}
    for row in rows_of(plan):
        for planned in row.cells:
            found = (store.record(planned) or {}).get("provenance") or {}
            if found.get("commit"):
                commits[found["commit"]] = None
                dirty |= not found.get("clean", True)
    own = str(plan.commit)[:10]
    others = [str(c)[:10] for c in commits if c != plan.commit]
    also = f" (cells also from {', '.join(others)})" if others else ""
    return f"commit {own}{also}{', with uncommitted changes' if dirty else ''}; {plan.written[:10]}."


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
