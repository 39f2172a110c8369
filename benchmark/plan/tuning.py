"""Nested tuning: for each method, landmark and fold, the candidates of its grid are tried and judged on the validation part.

Every candidate is tried with one seed, the same for all; the best three with two more; the one with the highest mean of what early
stopping goes by as well (``selection``, ``methods.common.outcomes.selection_score``) is used for all seeds of that fold. A trial is a
cell of its own, under ``tuning-trial-…``, which predicts the validation part alone; a later tuning that has the candidate uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from benchmark.cell.keys import hash_sources, list_cell_sources
from methods.base import Method
from results.cell import TRIAL, PlannedCell, digest
from results.storage.store import Store

SEEDS = 3
FINALISTS = 3


@dataclass(frozen=True)
class Budget:
    """The share of a grid that is tried: ``grid`` all of it, ``random`` at most ``size`` candidates; ``none``: the defaults stand."""

    kind: str = "none"
    size: int | None = None

    @property
    def name(self) -> str:
        """The name as in a cell's name: ``none``, ``grid``, ``random-20``."""
        return self.kind if self.size is None else f"{self.kind}-{self.size}"

    def __str__(self) -> str:
        """Return the text of a caption, after ``tuning:``."""
        if self.kind == "none":
            return "none"
        size = (
            "the whole grid of each method"
            if self.size is None
            else f"{self.size} candidates a method (its grid where smaller)"
        )
        return f"{size}, nested in each fold, judged on the validation part; the best {FINALISTS} with {SEEDS} seeds"


def list_candidates(
    cls: type[Method], base: dict[str, Any], fixed: Iterable[str], budget: Budget
) -> list[dict[str, Any]]:
    """Return the settings to try, each the fields it gives another value; empty where there is nothing to choose.

    ``base``: the method's hyper-parameters under the run's schedule; its ``lr`` scales those of the grid, as the schedule scales the
    default. ``fixed``: fields that a variant or the command line has set, which are not tuned. Combinations that the method's Config
    refuses are left out. A random part is drawn from the grid without replacement, the same for all folds and runs.
    """
    if budget.kind == "none":
        return []
    grid = {field: values for field, values in cls.grid.items() if field not in set(fixed)}
    if "lr" in grid:
        factor = base["lr"] / cls.Config().lr
        grid["lr"] = [value * factor for value in grid["lr"]]
    changes = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())] if grid else []
    changes = [change for change in changes if _is_allowed(cls, base | change)]
    if budget.size is not None and len(changes) > budget.size:
        # from the method and its grid, so that all folds and runs try the same candidates
        seed = int(digest([cls.__name__, changes])[:8], 16)
        chosen = np.random.default_rng(seed).choice(len(changes), budget.size, replace=False)
        changes = [changes[i] for i in sorted(chosen)]
    return changes


def list_first_trials(planned: PlannedCell) -> list[PlannedCell]:
    """Return one trial of each candidate of a tuned cell; none where it is not tuned."""
    return [_make_trial(planned, change, 0) for change in _get_candidates(planned)]


def list_further_trials(planned: PlannedCell, store: Store) -> list[PlannedCell]:
    """Return two more trials of the best three, once first trials are stored; none for a method that draws nothing or has one candidate."""
    if _get_rules(planned).get("seeds") == 1 or len(_get_candidates(planned)) < 2:
        return []
    return [
        _make_trial(planned, change, seed)
        for change, _ in _rank_candidates(planned, store)[:FINALISTS]
        for seed in range(1, SEEDS)
    ]


def choose_candidate(planned: PlannedCell, store: Store) -> dict[str, Any] | None:
    """Choose a candidate for a tuned cell by its stored trials; None where the cell is not tuned.

    ``change``: the fields of the winner (None where every trial failed, with the ``reason``), ``score``: its mean over ``seeds`` trials,
    ``trials`` and ``failed``: how many there were, ``candidates``: how many settings, ``best``: the best three and their first scores.
    """
    changes = _get_candidates(planned)
    if not changes:
        return None
    trials = list_first_trials(planned) + list_further_trials(planned, store)
    records = [store.record(trial) for trial in trials]
    lost = [r for r in records if r is None or r["status"] != "done"]
    about = {"trials": len(trials), "failed": len(lost), "candidates": len(changes)}
    ranked = _rank_candidates(planned, store)
    if not ranked:
        reason = next((r["reason"] for r in lost if r), "none is stored")
        return about | {
            "change": None,
            "score": None,
            "seeds": 0,
            "reason": f"no trial of {len(changes)} candidates is done: {reason}",
        }
    seeds = range(SEEDS if len(trials) > len(changes) else 1)
    scored = [
        (_average_score([store.record(_make_trial(planned, change, seed)) for seed in seeds]), change)
        for change, _ in ranked[:FINALISTS]
    ]
    score, change = max(scored, key=lambda pair: pair[0])
    best = [{"change": change, "score": _replace_infinite(first)} for change, first in ranked[:FINALISTS]]
    return about | {
        "change": change,
        "score": _replace_infinite(score),
        "seeds": len(seeds),
        "reason": None,
        "best": best,
    }


def is_tuned(planned: PlannedCell) -> bool:
    """Return whether the cell's hyper-parameters are chosen among candidates."""
    return bool(_get_candidates(planned))


def _rank_candidates(planned: PlannedCell, store: Store) -> list[tuple[dict[str, Any], float]]:
    """Return the candidates whose first trial is done, each with its score, the best first; equals in the grid's order."""
    records = ((change, store.record(_make_trial(planned, change, 0))) for change in _get_candidates(planned))
    scored = [(change, _average_score([record])) for change, record in records if record and record["status"] == "done"]
    return sorted(scored, key=lambda pair: -pair[1])


def _average_score(records: list[dict[str, Any] | None]) -> float:
    """Return the mean selection score of trials that are done; one that failed counts as the worst there can be."""
    scores = [
        r["selection"] if r and r["status"] == "done" and r["selection"] is not None else -np.inf for r in records
    ]
    return float(np.mean(scores))


def _get_candidates(planned: PlannedCell) -> list[dict[str, Any]]:
    return _get_rules(planned).get("candidates", [])


def _get_rules(planned: PlannedCell) -> dict[str, Any]:
    return planned.config.get("tuning", {})


def make_rules(changes: list[dict[str, Any]], draws: bool) -> dict[str, Any]:
    """Return what a tuned cell's configuration, and so its key, states of its tuning; ``draws``: whether the method depends on its seed."""
    return {"candidates": changes, "finalists": FINALISTS, "seeds": SEEDS if draws else 1}


def _make_trial(planned: PlannedCell, change: dict[str, Any], seed: int) -> PlannedCell:
    """Return the cell that tries ``change`` for a tuned cell: unrectified, scored on the validation part alone."""
    method = planned.config["method"]
    settings = {k: v for k, v in planned.config.items() if k not in ("tuning", "probes")} | {
        "method": {**method, "config": method["config"] | change},
        "rectifier": {**planned.config["rectifier"], "kind": "off"},
        "scored": "valid",
    }
    cell = replace(
        planned.cell, rectifier="off", tuning=f"{TRIAL}-{digest(settings['method']['config'])[:12]}", seed=seed
    )
    source = hash_sources(*list_cell_sources(settings))
    parts = {**planned.key_parts, "cell": cell.name, "config": digest(settings), "source": source}
    return PlannedCell(cell, settings, parts, planned.title)


def _replace_infinite(score: float) -> float | None:
    """Return the score for a record; None where no validation outcome is defined, or a trial of the three failed."""
    return score if np.isfinite(score) else None


def _is_allowed(cls: type[Method], settings: dict[str, Any]) -> bool:
    try:
        cls.Config(**settings)
    except ValueError:
        return False
    return True
