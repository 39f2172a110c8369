"""Stored differences of pairs of rows (``results.statistics.paired``): as a tidy frame for a CSV file, and as entries of a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.frames.tidy import COLUMNS
from reports.tables.table import WORDS, Entry, make_text_entry
from results.plan import Plan

FURTHER = (
    "name", "base_method", "base_variant", "value", "base_value", "ci_low", "ci_high", "n_test", "n_train", "t", "p", "in_family",
    "p_holm", "better", "worse", "reason",
)  # fmt: skip
DifferenceRecords = dict[tuple[str | None, ...], dict[str, Any]]
"""By name, method, variant, landmark, task, metric; method and variant are None where no such row is planned."""


def index_records(statistics: dict[str, Any] | None, derivation: str) -> DifferenceRecords:
    """Return what a derivation stored; empty where nothing is stored."""
    stored = (statistics or {}).get(derivation) or []
    fields = ("name", "method", "variant", "landmark", "task", "metric")
    return {tuple(r[f] for f in fields): r for r in stored}


def build_difference_frame(plan: Plan, records: DifferenceRecords, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return differences with the columns of the tidy CSV, then FURTHER; ``mean`` is the difference, ``metric`` e.g. ``difference_auc``.

    Args:
        plan: the plan of the records.
        records: as ``index_records`` gives them.
        numbers: the plan's tidy frame, for the state of the rows that are compared.
    """
    states = _index_states(numbers)
    counts = numbers.set_index(["method", "variant", "landmark", "task", "metric"])[["n", "positives"]].to_dict("index")
    rows = []
    for record in records.values():
        at = tuple(record[f] for f in ("method", "variant", "landmark", "task", "metric"))
        of = {
            "experiment": plan.experiment,
            "dataset": plan.dataset,
            "protocol": plan.protocol,
            "group": "all",
        }
        found = {"mean": record["difference"], "status": _get_status(record, states), **counts.get(at, {})}
        rows.append(of | record | found | {"metric": f"difference_{record['metric']}"})
    return pd.DataFrame(rows).reindex(columns=[*COLUMNS, *FURTHER])


def build_difference_entry(record: dict[str, Any] | None, numbers: pd.DataFrame) -> Entry:
    """Return the entry of a difference with its interval, or the word that says why there is none."""
    if record is None:
        return make_text_entry("not derived")
    if record["difference"] is None:
        status = _get_status(record, _index_states(numbers))
        return make_text_entry("not planned" if status == "not planned" else WORDS.get(status, "n/a"))
    interval = None if record["ci_low"] is None else (record["ci_low"], record["ci_high"])
    return Entry(record["difference"], None, "", "", bool(record["better"] or record["worse"]), interval, signed=True)


def build_p_entry(record: dict[str, Any] | None) -> Entry:
    """Return the entry of a record's p, adjusted where it is in the family; "–" where nothing was tested."""
    p = None if record is None else record["p_holm"] if record["in_family"] else record["p"]
    return make_text_entry("–") if p is None else make_text_entry("< .001" if p < 0.001 else f"{p:.3f}")


def compute_whiskers(records: list[dict[str, Any]]) -> list[list[float]]:
    """Return how far the intervals reach below and above the differences, as matplotlib's ``errorbar`` takes it; 0 where there is none."""
    low = [0.0 if r["ci_low"] is None else max(0.0, r["difference"] - r["ci_low"]) for r in records]
    high = [0.0 if r["ci_high"] is None else max(0.0, r["ci_high"] - r["difference"]) for r in records]
    return [low, high]


def _index_states(numbers: pd.DataFrame) -> dict[tuple[str, ...], str]:
    keys = zip(*(numbers[c] for c in ("method", "variant", "landmark", "task", "metric")), strict=True)
    return dict(zip(keys, numbers["status"], strict=True))


def _get_status(record: dict[str, Any], states: dict[tuple[str, ...], str]) -> str:
    """Return ``done``, or the state of the row, else of its base, that has no number."""
    if record["difference"] is not None:
        return "done"
    if record["method"] is None or record["base_method"] is None:
        return "not planned"
    at = (record["landmark"], record["task"], record["metric"])
    found = [states.get((record[f"{of}method"], record[f"{of}variant"], *at), "missing") for of in ("", "base_")]
    return next((s for s in found if s not in ("done", "partial")), "undefined")
