"""The sampler of A1 alone, on outcomes that are independent of every input: its effect on the AUC of test rows, epoch by epoch.

As in the measurement on the released code: no early stopping, batches of 32, the learning rate that its schedule
reaches (1.6e-5) and the nominal one (2e-4). Here with the suite's method, at the landmark of whole stays, outcomes drawn by the preset's
prevalences. A test row is ``seen`` where its position is below n_train, so that the sampler reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmark.audit import sampler
from benchmark.cell.record import Frames, run_and_record
from benchmark.cell.run_cell import build_method
from benchmark.cell.splits import draw_split
from benchmark.executors.work import Work
from datasets.cohort import Cohort
from datasets.storage import load_cohort
from methods.common.training import TorchMethod
from results.storage.store import Store

PREVALENCE = {"readmission_30d": 0.20}
OTHERWISE = 0.10
RATES = (1.6e-5, 2e-4)
EPOCHS = (10, 25, 55)
PARTS = ("test", "test_seen", "test_unseen")


@dataclass(frozen=True)
class EpochScorer:
    """A callback of each epoch that scores the test rows in EPOCHS, with the network as it is then; of several stages, in the last."""

    method: Any
    test: Cohort
    outcomes: np.ndarray
    seen: np.ndarray
    metrics: list[dict[str, Any]]

    def __call__(self, epoch: dict[str, float]) -> None:
        """Add the metrics of this epoch to ``metrics``."""
        if (number := int(epoch["epoch"])) in EPOCHS:
            self.metrics[:] = [m for m in self.metrics if m["stage"] != f"epoch-{number}"]
            probability = self.method.predict_proba(self.test)
            for part, rows in zip(PARTS, (np.ones_like(self.seen), self.seen, ~self.seen), strict=True):
                self.metrics.extend(_score_part(part, number, self.test.tasks, self.outcomes[rows], probability[rows]))


def measure(work: Work, store: Store) -> tuple[dict[str, Any], Frames]:
    """Return the record of one fit, without frames; its metrics have stage ``epoch-N`` and split of PARTS.

    ``work.inputs``: its ``Ground``.
    """
    planned, ground = work.planned, work.inputs

    def fill(record: dict[str, Any], seconds: dict[str, float]) -> Frames:
        cohort = replace(draw_random_outcomes(load_cohort(ground.whole / "cohort"), planned.cell.seed), series=None)
        train, valid, test = draw_split(cohort, planned.config["folds"]).rows(0)
        method = build_method(planned)
        given = sampler.find_reached_rows(train)
        sampler.draw_like_released(method, cohort.take(train))
        seen = np.isin(test, given)
        if isinstance(method, TorchMethod):
            method.on_epoch = EpochScorer(
                method, cohort.take(test).without_outcomes(), cohort.outcomes[test], seen, record["metrics"]
            )
        method.fit(cohort.take(given), cohort.take(valid))
        record["audit"] = {
            "epochs": len(getattr(method, "history", ())),
            "n_train": len(train),
            "n_test": len(test),
            "test_rows_given": int(seen.sum()),
        }
        return {}

    return run_and_record(planned, fill)


def draw_random_outcomes(cohort: Cohort, seed: int) -> Cohort:
    """Return the stays with outcomes drawn independently of everything, all defined."""
    rng = np.random.default_rng([50_000, seed])
    share = np.array([PREVALENCE.get(task, OTHERWISE) for task in cohort.tasks])
    outcomes = (rng.random(cohort.outcomes.shape) < share).astype(np.float32)
    return replace(cohort, outcomes=outcomes, fingerprint=f"{cohort.fingerprint} random outcomes {seed}")


def _score_part(
    part: str, epoch: int, tasks: tuple[str, ...], label: np.ndarray, probability: np.ndarray
) -> list[dict[str, Any]]:
    records = []
    for t, task in enumerate(tasks):
        counts = {"n": len(label), "positives": int(label[:, t].sum())}
        for metric, of in (("auc", roc_auc_score), ("auprc", average_precision_score)):
            records.append({"split": part, "stage": f"epoch-{epoch}", "task": task, "metric": metric,
                          "value": float(of(label[:, t], probability[:, t])), "reason": None, **counts})  # fmt: skip
    return records
