import numpy as np
import pytest

from results.metrics.decision import net_benefit, treat_all


def test_worked_example():
    # at .25 an unnecessary treatment weighs 1/3: two of three treated rightly, then one of two
    label, p = np.array([1.0, 1, 0, 0, 0, 0, 0, 0, 0, 1]), np.array([0.9, 0.3, 0.4, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.05])
    found = net_benefit(label, p, np.array([0.25, 0.4, 0.95]))
    assert found == pytest.approx([2 / 10 - 1 / 10 / 3, 1 / 10 - 1 / 10 * (2 / 3), 0])
    assert treat_all(0.3, np.array([0.25])) == pytest.approx([0.3 - 0.7 / 3])


def test_against_a_loop_over_patients():
    rng = np.random.default_rng(0)
    label, p = (rng.random(200) < 0.3).astype(float), np.round(rng.random(200), 2)
    thresholds = np.linspace(0, 0.99, 100)
    for t, found in zip(thresholds, net_benefit(label, p, thresholds), strict=True):
        gain = sum(1 if y else -t / (1 - t) for y, q in zip(label, p, strict=True) if q >= t)
        assert found == pytest.approx(gain / 200, abs=1e-12)


def test_everybody_above_the_threshold_is_treat_all():
    label = np.array([1.0, 0, 0, 1, 0])
    thresholds = np.linspace(0.01, 0.5, 50)
    assert net_benefit(label, np.full(5, 0.5), thresholds) == pytest.approx(treat_all(0.4, thresholds))
