"""The audit's report: AUC and AUPRC by step, on true and on shuffled outcomes, then the two measurements without a table of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports.audit.figure import draw_steps_figure
from reports.audit.numbers import AuditNumbers, load_numbers
from reports.audit.simulated import build_noise_table, build_sampler_table
from reports.frames.provenance import collect_provenance
from reports.frames.tidy import COLUMNS, build_tidy_frame
from reports.report import Figure, Report, Section
from reports.tables.captions import describe_setting
from reports.tables.table import METRICS, Entry, Table, TableRow, get_task_title, make_text_entry
from results.plan import Landmark, Plan, PlannedRow
from results.storage.store import Store

SHOWN = ("auc", "auprc")
FLAG = "^"
RULES = {
    "true": "flagged: the whole 95 % interval lies above the ceiling, that of the best possible prediction on the same test rows",
    "shuffled": "flagged: the 95 % interval of the AUC does not hold 0.5",
}
WHAT = {
    "true": "Each step of the released evaluation, alone and then one after the other, on true outcomes",
    "shuffled": "The same on shuffled outcomes, where the truth is an AUC of 0.5",
}


def build_audit_report(store: Store, plans: Sequence[Plan]) -> Report:
    """Build the report of some plans of EXPERIMENTS, to be written with ``reports.build.write_report``."""
    audits = [load_numbers(store, plan) for plan in plans if plan.experiment == "audit"]
    tidied = [build_tidy_frame(store, n.plan).assign(outcomes=n.outcomes) for n in audits]
    intervals = [
        pd.DataFrame(list(n.intervals.values())).assign(dataset=n.plan.dataset, outcomes=n.outcomes) for n in audits
    ]
    tables = [table for n in audits for table in build_steps_tables(store, n)]
    frames = {"_fits": pd.DataFrame([fit for n in audits for fit in list_fits(n)])}
    for plan in plans:
        if plan.experiment != "audit":
            table, frame = (build_noise_table if plan.experiment == "audit_noise" else build_sampler_table)(store, plan)
            tables.append(table)
            frames[plan.experiment.removeprefix("audit")] = frame
    figures = tuple(figure for n in audits for figure in draw_figures(store, n))
    numbers = pd.concat(tidied, ignore_index=True)[[*COLUMNS, "outcomes"]]
    return Report(
        "audit",
        tuple((n.plan, collect_provenance(store, n.plan)) for n in audits),
        numbers,
        pd.concat(intervals, ignore_index=True),
        pd.concat([build_comparisons_frame(store, n) for n in audits], ignore_index=True),
        pd.DataFrame(),
        tuple(tables),
        (),
        Section((), frames, figures),
    )


def list_fits(n: AuditNumbers) -> list[dict[str, Any]]:
    """List what each row of each landmark rests on: fits done of those planned, epochs, rows in training and tested."""
    found = []
    for (landmark, method, variant), fits in n.fits.items():
        at = {
            "dataset": n.plan.dataset,
            "outcomes": n.outcomes,
            "landmark": landmark,
            "method": method,
            "variant": variant,
        }
        counts = {"done": fits["done"], "planned": fits["planned"]}
        found.append(at | counts | {name: format_range(fits[name]) for name in ("epochs", "n_train", "n_test")})
    return found


def build_comparisons_frame(store: Store, n: AuditNumbers) -> pd.DataFrame:
    """Return each other row's comparison with the strict row, paired, as ``results.statistics.derive.derive`` stored it."""
    stored = (store.statistics(n.plan.name) or {}).get("comparisons", [])
    return pd.DataFrame(stored).assign(dataset=n.plan.dataset, outcomes=n.outcomes)


def build_steps_tables(store: Store, n: AuditNumbers) -> list[Table]:
    """Build a table for each landmark: rows in print order, AUC and AUPRC by task, then epochs, rows and fits behind the numbers."""
    return [_build_steps_table(store, n, landmark, facts) for landmark, facts in n.plan.landmarks.items()]


def draw_figures(store: Store, n: AuditNumbers) -> list[Figure]:
    """Draw a figure for each metric: a panel for each task, the rows down."""
    return [draw_steps_figure(n, metric, f"{WHAT[n.outcomes]}. {describe_setting(store, n.plan)}") for metric in SHOWN]


def _build_steps_table(store: Store, n: AuditNumbers, landmark: str, facts: Landmark) -> Table:
    places = [(task, metric) for task in facts.tasks for metric in SHOWN]
    columns = [(get_task_title(task), METRICS[metric]) for task, metric in places]
    columns += [("Fits", "epochs"), ("Fits", "training rows"), ("Fits", "test rows"), ("Fits", "seeds and folds")]
    rows: list[TableRow] = []
    lost: dict[str, list[str]] = {}
    for r in n.plan.rows:
        fits = n.fits.get((landmark, r.method, r.variant))
        if fits is None:
            continue
        known = r.kind == "known"
        entries = [_build_entry(n, landmark, task, metric, r) for task, metric in places]
        counts = [
            format_range(fits["epochs"]),
            format_range(fits["n_train"]),
            format_range(fits["n_test"]),
            f"{fits['done']}",
        ]
        rows.append((r.title, known, (*entries, *map(make_text_entry, counts))))
        if fits["done"] < fits["planned"]:
            lost.setdefault(f"{fits['done']} of {fits['planned']}", []).append(r.title)
    rule = f"{FLAG} {RULES[n.outcomes]}." if n.outcomes == "shuffled" or any(k for _, k, _ in rows) else ""
    dials, planned = n.plan.settings.given["dials"], sum(not known for _, known, _ in rows)
    notes = [
        *([rule] if rule else ["The ceiling of this cohort is not known, so nothing is flagged."]),
        "At 95 %, one honest number in twenty is flagged by chance (both sides).",
        f"Of A3, assumptions: later_share {dials['later_share']:g}, mention {dials['mention']:g}.",
        *(
            f"Not all fits are done: {count} in {'; '.join(t) if len(t) < planned else 'every row'}."
            for count, t in lost.items()
        ),
    ]
    folds = n.plan.settings.given["folds_of_the_split"]
    caption = (
        f"{WHAT[n.outcomes]} ({landmark}): {n.plan.audit['title']}. AUC and AUPRC with 95 % bootstrap intervals over test patients, seeds "
        f"averaged. Tested: {n.plan.folds} of the {folds} folds of the split. {describe_setting(store, n.plan, landmark)}"
    )
    return Table(tuple(columns), tuple(rows), caption, tuple(notes), f"Audit, {n.outcomes} outcomes, {landmark}")


def _build_entry(n: AuditNumbers, landmark: str, task: str, metric: str, row: PlannedRow) -> Entry:
    found = n.find_interval(landmark, task, metric, row.variant, row.method)
    if found is None:
        return make_text_entry("missing")
    mark = FLAG if row.kind != "known" and n.is_flagged(landmark, task, metric, row.variant) else ""
    interval = None if found["ci_low"] is None else (found["ci_low"], found["ci_high"])
    return Entry(found["value"], None, "", mark, False, interval)


def format_range(values: list[int]) -> str:
    """Return the range of some counts: ``20``, or ``9-20`` where they differ; a dash where there are none."""
    if not values:
        return "–"
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,}-{max(values):,}"
