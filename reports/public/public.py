"""What may leave a credentialed site: metrics, tables and what is known of the plans, without rows of patients and small counts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd

from reports.build import assemble_report, write_report_file
from reports.frames.provenance import collect_provenance
from reports.frames.records import Records
from reports.public.public_frame import Tally, suppress_counts, suppress_frame
from reports.public.suppression import Suppression, find_suppression
from reports.report import ReportError
from results.disclosure import HIDDEN, SMALL, is_small
from results.plan import Landmark, Plan
from results.rows import name_variant

CONTENTS = """\
  metrics.csv   one row a cell and metric: which cell, its status, the value on the test part, rows and positives
  tables/       the tables of the reports as CSV, one row a number
  plans.json    what was run: cohort sizes, flow of inclusions, settings, commit, versions, hardware, times
  README.txt    this text
"""
WHAT = "Results of a benchmark of clinical prediction with missing modalities, as they may leave a site with credentialed data."
LEFT_OUT = (
    "predictions, groups of patients and what probes stored; tracebacks and the reasons of failures, which may quote data; paths; "
    "curves and calibration bins, whose points may be one patient each; what is of the representations of one pattern alone; the share "
    "of stays that a rectifier changed; what methods report of their fits; figures, and the paper's own numbers."
)
NOT_PUBLIC = ("_published", "_fits")
"""Frames of a report that are no measurements, or whose numbers may be shares of few patients."""


@dataclass
class Export:
    """The files of an export, name -> content, and how much was suppressed."""

    files: dict[str, bytes] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


def write_export(store_root: Path, experiments: Sequence[Sequence[Plan]], out: Path) -> Export:
    """Write the public part of some plans, by experiment, to ``out``, which must be empty or missing.

    Raises:
        ReportError: ``out`` holds files, or cannot be written.
        StoreError: a stored file is broken.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ReportError(f"{out} is not an empty folder: choose another DIR")
    made = build_export(store_root, experiments)
    for name, content in made.files.items():
        write_report_file(out / name, content)
    return made


def build_export(store_root: Path, experiments: Sequence[Sequence[Plan]]) -> Export:
    """Build what ``write_export`` writes, without writing anything."""
    store, made = Records(store_root), Export()
    plans = [plan for own in experiments for plan in own]
    hide = find_suppression(store, plans)
    cells = pd.DataFrame([row for plan in plans for row in _list_metrics(store, plan)]).drop_duplicates(
        ignore_index=True
    )
    made.files["metrics.csv"] = _render_csv(suppress_frame(cells, hide, made.tally))
    for own in experiments:
        report = assemble_report(store_root, own)
        for suffix, frame in report.frames.items():
            if suffix not in NOT_PUBLIC and len(frame):
                name = f"tables/{own[0].experiment}{suffix}.csv"
                made.files[name] = _render_csv(suppress_frame(frame, hide, made.tally))
    facts = [_describe_plan(store, plan, hide, made.tally) for plan in plans]
    made.files["plans.json"] = (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()
    made.files["README.txt"] = _compose_read_me(plans, made.tally).encode()
    return made


def _list_metrics(store: Records, plan: Plan) -> list[dict[str, Any]]:
    """List a row for each metric of a cell; one row of a cell without any."""
    rows = []
    variants = _name_variants(plan)
    for planned in plan.cells:
        record = store.record(planned) or {"status": "missing", "metrics": []}
        where = {
            **planned.cell.__dict__,
            "variant": variants[planned.cell.group[3:6]],
            "key": planned.key[:16],
            "status": record["status"],
        }
        empty = {"split": "", "stage": "", "task": "", "metric": "", "value": None, "n": None, "positives": None}
        found = [{k: m[k] for k in empty} for m in record["metrics"]]
        rows += [where | m for m in found or [empty]]
    return rows


def _name_variants(plan: Plan) -> dict[tuple[str, ...], str]:
    """Return the variant that tables print of each (method, variant, rectifier)."""
    cells = {p.cell.group[3:6]: [p] for p in reversed(plan.cells)}
    keys = {(row.method, row.variant, row.rectifier): row for row in plan.rows}
    return {key: key[1] for key in cells} | {
        key: name_variant(plan, row, cells.get(key, [])) for key, row in keys.items()
    }


def _describe_plan(store: Records, plan: Plan, hide: Suppression, tally: Tally) -> dict[str, Any]:
    """Return the facts of a plan that may leave the site."""
    names = (
        "name", "experiment", "dataset", "description", "protocol", "written", "commit", "clean", "schedule", "tuning", "rectifier",
        "calibration", "folds", "seeds", "reference", "bootstrap", "derived",
    )  # fmt: skip
    found = collect_provenance(store, plan)
    variants = _name_variants(plan)
    rows = [
        {k: getattr(row, k) for k in ("method", "variant", "rectifier", "title", "kind")}
        | {"variant": variants[row.method, row.variant, row.rectifier]}
        for row in plan.rows
    ]
    return {k: getattr(plan, k) for k in names} | {
        "arm": plan.arm.name if plan.arm else None,
        "settings": _remove_paths(plan.settings.given),
        "rows": rows,
        "landmarks": {
            name: _describe_landmark(plan, name, facts, hide, tally) for name, facts in plan.landmarks.items()
        },
        "cells": found.counts,
        "not done": [{"cell": cell, "status": status} for cell, status, _ in found.lost],
        "provenance": found.facts,
    }


def _describe_landmark(plan: Plan, landmark: str, facts: Landmark, hide: Suppression, tally: Tally) -> dict[str, Any]:
    at = {"dataset": plan.dataset, "protocol": plan.protocol, "landmark": landmark}
    tasks: dict[str, dict[str, Any]] = {}
    for task, whole in facts.tasks.items():
        blank, n, positives = suppress_counts({**at, "task": task, "n": whole.n, "positives": whole.positives}, hide)
        tasks[task] = {"n": n or whole.n, "positives": positives or whole.positives}
        tally.counts += bool(n) + bool(positives)
        tasks[task]["prevalence"] = None if blank or n or positives else whole.prevalence
    shares: dict[str, float | str | None] = {}
    for name, share in facts.modalities.items():
        shares[name] = HIDDEN if (*at.values(), name) in hide.shares else share
        tally.counts += shares[name] == HIDDEN
    flow = []
    for step in facts.flow:
        hidden = (plan.dataset, step["step"], step["n"]) in hide.steps
        flow.append({"step": step["step"], "n": SMALL if is_small(step["n"]) else HIDDEN if hidden else step["n"]})
        tally.counts += hidden
    return {
        "n": SMALL if is_small(facts.n) else facts.n, "tasks": tasks, "modalities": shares, "flow": flow,
        "fingerprint": facts.fingerprint, "split": facts.split,
    }  # fmt: skip


def _remove_paths(value: Any) -> Any:
    """Return settings without the folders of raw tables and anything else that is a path."""
    if isinstance(value, dict):
        return {k: _remove_paths(v) for k, v in value.items() if not k.endswith("root")}
    if isinstance(value, list):
        return [_remove_paths(v) for v in value]
    local = isinstance(value, str) and (os.path.isabs(value) or value.startswith((".", "~")) or Path(value).exists())
    return "a local path" if local else value


def _render_csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _compose_read_me(plans: Sequence[Plan], tally: Tally) -> str:
    names = "".join(f"  {plan.name}: {plan.dataset}, {plan.protocol} protocol\n" for plan in plans)
    suppressed = (
        f"Suppressed: a group with 1 to 9 rows, positives or negatives has no numbers, and its counts are printed as {SMALL}. Where one "
        "could be computed from others (patterns, modalities, groups of patients, folds, steps of the flow), the next smallest are left "
        f"out with it, and their counts are printed as {HIDDEN}; so are the counts of rows that have predictions for some of the stays "
        "only, and rates from which a count of 1 to 9 would follow."
    )
    here = f"Here, over all files: {tally.counts} counts and {tally.values} other numbers suppressed, {tally.rows} rows left out."
    unchecked = (
        "Not checked: what follows from this export together with another one, or with publications on the same cohort."
    )
    texts = [WHAT, CONTENTS, f"Plans:\n{names}", suppressed, here, f"Left out altogether: {LEFT_OUT}", unchecked]
    return "\n\n".join(text.rstrip() if "\n" in text else fill(text, 110) for text in texts) + "\n"
