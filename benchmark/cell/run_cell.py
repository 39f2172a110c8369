"""One cell: fit on the training part, predict, rectify, score. The only place that sees test outcomes and what is known of the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from benchmark.cell.inputs import CellInputs
from benchmark.cell.probes import Fitted, measure
from benchmark.cell.record import Frames, recorded
from benchmark.cell.shuffled import shuffle_outcomes
from benchmark.cell.splits import load_split
from datasets.cohort import Cohort, Modality, pattern_names
from datasets.storage import Known, load_cohort, load_flow, load_known
from methods import registry
from methods.base import Method, Unsuited
from methods.common.outcomes import selection_score
from methods.common.rectifier import Rectifier, rectify_paper
from results.cell import PlannedCell
from results.metrics.scores import score, score_recalibrated

ORACLE = "oracle_features"
OOF_PARTS = 5


@dataclass(frozen=True, eq=False)
class Parts:
    """Probabilities float64 [n, T] of the validation and test part, before and after the rectifier, what the rectifier did, and what
    was fitted (None where nothing was)."""

    base: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    rectifier: dict[str, Any] | None
    fitted: Fitted | None = None


class Trained(Protocol):
    """A method that was fitted beforehand: by itself, or what kept it from it; with which cells, and its share of the seconds."""

    method: Method
    fault: Exception | None
    members: list[str]
    seconds: float


def run_cell(
    planned: PlannedCell, place: CellInputs, chosen: dict[str, Any] | None = None, trained: Trained | None = None
) -> tuple[dict[str, Any], Frames]:
    """The record of a cell and its frames by name: ``predictions`` and those of its probes, none where it failed or was skipped; never
    raises for a method's fault.

    ``chosen``: what a tuning chose, as ``benchmark.plan.tuning.choose`` gives it; its hyper-parameters take the place of the planned
    ones. A trial of a tuning (``scored: valid`` in its configuration) predicts the validation part alone: nobody looks at the test part.
    ``trained``: the cell's method, if a stack has fitted it.
    """

    def fill(record: dict[str, Any], seconds: dict[str, float]) -> Frames:
        work = _with(planned, chosen)
        record["tuning"] = chosen
        cohort, rows = _inputs(planned, place)
        flow = load_flow(place.landmark_folder)
        record["provenance"]["cohort"] = {"n": len(cohort), "fingerprint": cohort.fingerprint, "flow": flow}
        if trained is not None:
            record["provenance"]["stack"] = trained.members
        scored = {part: rows[part] for part in ("valid", "test") if planned.config.get("scored", part) == part}
        parts = as_stored(_predict(work, cohort, place, rows, tuple(scored), seconds, trained))
        frames = {"predictions": predictions_frame(cohort, scored, parts)}
        record["metrics"] = score_parts(cohort, scored, parts)
        if parts.fitted is not None:
            score = selection_score(cohort.outcomes[rows["valid"]], parts.base["valid"])
            record["selection"] = None if np.isnan(score) else score
        record["rectifier"] = _rectifier_record(planned, cohort, rows["test"], parts, place)
        for name in planned.config.get("probes", []):
            record["probes"][name], extra = measure(name, parts.fitted)
            frames |= {} if extra is None else {name: extra}
        return frames

    return recorded(planned, fill)


def can_stack(planned: PlannedCell, chosen: dict[str, Any] | None = None) -> bool:
    """Whether the method of a cell can be trained in a stack, and its run asked for that."""
    if not planned.config.get("stacked") or (chosen is not None and chosen["change"] is None):
        return False
    settings = _with(planned, chosen).config["method"]
    cls = registry.load(settings["class"])
    return cls.stackable(cls.Config(**settings["config"]))


def before_training(
    planned: PlannedCell, place: CellInputs, chosen: dict[str, Any] | None = None
) -> tuple[Method, tuple[Cohort, Cohort]]:
    """The method of a cell, not yet fitted, and the training and validation part that it is to be fitted to.

    Raises:
        Unsuited: no task has two classes in the training part.
    """
    work = _with(planned, chosen)
    cohort, rows = _inputs(planned, place)
    return build_method(work), _parts(work, _seen(work, cohort, place), rows)


def _inputs(planned: PlannedCell, place: CellInputs) -> tuple[Cohort, dict[str, np.ndarray]]:
    """The cohort of a cell, and its rows by part."""
    cohort = load_cohort(place.landmark_folder / "cohort")
    if planned.config.get("outcomes") == "shuffled":
        cohort = shuffle_outcomes(cohort)
    split = load_split(place.split_file)
    return cohort, dict(zip(("train", "valid", "test"), split.rows(planned.cell.fold), strict=True))


def _seen(planned: PlannedCell, cohort: Cohort, place: CellInputs) -> Cohort:
    """What the cell's method sees of the cohort: series only where it reads them."""
    if planned.cell.method == ORACLE:
        return oracle_cohort(cohort, load_known(place.landmark_folder / "known"))
    return cohort if registry.info(planned.config["method"]["class"]).uses_series else replace(cohort, series=None)


def _parts(planned: PlannedCell, cohort: Cohort, rows: dict[str, np.ndarray]) -> tuple[Cohort, Cohort]:
    train, valid = cohort.take(rows["train"]), cohort.take(rows["valid"])
    if not any(len(set(y[~np.isnan(y)].tolist())) == 2 for y in train.outcomes.T):
        raise Unsuited(f"no task has two classes in the {len(train)} training stays of fold {planned.cell.fold}")
    return train, valid


def _with(planned: PlannedCell, chosen: dict[str, Any] | None) -> PlannedCell:
    """The cell with the hyper-parameters that a tuning chose.

    Raises:
        ValueError: the tuning chose nothing, and says why.
    """
    if chosen is None:
        return planned
    if chosen["change"] is None:
        raise ValueError(f"nothing was chosen: {chosen['reason']}")
    method = planned.config["method"]
    return replace(
        planned, config={**planned.config, "method": {**method, "config": method["config"] | chosen["change"]}}
    )


def _predict(
    planned: PlannedCell,
    cohort: Cohort,
    place: CellInputs,
    rows: dict[str, np.ndarray],
    scored: tuple[str, ...],
    seconds: dict[str, float],
    trained: Trained | None,
) -> Parts:
    if not planned.config["method"]["fitted"]:
        known = load_known(place.landmark_folder / "known").predictions[planned.cell.method]
        given = {part: np.asarray(known[rows[part]]) for part in ("valid", "test")}
        return Parts(given, given, None)
    cohort = _seen(planned, cohort, place)
    clock = time.perf_counter()
    if trained is None:
        method = build_method(planned).fit(*_parts(planned, cohort, rows))
        seconds["fit"] = time.perf_counter() - clock
    elif trained.fault is not None:
        raise trained.fault
    else:
        method, seconds["fit"] = trained.method, trained.seconds
    clock = time.perf_counter()
    base = {
        part: checked(method.predict_proba(cohort.take(rows[part]).without_outcomes()), len(rows[part]), cohort.tasks)
        for part in scored
    }
    seconds["predict"] = time.perf_counter() - clock
    return replace(
        _rectify(planned, cohort, rows, base), fitted=Fitted(method, cohort, rows, planned.cell.draw_seed(), seconds)
    )


def as_stored(parts: Parts) -> Parts:
    """The probabilities in the precision of the store, so that what is scored is what anyone can score again."""
    base, final = (
        {split: p.astype(np.float32).astype(np.float64) for split, p in of.items()} for of in (parts.base, parts.final)
    )
    return replace(parts, base=base, final=final)


def build_method(planned: PlannedCell, seed: int | None = None) -> Method:
    """The method of a cell, constructed with its configuration and seed, not yet fitted."""
    settings = planned.config["method"]
    cls = registry.load(settings["class"])
    config = cls.Config(**settings["config"])
    return cls(config, planned.cell.draw_seed() if seed is None else seed, planned.config["device"])


def checked(probability: np.ndarray, n: int, tasks: tuple[str, ...]) -> np.ndarray:
    """``probability`` as float64 [n, T].

    Raises:
        ValueError: where it has another shape, is not finite or lies outside [0, 1].
    """
    probability = np.asarray(probability)
    if probability.shape != (n, len(tasks)):
        raise ValueError(f"predict_proba gave shape {probability.shape}, expected ({n}, {len(tasks)})")
    bad = ~((probability >= 0) & (probability <= 1))
    if bad.any():
        row, task = np.argwhere(bad)[0]
        raise ValueError(
            f"predict_proba gave {probability[row, task]} for {tasks[task]} in row {row}, not a probability"
        )
    return probability.astype(np.float64)


def oracle_cohort(cohort: Cohort, known: Known) -> Cohort:
    """The cohort whose only modality is the exact posterior of the latent health and the pattern, seen by nobody else."""
    features = np.asarray(known.arrays[ORACLE], dtype=np.float32)
    modality = Modality(ORACLE, features, tuple(f"f{i}" for i in range(features.shape[1])))
    return Cohort(
        name=cohort.name,
        landmark=cohort.landmark,
        patient=cohort.patient,
        modalities=(modality,),
        observed=np.ones((len(cohort), 1), dtype=bool),
        outcomes=cohort.outcomes,
        tasks=cohort.tasks,
        fingerprint=cohort.fingerprint + ORACLE,
    )


def _rectify(planned: PlannedCell, cohort: Cohort, rows: dict[str, np.ndarray], base: dict[str, np.ndarray]) -> Parts:
    how = planned.config["rectifier"]
    if how["kind"] == "off":
        return Parts(base, base, None)
    names = np.array(pattern_names(cohort.observed, cohort.modality_names))
    outcome, seed = cohort.outcomes, planned.cell.draw_seed()
    if planned.cell.protocol == "paper":
        final, did = rectify_paper(base["test"], outcome[rows["test"]], names[rows["test"]], seed, tasks=cohort.tasks)
        return Parts(base, {"valid": base["valid"], "test": final}, did)
    calibration, probability = rows["valid"], base["valid"]
    if how["calibration"] == "oof":
        calibration, probability = rows["train"], out_of_fold(planned, cohort, rows["train"], rows["valid"])
    rectifier = Rectifier("shrunk" if how["kind"] == "shrunk" else "offset", seed=seed)
    rectifier.fit(probability, outcome[calibration], names[calibration])
    final = {part: rectifier.apply(base[part], names[rows[part]]) for part in ("valid", "test")}
    return Parts(base, final, rectifier.record(cohort.tasks, base["test"], names[rows["test"]]))


def out_of_fold(planned: PlannedCell, cohort: Cohort, train: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Predictions float64 [n_train, T] of the training part, each from a fit that did not see its row."""
    part = np.random.default_rng(planned.cell.draw_seed()).permutation(len(train)) % OOF_PARTS
    probability = np.empty((len(train), len(cohort.tasks)))
    for k in range(OOF_PARTS):
        method = build_method(planned, planned.cell.draw_seed() + 1 + k).fit(
            cohort.take(train[part != k]), cohort.take(valid)
        )
        held_out = cohort.take(train[part == k]).without_outcomes()
        probability[part == k] = checked(method.predict_proba(held_out), len(held_out), cohort.tasks)
    return probability


def score_parts(cohort: Cohort, rows: dict[str, np.ndarray], parts: Parts) -> list[dict[str, Any]]:
    """The metrics of a record: every task of the ``valid`` and ``test`` rows, before and after the rectifier."""
    scored = []
    for stage, probability in (("base", parts.base), ("final", parts.final)):
        if stage == "final" and parts.rectifier is None:
            scored += [{**metric, "stage": stage} for metric in scored]
            break
        for t, task in enumerate(cohort.tasks):
            pairs = {split: _given(cohort.outcomes[rows[split], t], probability[split][:, t]) for split in rows}
            scored += [m.as_record(split, stage, task) for split, pair in pairs.items() for m in score(*pair)]
            if "test" in pairs:
                scored.append(score_recalibrated(*pairs["valid"], *pairs["test"]).as_record("test", stage, task))
    return scored


def _given(label: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a prediction; only what is known beside a cohort leaves some out."""
    given = ~np.isnan(probability)
    return label[given], probability[given]


def predictions_frame(cohort: Cohort, rows: dict[str, np.ndarray], parts: Parts) -> pd.DataFrame:
    """The predictions of the ``valid`` and ``test`` rows as the store keeps them."""
    names = np.array(pattern_names(cohort.observed, cohort.modality_names))
    frames = [
        pd.DataFrame(
            {
                "split": split,
                "row": chosen,
                "patient": cohort.patient[chosen],
                "task": task,
                "label": cohort.outcomes[chosen, t],
                "probability_base": parts.base[split][:, t],
                "probability": parts.final[split][:, t],
                "pattern": names[chosen],
            }
        )
        for split, chosen in rows.items()
        for t, task in enumerate(cohort.tasks)
    ]
    return pd.concat(frames, ignore_index=True)


def _rectifier_record(
    planned: PlannedCell, cohort: Cohort, test: np.ndarray, parts: Parts, place: CellInputs
) -> dict[str, Any] | None:
    """What the rectifier did, by task and pattern; on an embedded cohort beside what it should recover, E[y - p | pattern]."""
    if parts.rectifier is None:
        return None
    truth = load_known(place.landmark_folder / "known").arrays.get("truth_probability")
    if planned.config.get("outcomes") == "shuffled":
        truth = None
    names = np.array(pattern_names(cohort.observed[test], cohort.modality_names))
    rows = []
    for row in parts.rectifier["rows"]:
        here = names == row["pattern"]
        true = None
        if truth is not None and here.any():
            t = cohort.tasks.index(row["task"])
            true = float(np.mean(truth[test][here, t] - parts.base["test"][here, t]))
        rows.append({**row, "true_delta": true})
    return {**parts.rectifier, "kind": planned.config["rectifier"]["kind"], "rows": rows}
