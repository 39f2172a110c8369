"""What stands over a table: which cohort, how it was run, and from which state of the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.frames.provenance import describe_plug_in
from reports.tables.shuffled import SHUFFLED_NOTE, is_shuffled
from reports.tables.table import BOLD_RULE, get_task_title
from results.plan import Landmark, Plan
from results.rows import find_reference_row, hash_keys, list_rows
from results.storage.store import Store

SHARES = (
    "Share of the way from knowing nothing to the ceiling: (AUC - 1/2) / (ceiling - 1/2), and the same of the log loss, between the "
    "constant prevalence of the other folds (0) and the ceiling (1); rows that read the series are held against "
    "the ceiling with series. Ratios of means over folds{spread}. {dataset}: {description}; "
    "{protocol}; {source}"
)
PROTOCOLS = {"strict": "strict protocol", "paper": "the paper's protocol (one landmark at the end of the stay)"}

SELECTIONS = {"log_loss": "validation log loss", "auc": "validation AUC"}


def compose_caption(store: Store, plan: Plan, statistics: dict[str, Any] | None) -> str:
    """Say cohort, landmarks, N, positives, folds, seeds, schedule, selection, protocol, tuning, rectifier, tests and source."""
    return " ".join([
        f"{plan.dataset}: {plan.description.rstrip('.')}{_describe_arm(plan)}.",
        *(_describe_landmark(name, facts) for name, facts in plan.landmarks.items()),
        *([SHUFFLED_NOTE] if is_shuffled(plan) else []),
        *_describe_run(plan),
        _describe_tests(store, plan, statistics),
        f"C{_describe_source(store, plan)[1:]}",
    ])  # fmt: skip


def compose_short_caption(store: Store, plans: Sequence[Plan], what: str) -> str:
    """Say ``what`` a table or figure shows, then which cohort, how it was run and from which state of the source.

    N and positives are given where there is one plan; several are the arms of one experiment on one dataset, whose numbers differ.
    """
    plan = plans[0]
    landmarks = [_describe_landmark(name, facts) for name, facts in plan.landmarks.items()] if len(plans) == 1 else []
    landmarks += [SHUFFLED_NOTE] if is_shuffled(plan) else []
    sources = dict.fromkeys(_describe_source(store, p) for p in plans)
    start = f"{what} {plan.dataset}: {plan.description.rstrip('.')}."
    return " ".join([start, *landmarks, *_describe_run(plan), f"C{' '.join(sources)[1:]}"])


def compose_share_caption(store: Store, plan: Plan) -> str:
    """Say what a share is, and of which cohort and source state."""
    return SHARES.format(
        spread=" ± standard deviation over seeds" if plan.seeds > 1 else "",
        dataset=plan.dataset,
        description=plan.description.rstrip("."),
        protocol=PROTOCOLS.get(plan.protocol, plan.protocol),
        source=_describe_source(store, plan),
    )


def describe_setting(store: Store, plan: Plan, *landmarks: str) -> str:
    """Say cohort, N, positives, folds, seeds, protocol, schedule, selection and source of a plan, for a caption that begins with its table.

    At ``landmarks``, or at all of them where none is named.
    """
    return " ".join([
        f"{plan.dataset}: {plan.description.rstrip('.')}{_describe_arm(plan)}.",
        *(_describe_landmark(name, facts) for name, facts in plan.landmarks.items() if not landmarks or name in landmarks),
        f"{_format_count(plan.folds, 'fold')}, {_format_count(plan.seeds, 'seed')}; "
        f"{PROTOCOLS.get(plan.protocol, plan.protocol)}{_describe_split(plan)}{_describe_outcomes(plan)}; "
        f"schedule: {_name_schedule(plan)}; selection: {SELECTIONS[plan.settings.selection]}; {_describe_source(store, plan)}",
    ])  # fmt: skip


def describe_settings(store: Store, plan: Plan) -> dict[str, str]:
    """Return ``describe_setting`` by landmark, and under ``all`` that of all of them."""
    return {name: describe_setting(store, plan, name) for name in plan.landmarks} | {
        "all": describe_setting(store, plan)
    }


def _describe_run(plan: Plan) -> list[str]:
    """Return folds, seeds, spread, protocol, schedule, selection, tuning, rectifier, and what was asked for but is not known."""
    spread = (
        "mean over folds ± standard deviation over seeds" if plan.seeds > 1 else "mean ± standard deviation over folds"
    )
    asked = plan.settings.known
    unknown = [name for name in asked if name not in {"all", "none", *(row.method for row in plan.rows)}]
    return [
        f"{_format_count(plan.folds, 'fold')}, {_format_count(plan.seeds, 'seed')} ({spread}); "
        f"{PROTOCOLS.get(plan.protocol, plan.protocol)}{_describe_split(plan)}; schedule: {_name_schedule(plan)}; "
        f"selection: {SELECTIONS[plan.settings.selection]}; tuning: {plan.tuning}; rectifier: {_list_rectified(plan)}.",
        *([f"Not known of this cohort: {', '.join(unknown)}."] if unknown else []),
    ]


def name_figure(name: str, plan: Plan) -> str:
    """Return the name of a plan's figure: of its kind, dataset, protocol and arm."""
    return "-".join((name, plan.dataset, plan.protocol, *([plan.arm.name] if plan.arm else [])))


def compose_title_suffix(plan: Plan, plans: Sequence[Plan]) -> str:
    """Return what tells a plan apart from the others of its report, to stand behind a title; nothing where it is alone."""
    if len(plans) == 1:
        return ""
    names = [plan.dataset, *([plan.protocol] if len({p.protocol for p in plans}) > 1 else [])]
    return f" ({', '.join(names + ([plan.arm.name] if plan.arm else []))})"


def _describe_landmark(name: str, facts: Landmark) -> str:
    tasks = "; ".join(
        f"{get_task_title(task)} {t.positives:,} positive of {t.n:,}"
        + (f" ({t.positives / t.n:.1%})" if t.n else "")
        for task, t in facts.tasks.items()
    )  # fmt: skip
    notes = "".join(f"; {note}" for note in facts.notes)
    return f"Landmark {name}: N = {facts.n:,}; {tasks}{notes}."


def _describe_arm(plan: Plan) -> str:
    return f"; arm {plan.arm.name}" if plan.arm else ""


def _describe_split(plan: Plan) -> str:
    whole = plan.settings.split == "sites"
    return "; whole hospitals are tested, none of which is in training or validation" if whole else ""


def _describe_outcomes(plan: Plan) -> str:
    return "; outcomes shuffled, the truth is an AUC of 0.5" if is_shuffled(plan) else ""


def _name_schedule(plan: Plan) -> str:
    changes = ", ".join(f"{field}={value}" for field, value in plan.schedule_changes.items())
    return f"{plan.schedule} ({changes})" if changes else plan.schedule


def _list_rectified(plan: Plan) -> str:
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


def _describe_tests(store: Store, plan: Plan, statistics: dict[str, Any] | None) -> str:
    rows = list_rows(plan)
    reference = find_reference_row(plan, rows)
    if reference is None:
        return "No reference method among the rows, so no test and no bold."
    if statistics is None:
        return "No statistics are stored for this plan, so no win is called."
    rule = BOLD_RULE.format(reference=reference.title)
    done = {p.key for row in rows for p in row.cells if (store.record(p) or {}).get("status") == "done"}
    if statistics["basis"] != hash_keys(done):
        rule += " The tests were derived from other cells than are done now: run again to renew them."
    return rule


def _describe_source(store: Store, plan: Plan) -> str:
    """Return commit and date of the plan, of the cells where they come from others, and the distributions of plug-ins."""
    dirty = plan.clean is False
    commits: dict[str, None] = {}
    plug_ins: dict[str, None] = {}
    for row in list_rows(plan):
        for planned in row.cells:
            found = (store.record(planned) or {}).get("provenance") or {}
            if found.get("commit"):
                commits[found["commit"]] = None
                dirty |= found.get("clean") is False
            if found.get("plug_in"):
                plug_ins[describe_plug_in(found["plug_in"])] = None
    others = [str(c)[:10] for c in commits if c != plan.commit]
    also = f" (cells also from {', '.join(others)})" if others else ""
    changed = ", with uncommitted changes" if dirty and (plan.commit or others) else ""
    beside = f"; plug-ins: {', '.join(plug_ins)}" if plug_ins else ""
    return f"commit {plan.short_commit}{also}{changed}{beside}; {plan.written[:10]}."


def _format_count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
