"""One cell: fit on the training part, predict, rectify, score.

No method is given the outcomes of test rows, but under step A1 of the audit (``benchmark/audit/unit.py``). They are read after the
prediction: here, by the probes, by the audit, and by the paper's rectifier, which is fitted on them. What is known of the truth reaches
one method alone, the gradient boosting of the row ``oracle_features``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from benchmark.cell.inputs import CellInputs
from benchmark.cell.probes import Fitted, measure
from benchmark.cell.record import Frames, run_and_record
from benchmark.cell.shuffled import shuffle_outcomes
from benchmark.cell.splits import load_split
from datasets.cohort import Cohort, Modality, name_patterns
from datasets.storage import GroundTruth, load_cohort, load_flow, load_ground_truth
from methods import registry
from methods.base import Method, NotApplicable
from methods.common.outcomes import selection_score
from methods.common.rectifier import Rectifier, rectify_paper
from results.cell import PlannedCell
from results.metrics.scores import score, score_recalibrated

ORACLE = "oracle_features"
OOF_PARTS = 5


@dataclass(frozen=True, eq=False)
class CellPredictions:
    """Probabilities float64 [n, T] of the validation and test part, before (``base``) and after the rectifier (``final``), the record of
    the rectifier, and the fitted method (None where nothing was fitted)."""

    base: dict[str, np.ndarray]
    final: dict[str, np.ndarray]
    rectifier: dict[str, Any] | None
    fitted: Fitted | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """A method that a stack has fitted, or the fault that kept it from being fitted; the stack's cells, and its share of the seconds."""

    method: Method | None
    fault: Exception | None
    members: list[str]
    seconds: float


def run_cell(
    planned: PlannedCell, inputs: CellInputs, chosen: dict[str, Any] | None = None, trained: Trained | None = None
) -> tuple[dict[str, Any], Frames]:
    """Run a cell; return its record and its frames by name: ``predictions`` and those of its probes, none where it failed or was skipped.

    A method's fault is recorded, never raised.

    ``chosen``: what a tuning chose, as ``benchmark.plan.tuning.choose_candidate`` gives it; its hyper-parameters take the place of the
    planned ones. A trial of a tuning (``scored: valid`` in its configuration) predicts the validation part alone, never the test part.
    ``trained``: the cell's method, if a stack has fitted it.
    """

    def fill(record: dict[str, Any], seconds: dict[str, float]) -> Frames:
        work = _apply_choice(planned, chosen)
        record["tuning"] = chosen
        cohort, rows = _load_inputs(planned, inputs)
        flow = load_flow(inputs.landmark_folder)
        record["provenance"]["cohort"] = {"n": len(cohort), "fingerprint": cohort.fingerprint, "flow": flow}
        if trained is not None:
            record["provenance"]["stack"] = trained.members
        scored = {part: rows[part] for part in ("valid", "test") if planned.config.get("scored", part) == part}
        parts = round_as_stored(_predict(work, cohort, inputs, rows, tuple(scored), seconds, trained))
        frames = {"predictions": build_predictions_frame(cohort, scored, parts)}
        record["metrics"] = score_predictions(cohort, scored, parts)
        if parts.fitted is not None:
            score = selection_score(cohort.outcomes[rows["valid"]], parts.base["valid"], planned.config["selection"])
            record["selection"] = None if np.isnan(score) else score
            record["fit_report"] = _read_fit_report(parts.fitted.method)
        record["rectifier"] = _record_rectifier(planned, cohort, rows["test"], parts, inputs)
        for name in planned.config.get("probes", []):
            record["probes"][name], extra = measure(name, parts.fitted)
            frames |= {} if extra is None else {name: extra}
        return frames

    return run_and_record(planned, fill)


def _read_fit_report(method: Method) -> dict[str, float]:
    """Return what the fitted method says of its fit.

    Raises:
        ValueError: a number is not finite.
    """
    report = {name: float(value) for name, value in method.fit_report().items()}
    for name, value in report.items():
        if not np.isfinite(value):
            raise ValueError(f"{type(method).__name__}.fit_report gave {value} for {name!r}; it must be finite")
    return report


def can_stack(planned: PlannedCell, chosen: dict[str, Any] | None = None) -> bool:
    """Return whether the method of a cell can be trained in a stack and the cell's configuration asks for that."""
    if not planned.config.get("stacked") or (chosen is not None and chosen["change"] is None):
        return False
    settings = _apply_choice(planned, chosen).config["method"]
    cls = registry.load(settings["class"])
    return cls.stackable(cls.Config(**settings["config"]))


def prepare_training(
    planned: PlannedCell, inputs: CellInputs, chosen: dict[str, Any] | None = None
) -> tuple[Method, tuple[Cohort, Cohort]]:
    """Return the method of a cell, not yet fitted, and the training and validation part that it is to be fitted to.

    Raises:
        NotApplicable: no task has two classes in the training part.
    """
    work = _apply_choice(planned, chosen)
    cohort, rows = _load_inputs(planned, inputs)
    return build_method(work), _take_training_parts(work, _restrict_inputs(work, cohort, inputs), rows)


def _load_inputs(planned: PlannedCell, inputs: CellInputs) -> tuple[Cohort, dict[str, np.ndarray]]:
    """Return the cohort of a cell, and its rows by part."""
    cohort = load_cohort(inputs.landmark_folder / "cohort")
    if planned.config.get("outcomes") == "shuffled":
        cohort = shuffle_outcomes(cohort)
    split = load_split(inputs.split_file)
    return cohort, dict(zip(("train", "valid", "test"), split.rows(planned.cell.fold), strict=True))


def _restrict_inputs(planned: PlannedCell, cohort: Cohort, inputs: CellInputs) -> Cohort:
    """Return the cohort as the cell's method sees it: series only where the method reads them."""
    if planned.cell.method == ORACLE:
        return build_oracle_cohort(cohort, load_ground_truth(inputs.landmark_folder / "known"))
    return cohort if registry.info(planned.config["method"]["class"]).uses_series else replace(cohort, series=None)


def _take_training_parts(planned: PlannedCell, cohort: Cohort, rows: dict[str, np.ndarray]) -> tuple[Cohort, Cohort]:
    train, valid = cohort.take(rows["train"]), cohort.take(rows["valid"])
    if not any(len(set(y[~np.isnan(y)].tolist())) == 2 for y in train.outcomes.T):
        raise NotApplicable(f"no task has two classes in the {len(train)} training stays of fold {planned.cell.fold}")
    return train, valid


def _apply_choice(planned: PlannedCell, chosen: dict[str, Any] | None) -> PlannedCell:
    """Return the cell with the hyper-parameters that a tuning chose.

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
    inputs: CellInputs,
    rows: dict[str, np.ndarray],
    scored: tuple[str, ...],
    seconds: dict[str, float],
    trained: Trained | None,
) -> CellPredictions:
    if not planned.config["method"]["fitted"]:
        known = load_ground_truth(inputs.landmark_folder / "known").predictions[planned.cell.method]
        given = {part: np.asarray(known[rows[part]]) for part in ("valid", "test")}
        return CellPredictions(given, given, None)
    cohort = _restrict_inputs(planned, cohort, inputs)
    clock = time.perf_counter()
    if trained is None:
        method = build_method(planned).fit(*_take_training_parts(planned, cohort, rows))
        seconds["fit"] = time.perf_counter() - clock
    elif trained.fault is not None:
        raise trained.fault
    else:
        method, seconds["fit"] = cast(Method, trained.method), trained.seconds
    clock = time.perf_counter()
    base = {
        part: validate_probabilities(
            method.predict_proba(cohort.take(rows[part]).without_outcomes()),
            len(rows[part]),
            cohort.tasks,
            type(method).__name__,
        )
        for part in scored
    }
    seconds["predict"] = time.perf_counter() - clock
    return replace(
        _rectify(planned, cohort, rows, base), fitted=Fitted(method, cohort, rows, planned.cell.draw_seed(), seconds)
    )


def round_as_stored(parts: CellPredictions) -> CellPredictions:
    """Round the probabilities to the precision of the store, so that anyone can compute the same scores from it."""
    base, final = (
        {split: p.astype(np.float32).astype(np.float64) for split, p in of.items()} for of in (parts.base, parts.final)
    )
    return replace(parts, base=base, final=final)


def build_method(planned: PlannedCell, seed: int | None = None) -> Method:
    """Return the method of a cell, constructed with its configuration and seed, not yet fitted."""
    settings = planned.config["method"]
    cls = registry.load(settings["class"])
    config = cls.Config(**settings["config"])
    return cls(config, planned.cell.draw_seed() if seed is None else seed, planned.config["device"])


def validate_probabilities(probability: np.ndarray, n: int, tasks: tuple[str, ...], method: str) -> np.ndarray:
    """Return ``probability`` as float64 [n, T].

    Raises:
        ValueError: where it has another shape, is not finite or lies outside [0, 1].
    """
    probability = np.asarray(probability)
    if probability.shape != (n, len(tasks)):
        raise ValueError(f"{method}.predict_proba gave shape {probability.shape}, expected ({n}, {len(tasks)})")
    bad = ~((probability >= 0) & (probability <= 1))
    if bad.any():
        row, task = np.argwhere(bad)[0]
        raise ValueError(
            f"{method}.predict_proba gave {probability[row, task]} for {tasks[task]} in row {row}, not a probability"
        )
    return probability.astype(np.float64)


def build_oracle_cohort(cohort: Cohort, known: GroundTruth) -> Cohort:
    """Return the cohort whose only modality is the exact posterior of the latent health and the pattern, which no other row sees."""
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


def _rectify(
    planned: PlannedCell, cohort: Cohort, rows: dict[str, np.ndarray], base: dict[str, np.ndarray]
) -> CellPredictions:
    how = planned.config["rectifier"]
    if how["kind"] == "off":
        return CellPredictions(base, base, None)
    names = np.array(name_patterns(cohort.observed, cohort.modality_names))
    outcome, seed = cohort.outcomes, planned.cell.draw_seed()
    if planned.cell.protocol == "paper":
        corrected, did = rectify_paper(
            base["test"], outcome[rows["test"]], names[rows["test"]], seed, tasks=cohort.tasks
        )
        return CellPredictions(base, {"valid": base["valid"], "test": corrected}, did)
    calibration, probability = rows["valid"], base["valid"]
    if how["calibration"] == "oof":
        calibration, probability = rows["train"], predict_out_of_fold(planned, cohort, rows["train"], rows["valid"])
    size = cohort.observed.sum(axis=1)
    rectifier = Rectifier(how["kind"], seed=seed, tasks=cohort.tasks)
    rectifier.fit(probability, outcome[calibration], names[calibration], size[calibration])
    final = {part: rectifier.apply(base[part], names[rows[part]], size[rows[part]]) for part in ("valid", "test")}
    record = rectifier.record(cohort.tasks, base["test"], names[rows["test"]], size[rows["test"]])
    return CellPredictions(base, final, record)


def predict_out_of_fold(planned: PlannedCell, cohort: Cohort, train: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return predictions float64 [n_train, T] of the training part, each from a fit that did not see its row."""
    part = np.random.default_rng(planned.cell.draw_seed()).permutation(len(train)) % OOF_PARTS
    probability = np.empty((len(train), len(cohort.tasks)))
    for k in range(OOF_PARTS):
        # a seed of its own for each part, none that of the cell
        method = build_method(planned, planned.cell.draw_seed() + 1 + k).fit(
            cohort.take(train[part != k]), cohort.take(valid)
        )
        held_out = cohort.take(train[part == k]).without_outcomes()
        probability[part == k] = validate_probabilities(
            method.predict_proba(held_out), len(held_out), cohort.tasks, type(method).__name__
        )
    return probability


def score_predictions(cohort: Cohort, rows: dict[str, np.ndarray], parts: CellPredictions) -> list[dict[str, Any]]:
    """Return the metrics of a record: of every task of the ``valid`` and ``test`` rows, before and after the rectifier."""
    scored: list[dict[str, Any]] = []
    for stage, probability in (("base", parts.base), ("final", parts.final)):
        if stage == "final" and parts.rectifier is None:
            scored += [{**metric, "stage": stage} for metric in scored]
            break
        for t, task in enumerate(cohort.tasks):
            pairs = {
                split: _drop_unpredicted(cohort.outcomes[rows[split], t], probability[split][:, t]) for split in rows
            }
            scored += [m.as_record(split, stage, task) for split, pair in pairs.items() for m in score(*pair)]
            if "test" in pairs:
                scored.append(score_recalibrated(*pairs["valid"], *pairs["test"]).as_record("test", stage, task))
    return scored


def _drop_unpredicted(label: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that have a prediction; only reference predictions, such as APACHE's, leave some out."""
    given = ~np.isnan(probability)
    return label[given], probability[given]


def build_predictions_frame(cohort: Cohort, rows: dict[str, np.ndarray], parts: CellPredictions) -> pd.DataFrame:
    """Return the predictions of the ``valid`` and ``test`` rows as the store keeps them."""
    names = np.array(name_patterns(cohort.observed, cohort.modality_names))
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


def _record_rectifier(
    planned: PlannedCell, cohort: Cohort, test: np.ndarray, parts: CellPredictions, inputs: CellInputs
) -> dict[str, Any] | None:
    """Return the rectifier's offsets by task and pattern; on a synthetic cohort with what they should recover, E[y - p | pattern]."""
    if parts.rectifier is None:
        return None
    truth = load_ground_truth(inputs.landmark_folder / "known").arrays.get("truth_probability")
    if planned.config.get("outcomes") == "shuffled":
        truth = None
    names = np.array(name_patterns(cohort.observed[test], cohort.modality_names))
    rows = []
    for row in parts.rectifier["rows"]:
        here = names == row["pattern"]
        true = None
        if truth is not None and here.any():
            t = cohort.tasks.index(row["task"])
            true = float(np.mean(truth[test][here, t] - parts.base["test"][here, t]))
        rows.append({**row, "true_delta": true})
    return {**parts.rectifier, "kind": planned.config["rectifier"]["kind"], "rows": rows}
