"""A tidy frame as it may be printed in public: small groups without numbers, their counts as ``<10`` or ``hidden``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.public.suppression import ALL, FOLD, VALID, CohortTask, Suppression
from results.disclosure import HIDDEN, SMALL, Count, is_small

COUNTS = ("n", "positives")
SUPPRESSED = "suppressed"
"""The status of what has no number because its group is small, or hidden with a small one."""
NUMBERED = ("done", "partial", "too_few", "undefined")
"""States that say how many a group has."""
LEFT_OUT_COLUMNS = ("note", "reason", "by_fold", "points", "resamples", "title")
IDENTITY = (
    "experiment", "dataset", "landmark", "protocol", "task", "method", "variant", "group", "attribute", "metric", "status", "arm",
    "axis", "at", "name", "reference", "reference_variant", "base_method", "base_variant", "folds", "seeds", "alarm_share",
    "in_family", "field", "key",
)  # fmt: skip
"""Columns that say which number it is; all others but the counts are numbers of the group."""
COUNTED_METRICS = ("withheld_from", "rectifier_share_changed")
"""Metrics that are a count of stays, or a share that gives one."""
RATES = {"flagged": "n", "tpr": "positives", "fpr": "negatives"}
"""Metrics that are the share of a count that gives another."""


@dataclass
class Tally:
    """How many counts and values are suppressed."""

    counts: int = 0
    values: int = 0
    rows: int = 0


def suppress_frame(frame: pd.DataFrame, hide: Suppression, tally: Tally) -> pd.DataFrame:
    """Return a tidy frame as it may be printed: small groups without numbers, their counts as ``<10`` or ``hidden``.

    Args:
        frame: with ``dataset, protocol, landmark, task``, perhaps ``attribute`` and ``group`` or ``fold``, and the columns COUNTS.
        hide: of all plans that are exported together.
        tally: what is suppressed is added to it.
    """
    kept = frame[~frame["metric"].isin(COUNTED_METRICS)] if "metric" in frame else frame
    if "group" in kept and "attribute" not in kept and "n" in kept:
        whole = [
            g in (ALL, "") or _get_count(r) in hide.whole.get(_get_cohort_task(r), ())
            for g, r in _pair_with_records(kept, "group")
        ]
        kept = kept[whole]
    tally.rows += len(frame) - len(kept)
    kept = kept.drop(columns=[name for name in LEFT_OUT_COLUMNS if name in kept]).reset_index(drop=True)
    values = [c for c in kept if c not in (*IDENTITY, *COUNTS, FOLD, "seed", "split", "stage", "rectifier", "tuning")]
    rates = _find_small_rates(kept)
    printed = []
    for row, small_rate in zip(kept.to_dict("records"), rates, strict=True):
        blank, n, positives = suppress_counts(row, hide)
        if blank or small_rate:
            tally.values += sum(pd.notna(row[c]) for c in values)
            row |= dict.fromkeys(values)
            row["status"] = SUPPRESSED if row.get("status") in NUMBERED else row.get("status")
        for column, word in (("n", n), ("positives", positives)):
            if word and pd.notna(row.get(column, pd.NA)):
                tally.counts += 1
                row[column] = word
        printed.append(row)
    return pd.DataFrame(printed, columns=kept.columns, dtype=object)


def suppress_counts(row: dict[str, Any], hide: Suppression) -> tuple[bool, str, str]:
    """Return whether a row's values are left out, and the words that stand for its rows and positives (nothing: as they are)."""
    cohort_task, count = _get_cohort_task(row), _get_count(row)
    cohort_tasks = [cohort_task] if row.get("task") else [p for p in hide.whole if p[:3] == cohort_task[:3]]
    fold = VALID if row.get("split") == "valid" else FOLD
    part = (fold, str(row[FOLD])) if FOLD in row else (row.get("attribute") or ALL, str(row.get("group", ALL)))
    at = (cohort_task, *part)
    known = hide.whole.get(cohort_task, set()) if part[0] == ALL else hide.parts.get(at, set())
    partial = count is not None and bool(row.get("task")) and count not in known
    blank = any(p in hide.blank for p in cohort_tasks) or at in hide.hidden or (count is not None and count.small)
    n_hidden = at in hide.hidden_n or cohort_task in hide.uncounted or partial
    n_small = count is not None and is_small(count.n)
    n = SMALL if n_small else HIDDEN if n_hidden else ""
    positives = SMALL if n_small or (count and is_small(count.positives)) else HIDDEN if n or blank else ""
    return blank, n, positives


def _find_small_rates(frame: pd.DataFrame) -> list[bool]:
    """Return for each row whether it is a rate, or a gap of one, from which a count of 1 to 9 would follow."""
    if "attribute" not in frame or "metric" not in frame:
        return [False] * len(frame)
    found: set[tuple[Any, ...]] = set()
    keys = []
    for row in frame.to_dict("records"):
        metric = row["metric"].removeprefix("gap_")
        keys.append((*(row[k] for k in ("landmark", "task", "method", "variant", "attribute")), row.get("arm"), metric))
        count = _get_count(row)
        if row["metric"] in RATES and count is not None and pd.notna(row["mean"]):
            of = getattr(count, RATES[row["metric"]])
            hits = round(row["mean"] * of)
            if is_small(hits) or is_small(of - hits):
                found |= {(*keys[-1], row["group"]), (*keys[-1], None)}
    groups, metrics = frame["group"].tolist(), frame["metric"].tolist()
    return [
        (*key, group) in found or (metric.startswith("gap_") and (*key, None) in found)
        for key, group, metric in zip(keys, groups, metrics, strict=True)
    ]


def _get_cohort_task(row: dict[str, Any]) -> CohortTask:
    dataset, protocol, landmark, task = (row.get(k) or "" for k in ("dataset", "protocol", "landmark", "task"))
    return dataset, protocol, landmark, task


def _get_count(row: dict[str, Any]) -> Count | None:
    if any(pd.isna(row.get(c, pd.NA)) for c in COUNTS):
        return None
    return Count(int(row["n"]), int(row["positives"]))


def _pair_with_records(frame: pd.DataFrame, column: str) -> list[tuple[Any, dict[str, Any]]]:
    return list(zip(frame[column], frame.to_dict("records"), strict=True))
