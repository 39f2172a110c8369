import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.calibration import calibration_curve

from results.metrics.calibration import ECE_BINS
from results.metrics.scores import METRICS, ONE_CLASS_IS_ENOUGH, Metric, score, score_recalibrated


def values(label, probability):
    return {m.metric: m.value for m in score(np.asarray(label), np.asarray(probability))}


def draw(seed, n=300, decimals=8):
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.3, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    return label, np.round(1 / (1 + np.exp(-(0.7 * logit + 0.3))), decimals)


def test_worked_example():
    # six pairs (positive, negative), five in order; precision 1 at the first positive, 2/3 at the second; 2 of 5 are positive
    got = values([1, 0, 1, 0, 0], [0.9, 0.6, 0.4, 0.2, 0.1])
    assert got["auc"] == pytest.approx(5 / 6)
    assert got["auprc"] == pytest.approx((1 + 2 / 3) / 2)
    assert got["auprc_normalised"] == pytest.approx((5 / 6 - 0.4) / 0.6)
    assert got["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.04 + 0.01) / 5)
    assert got["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.4, 0.8, 0.9]).mean())
    assert got["ece"] == pytest.approx((0.1 + 0.6 + 0.6 + 0.2 + 0.1) / 5)


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
@pytest.mark.parametrize("seed", range(5))
def test_against_definitions(seed, decimals):
    label, p = draw(seed, decimals=decimals)
    got = values(label, p)
    ones, zeros = p[label == 1], p[label == 0]
    order = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
    assert got["auc"] == pytest.approx(order.mean(), abs=1e-12)
    cuts = np.unique(p)[::-1]
    recall = np.array([(ones >= c).mean() for c in cuts])
    precision = np.array([label[p >= c].mean() for c in cuts])
    average = np.sum(np.diff(np.r_[0, recall]) * precision)
    assert got["auprc"] == pytest.approx(average, abs=1e-12)
    assert abs(label.mean() - 0.5) > 0.1
    assert got["auprc_normalised"] == pytest.approx(1 - (1 - average) / (1 - label.mean()), abs=1e-12)
    assert got["brier"] == pytest.approx(np.mean((label - p) ** 2), abs=1e-12)
    assert got["log_loss"] == pytest.approx(-np.mean(np.log(np.where(label == 1, p, 1 - p))), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_against_statsmodels(seed):
    label, p = draw(seed)
    fit = sm.Logit(label, sm.add_constant(np.log(p / (1 - p)))).fit(disp=0, tol=1e-12, maxiter=100)
    got = values(label, p)
    assert [got["calibration_intercept"], got["calibration_slope"]] == pytest.approx(fit.params.tolist(), abs=1e-6)


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_ece_against_scikit_learn(decimals):
    label, p = draw(3, decimals=decimals)
    true, predicted = calibration_curve(label, p, n_bins=ECE_BINS, strategy="quantile")
    edges = np.quantile(p, np.linspace(0, 1, ECE_BINS + 1))
    mass = np.bincount(np.searchsorted(edges[1:-1], p), minlength=ECE_BINS)
    assert values(label, p)["ece"] == pytest.approx(
        np.sum(mass[mass > 0] / len(p) * np.abs(true - predicted)), abs=1e-12
    )


def test_order_of_rows_changes_nothing():
    label, p = draw(1, decimals=2)
    order = np.random.default_rng(0).permutation(len(p))
    assert values(label[order], p[order]) == pytest.approx(values(label, p), abs=1e-9)


def test_undefined_labels_are_left_out():
    label, p = draw(2)
    with_holes, wild = np.r_[label, np.nan, np.nan], np.r_[p, 7.0, np.nan]
    assert score(with_holes, wild) == score(label, p)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_leaves_brier_and_log_loss(label):
    found = {m.metric: m for m in score(np.full(4, label), np.full(4, 0.25))}
    assert tuple(found) == METRICS
    assert {name for name, m in found.items() if m.value is not None} == set(ONE_CLASS_IS_ENOUGH)
    assert found["brier"].value == (0.25 - label) ** 2
    assert all("one class only" in m.reason for m in found.values() if m.value is None)
    assert all((m.n, m.positives) == (4, 4 * label) for m in found.values())


def test_no_labels_at_all():
    found = score(np.full(3, np.nan), np.full(3, 0.5))
    assert [m.value for m in found] == [None] * len(METRICS)
    assert {m.reason for m in found} == {"the part has no rows with a label"}


@pytest.mark.parametrize(
    ("p", "reason"),
    [([0.3, 0.3, 0.3, 0.3], "all probabilities are equal"), ([0.1, 0.2, 0.2, 0.9], "slope is infinite")],
)
def test_calibration_without_a_finite_slope(p, reason):
    found = {m.metric: m for m in score(np.array([0.0, 0.0, 1.0, 1.0]), np.array(p))}
    assert found["calibration_slope"].value is None
    assert reason in found["calibration_slope"].reason
    assert found["auc"].value is not None


@pytest.mark.parametrize(
    ("label", "p", "message"),
    [
        ([0.0, 2.0], [0.1, 0.2], "label 2 is none of 0, 1, NaN"),
        ([0.0, 1.0], [0.1, 1.2], r"probability 1.2 is not in \[0, 1\] \(row 1\)"),
        ([0.0, 1.0], [0.1, np.nan], r"probability nan is not in"),
        ([0.0, 1.0], [0.1], r"label has shape \(2,\), probability \(1,\)"),
    ],
)
def test_refuses_what_is_no_prediction(label, p, message):
    with pytest.raises(ValueError, match=message):
        score(np.array(label), np.array(p))


def test_recalibration_undoes_a_distortion():
    rng = np.random.default_rng(0)
    logit = rng.normal(-1, 1.5, 40_000)
    label = (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(float)
    true, distorted = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-(0.4 * logit + 1)))
    valid, test = slice(0, 20_000), slice(20_000, None)
    after = score_recalibrated(label[valid], distorted[valid], label[test], distorted[test]).value
    assert after == pytest.approx(np.mean((true[test] - label[test]) ** 2), abs=5e-4)
    assert np.mean((distorted[test] - label[test]) ** 2) > after + 0.02


def test_recalibration_reads_no_test_label():
    label, p = draw(4)
    one = score_recalibrated(label, p, np.array([1.0]), np.array([0.4])).value
    other = score_recalibrated(label, p, np.array([0.0]), np.array([0.4])).value
    assert np.sqrt(one) + np.sqrt(other) == pytest.approx(1)


@pytest.mark.parametrize("valid", [([0.0, 0.0], [0.1, 0.2]), ([0.0, 1.0], [0.2, 0.2]), ([0.0, 1.0], [0.2, 0.3])])
def test_recalibration_without_a_line_says_why(valid):
    found = score_recalibrated(*map(np.array, valid), np.array([0.0, 1.0]), np.array([0.2, 0.4]))
    assert found.value is None
    assert found.reason.startswith("not recalibrated: in the validation part ")


def test_record_form():
    assert Metric("auc", 0.5, None, 10, 3).as_record("test", "base", "icu_90d") == {
        "split": "test", "stage": "base", "task": "icu_90d",
        "metric": "auc", "value": 0.5, "reason": None, "n": 10, "positives": 3,
    }  # fmt: skip
