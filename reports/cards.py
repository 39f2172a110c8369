"""A data card for each cohort and a model card for each method, in Markdown, from what the source says and what the store holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports.build import write_report_file
from reports.frames.tidy import build_tidy_frame
from reports.tables.table import METRICS, get_task_title
from results.plan import Plan
from results.storage.store import Store

TEMPLATES = Path(__file__).resolve().parent / "templates"
FEWEST = 10
"""Groups of fewer stays are not counted out in a card, which may leave the site that made it."""
SHOWN = ("auc", "auprc", "brier", "log_loss", "calibration_slope", "ece")
NAMES = METRICS | {"log_loss": "log loss", "calibration_slope": "calibration slope", "ece": "calibration error"}


def write_cards(
    store_root: Path, methods: list[dict[str, Any]], datasets: list[dict[str, Any]], out: Path
) -> list[Path]:
    """Write ``methods/<name>.md`` and ``datasets/<name>.md`` below ``out`` and return the files.

    Numbers are those of the newest stored main table of each dataset and protocol; a card without any says so.

    Args:
        store_root: the store's folder.
        methods, datasets: facts as ``benchmark/verbs/card_facts.py`` collects them.
        out: made if missing.

    Raises:
        ReportError: ``out`` cannot be written.
    """
    store = Store(store_root)
    newest: dict[tuple[str, str], Plan] = {}
    for plan in store.plans("table1"):
        newest.setdefault((plan.dataset, plan.protocol), plan)
    plans = [newest[key] for key in sorted(newest)]
    frames = [build_tidy_frame(store, plan) for plan in plans]
    pages = {
        Path("methods") / f"{facts['name']}.md": _render_card(
            "method.md", **facts, results=_collect_results(facts["name"], plans, frames), names=NAMES, shown=SHOWN
        )
        for facts in methods
    }
    pages |= {
        Path("datasets") / f"{facts['name']}.md": _render_card(
            "dataset.md", **facts, plans=[_describe_plan(store, p) for p in plans if p.dataset == facts["name"]]
        )
        for facts in datasets
    }
    return [write_report_file(Path(out) / name, text.encode()) for name, text in pages.items()]


def _render_card(template: str, **facts: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["task"] = get_task_title
    return environment.get_template(template).render(**facts)


def _collect_results(method: str, plans: list[Plan], frames: list[pd.DataFrame]) -> list[dict[str, Any]]:
    """Return for each plan with the method: how it was run, and a row of SHOWN for each of its rows and tasks."""
    found = []
    for plan, frame in zip(plans, frames, strict=True):
        own = frame[frame["method"].eq(method) & frame["metric"].isin(SHOWN)]
        rows = []
        for (title, landmark, task), numbers in own.groupby(["title", "landmark", "task"], sort=False):
            by_metric = numbers.set_index("metric")
            values = {m: _format_number(by_metric.loc[m]) if m in by_metric.index else "–" for m in SHOWN}
            first = numbers.iloc[0]
            rows.append({"title": title, "landmark": landmark, "task": get_task_title(task), "n": first["n"],
                         "positives": first["positives"], **values})  # fmt: skip
        if rows:
            found.append({"plan": plan, "commit": plan.short_commit, "rows": rows})
    return found


def _format_number(number: pd.Series) -> str:
    if pd.isna(number["mean"]):
        return str(number["status"])
    spread = f" ± {number['sd_folds']:.3f}" if pd.notna(number["sd_folds"]) else ""
    return f"{number['mean']:.3f}{spread}"


def _describe_plan(store: Store, plan: Plan) -> dict[str, Any]:
    """Return a plan's cohorts by landmark, with the sizes of their groups."""
    groups = store.groups(plan.name)
    landmarks = {}
    for landmark, facts in plan.landmarks.items():
        sizes = {}
        if groups is not None:
            here = groups[groups["landmark"] == landmark]
            for column in here.columns.difference(["landmark", "row", "site"]):
                counts = here[column].astype(object).fillna("unknown").value_counts()
                sizes[column] = {k: f"{n:,}" if n >= FEWEST else f"under {FEWEST}" for k, n in counts.items() if n}
            if "site" in here:
                sizes["hospitals"] = {"in all": f"{here['site'].nunique():,}"}
        landmarks[landmark] = {**asdict(facts), "groups": sizes}
    return {"protocol": plan.protocol, "written": plan.written, "landmarks": landmarks, "commit": plan.short_commit}
