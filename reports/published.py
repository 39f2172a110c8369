"""Numbers the paper published, read from ``results/published/paper.csv``; shown apart from measured ones, never beside them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reports.tables import METRICS, Entry, Table, task_title

SOURCE = Path(__file__).resolve().parents[1] / "results" / "published" / "paper.csv"
CITATION = "CRL-MMNAR (arXiv:2509.17228), Table 1"
EXPERIMENTS = {"table1": "Table1"}
LABEL = "Published by the paper, not measured here; cohorts, labels and preprocessing differ"
NOTES = (
    "As printed in the paper: mean ± standard deviation over its five seeds. No split, prediction or baseline code was published with it, "
    "so that none of these numbers can be recomputed.",
    "The released code labels death in any later admission and ICU admission without a time limit, where the paper names in-hospital "
    "death and 90 days; it holds no eICU pipeline. eICU has no dates between hospital stays, so that its 30-day readmission is not "
    "derivable; the measured task is readmission to the ICU within the hospital stay.",
)


def published(experiment: str) -> pd.DataFrame:
    """Published numbers of an experiment: ``source, dataset, task, method, metric, mean, sd``, in the paper's order; may be empty.

    ``method`` is the name that the paper prints, ``metric`` is named as in the tidy CSV.
    """
    raw = pd.read_csv(SOURCE)
    raw = raw[raw["table"] == EXPERIMENTS.get(experiment)]
    frame = raw.rename(columns={"method_or_row": "method", "std": "sd"}).assign(
        source=CITATION, metric=raw["metric"].str.lower()
    )
    frame = frame[["source", "dataset", "task", "method", "metric", "mean", "sd"]].reset_index(drop=True)
    return frame.astype({"mean": float, "sd": float})


def published_tables(experiment: str) -> list[Table]:
    """One table a dataset of the paper, each labelled as published."""
    tables = []
    for dataset, own in published(experiment).groupby("dataset", sort=False):
        places = list(dict.fromkeys(zip(own["task"], own["metric"], strict=True)))
        rows = []
        for method, numbers in own.groupby("method", sort=False):
            by_place = numbers.set_index(["task", "metric"])
            entries = tuple(_entry(by_place, place) for place in places)
            rows.append((str(method), False, entries))
        columns = tuple((task_title(task), METRICS[metric]) for task, metric in places)
        tables.append(Table(columns, tuple(rows), f"{LABEL}. {dataset}. Source: {CITATION}.", NOTES))
    return tables


def _entry(numbers: pd.DataFrame, place: tuple[str, str]) -> Entry:
    if place not in numbers.index:
        return Entry(None, None, "not given", "", False)
    mean, sd = numbers.loc[place, ["mean", "sd"]]
    return Entry(float(mean), None if pd.isna(sd) else float(sd), "", "", False)
