"""Gradient boosting against scikit-learn called directly."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmark.check.cohorts import draw_random_cohort
from methods.gbdt import Config, Gbdt


def test_equals_scikit_learn_on_features_with_nan_and_the_pattern():
    train, valid, test = draw_random_cohort(150, seed=0), draw_random_cohort(80, seed=1), draw_random_cohort(50, seed=2)

    def features(cohort):
        return np.column_stack([*(m.values for m in cohort.modalities), cohort.observed])  # slots are NaN already

    method = Gbdt(Config(max_features=1.0, patience=5), seed=3).fit(train, valid)
    p = method.predict_proba(test)
    for t in range(2):
        a, b = ~np.isnan(train.outcomes[:, t]), ~np.isnan(valid.outcomes[:, t])
        model = HistGradientBoostingClassifier(
            max_iter=200, max_leaf_nodes=15, l2_regularization=1.0, max_bins=63, early_stopping=True, n_iter_no_change=5,
            random_state=3,
        )  # fmt: skip
        model.fit(features(train)[a], train.outcomes[a, t], X_val=features(valid)[b], y_val=valid.outcomes[b, t])
        np.testing.assert_allclose(p[:, t], model.predict_proba(features(test))[:, 1], atol=1e-9)
        assert len(method.trees[t].size) == model.n_iter_ < 200
