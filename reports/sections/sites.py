"""Whole hospitals left out of training against folds at random: AUC under both, their difference, and the AUC by hospital."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from reports.figures.dots import draw_dots
from reports.figures.drawing import create_figure
from reports.frames.subgroups import FRAME, build_subgroup_frame
from reports.frames.tidy import COLUMNS, build_tidy_frame, set_dtypes
from reports.report import Figure, Section
from reports.tables.captions import describe_setting
from reports.tables.subgroup_places import SubgroupTable, build_subgroup_tables
from reports.tables.table import NOT_PLANNED, WORDS, Entry, Table, TableRow, get_task_title, make_text_entry
from results.plan import Plan, Settings
from results.storage.store import Store

DERIVED = "hospitals"
ARMS = {"folds": "random folds", "sites": "unseen hospitals"}
DIFFERENCE = "sites - folds"
CSV = (*COLUMNS, "arm", "ci_low", "ci_high", "note")
INTERVAL = (
    "AUC: bootstrap of patients within folds. Difference (unseen hospitals less random folds): both intervals joined as if they were "
    "independent (MOVER, Zou and Donner 2008); as the stays are the same, it is wide rather than narrow. Hospitals are not resampled: it "
    "holds for these hospitals"
)


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return a table for each dataset and landmark, and the AUC of hospitals that are large enough; CSV ``_arms``, ``_hospitals``."""
    tables, arms, hospitals, figures = [], [], [], []
    for own in group_by_cohort(plans):
        numbers = build_arm_frame(store, own)
        arms.append(numbers)
        frames = {arm: build_subgroup_frame(store, plan, DERIVED) for arm, plan in own.items()}
        hospitals += [frame[list(FRAME)].assign(arm=arm) for arm, frame in frames.items()]
        subgroup_tables = build_subgroup_tables(store, own["sites"], DERIVED, frames["sites"]) if "sites" in own else []
        for landmark in next(iter(own.values())).landmarks:
            tables.append(
                _build_table(store, own, numbers, landmark, [s for s in subgroup_tables if s.landmark == landmark])
            )
        drawn = [
            draw_hospital_figure(subgroups, describe_setting(store, subgroups.plan, subgroups.landmark))
            for subgroups in subgroup_tables
        ]
        figures += [figure for figure in drawn if figure]
    found = {"_arms": pd.concat(arms)[list(CSV)], "_hospitals": pd.concat(hospitals)}
    return Section(tuple(tables), found, tuple(figures))


def group_by_cohort(plans: Sequence[Plan]) -> list[dict[str, Plan]]:
    """Return the plans of each dataset and protocol, by arm, in the order of ARMS."""
    found: dict[tuple[str, str], dict[str, Plan]] = {}
    named = [(plan.arm.name, plan) for plan in plans if plan.arm]
    for arm, plan in sorted(named, key=lambda pair: list(ARMS).index(pair[0])):
        found.setdefault((plan.dataset, plan.protocol), {})[arm] = plan
    return list(found.values())


def build_arm_frame(store: Store, arms: dict[str, Plan]) -> pd.DataFrame:
    """Return the AUC of each row x landmark x task under each arm, with its interval, then the difference of the arms.

    Columns: CSV, then ``title``, ``known``. The difference has the metric ``auc_difference`` and the arm ``sites - folds``.
    """
    parts = []
    for arm, plan in arms.items():
        frame = build_tidy_frame(store, plan).query("metric == 'auc'").assign(arm=arm)
        bounds = pd.DataFrame((store.statistics(plan.name) or {}).get("intervals", []))
        keys = ["landmark", "task", "metric", "method", "variant"]
        bounds = bounds.reindex(columns=[*keys, "ci_low", "ci_high"]).astype({"ci_low": float, "ci_high": float})
        parts.append(frame.merge(bounds.astype(dict.fromkeys(keys, object)), on=keys, how="left"))
    frame = pd.concat(parts, ignore_index=True)
    rows = []
    for _, pair in frame.groupby(["landmark", "task", "method", "variant"], sort=False):
        first = pair.iloc[0].to_dict() | {
            "metric": "auc_difference",
            "arm": DIFFERENCE,
            "sd_seeds": math.nan,
            "sd_folds": math.nan,
        }
        by_arm = pair.set_index("arm").to_dict("index")
        rows.append(first | _compute_difference(by_arm.get("sites"), by_arm.get("folds")))
    return pd.concat([frame, set_dtypes(pd.DataFrame(rows, columns=frame.columns))], ignore_index=True)


def subtract_estimates(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return a - b of two independent estimates (value, low, high), with its interval (Zou and Donner 2008, Statistics in Medicine 27)."""
    (x, x_low, x_high), (y, y_low, y_high) = a, b
    return x - y, x - y - math.hypot(x - x_low, y_high - y), x - y + math.hypot(x_high - x, y - y_low)


def _compute_difference(sites: dict[str, Any] | None, folds: dict[str, Any] | None) -> dict[str, Any]:
    if sites is None or math.isnan(sites["mean"]):
        return _explain_no_difference("sites", sites)
    if folds is None or math.isnan(folds["mean"]):
        return _explain_no_difference("folds", folds)
    of_sites, of_folds = ((arm["mean"], arm["ci_low"], arm["ci_high"]) for arm in (sites, folds))
    value, low, high = subtract_estimates(of_sites, of_folds)
    partial = next((arm for arm in (sites, folds) if arm["status"] == "partial"), None)
    status, note = ("done", "") if partial is None else ("partial", partial["note"])
    counted = {k: min(sites[k], folds[k]) for k in ("folds", "seeds", "n", "positives")}
    return counted | {"mean": value, "ci_low": low, "ci_high": high, "status": status, "note": note}


def _explain_no_difference(name: str, arm: dict[str, Any] | None) -> dict[str, Any]:
    status, why = ("missing", "not run") if arm is None else (arm["status"], arm["note"])
    nothing = dict.fromkeys(("mean", "ci_low", "ci_high"), math.nan)
    return nothing | {"status": status, "note": f"{ARMS[name]}: {why}"}


def _build_table(
    store: Store, arms: dict[str, Plan], numbers: pd.DataFrame, landmark: str, subgroup_tables: list[SubgroupTable]
) -> Table:
    plan = next(iter(arms.values()))
    tasks = list(plan.landmarks[landmark].tasks)
    heads = [*ARMS, DIFFERENCE]
    columns = tuple((get_task_title(t), {**ARMS, DIFFERENCE: "difference"}[h]) for t in tasks for h in heads)
    here = numbers[numbers["landmark"].eq(landmark)]
    rows: list[TableRow] = []
    said: dict[str, None] = {}
    for (title, known), own in here.groupby(["title", "known"], sort=False):
        cells = {(c["task"], c["arm"]): c for c in own.to_dict("records")}
        rows.append((title, bool(known), tuple(_build_entry(cells.get((t, h)), h) for t in tasks for h in heads)))
        said |= {f"{title}: {c['note']}.": None for c in cells.values() if c["note"] and c["arm"] != DIFFERENCE}
    rows.sort(key=lambda r: r[1])
    notes = [*said, *(f"{ARMS[a]}: {WORDS['missing']}, this arm is not run." for a in ARMS if a not in arms)]
    notes += [
        f"AUC by hospital, {get_task_title(subgroups.task)}: {describe_too_small(subgroups)}"
        for subgroups in subgroup_tables
    ]
    about = describe_setting(
        store, replace(plan, arm=None, settings=Settings()), landmark
    )  # what the arms have in common
    caption = (
        f"AUC at unseen hospitals and in random folds ({landmark}): mean over folds [95 % interval]. {INTERVAL}. "
        f"{describe_tested(store, arms, landmark)} {about}"
    )
    return Table(columns, tuple(rows), caption, tuple(notes))


def describe_tested(store: Store, arms: dict[str, Plan], landmark: str) -> str:
    """Say in a sentence how many hospitals a fold tests under each arm."""
    said = []
    for arm, plan in arms.items():
        derived = ((store.statistics(plan.name) or {}).get(DERIVED) or {}).get("tested", {}).get(landmark)
        if derived:
            counts = sorted(f["sites"] for f in derived)
            span = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
            said.append(f"{ARMS[arm]}: {span} in a fold's test part")
    return f"Hospitals tested: {'; '.join(said)}." if said else "Hospitals tested: not counted, as no cell is done."


def describe_too_small(subgroups: SubgroupTable) -> str:
    """Say in a sentence how many hospitals have no number of their own."""
    few = sum(bool(g["reason"]) for g in subgroups.groups)
    return f"{few} of {len(subgroups.groups)} hospitals have fewer than ten positives or ten negatives and no number."


def draw_hospital_figure(subgroups: SubgroupTable, about: str) -> Figure | None:
    """Draw the AUC by hospital that no method has seen, the largest hospital first; None where all are too small."""
    able = [g for g in subgroups.groups if not g["reason"]]
    if not able:
        return None
    rows = [row for row in subgroups.final if row not in subgroups.known]
    figure, (axes,) = create_figure(8, 2.2 + 0.13 * len(able) * (len(rows) + 1))
    middle = np.arange(len(able), dtype=float)
    draw_dots(
        axes,
        middle,
        [(subgroups.compose_label(row, "auc"), [subgroups.get_estimate(row, g, "auc") for g in able]) for row in rows],
    )
    axes.set_yticks(middle, [f"{g['group']} ({g['positives']} of {g['n']})" for g in able])
    axes.set_ylim(len(able) - 0.5, -0.5)
    axes.hlines(middle[1:] - 0.5, 0, 1, transform=axes.get_yaxis_transform(), color="#dddddd", linewidth=0.6)
    axes.axvline(0.5, color="#8C8C8C", linewidth=0.8)
    axes.set_ylabel("hospital (positives of stays)")
    axes.set_xlabel("AUC")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    what = f"AUC by hospital, none of them seen in training, {subgroups.name}, {subgroups.plan.dataset}"
    name = "-".join((DERIVED, subgroups.plan.dataset, subgroups.plan.protocol, subgroups.landmark, subgroups.task))
    caption = (
        f"{what}: with 95 % intervals, bootstrap of the hospital's patients. {describe_too_small(subgroups)} {about}"
    )
    return Figure(name, caption, f"{what}: {len(rows)} rows at {len(able)} hospitals.", figure)


def _build_entry(cell: dict[str, Any] | None, head: str) -> Entry:
    if cell is None:
        return make_text_entry(WORDS["missing"]) if head != DIFFERENCE else NOT_PLANNED
    if math.isnan(cell["mean"]):
        return make_text_entry(WORDS.get(cell["status"], cell["status"]))
    bounds = (float(cell["ci_low"]), float(cell["ci_high"]))
    shown = None if math.isnan(bounds[0]) else bounds
    mark = "†" if cell["status"] == "partial" else ""
    return Entry(float(cell["mean"]), None, "", mark, False, shown, signed=head == DIFFERENCE)
