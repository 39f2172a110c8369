"""The values that the gate compares: of a locked CSV, or of the newest plan of an experiment in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import UsageError, unknown
from benchmark.plan.config import list_names, load_config
from benchmark.plan.stored import choose_plans
from benchmark.show import format_progress, report_every_minute
from results.cell import PlannedCell
from results.gate.judge import GateError, collect_gate_values, judge, list_seeds
from results.gate.locked_csv import read_locked
from results.plan import Plan
from results.rows import list_rows
from results.storage.store import Store


def compare_metrics(
    base: str, new: str, experiment: str, overrides: list[str], needs_tolerance: bool = False
) -> pd.DataFrame:
    """Compare ``new`` with ``base``, each a locked CSV or a store's folder; return the verdicts (``results.gate.judge.judge``).

    Raises:
        UsageError: a file or store that cannot be used, an unknown method or experiment, two cohorts that differ, or no tolerance where
        one is needed.
    """
    if experiment not in list_names("experiment"):
        raise unknown("experiment", experiment, list_names("experiment"))
    methods = [text.partition("=")[2] for text in overrides if text.startswith("method=")]
    others = [text for text in overrides if not text.startswith("method=")]
    chosen = [name.strip() for name in methods[-1].strip("[]").split(",")] if methods else None
    try:
        was, now = (read_values(Path(place), experiment, others) for place in (base, new))
        known = {*was.index.unique("method"), *now.index.unique("method")}
        for name in chosen or []:
            if name not in known:
                raise unknown("method", name, known)
        if needs_tolerance and len(list_seeds(was)) < 2:
            raise GateError(f"--gate needs tolerances, and {base} has one seed: two or more, or a locked CSV")
        return judge(was, now, chosen)
    except GateError as error:
        raise UsageError(str(error)) from None


def read_values(place: Path, experiment: str, overrides: list[str]) -> pd.DataFrame:
    """Return the values by seed of a locked CSV or of a store (``results.gate.judge.gate_values``)."""
    if place.is_dir():
        return read_stored_values(place, experiment, overrides)
    if not place.exists():
        raise UsageError(f"{place} does not exist: name a locked CSV or a store's folder")
    return read_locked(place)


def read_stored_values(root: Path, experiment: str, overrides: list[str]) -> pd.DataFrame:
    """Return the values by seed of the newest plan of an experiment in a store; one plan a dataset.

    Raises:
        UsageError: no such store or plan, or several plans of one dataset.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a store's folder")
    config = load_config(experiment, overrides)
    plans = choose_plans(Store(root), experiment, config, [*overrides, f"store={root}"])
    datasets = [plan.dataset for plan in plans]
    if len(set(datasets)) < len(datasets):
        raise UsageError(f"{root} has several plans of {experiment} on one dataset: choose with protocol= or arm=")
    return _collect_values(_CountingStore(root), plans)


class _CountingStore(Store):
    """A store that counts the records it has looked for: ``looked``, of which ``failed`` are those of failed cells."""

    looked = failed = 0

    def record(self, planned: PlannedCell) -> dict[str, Any] | None:
        record = super().record(planned)
        self.looked += 1
        self.failed += record is not None and record["status"] == "failed"
        return record


def _collect_values(store: _CountingStore, plans: list[Plan]) -> pd.DataFrame:
    """Return the values by seed of several plans, with a line a minute where no terminal is."""
    total = sum(len(row.cells) for plan in plans for row in list_rows(plan) if row.stage == "final" and not row.known)

    def describe_progress(seconds: float) -> str:
        read = format_progress(store.looked - store.failed, store.failed, total - store.looked, seconds)
        return f"reading {total} cells: {read}"

    with report_every_minute(describe_progress):
        return pd.concat([collect_gate_values(store, plan) for plan in plans])
