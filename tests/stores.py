"""A fabricated store: predictions drawn at random for a few rows, landmarks, folds and seeds; some cells failed or missing."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from results.cell import Cell, PlannedCell
from results.metrics.scores import score
from results.plan import Landmark, Plan, PlannedRow, TaskCounts
from results.storage.store import Store

LANDMARKS = {"icu_24h": ("mortality_inhosp",), "discharge": ("readmission_30d", "icu_90d")}
ROWS = (
    ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 1.0),
    ("cm_ae", "default", "off", "CM-AE (adapted)", "method", 0.6),
    ("s_only", "default", "off", "S only & nothing_else", "method", 0.4),
    ("ceiling", "default", "off", "ceiling", "known", 1.6),
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def stored(root: Path) -> list[Path]:
    """The folders of the cells of a store that others may be writing: no scratch folders, and one that goes meanwhile is no error (as it
    is to ``Path.rglob``)."""
    folders = (Path(folder) for folder, _, files in os.walk(root) if "cell.json" in files)
    return sorted(folder for folder in folders if not folder.name.startswith("."))


def fabricate(
    root: Path,
    *,
    experiment="table1",
    rows=ROWS,
    n=200,
    folds=5,
    seeds=1,
    failed=(),
    missing=(),
    skipped=(),
    partial_rows=(),
    written="2026-01-02T03:04:05",
    dataset="embedded-mimic",
    one_class=(),
    draw=0,
    landmarks=LANDMARKS,
    split="s",
):
    """Write a store below ``root`` and return (store, plan).

    ``failed``, ``missing``, ``skipped``: (method, landmark, fold) of cells; ``partial_rows``: methods with predictions on the even stays
    only; ``one_class``: tasks without a positive; ``split``: a part of every key. A row's last
    value is how much its scores know of the label.
    """
    store = Store(root)
    rng = np.random.default_rng(draw)
    fold_of = np.arange(n) % folds
    cells, plan_landmarks = [], {}
    for landmark, tasks in landmarks.items():
        truth = {task: rng.normal(size=n) for task in tasks}
        labels = {task: (truth[task] + rng.normal(size=n) > 1).astype(float) for task in tasks}
        for task in one_class:
            if task in labels:
                labels[task][:] = 0
        plan_landmarks[landmark] = Landmark(
            n=n,
            tasks={task: TaskCounts(n, int(labels[task].sum())) for task in tasks},
            modalities={"structured": 1.0, "text": 0.6},
            fingerprint="f" * 8,
            split="s" * 8,
        )
        for (method, variant, rectifier, title, _, knows), fold, seed in itertools.product(
            rows, range(folds), range(seeds)
        ):
            cell = Cell(dataset, landmark, "strict", method, variant, rectifier, "none", fold, seed)
            planned = PlannedCell(cell, {}, {"config": cell.name, "split": split}, title)
            cells.append(planned)
            at = (method, landmark, fold)
            if at in missing:
                continue
            if at in failed or at in skipped:
                status, reason = (
                    ("failed", "out of memory at layer_2 (100 %)") if at in failed else ("skipped", "no series")
                )
                store.write(planned, record_of(planned, status, [], reason), {})
                continue
            parts = [
                part(
                    labels[task],
                    truth[task],
                    task,
                    fold_of,
                    fold,
                    knows,
                    rng,
                    method in partial_rows,
                    rectifier != "off",
                )
                for task in tasks
            ]
            frame = pd.concat(parts, ignore_index=True)
            record = record_of(planned, "done", measured(frame), None)
            if rectifier != "off":
                changed = dict.fromkeys(tasks, 0.25)
                record["rectifier"] = {"protocol": "strict", "tau": 0.01, "share_changed": changed, "rows": []}
            store.write(planned, record, {"predictions": frame})
    plan = Plan(
        name=f"{experiment}-{dataset}-{written[:10]}-{draw}",
        experiment=experiment,
        dataset=dataset,
        protocol="strict",
        written=written,
        commit=COMMIT,
        clean=True,
        schedule="short",
        folds=folds,
        seeds=seeds,
        n=n,
        reference="crl_mmnar",
        landmarks=plan_landmarks,
        rows=[PlannedRow(m, v, r, t, k) for m, v, r, t, k, _ in rows],
        description="a fabricated cohort of 100 % noise_and_signal",
        cells=cells,
    )
    store.write_plan(plan)
    return store, plan


def made_plan(*rows, **fields):
    """A plan of which nothing is stored, with the fields given; ``rows``: (method, variant, rectifier), with a cell each."""
    cells = [Cell("d", "l", "strict", *row, "none", 0, 0) for row in rows]
    given = {
        "name": "p",
        "experiment": "smoke",
        "dataset": "d",
        "protocol": "strict",
        "written": "2026-01-02",
        "folds": 1,
        "seeds": 1,
    }
    made = {
        "landmarks": {},
        "rows": [PlannedRow(*row, row[0].upper(), "known" if row[0] == "ceiling" else "method") for row in rows],
        "cells": [PlannedCell(cell, {}, {}, cell.method) for cell in cells],
    }
    return Plan(**given | made | fields)


def rewrite(store, planned, record, frames):
    """Store another cell in the place of a finished one, which no run does."""
    shutil.rmtree(store.folder(planned), ignore_errors=True)
    store.write(planned, record, frames)


def record_of(planned, status, metrics, reason):
    """A cell's record as a run would write it."""
    return {
        "cell": planned.cell.__dict__,
        "title": planned.title,
        "key": planned.key,
        "key_parts": planned.key_parts,
        "config": {},
        "status": status,
        "reason": reason,
        "traceback": None,
        "metrics": metrics,
        "rectifier": None,
        "provenance": {
            "commit": COMMIT,
            "clean": True,
            "versions": {"python": "3.11.7", "numpy": "2.4.6"},
            "hardware": {"cpu": "made up", "cores": 2},
            "seconds": {"fit": 1.5 + 0.1 * planned.cell.fold + len(planned.cell.method), "total": 36.0},
            "peak_memory_mib": 500.0 + planned.cell.fold,
            "finished": "2026-01-02T03:04:05",
        },
    }


def part(label, truth, task, fold_of, fold, knows, rng, half, rectified):
    """Predictions of one task: the fold's rows are the test part, the next fold's the validation part."""
    base = 1 / (1 + np.exp(-(knows * truth + rng.normal(size=len(label)) - 1)))
    folds = fold_of.max() + 1
    split = np.where(fold_of == fold, "test", np.where(fold_of == (fold + 1) % folds, "valid", "train"))
    frame = pd.DataFrame({
        "split": split,
        "row": np.arange(len(label)),
        "patient": np.arange(len(label)) + 1000,
        "task": task,
        "label": label,
        "probability_base": base,
        "probability": np.clip(base + 0.02, 0, 1) if rectified else base,
        "pattern": "10",
    })  # fmt: skip
    frame = frame[frame["split"] != "train"]
    return frame[frame["row"] % 2 == 0] if half else frame


def measured(frame):
    """The record's metrics of a frame of predictions."""
    return [
        m.as_record(split, stage, task)
        for (split, task), own in frame.groupby(["split", "task"])
        for stage, column in (("base", "probability_base"), ("final", "probability"))
        for m in score(own["label"].to_numpy(), own[column].to_numpy())
    ]
