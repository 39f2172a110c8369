import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.calibration import calibration_curve

from results.metrics.calibration import (
    CURVE_BINS,
    Bins,
    assign_bins,
    compute_reliability,
    debiased_calibration_error,
    expected_calibration_error,
    make_reliability_bins,
)  # fmt: skip


def draw(seed, n=300, slope=0.7, shift=0.3, decimals=8):
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.3, n)
    return (rng.random(n) < expit(logit)).astype(float), np.round(expit(slope * logit + shift), decimals)


def test_debiased_error_worked_example():
    # four rows, two bins: (1 - .15)^2 - 0 and (.5 - .85)^2 - .25
    found = debiased_calibration_error(np.array([1.0, 1, 0, 1]), np.array([0.1, 0.2, 0.8, 0.9]))
    assert found == pytest.approx(np.sqrt((0.7225 + 0.1225 - 0.25) / 2))
    assert debiased_calibration_error(np.array([0.0, 1, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])) == 0


@pytest.mark.parametrize(("decimals", "n"), [(8, 300), (2, 300), (8, 37), (1, 80)])
def test_debiased_error_is_the_mean_product_of_two_different_rows_of_a_bin(decimals, n):
    """The same number as a U-statistic: within a bin, the mean over pairs of rows of the product of their residuals."""
    label, p = draw(decimals + n, n=n, decimals=decimals, shift=1)
    bins = min(15, n // 2)
    where = assign_bins(p, bins)
    assert np.bincount(where)[np.bincount(where) > 0].min() > 1
    total = 0.0
    for b in np.unique(where):
        residual = label[where == b] - p[where == b].mean()
        pairs = [x * y for i, x in enumerate(residual) for j, y in enumerate(residual) if i != j]
        total += len(residual) / n * np.mean(pairs)
    assert total > 0
    assert debiased_calibration_error(label, p) == pytest.approx(np.sqrt(total), abs=1e-12)


def test_a_row_alone_among_ties_joins_the_next_bin():
    assert debiased_calibration_error(np.ones(6), np.array([0.1, 0.2, 0.2, 0.2, 0.2, 0.9])) == pytest.approx(0.7)


def test_debiasing_takes_out_most_of_what_chance_adds():
    """A calibrated prediction, 300 rows: the errors that the docstring names; a miscalibrated one keeps its error."""
    calibrated, plain, off = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        logit = rng.normal(-2.2, 1, 300)
        label = (rng.random(300) < expit(logit)).astype(float)
        calibrated.append(debiased_calibration_error(label, expit(logit)))
        plain.append(expected_calibration_error(label, expit(logit)))
        off.append(debiased_calibration_error(label, expit(0.7 * logit)))
    assert np.mean(plain) == pytest.approx(0.055, abs=0.004)
    assert np.mean(calibrated) == pytest.approx(0.017, abs=0.004)
    large = np.random.default_rng(0).normal(-2.2, 1, 100_000)
    truth = np.sqrt(np.mean((expit(large) - expit(0.7 * large)) ** 2))
    assert np.mean(off) == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_reliability_against_scikit_learn(decimals):
    label, p = draw(3, decimals=decimals)
    found = compute_reliability(make_reliability_bins(label, p))
    observed, predicted = calibration_curve(label, p, n_bins=CURVE_BINS, strategy="quantile")
    assert found["observed"] == pytest.approx(observed)
    assert found["predicted"] == pytest.approx(predicted)
    assert found["n"].sum() == len(label)


def test_wilson_interval_by_its_formula():
    found = compute_reliability(Bins(np.array([20.0, 0, 30]), np.array([2.0, 0, 15]), np.array([0.0, 0, 21])))
    z = stats.norm.ppf(0.975)
    for i, (n, rate) in enumerate(((20, 0.0), (30, 0.7))):
        middle, half = rate + z**2 / (2 * n), z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
        assert found["low"][i] == pytest.approx((middle - half) / (1 + z**2 / n), abs=1e-12)
        assert found["high"][i] == pytest.approx((middle + half) / (1 + z**2 / n), abs=1e-12)
    assert found["predicted"] == pytest.approx([0.1, 0.5])
    assert len(found["n"]) == 2
