"""What is stored of an audit, by row, landmark, task and metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from results.plan import Plan
from results.rows import list_rows
from results.storage.store import Store

EXPERIMENTS = ("audit", "audit_noise", "audit_sampler")


@dataclass(frozen=True, eq=False)
class AuditNumbers:
    """What is stored of one audit plan: ``value`` by (landmark, task, metric, method, variant), and facts of the fits by
    (landmark, method, variant): ``done``, ``planned``, ``epochs``, ``n_train``, ``n_test``."""

    plan: Plan
    intervals: dict[tuple[str, ...], dict[str, Any]]
    fits: dict[tuple[str, str, str], dict[str, Any]]

    @property
    def outcomes(self) -> str:
        """``true`` or ``shuffled``."""
        return self.plan.settings.outcomes

    def find_interval(
        self, landmark: str, task: str, metric: str, variant: str, method: str | None = None
    ) -> dict[str, Any] | None:
        """Return the stored interval of a row, or None where nothing is done."""
        found = self.intervals.get((landmark, task, metric, str(method or self.plan.reference), variant))
        return found if found and found["value"] is not None else None

    def find_ceiling(self, landmark: str, task: str, metric: str) -> float | None:
        """Return the ceiling on the tested rows, or None where it is not known."""
        known = next((r for r in self.plan.rows if r.kind == "known"), None)
        found = None if known is None else self.find_interval(landmark, task, metric, known.variant, known.method)
        return None if found is None else found["value"]

    def is_flagged(self, landmark: str, task: str, metric: str, variant: str) -> bool:
        """Return whether a number is off the truth by more than its interval, as RULES says."""
        found = self.find_interval(landmark, task, metric, variant)
        if found is None or found["ci_low"] is None:
            return False
        if self.outcomes == "shuffled":
            return metric == "auc" and not found["ci_low"] <= 0.5 <= found["ci_high"]
        ceiling = self.find_ceiling(landmark, task, metric)
        return ceiling is not None and found["ci_low"] > ceiling


def load_numbers(store: Store, plan: Plan) -> AuditNumbers:
    """Return what the store holds of an audit plan; intervals as its statistics have them."""
    statistics = store.statistics(plan.name) or {"intervals": []}
    fields = ("landmark", "task", "metric", "method", "variant")
    own = {(r.method, r.variant) for r in plan.rows}
    kept = [i for i in statistics["intervals"] if (i["method"], i["variant"]) in own]
    fits: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in (row for row in list_rows(plan) if row.stage == "final"):
        for landmark in plan.landmarks:
            cells = [p for p in row.cells if p.cell.landmark == landmark]
            records = [r for p in cells if (r := store.record(p)) and r["status"] == "done"]
            if cells:
                facts = [r["audit"] for r in records]
                fits[landmark, row.method, row.variant] = {"planned": len(cells), "done": len(records)} | {
                    name: [f[name] for f in facts if name in f] for name in ("epochs", "n_train", "n_test")
                }
    return AuditNumbers(plan, {tuple(i[f] for f in fields): i for i in kept}, fits)


def select_audit_plans(store: Store) -> list[Plan]:
    """Return the newest stored plan of each experiment of the audit, by cohort, method and outcomes, ``--quick`` left out."""
    found: dict[tuple[Any, ...], Plan] = {}
    for experiment in EXPERIMENTS:
        for plan in store.plans(experiment):
            s = plan.settings.given
            if not s.get("quick") and plan.seeds > 1:
                found.setdefault((experiment, plan.dataset, s.get("method"), s.get("outcomes")), plan)
    order = {"true": 0, "shuffled": 1}
    return sorted(
        found.values(),
        key=lambda p: (EXPERIMENTS.index(p.experiment), order.get(str(p.settings.given.get("outcomes")), 2)),
    )
