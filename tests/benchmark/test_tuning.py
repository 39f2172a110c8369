"""Nested tuning: which candidates there are, which trials follow, what is chosen, and that nobody looks at the test part meanwhile."""

import dataclasses
import json

import pandas as pd
import pytest

from benchmark.cell.run_cell import run_cell
from benchmark.cell.splits import load_or_draw_split
from benchmark.check.cohorts import draw_random_cohort
from benchmark.plan import tuning
from benchmark.plan.tuning import Budget, choose_candidate, list_candidates, list_first_trials, list_further_trials
from datasets.storage import GroundTruth, save_cohort, save_ground_truth
from methods import registry
from methods.base import Method
from methods.common.outcomes import selection_score
from results.cell import Cell, PlannedCell
from results.storage.store import Store
from tests.benchmark.conftest import SMALL
from tests.stores import record_of


@dataclasses.dataclass(frozen=True)
class Config:
    lr: float = 0.1
    size: int = 2

    def __post_init__(self):
        if self.size == 4 and self.lr > 0.15:
            raise ValueError("too large together")


class Tuned(Method):
    Config = Config
    grid = {"lr": [0.1, 0.2], "size": [1, 2, 4]}  # noqa: RUF012


def test_candidates_are_the_grid_without_what_is_set_and_what_cannot_be():
    base = {"lr": 0.1, "size": 2}
    found = list_candidates(Tuned, base, (), Budget("grid"))
    assert found == [{"lr": a, "size": b} for a in (0.1, 0.2) for b in (1, 2, 4) if (a, b) != (0.2, 4)]
    assert list_candidates(Tuned, base, {"size"}, Budget("grid")) == [{"lr": 0.1}, {"lr": 0.2}]
    assert list_candidates(Tuned, base, {"size", "lr"}, Budget("grid")) == []
    assert list_candidates(Tuned, base, (), Budget()) == []


def test_the_schedule_scales_the_learning_rates_of_the_grid_like_the_default():
    found = list_candidates(Tuned, {"lr": 0.1 * 1.4142, "size": 2}, {"size"}, Budget("grid"))
    assert [c["lr"] for c in found] == pytest.approx([0.14142, 0.28284])


def test_a_random_part_is_of_the_grid_and_the_same_each_time():
    base = {"lr": 0.1, "size": 2}
    whole = list_candidates(Tuned, base, (), Budget("grid"))
    some = list_candidates(Tuned, base, (), Budget("random", 3))
    assert len(some) == 3
    assert [c for c in whole if c in some] == some
    assert list_candidates(Tuned, base, (), Budget("random", 3)) == some
    assert list_candidates(Tuned, base, (), Budget("random", 50)) == whole


@pytest.mark.parametrize("method", sorted(registry.infos()))
def test_every_grid_names_fields_and_values_that_the_method_takes(method):
    cls = registry.load(method)
    found = list_candidates(cls, dataclasses.asdict(cls.Config()), (), Budget("grid"))
    assert bool(found) == bool(cls.grid)
    assert set(cls.grid) <= {f.name for f in dataclasses.fields(cls.Config)}


def planned(draws=True, changes=({"size": 1}, {"size": 2}, {"size": 3}, {"size": 4}), fold=0):
    cell = Cell("d", "icu_24h", "strict", "m", "default", "on", "grid", fold, 3)
    settings = {
        "method": {"class": "logistic", "fitted": True, "config": {"size": 2}},
        "rectifier": {"kind": "hierarchical", "calibration": "valid"},
        "selection": "log_loss",
        "device": "cpu",
        "tuning": tuning.make_rules(list(changes), draws),
    }
    parts = {"cell": cell.name, "config": "c", "cohort": "f", "split": "s", "source": "x"}
    return PlannedCell(cell, settings, parts, "M")


def stored(store, trials, scores):
    """Trials of ``planned`` stored with scores by size and seed; None = failed."""
    for trial in trials:
        score = scores[trial.config["method"]["config"]["size"]][trial.cell.seed]
        record = record_of(trial, "failed" if score is None else "done", [], None if score else "out of memory")
        store.write(trial, record | {"selection": score}, {})


def test_the_best_three_get_two_more_seeds_and_the_best_mean_wins(tmp_path):
    store, cell = Store(tmp_path), planned()
    scores = {1: (0.7, 0.7, 0.7), 2: (0.9, 0.5, 0.4), 3: (0.8, 0.8, 0.8), 4: (0.1, 1.0, 1.0)}
    stored(store, list_first_trials(cell), scores)
    further = list_further_trials(cell, store)
    assert {(t.config["method"]["config"]["size"], t.cell.seed) for t in further} == {
        (size, seed) for size in (1, 2, 3) for seed in (1, 2)
    }
    stored(store, further, scores)
    choice = choose_candidate(cell, store)
    assert choice["change"] == {"size": 3}
    assert choice["score"] == pytest.approx(0.8)
    assert (choice["trials"], choice["failed"], choice["candidates"], choice["seeds"]) == (10, 0, 4, 3)
    json.dumps(choice, allow_nan=False)


def test_a_failed_trial_loses_and_where_all_fail_nothing_is_chosen(tmp_path):
    store, cell = Store(tmp_path), planned()
    scores = {1: (None,) * 3, 2: (0.6, None, 0.9), 3: (0.5, 0.5, 0.5), 4: (None,) * 3}
    stored(store, list_first_trials(cell), scores)
    stored(store, list_further_trials(cell, store), scores)
    choice = choose_candidate(cell, store)
    assert (choice["change"], choice["failed"]) == ({"size": 3}, 3)

    other = planned(changes=({"size": 4}, {"size": 1}), fold=1)
    stored(store, list_first_trials(other), scores)
    assert list_further_trials(other, store) == []
    choice = choose_candidate(other, store)
    assert choice["change"] is None
    assert "out of memory" in choice["reason"]


def test_a_method_that_draws_nothing_is_tried_once(tmp_path):
    store, cell = Store(tmp_path), planned(draws=False)
    stored(store, list_first_trials(cell), {1: (0.7,), 2: (0.9,), 3: (0.9,), 4: (0.1,)})
    assert list_further_trials(cell, store) == []
    assert choose_candidate(cell, store)["change"] == {"size": 2}, "equals go by the grid's order"


def test_trials_are_shared_by_seeds_and_rectifiers_and_draw_alike():
    cell = planned()
    other = dataclasses.replace(cell, cell=dataclasses.replace(cell.cell, seed=4, rectifier="off"))
    assert [t.key for t in list_first_trials(cell)] == [t.key for t in list_first_trials(other)]
    assert len({t.key for t in list_first_trials(cell)}) == 4
    assert len({t.cell.draw_seed() for t in list_first_trials(cell)}) == 1
    assert list_first_trials(cell)[0].cell.draw_seed() != cell.cell.draw_seed()
    shrunk = dataclasses.replace(
        cell, config={**cell.config, "rectifier": {**cell.config["rectifier"], "kind": "shrunk"}}
    )
    assert [t.key for t in list_first_trials(shrunk)] == [t.key for t in list_first_trials(cell)]
    assert {t.config["rectifier"]["kind"] for t in list_first_trials(cell)} == {"off"}
    probing = dataclasses.replace(cell, config={**cell.config, "probes": ["drop"]})
    assert [t.key for t in list_first_trials(probing)] == [t.key for t in list_first_trials(cell)]


@pytest.fixture
def place(tmp_path):
    from benchmark.cell.inputs import CellInputs

    cohort = draw_random_cohort(240, seed=3)
    save_cohort(cohort, tmp_path / "l" / "cohort")
    save_ground_truth(GroundTruth(), tmp_path / "l" / "known")
    return CellInputs(tmp_path / "l", load_or_draw_split(cohort, tmp_path / "splits", 3)[1])


def real(selection="log_loss"):
    cell = Cell("d", "l", "strict", "logistic", "default", "off", "grid", 0, 0)
    cls = registry.load("logistic")
    changes = [{"penalties": [1e-3]}, {"penalties": [10.0]}]
    settings = {
        "method": {"class": "logistic", "fitted": True, "config": dataclasses.asdict(cls.Config())},
        "rectifier": {"kind": "off", "calibration": "valid"},
        "selection": selection,
        "device": "cpu",
        "tuning": tuning.make_rules(changes, False),
    }
    return PlannedCell(cell, settings, {"cell": cell.name}, "Logistic"), changes


@pytest.mark.parametrize("selection", ["auc", "log_loss"])
def test_a_trial_predicts_the_validation_part_alone(place, selection):
    cell, _ = real(selection)
    record, frames = run_cell(list_first_trials(cell)[0], place)
    assert record["status"] == "done", record["traceback"]
    assert set(frames["predictions"]["split"]) == {"valid"}
    assert {m["split"] for m in record["metrics"]} == {"valid"}
    wide = frames["predictions"].pivot_table(
        index="row", columns="task", values=["label", "probability_base"], dropna=False
    )
    label, probability = wide["label"].to_numpy(float), wide["probability_base"].to_numpy(float)
    assert record["selection"] == pytest.approx(selection_score(label, probability, selection))
    assert (record["selection"] > 0) == (selection == "auc")


def test_a_tuned_cell_is_fitted_with_what_was_chosen(place):
    cell, changes = real()
    predicted = {}
    for name, change in {"first": changes[0], "second": changes[1]}.items():
        record, frames = run_cell(cell, place, {"change": change})
        assert record["tuning"]["change"] == change
        predicted[name] = frames["predictions"]["probability"]
    assert predicted["first"].std() < predicted["second"].std(), (
        "C, the inverse of the penalty, is larger in the second"
    )
    record, frames = run_cell(cell, place, {"change": None, "reason": "every trial failed"})
    assert (record["status"], frames) == ("failed", {})
    assert "every trial failed" in record["reason"]


def test_a_tuned_run_is_stored_reused_and_reported(cli, tmp_path):
    chosen = (*SMALL, "landmark=icu_24h", "known=none", "method=logistic")
    status, _, err = cli("run", "table1", *chosen, "tuning=random", "budget=2", "seeds=2")
    assert status == 0, err
    assert "4 cells, 0 done before, 4 to do after 4 trials" in err
    assert cli("report", "table1")[0] == 0
    tuned = pd.read_csv(tmp_path / "out" / "table1_tuning.csv")
    assert len(tuned) == 2
    assert set(tuned["candidates"]) == {2}
    assert tuned["chosen"].str.contains("penalties=").all()
    assert "2 candidates a method" in (tmp_path / "out" / "table1.html").read_text()

    status, _, err = cli("run", "table1", *chosen, "tuning=grid")
    trials = 2 * len(registry.load("logistic").grid["penalties"])
    assert f"2 to do after {trials - 4} trials" in err
    status, _, err = cli("run", "table1", *chosen, "tuning=grid")
    assert (status, "2 done before, 0 to do" in err) == (0, True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["table1", "tuning=random"], "tuning=random needs budget=N"),
        (["table1", "tuning=grid", "budget=3"], "tuning=random needs budget=N"),
        (["table1", "tuning=random", "budget=0"], "budget=0 is too small"),
        (["table1", "tuning=grid", "dataset=eicu-demo"], "validation parts hold a dozen events"),
        (["table4", "tuning=grid"], "varies hyper-parameters itself"),
    ],
)
def test_a_tuning_that_cannot_be_is_refused_in_one_line(cli, argv, message):
    status, _, err = cli("run", *argv)
    assert status == 2
    assert message in err
