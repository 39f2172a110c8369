"""The checks that must always hold (protocol), over every registered method, through the harness with the rectifier on."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.cell.inputs import CellInputs
from benchmark.cell.run_cell import run_cell
from benchmark.cell.splits import load_or_draw_split
from benchmark.check.cohorts import draw_random_cohort
from benchmark.plan.config import load_config
from benchmark.plan.rows import resolve_hyperparameters
from datasets.storage import GroundTruth, save_cohort, save_ground_truth
from methods import registry
from results.cell import Cell, PlannedCell

METHODS = sorted(registry.infos())
TEST = 0


def planned(method, fold=TEST, epochs=4):
    config = dataclasses.replace(load_config("table1", []))
    config.schedule.max_epochs = epochs
    settings, title, _ = resolve_hyperparameters(registry.load(method), config, method, "")
    cell = Cell("random", "test", "strict", method, "default", "on", "none", fold, 0)
    how = {
        "method": {"class": method, "fitted": True, "config": settings},
        "rectifier": {"kind": "hierarchical", "calibration": "valid"},
        "selection": "log_loss",
        "device": "cpu",
    }
    return PlannedCell(cell, how, {"cell": cell.name}, title)


def run(method, cohort, folder, split_file=None, fold=TEST):
    save_cohort(cohort, folder / "cohort")
    save_ground_truth(GroundTruth(), folder / "known")
    place = CellInputs(folder, split_file or load_or_draw_split(cohort, folder / "splits", 4)[1])
    record, frames = run_cell(planned(method, fold), place)
    assert record["status"] == "done", record["traceback"]
    return frames["predictions"], place.split_file


def predictions(frame):
    return frame.sort_values(["task", "split", "row"])[
        ["task", "split", "row", "probability_base", "probability"]
    ].to_numpy()


@pytest.fixture(scope="module")
def cohort():
    return draw_random_cohort(360, seed=11)


@pytest.fixture(scope="module")
def first(cohort, tmp_path_factory):
    """Each method's predictions on the cohort as it is, run once."""
    done = {}

    def of(method):
        if method not in done:
            done[method] = run(method, cohort, tmp_path_factory.mktemp("first"))
        return done[method]

    return of


@pytest.mark.parametrize("method", METHODS)
def test_changed_test_outcomes_change_no_prediction(method, cohort, first, tmp_path):
    frame, split_file = first(method)
    test = np.load(split_file)["fold"] == TEST
    outcomes = cohort.outcomes.copy()
    outcomes[test] = 1 - outcomes[test]
    again, _ = run(method, dataclasses.replace(cohort, outcomes=outcomes), tmp_path, split_file)
    np.testing.assert_array_equal(predictions(frame), predictions(again))


@pytest.mark.parametrize("method", METHODS)
def test_rows_removed_from_the_test_part_leave_the_others_as_they_were(method, cohort, first, tmp_path):
    frame, split_file = first(method)
    split = np.load(split_file)
    keep = np.flatnonzero((split["fold"] != TEST) | (np.arange(len(cohort)) % 3 == 0))
    np.savez(tmp_path / "fewer.npz", fold=split["fold"][keep], valid=split["valid"][:, keep])
    again, _ = run(method, cohort.take(keep), tmp_path, tmp_path / "fewer.npz")
    again = again.assign(row=keep[again["row"]])
    both = frame.merge(again, on=["task", "split", "row"], suffixes=("", "_again"))
    assert len(both) == len(again)
    np.testing.assert_allclose(both["probability"], both["probability_again"], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_outcomes_give_an_auc_of_a_half(method, tmp_path):
    """Pooled over folds by the mean; the bound is three standard errors of an AUC without information."""
    made = draw_random_cohort(480, seed=5, undefined=0.0, series=True)
    shuffled = dataclasses.replace(made, outcomes=made.outcomes[np.random.default_rng(1).permutation(len(made))])
    aucs, split_file = [], None
    for fold in range(4):
        frame, split_file = run(method, shuffled, tmp_path / str(fold), split_file, fold)
        test = frame[frame["split"] == "test"]
        aucs += [roc_auc_score(part["label"], part["probability"]) for _, part in test.groupby("task", observed=True)]
    positives = np.nansum(made.outcomes, axis=0).mean()
    error = np.sqrt((len(made) / 4 + 1) / (12 * (positives / 4) * ((len(made) - positives) / 4)) / len(aucs))
    assert abs(np.mean(aucs) - 0.5) < 3 * error * np.sqrt(2)
