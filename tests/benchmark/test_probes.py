"""Probes on methods whose answers can be worked out by hand; numbers recomputed from what they store."""

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, balanced_accuracy_score, brier_score_loss, roc_auc_score

from benchmark.cell import run_cell as run_cell_module
from benchmark.cell.keys import RUN_CELL, find_import_closure
from benchmark.cell.probes import Fitted, drop, efficiency, embedding, find_probe_file, measure
from benchmark.cell.run_cell import run_cell
from benchmark.check.cohorts import draw_random_cohort, spoil_unobserved
from benchmark.plan.config import load_config
from benchmark.plan.plan import plan_run
from methods import registry
from methods.base import Method
from methods.common.plain_mlp import Config as MlpConfig
from methods.zero_fill import ZeroFill

PROBES = ("drop", "efficiency", "embedding")


class Made(Method):
    """Probabilities by a fixed formula of the modalities read; ``h`` says what the representation is."""

    reads = (0, 1, 2)
    h = staticmethod(lambda cohort: cohort.observed.astype(np.float32))

    def __init__(self):
        super().__init__()
        self.seen = []

    def predict_proba(self, cohort):
        assert np.isnan(cohort.outcomes).all(), "test outcomes in reach"
        self.seen.append(cohort)
        z = np.zeros(len(cohort))
        for m in self.reads:
            values = np.nan_to_num(cohort.modalities[m].values.astype(float), posinf=0, neginf=0).mean(axis=1)
            z += np.where(cohort.observed[:, m], values + 0.3, -0.2)
        return np.tile(1 / (1 + np.exp(-z)), (len(cohort.tasks), 1)).T

    def represent(self, cohort):
        assert np.isnan(cohort.outcomes).all(), "outcomes in reach"
        self.seen.append(cohort)
        return self.h(cohort)

    def state(self):
        return {"weights": np.zeros((3, 4)), "name": np.array(["a", "b"])}


def made(h=None, **changes):
    fields = changes | ({} if h is None else {"h": staticmethod(h)})
    return type("Made", (Made,), fields)()


def fitted(method, cohort=None, test=0.5):
    cohort = draw_random_cohort(600, seed=5) if cohort is None else cohort
    n, cut = len(cohort), int((1 - test) * len(cohort))
    rows = {"train": np.arange(0, cut), "valid": np.arange(cut, cut), "test": np.arange(cut, n)[::-1].copy()}
    return Fitted(method, cohort, rows, 0, {"fit": 12.5})


def value(numbers, metric, **at):
    at = {"group": "all", "task": None} | at
    (found,) = [x for x in numbers if x["metric"] == metric and all(x[k] == v for k, v in at.items())]
    return found["value"] if found["reason"] is None else found["reason"]


# embedding


def test_a_representation_that_holds_the_pattern_decodes_it_and_its_norm_counts_modalities():
    given = fitted(made())
    numbers, frame = embedding.probe(given)
    assert value(numbers, "decoded_accuracy") == value(numbers, "decoded_balanced") == 1
    assert value(numbers, "norm", group="m0+m2") == pytest.approx(2**0.5)
    assert value(numbers, "patterns") == frame["patterns"].iloc[0] == 1 / value(numbers, "chance")
    np.testing.assert_array_equal(frame["row"], given.rows["test"])


def test_noise_decodes_no_better_than_the_majority():
    def noise(cohort):
        return np.random.default_rng(len(cohort)).normal(size=(len(cohort), 3)).astype(np.float32)

    numbers, _ = embedding.probe(fitted(made(noise), draw_random_cohort(4000, seed=1)))
    accuracy, patterns = value(numbers, "decoded_accuracy"), value(numbers, "patterns")
    assert accuracy == pytest.approx(value(numbers, "majority_accuracy"), abs=0.03)
    assert accuracy > 1.5 / patterns
    assert value(numbers, "decoded_balanced") == pytest.approx(1 / patterns, abs=0.05)


def test_the_decoder_learns_on_training_rows_alone():
    given = fitted(made())
    patterns = np.array([(1, 1, 0), (0, 1, 1)])[np.arange(600) % 2].astype(bool)
    patterns[given.rows["test"][:60]] = [True, False, False]
    cohort = dataclasses.replace(given.cohort, observed=patterns, fingerprint="")
    given = dataclasses.replace(given, cohort=cohort)
    numbers, frame = embedding.probe(given)
    assert [len(c) for c in given.method.seen] == [300, 300]
    assert value(numbers, "decoded_accuracy") == pytest.approx(240 / 300)
    assert value(numbers, "decoded_balanced") == pytest.approx(2 / 3)
    assert set(frame["decoded"]) == {"m0+m1", "m1+m2"}
    assert value(numbers, "patterns") == 2
    assert "3 patterns" in value(numbers, "norm_rate_r", task=cohort.tasks[0])


def test_one_norm_for_all_has_no_correlation():
    h = lambda cohort: np.eye(4, dtype=np.float32)[np.arange(len(cohort)) % 4] * np.float32(1 + 1e-7)  # noqa: E731
    numbers, _ = embedding.probe(fitted(made(h)))
    assert value(numbers, "norm_outcome_r", task="mortality_inhosp") == "all norms are equal"
    assert value(numbers, "norm_rate_r", task="mortality_inhosp") == "all norms are equal"


def test_a_method_without_representation_says_so():
    numbers, frame = embedding.probe(fitted(made(lambda cohort: None)))
    assert frame is None
    assert "no one vector" in value(numbers, "decoded_accuracy")


def test_numbers_of_embedding_follow_from_its_frame(tmp_path):
    rng = np.random.default_rng(0)

    def half(cohort):
        return (cohort.observed + rng.normal(size=cohort.observed.shape)).astype(np.float32)

    numbers, frame = embedding.probe(fitted(made(half)))
    frame.to_parquet(tmp_path / "f.parquet")
    frame, task = pd.read_parquet(tmp_path / "f.parquet"), "readmission_30d"
    own = frame.dropna(subset=[task])
    by_pattern = own.groupby("pattern")[["norm", task]].mean()
    assert value(numbers, "decoded_accuracy") == pytest.approx(accuracy_score(frame["pattern"], frame["decoded"]))
    assert value(numbers, "decoded_balanced") == pytest.approx(
        balanced_accuracy_score(frame["pattern"], frame["decoded"])
    )
    assert value(numbers, "majority_accuracy") == pytest.approx((frame["majority"] == frame["pattern"]).mean())
    assert value(numbers, "norm_rate_r", task=task) == pytest.approx(pearsonr(by_pattern["norm"], by_pattern[task])[0])
    assert value(numbers, "norm_outcome_r", task=task) == pytest.approx(pearsonr(own["norm"], own[task])[0])
    for name, rate in by_pattern[task].items():
        (found,) = [x for x in numbers if (x["metric"], x["group"], x["task"]) == ("outcome_rate", name, task)]
        assert found["value"] == pytest.approx(rate)
        assert found["positives"] == own[own["pattern"] == name][task].sum()


# drop


def by_name(frame, name):
    return frame[frame["withheld"] == name].reset_index(drop=True)


def test_withholding_what_a_method_ignores_changes_nothing_bit_for_bit():
    numbers, frame = drop.probe(fitted(made(reads=(0, 2))))
    complete = by_name(frame, "nothing")["probability"]
    np.testing.assert_array_equal(by_name(frame, "m1")["probability"], complete)
    assert not np.array_equal(by_name(frame, "m2")["probability"], complete)
    assert value(numbers, "auc_difference", group="m1", task="mortality_inhosp") == 0
    assert value(numbers, "auc_difference", group="m2", task="mortality_inhosp") != 0


@pytest.mark.parametrize("modalities", [3, 10])
def test_withheld_predictions_are_those_of_stays_that_lack_the_modality(modalities):
    cohort = draw_random_cohort(200, widths=(3,) * modalities)
    given = fitted(made(reads=range(modalities)), cohort)
    before = spoil_unobserved(cohort, 1).observed.copy()
    numbers, frame = drop.probe(given)
    test = cohort.take(given.rows["test"])
    assert list(frame["withheld"].unique()) == ["nothing", *cohort.modality_names]
    for m, name in enumerate(cohort.modality_names):
        observed = test.observed.copy()
        observed[:, m] = False
        lacking = spoil_unobserved(dataclasses.replace(test, observed=observed, fingerprint=""), m).without_outcomes()
        p = made(reads=range(modalities)).predict_proba(lacking)
        own = by_name(frame, name)
        for t, task in enumerate(test.tasks):
            np.testing.assert_array_equal(own[own["task"] == task]["probability"], p[:, t].astype(np.float32))
        assert value(numbers, "withheld_from", group=name) == test.observed[:, m].sum()
    for m, seen in enumerate(given.method.seen[1:]):
        assert np.isnan(seen.modalities[m].values).all()
    np.testing.assert_array_equal(cohort.observed, before)


def test_numbers_of_drop_follow_from_its_frame():
    numbers, frame = drop.probe(fitted(made()))
    scores = {}
    for (name, task), own in frame.dropna(subset=["label"]).groupby(["withheld", "task"], observed=True):
        scores[name, task] = roc_auc_score(own["label"], own["probability"])
        brier = value(numbers, "brier", group=name, task=task)
        assert brier == pytest.approx(brier_score_loss(own["label"], own["probability"]))
    for (name, task), auc in scores.items():
        assert value(numbers, "auc", group=name, task=task) == pytest.approx(auc)
        if name != "nothing":
            difference = value(numbers, "auc_difference", group=name, task=task)
            assert difference == pytest.approx(auc - scores["nothing", task])


def test_a_part_with_one_class_has_reasons_in_place_of_numbers():
    cohort = draw_random_cohort(100)
    cohort = dataclasses.replace(cohort, outcomes=np.zeros_like(cohort.outcomes), fingerprint="")
    numbers, _ = drop.probe(fitted(made(), cohort))
    assert "one class" in value(numbers, "auc_difference", group="m1", task="mortality_inhosp")
    assert value(numbers, "brier_difference", group="m1", task="mortality_inhosp") != 0


# efficiency


def test_latency_is_the_time_of_predict_proba_after_a_warm_up(monkeypatch):
    monkeypatch.setattr(efficiency, "REPEATS", {"one": 7, "batch": 6})
    calls = []

    class Slow(Made):
        def predict_proba(self, cohort):
            calls.append(len(cohort))
            time.sleep(0.2 if calls.count(len(cohort)) <= efficiency.WARM_UP else 0.004)
            return super().predict_proba(cohort)

    numbers, frame = efficiency.probe(fitted(Slow(), draw_random_cohort(700, seed=2)))
    assert calls == [1] * (3 + 7) + [256] * (3 + 6)
    assert frame.groupby("what", sort=False)["stays"].agg(["size", "max"]).to_numpy().tolist() == [[7, 1], [6, 256]]
    for what in ("one", "batch"):
        own = frame[frame["what"] == what]
        each = 1000 * own["seconds"] / own["stays"]
        for suffix, q in (("_q1", 25), ("", 50), ("_q3", 75)):
            assert value(numbers, f"latency_{what}_ms{suffix}") == pytest.approx(np.percentile(each, q))
    assert 4 <= value(numbers, "latency_one_ms") < 100
    assert value(numbers, "fit_seconds") == 12.5


def test_a_slow_method_is_not_repeated_for_long(monkeypatch):
    monkeypatch.setattr(efficiency, "PATIENCE", 0.0)
    _, frame = efficiency.probe(fitted(made()))
    assert (frame.groupby("what").size() == efficiency.FEWEST).all()


def test_sizes_are_counted():
    cohort = draw_random_cohort(150)
    network = ZeroFill(MlpConfig(hidden=4, max_epochs=1)).fit(cohort, draw_random_cohort(80, seed=1))
    wide = sum(network.preprocessor.widths) + 3
    assert efficiency.count_parameters(network) == (wide + 1) * 4 + (4 + 1) * 4 + (4 + 1) * 2
    network.module.net[0].requires_grad_(False)
    assert efficiency.count_parameters(network) == (4 + 1) * 4 + (4 + 1) * 2
    assert efficiency.count_parameters(made()) == 12


def test_memory_and_device_are_of_this_machine():
    numbers, _ = efficiency.probe(fitted(made()))
    assert len({x["device"] for x in numbers}) == 1
    assert value(numbers, "peak_memory_mib") > 10
    assert not any(x["metric"] == "gpu_memory_mib" for x in numbers)


# in the cells


def cells_of(built, probes):
    overrides = ["n=160", "folds=2", "dataset.draws=16", "method=s_only", "method.max_epochs=2", "known=none"]
    config = load_config("smoke", [*overrides, f"built={built}", "landmark=icu_24h"])
    config.probes = list(probes)
    return plan_run(config)


def test_a_probe_changes_the_key_of_its_cells_and_none_of_their_predictions(built):
    plain, probed = cells_of(built, ()), cells_of(built, PROBES)
    (one, *_), (other, *_) = plain.cells, probed.cells
    assert one.cell == other.cell
    assert one.key != other.key
    record, frames = run_cell(one, plain.inputs_of(one.cell))
    record_probed, frames_probed = run_cell(other, probed.inputs_of(other.cell))
    assert record_probed["status"] == "done", record_probed["traceback"]
    pd.testing.assert_frame_equal(frames["predictions"], frames_probed["predictions"], check_exact=True)
    assert (set(frames), set(frames_probed)) == ({"predictions"}, {"predictions", *PROBES})
    assert (record["probes"], set(record_probed["probes"])) == ({}, set(PROBES))
    assert record["metrics"] == record_probed["metrics"]
    base = frames["predictions"][frames["predictions"]["split"] == "test"]["probability_base"]
    withheld = frames_probed["drop"]
    np.testing.assert_array_equal(withheld[withheld["withheld"] == "nothing"]["probability"], base)


def test_no_other_cell_stands_on_a_probe():
    files = {name: find_probe_file(name) for name in PROBES}
    plain = set().union(*(find_import_closure(RUN_CELL, registry.source_file(name)) for name in registry.infos()))
    assert not plain & set(files.values())
    for name, path in files.items():
        assert path in find_import_closure(RUN_CELL, path)
        assert not set(find_import_closure(RUN_CELL, path)) & (set(files.values()) - {path}), name


def test_a_probe_that_fails_fails_its_cell_by_name(built, monkeypatch):
    plan = cells_of(built, ("drop",))
    monkeypatch.setattr(run_cell_module, "measure", lambda name, fitted: 1 / 0)
    record, frames = run_cell(plan.cells[0], plan.inputs_of(plan.cells[0].cell))
    assert (record["status"], frames, record["probes"]) == ("failed", {}, {})
    assert "ZeroDivisionError" in record["reason"]


def test_what_was_not_fitted_is_not_probed():
    assert [measure(name, None) for name in PROBES] == [([], None)] * 3
