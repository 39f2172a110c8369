"""The audit's report: AUC and AUPRC by step, on true and on shuffled outcomes, then the two measurements without a table of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.audit.figure import steps_figure
from reports.audit.simulated import noise_table, sampler_table
from reports.build import Report
from reports.frames.provenance import provenance
from reports.frames.tidy import COLUMNS, tidy
from reports.section import Figure, Section
from reports.tables.captions import setting
from reports.tables.table import METRICS, Entry, Table, task_title, words
from results.plan import Landmark, Plan, PlannedRow
from results.rows import rows_of
from results.storage.store import Store

EXPERIMENTS = ("audit", "audit_noise", "audit_sampler")
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


@dataclass(frozen=True, eq=False)
class Numbers:
    """What is stored of one audit plan: ``value`` by (landmark, task, metric, method, variant), and facts of the fits by
    (landmark, method, variant): ``done``, ``planned``, ``epochs``, ``n_train``, ``n_test``."""

    plan: Plan
    intervals: dict[tuple[str, ...], dict[str, Any]]
    fits: dict[tuple[str, str, str], dict[str, Any]]

    @property
    def outcomes(self) -> str:
        """``true`` or ``shuffled``."""
        return self.plan.settings.outcomes

    def of(
        self, landmark: str, task: str, metric: str, variant: str, method: str | None = None
    ) -> dict[str, Any] | None:
        """The stored interval of a row, or None where nothing is done."""
        found = self.intervals.get((landmark, task, metric, method or self.plan.reference, variant))
        return found if found and found["value"] is not None else None

    def ceiling(self, landmark: str, task: str, metric: str) -> float | None:
        """The ceiling on the tested rows, or None where it is not known."""
        known = next((r for r in self.plan.rows if r.kind == "known"), None)
        found = None if known is None else self.of(landmark, task, metric, known.variant, known.method)
        return None if found is None else found["value"]

    def flagged(self, landmark: str, task: str, metric: str, variant: str) -> bool:
        """Whether a number is off the truth by more than its interval, as RULES says."""
        found = self.of(landmark, task, metric, variant)
        if found is None or found["ci_low"] is None:
            return False
        if self.outcomes == "shuffled":
            return metric == "auc" and not found["ci_low"] <= 0.5 <= found["ci_high"]
        ceiling = self.ceiling(landmark, task, metric)
        return ceiling is not None and found["ci_low"] > ceiling


def numbers_of(store: Store, plan: Plan) -> Numbers:
    """What the store holds of an audit plan; intervals as its statistics have them."""
    statistics = store.statistics(plan.name) or {"intervals": []}
    fields = ("landmark", "task", "metric", "method", "variant")
    own = {(r.method, r.variant) for r in plan.rows}
    kept = [i for i in statistics["intervals"] if (i["method"], i["variant"]) in own]
    fits: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in (row for row in rows_of(plan) if row.stage == "final"):
        for landmark in plan.landmarks:
            cells = [p for p in row.cells if p.cell.landmark == landmark]
            records = [r for p in cells if (r := store.record(p)) and r["status"] == "done"]
            if cells:
                facts = [r["audit"] for r in records]
                fits[landmark, row.method, row.variant] = {"planned": len(cells), "done": len(records)} | {
                    name: [f[name] for f in facts if name in f] for name in ("epochs", "n_train", "n_test")
                }
    return Numbers(plan, {tuple(i[f] for f in fields): i for i in kept}, fits)


def audit_plans(store: Store) -> list[Plan]:
    """The newest stored plan of each experiment of the audit, by cohort, method and outcomes, ``--quick`` left out."""
    found: dict[tuple[Any, ...], Plan] = {}
    for experiment in EXPERIMENTS:
        for plan in store.plans(experiment):
            s = plan.settings.given
            if not s.get("quick") and plan.seeds > 1:
                found.setdefault((experiment, plan.dataset, s.get("method"), s.get("outcomes")), plan)
    order = {"true": 0, "shuffled": 1}
    return sorted(
        found.values(), key=lambda p: (EXPERIMENTS.index(p.experiment), order.get(p.settings.given.get("outcomes"), 2))
    )


def audit_report(store: Store, plans: Sequence[Plan]) -> Report:
    """The report of some plans of EXPERIMENTS, to be written with ``reports.build.write_report``."""
    audits = [numbers_of(store, plan) for plan in plans if plan.experiment == "audit"]
    tidied = [tidy(store, n.plan).assign(outcomes=n.outcomes) for n in audits]
    intervals = [
        pd.DataFrame(list(n.intervals.values())).assign(dataset=n.plan.dataset, outcomes=n.outcomes) for n in audits
    ]
    tables = [table for n in audits for table in steps_tables(store, n)]
    frames = {"_fits": pd.DataFrame([fit for n in audits for fit in fits_of(n)])}
    for plan in plans:
        if plan.experiment != "audit":
            table, frame = (noise_table if plan.experiment == "audit_noise" else sampler_table)(store, plan)
            tables.append(table)
            frames[plan.experiment.removeprefix("audit")] = frame
    figures = tuple(figure for n in audits for figure in figures_of(store, n))
    numbers = pd.concat(tidied, ignore_index=True)[[*COLUMNS, "outcomes"]]
    return Report(
        "audit",
        tuple((n.plan, provenance(store, n.plan)) for n in audits),
        numbers,
        pd.concat(intervals, ignore_index=True),
        pd.concat([comparisons_of(store, n) for n in audits], ignore_index=True),
        pd.DataFrame(),
        tuple(tables),
        (),
        Section((), frames, figures),
    )


def fits_of(n: Numbers) -> list[dict[str, Any]]:
    """What each row of each landmark rests on: fits done of those planned, epochs, rows in training and tested."""
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
        found.append(at | counts | {name: number_range(fits[name]) for name in ("epochs", "n_train", "n_test")})
    return found


def comparisons_of(store: Store, n: Numbers) -> pd.DataFrame:
    """The strict row against each other row, paired, as ``results.statistics.derive.derive`` stored it."""
    stored = (store.statistics(n.plan.name) or {}).get("comparisons", [])
    return pd.DataFrame(stored).assign(dataset=n.plan.dataset, outcomes=n.outcomes)


def steps_tables(store: Store, n: Numbers) -> list[Table]:
    """A table a landmark: rows in print order, AUC and AUPRC by task, then epochs, rows and fits behind the numbers."""
    return [_steps_table(store, n, landmark, facts) for landmark, facts in n.plan.landmarks.items()]


def figures_of(store: Store, n: Numbers) -> list[Figure]:
    """A figure a metric: a panel a task, the rows down."""
    return [steps_figure(n, metric, f"{WHAT[n.outcomes]}. {setting(store, n.plan)}") for metric in SHOWN]


def _steps_table(store: Store, n: Numbers, landmark: str, facts: Landmark) -> Table:
    places = [(task, metric) for task in facts.tasks for metric in SHOWN]
    columns = [(task_title(task), METRICS[metric]) for task, metric in places]
    columns += [("Fits", "epochs"), ("Fits", "training rows"), ("Fits", "test rows"), ("Fits", "seeds and folds")]
    rows, lost = [], {}
    for r in n.plan.rows:
        fits = n.fits.get((landmark, r.method, r.variant))
        if fits is None:
            continue
        known = r.kind == "known"
        entries = [_entry(n, landmark, task, metric, r) for task, metric in places]
        counts = [
            number_range(fits["epochs"]),
            number_range(fits["n_train"]),
            number_range(fits["n_test"]),
            f"{fits['done']}",
        ]
        rows.append((r.title, known, (*entries, *map(words, counts))))
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
        f"averaged. Tested: {n.plan.folds} of the {folds} folds of the split. {setting(store, n.plan, landmark)}"
    )
    return Table(tuple(columns), tuple(rows), caption, tuple(notes), f"Audit, {n.outcomes} outcomes, {landmark}")


def _entry(n: Numbers, landmark: str, task: str, metric: str, row: PlannedRow) -> Entry:
    found = n.of(landmark, task, metric, row.variant, row.method)
    if found is None:
        return words("missing")
    mark = FLAG if row.kind != "known" and n.flagged(landmark, task, metric, row.variant) else ""
    interval = None if found["ci_low"] is None else (found["ci_low"], found["ci_high"])
    return Entry(found["value"], None, "", mark, False, interval)


def number_range(values: list[int]) -> str:
    """``20``, or ``9-20`` where they differ; a dash where there are none."""
    if not values:
        return "–"
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,}-{max(values):,}"
