"""Trees as arrays against the library that grew them."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from methods.gbdt.trees import Trees


def data(n, seed, gaps):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=n) > 0).astype(int)
    return np.where(rng.random(x.shape) < gaps, np.float32("nan"), x), y


@pytest.mark.parametrize("gaps", [0.0, 0.3])
@pytest.mark.parametrize("settings", [{}, {"max_leaf_nodes": 3, "max_bins": 7}, {"min_samples_leaf": 500}])
def test_equals_scikit_learn_on_new_rows_with_gaps(gaps, settings):
    model = HistGradientBoostingClassifier(max_iter=30, random_state=0, **settings).fit(*data(400, 0, gaps))
    later, _ = data(300, 1, 0.3)
    columns = np.array([5, 2, 0, 3])
    wider = np.zeros((300, 6), dtype=np.float32)
    wider[:, columns] = later
    found = Trees.of(model, columns).log_odds(wider)
    np.testing.assert_allclose(found, model.decision_function(later), rtol=0, atol=1e-12)
    assert found.std() > 0 or settings.get("min_samples_leaf") == 500


def test_state_is_what_it_is_made_of():
    model = HistGradientBoostingClassifier(max_iter=5).fit(*data(200, 0, 0.1))
    trees, (x, _) = Trees.of(model, np.arange(4)), data(50, 1, 0.1)
    again = Trees(**{k: v.copy() for k, v in trees.state().items()})
    np.testing.assert_array_equal(again.log_odds(x), trees.log_odds(x))
    assert not any(v.dtype.hasobject for v in trees.state().values())
