"""One cell, with methods made to misbehave: what the harness lets through and what it does not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmark.cell import run_cell as module
from benchmark.cell.inputs import CellInputs
from benchmark.cell.run_cell import ORACLE, run_cell, validate_probabilities
from benchmark.cell.splits import load_or_draw_split, load_split
from benchmark.check.cohorts import draw_random_cohort
from datasets.cohort import name_patterns
from datasets.storage import GroundTruth, save_cohort, save_ground_truth
from methods import registry
from methods.base import Method, NotApplicable
from results.cell import Cell, PlannedCell
from results.metrics.scores import score_recalibrated


class Prevalence(Method):
    """The training prevalence, moved by the pattern's size so that rows differ."""

    def fit(self, train, valid):
        self.rate = np.nanmean(train.outcomes, axis=0)
        self.valid = valid
        return self

    def predict_proba(self, cohort):
        assert np.isnan(cohort.outcomes).all(), "test outcomes in reach"
        shift = 0.05 * cohort.observed.sum(axis=1, keepdims=True) / cohort.observed.shape[1]
        return np.clip(self.rate + shift, 0, 1)


def place_for(folder, cohort, known=None):
    save_cohort(cohort, folder / "cohort")
    save_ground_truth(known or GroundTruth(), folder / "known")
    return CellInputs(folder, load_or_draw_split(cohort, folder / "splits", 2)[1])


def planned(method="made", rectifier="off", protocol="strict", fitted=True, calibration="valid", fold=0, seed=0):
    cell = Cell("made", "icu_24h", protocol, method, "default", rectifier, "none", fold, seed)
    kind = "hierarchical" if (rectifier, protocol) == ("on", "strict") else rectifier
    config = {
        "method": {"class": method, "fitted": fitted, "config": {}},
        "rectifier": {"kind": kind, "calibration": calibration},
        "selection": "log_loss",
        "device": "cpu",
    }
    return PlannedCell(cell, config, {"cell": cell.name}, "Made")


@pytest.fixture
def cohort():
    return draw_random_cohort(240, seed=3)


@pytest.fixture
def place(tmp_path, cohort):
    return place_for(tmp_path / "a", cohort)


def use(monkeypatch, cls, uses_series=False):
    info = registry.Info("made", "Made", "none", 2026, "made", "nothing", uses_series=uses_series, file=Path(__file__))
    monkeypatch.setattr(module.registry, "load", lambda name: cls)
    monkeypatch.setattr(module.registry, "info", lambda name: info)


def test_a_record_and_its_predictions(monkeypatch, place, cohort):
    use(monkeypatch, Prevalence)
    record, frames = run_cell(planned(), place)
    frame = frames["predictions"]
    assert record["status"] == "done", record["traceback"]
    assert {m["stage"] for m in record["metrics"]} == {"base", "final"}
    assert record["rectifier"] is None
    assert set(frame["split"]) == {"valid", "test"}
    np.testing.assert_array_equal(frame["probability"], frame["probability_base"])
    test = frame[(frame["split"] == "test") & (frame["task"] == cohort.tasks[0])]
    np.testing.assert_array_equal(test["label"], cohort.outcomes[test["row"], 0])
    assert record["provenance"]["seconds"]["total"] > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda p: p + 1, "not a probability"),
        (lambda p: np.full_like(p, np.nan), "not a probability"),
        (lambda p: p[:, :1], "Wrong.predict_proba gave shape"),
        (lambda p: p[:-1], "Wrong.predict_proba gave shape"),
    ],
)
def test_what_is_not_a_probability_fails_the_cell(monkeypatch, place, wrong, message):
    class Wrong(Prevalence):
        def predict_proba(self, cohort):
            return wrong(super().predict_proba(cohort))

    use(monkeypatch, Wrong)
    record, frames = run_cell(planned(), place)
    assert (record["status"], frames, record["metrics"]) == ("failed", {}, [])
    assert message in record["reason"]
    assert "Traceback" in record["traceback"]
    assert "\n" not in record["reason"]


def test_no_task_with_two_classes_is_a_skip(monkeypatch, tmp_path, cohort):
    use(monkeypatch, Prevalence)
    one = dataclasses.replace(cohort, outcomes=np.zeros_like(cohort.outcomes), fingerprint="")
    record, frames = run_cell(planned(), place_for(tmp_path / "one", one))
    assert (record["status"], frames) == ("skipped", {})
    assert "no task has two classes" in record["reason"]


def test_a_method_that_says_it_does_not_suit_the_cohort_is_a_skip(monkeypatch, place):
    class Fussy(Prevalence):
        def fit(self, train, valid):
            raise NotApplicable("fussy reads series, and this cohort has none")

    use(monkeypatch, Fussy)
    record, frames = run_cell(planned(), place)
    assert (record["status"], frames) == ("skipped", {})
    assert record["reason"] == "fussy reads series, and this cohort has none"


def test_one_task_with_one_class_has_no_auc_and_says_why(monkeypatch, tmp_path, cohort):
    use(monkeypatch, Prevalence)
    outcomes = cohort.outcomes.copy()
    outcomes[:, 0] = 0
    record, _ = run_cell(
        planned(), place_for(tmp_path / "one", dataclasses.replace(cohort, outcomes=outcomes, fingerprint=""))
    )
    metrics = {(m["task"], m["metric"]): m for m in record["metrics"] if m["split"] == "test" and m["stage"] == "final"}
    assert metrics[cohort.tasks[0], "auc"]["value"] is None
    assert "one class" in metrics[cohort.tasks[0], "auc"]["reason"]
    assert metrics[cohort.tasks[1], "auc"]["value"] is not None


@pytest.mark.parametrize(
    ("rectifier", "calibration"), [("on", "valid"), ("on", "oof"), ("offset", "valid"), ("shrunk", "valid")]
)
def test_the_strict_rectifier_never_reads_test_outcomes(monkeypatch, tmp_path, cohort, rectifier, calibration):
    use(monkeypatch, Prevalence)
    how = planned(rectifier=rectifier, calibration=calibration)
    place = place_for(tmp_path / "a", cohort)
    test = np.load(place.split_file)["fold"] == 0
    changed = cohort.outcomes.copy()
    changed[test] = 1 - changed[test]
    other = place_for(tmp_path / "b", dataclasses.replace(cohort, outcomes=changed, fingerprint=cohort.fingerprint))
    other = CellInputs(other.landmark_folder, place.split_file)
    first, second = run_cell(how, place)[1]["predictions"], run_cell(how, other)[1]["predictions"]
    np.testing.assert_array_equal(first["probability"], second["probability"])
    assert (first["label"].fillna(-1) != second["label"].fillna(-1)).any()


@pytest.mark.parametrize(("calibration", "part"), [("valid", "valid"), ("oof", "train")])
@pytest.mark.parametrize("rectifier", ["on", "offset", "shrunk"])
def test_the_strict_rectifier_is_fitted_on_the_calibration_rows(
    monkeypatch, place, cohort, rectifier, calibration, part
):
    use(monkeypatch, Prevalence)
    given = []

    class Spy(module.Rectifier):
        def fit(self, probability, label, pattern, size):
            given.append((self.kind, self.tasks, self.seed, label, pattern, size))
            return super().fit(probability, label, pattern, size)

    monkeypatch.setattr(module, "Rectifier", Spy)
    how = planned(rectifier=rectifier, calibration=calibration, fold=1, seed=3)
    record, _ = run_cell(how, place)
    assert record["status"] == "done", record["traceback"]
    [(kind, tasks, seed, label, pattern, size)] = given
    assert seed == how.cell.draw_seed() != planned().cell.draw_seed()
    kind_of = {"on": "hierarchical"}.get(rectifier, rectifier)
    assert (kind, tasks, record["rectifier"]["kind"]) == (kind_of, cohort.tasks, kind_of)
    rows = dict(zip(("train", "valid", "test"), load_split(place.split_file).rows(1), strict=True))[part]
    np.testing.assert_array_equal(label, cohort.outcomes[rows])
    np.testing.assert_array_equal(size, cohort.observed[rows].sum(axis=1))
    assert pattern.tolist() == name_patterns(cohort.observed[rows], cohort.modality_names)


def test_the_papers_rectifier_reads_other_test_outcomes_and_is_recorded(monkeypatch, place):
    use(monkeypatch, Prevalence)
    record, frames = run_cell(planned(rectifier="on", protocol="paper"), place)
    frame = frames["predictions"]
    assert record["rectifier"]["protocol"] == "paper"
    assert record["rectifier"]["rows"]
    assert record["rectifier"]["rows"][0]["true_delta"] is None
    valid = frame[frame["split"] == "valid"]
    np.testing.assert_array_equal(valid["probability"], valid["probability_base"])


def test_rectified_and_not_share_the_base_prediction(monkeypatch, place):
    class Drawn(Prevalence):
        def predict_proba(self, cohort):
            return np.random.default_rng(self.seed).random((len(cohort), len(cohort.tasks)))

    use(monkeypatch, Drawn)
    on, off = (run_cell(planned(rectifier=kind), place)[1]["predictions"] for kind in ("on", "off"))
    np.testing.assert_array_equal(on["probability_base"], off["probability_base"])


def test_what_is_known_is_scored_where_it_is_given(tmp_path, cohort):
    given = np.full(cohort.outcomes.shape, np.nan)
    given[::2] = 0.25
    place = place_for(tmp_path / "k", cohort, GroundTruth({"apache_iva": given}))
    record, frames = run_cell(planned("apache_iva", fitted=False), place)
    frame = frames["predictions"]
    assert record["status"] == "done", record["traceback"]
    test = frame[(frame["split"] == "test") & (frame["task"] == cohort.tasks[1])].dropna(
        subset=["label", "probability"]
    )
    brier = next(
        m for m in record["metrics"] if m["metric"] == "brier" and m["task"] == cohort.tasks[1] and m["split"] == "test"
    )
    assert (brier["n"], brier["value"]) == (len(test), pytest.approx(np.mean((test["label"] - 0.25) ** 2)))
    assert set(test["row"] % 2) == {0}


class TooLow(Prevalence):
    """Half of the prevalence, so that a rectifier has something to correct."""

    def predict_proba(self, cohort):
        return super().predict_proba(cohort) / 2


@pytest.mark.parametrize("rectifier", ["offset", "shrunk"])
def test_the_truth_beside_the_rectifier(monkeypatch, tmp_path, cohort, rectifier):
    use(monkeypatch, TooLow)
    truth = np.random.default_rng(0).random(cohort.outcomes.shape)
    place = place_for(tmp_path / "k", cohort, GroundTruth(arrays={"truth_probability": truth}))
    record, frames = run_cell(
        planned(rectifier=rectifier, calibration="oof"), place
    )  # more rows than the validation part has
    frame = frames["predictions"]
    test = frame[(frame["split"] == "test") & (frame["task"] == cohort.tasks[0])]
    moved = (test["probability"] - test["probability_base"]).abs().groupby(test["pattern"]).mean()
    pattern = moved.idxmax()
    assert moved[pattern] > 0.01  # else the truth beside the base prediction is that beside the final one
    here = test[test["pattern"] == pattern]
    row = next(r for r in record["rectifier"]["rows"] if (r["task"], r["pattern"]) == (cohort.tasks[0], pattern))
    true = truth[here["row"], 0].mean() - here["probability_base"].mean()
    assert (row["n_test"], row["true_delta"]) == (len(here), pytest.approx(true))


@pytest.mark.parametrize("declared", [True, False])
def test_only_a_method_that_declares_it_gets_the_series(monkeypatch, place, declared):
    seen = []

    class Look(Prevalence):
        def fit(self, train, valid):
            seen.extend([train.series, valid.series])
            return super().fit(train, valid)

        def predict_proba(self, cohort):
            seen.append(cohort.series)
            return super().predict_proba(cohort)

    use(monkeypatch, Look, uses_series=declared)
    assert run_cell(planned(), place)[0]["status"] == "done"
    assert [series is not None for series in seen] == [declared] * 4


def test_oracle_features_are_all_that_the_oracle_row_sees(monkeypatch, tmp_path, cohort):
    seen = []

    class Look(Prevalence):
        def fit(self, train, valid):
            seen.append((train.modality_names, train.modalities[0].width))
            return super().fit(train, valid)

    use(monkeypatch, Look)
    known = GroundTruth(arrays={ORACLE: np.zeros((len(cohort), 7), np.float32)})
    record, _ = run_cell(planned(ORACLE), place_for(tmp_path / "o", cohort, known))
    assert record["status"] == "done", record["traceback"]
    assert seen == [((ORACLE,), 7)]


def test_checked_gives_float64():
    assert validate_probabilities(np.full((2, 1), 0.5, np.float32), 2, ("t",), "Any").dtype == np.float64


def test_the_recalibrating_line_is_fitted_on_the_validation_part(monkeypatch, place):
    use(monkeypatch, TooLow)
    record, frames = run_cell(planned(rectifier="offset"), place)
    found = [m for m in record["metrics"] if m["metric"] == "brier_recalibrated" and m["value"] is not None]
    assert {m["stage"] for m in found} == {"base", "final"}
    for m in found:
        own = frames["predictions"].query("task == @m['task']")
        column = {"base": "probability_base", "final": "probability"}[m["stage"]]
        valid, test = (
            [part[name].to_numpy(float) for name in ("label", column)]
            for part in (own[own["split"] == "valid"], own[own["split"] == "test"])
        )
        assert m["value"] == pytest.approx(score_recalibrated(*valid, *test).value)
        assert m["value"] != pytest.approx(score_recalibrated(*test, *test).value)


def test_out_of_fold_predictions_come_from_fits_that_did_not_see_the_row(monkeypatch, place, cohort):
    fits, seen = [], []

    class Memory(Prevalence):
        def fit(self, train, valid):
            fits.append((self.seed, train.patient, valid.patient))
            self.known = train.patient
            return super().fit(train, valid)

        def predict_proba(self, part):
            seen.append((part.patient, np.isin(part.patient, self.known).any()))
            return super().predict_proba(part)

    use(monkeypatch, Memory)
    record, _ = run_cell(planned(rectifier="offset", calibration="oof"), place)
    assert record["status"] == "done", record["traceback"]
    train, valid, test = (cohort.patient[rows] for rows in load_split(place.split_file).rows(0))
    assert not any(known for _, known in seen)
    out_of_fold = np.concatenate([patients for patients, _ in seen if not np.isin(patients, [*valid, *test]).any()])
    assert sorted(out_of_fold) == sorted(train)
    assert len(fits) == len({seed for seed, _, _ in fits}) == 6
    assert all(set(own) <= set(train) and judged.tolist() == valid.tolist() for _, own, judged in fits)
