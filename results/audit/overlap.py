"""Patients who stand where they should not: in training and test, in two folds' test parts, or twice in one."""

from __future__ import annotations

import pandas as pd

from results.audit.finding import Finding, make_finding


def find_in_two_folds(rows: pd.DataFrame, task: str) -> list[Finding]:
    """Find ``two_folds``: patients tested in more than one fold."""
    wrong = rows[rows.groupby("patient")["fold"].transform("nunique") > 1]
    if wrong.empty:
        return []
    what = f"{wrong['patient'].nunique()} patients are tested in more than one fold"
    return [make_finding("two_folds", task, wrong.sort_values(["patient", "line"], kind="stable"), what)]


def find_repeated(rows: pd.DataFrame, task: str) -> list[Finding]:
    """Find ``repeated``: patients with several rows in one fold's test part; a query where the file tells stays apart (``row``)."""
    wrong = rows[rows.duplicated(["patient", "fold"], keep=False)].sort_values(["patient", "line"], kind="stable")
    if wrong.empty:
        return []
    by_stay = "row" in rows
    patients = wrong["patient"].nunique()
    what = f"{patients} patients have several rows in one fold's test part" + (
        ", of different stays" if by_stay else ""
    )
    return [make_finding("repeated", task, wrong, what, query=by_stay)]


def find_in_training(rows: pd.DataFrame, task: str, train: pd.DataFrame) -> list[Finding]:
    """Find ``train_test``: patients of a test part who are in its training part.

    ``train``: ``patient`` and, where the training parts differ by fold, ``fold``; without it every test row is held against the list.
    """
    keys = ["patient", "fold"] if "fold" in train else ["patient"]
    listed = pd.MultiIndex.from_frame(train[keys].astype(str))
    wrong = rows[pd.MultiIndex.from_frame(rows[keys].astype(str)).isin(listed)]
    if wrong.empty:
        return []
    tested = rows["patient"].nunique()
    patients = wrong["patient"].nunique()
    return [make_finding("train_test", task, wrong, f"{patients} of {tested} tested patients are in the training list")]
