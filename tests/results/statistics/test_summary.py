import math

import numpy as np
import pytest

from results.statistics.summary import summarise

NAN = math.nan


def test_summary_of_two_folds_and_three_seeds():
    s = summarise(np.array([[0.1, 0.2, 0.3], [0.3, 0.4, 0.8]]))
    assert s.mean == pytest.approx(0.35)
    assert s.sd_seeds == pytest.approx(np.std([0.2, 0.3, 0.55], ddof=1))
    assert s.sd_folds == pytest.approx(np.std([0.2, 0.5], ddof=1))
    assert (s.folds, s.seeds) == (2, 3)


def test_one_seed_has_no_spread_over_seeds():
    s = summarise(np.array([[0.1], [0.3]]))
    assert math.isnan(s.sd_seeds)
    assert s.sd_folds == pytest.approx(np.std([0.1, 0.3], ddof=1))


def test_a_missing_cell_leaves_every_fold_its_weight():
    s = summarise(np.array([[0.1, NAN], [0.3, 0.5], [0.6, 0.6]]))
    assert s.mean == pytest.approx((0.1 + 0.4 + 0.6) / 3)
    # spread over seeds: only over the folds that both seeds have
    assert s.sd_seeds == pytest.approx(np.std([0.45, 0.55], ddof=1))
    assert (s.folds, s.seeds) == (3, 2)


def test_an_empty_fold_and_seed_do_not_count():
    s = summarise(np.array([[0.1, NAN], [NAN, NAN]]))
    assert (s.mean, s.folds, s.seeds) == (0.1, 1, 1)
    nothing = summarise(np.full((2, 2), NAN))
    assert (nothing.folds, nothing.seeds) == (0, 0)
    assert math.isnan(nothing.mean)
