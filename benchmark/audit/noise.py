"""Simulates the released rectifier on predictions without information and on calibrated ones: no training, no cohort.

Rows have the patterns of the paper's Table 3, in its counts. The base is ``noise`` (logit of the prevalence plus N(0, 1)), ``wide``
(logits N(0, 1) around a half), or ``informed``: the exact posterior under two normals whose AUC is the paper's "+MR" row, so that it is
calibrated and no pattern is biased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmark.audit.released import Released, rectify_as_released
from benchmark.cell.record import Frames, run_and_record
from benchmark.executors.work import Work
from methods.common.rectifier import rectify_paper
from results.storage.store import Store

PATTERNS = {"S": 857, "S+R": 433, "S+T": 177, "S+T+R": 1968, "S+I+T+R": 931}
TASKS = ("readmission_30d", "icu_90d")
INFORMED = (0.811, 0.889)
"""AUC of the base by task (the paper's "+MR" row)."""
STAGES = ("base", "selective", "not_selective", "no_moves", "cross_fitted")


@dataclass(frozen=True)
class Simulation:
    """A simulation: its base, and the prevalence of ICU; readmission has .20 (an assumption)."""

    base: str
    icu: float
    readmission: float = 0.20


SIMULATIONS = (
    Simulation("noise", 0.10),
    Simulation("noise", 0.05),
    Simulation("wide", 0.10),
    Simulation("informed", 0.05),
    Simulation("informed", 0.10),
)


def measure(work: Work, store: Store) -> tuple[dict[str, Any], Frames]:
    """Return the record of one draw, without frames."""
    planned = work.planned

    def fill(record: dict[str, Any], seconds: dict[str, float]) -> Frames:
        record["metrics"] = simulate(Simulation(**planned.config["simulation"]), planned.cell.seed)
        return {}

    return run_and_record(planned, fill)


def draw_predictions(simulation: Simulation, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probability and label float64 [n, 2], and pattern [n]."""
    rng = np.random.default_rng(seed)
    pattern = np.repeat(list(PATTERNS), list(PATTERNS.values()))
    prevalence = np.array([simulation.readmission, simulation.icu])
    label = (rng.random((len(pattern), 2)) < prevalence).astype(np.float64)
    noise = rng.standard_normal(label.shape)
    if simulation.base == "informed":
        apart = np.sqrt(2) * norm.ppf(INFORMED)
        logits = logit(prevalence) + apart * (noise + apart * label) - apart**2 / 2
    else:
        logits = noise + (logit(prevalence) if simulation.base == "noise" else 0.0)
    return expit(logits), label, pattern


def simulate(simulation: Simulation, seed: int) -> list[dict[str, Any]]:
    """Return the metrics of one draw as records, with ``stage`` of STAGES.

    Stages: the base; the released rectifier, selective, not selective, and not selective without the moves toward own outcomes; the
    paper's formula with two halves.
    """
    base, label, pattern = draw_predictions(simulation, seed)
    after = {
        "base": base,
        "selective": rectify_as_released(base, label, pattern, TASKS, Released(accept=True)),
        "not_selective": rectify_as_released(base, label, pattern, TASKS, Released()),
        "no_moves": rectify_as_released(base, label, pattern, TASKS, Released(edits=False)),
        "cross_fitted": rectify_paper(base, label, pattern, seed)[0],
    }
    return [
        {"split": "test", "stage": stage, "task": task, "metric": metric, "value": float(of(label[:, t], p[:, t])), "reason": None,
         "n": len(label), "positives": int(label[:, t].sum())}
        for stage, p in after.items()
        for t, task in enumerate(TASKS)
        for metric, of in (("auc", roc_auc_score), ("auprc", average_precision_score))
    ]  # fmt: skip
