"""Boosted trees as plain arrays, so that they can be stored without pickle and read without the library that grew them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier


@dataclass(frozen=True, eq=False)
class Trees:
    """R trees, their nodes one after another: node arrays [sum of sizes], children and roots counted from a tree's first node.

    A stay goes left where its ``feature`` is at most ``threshold``, or is NaN and ``missing_left``; it stops at a node without
    children (``left`` 0) and gains that node's ``value``. ``size`` int64 [R] nodes by tree; ``baseline`` the log odds before any tree.
    """

    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    size: np.ndarray
    baseline: np.ndarray

    @classmethod
    def of(cls, model: HistGradientBoostingClassifier, columns: np.ndarray) -> Trees:
        """Read the trees of a fitted two-class model without categorical features, whose feature j is column ``columns[j]``.

        scikit-learn has no public way to read them; these attributes are those of 1.7 to 1.9.
        """
        trees = [predictors[0].nodes for predictors in model._predictors]
        nodes = np.concatenate(trees)
        leaf = nodes["is_leaf"].astype(bool)
        return cls(
            feature=np.where(leaf, 0, columns[np.where(leaf, 0, nodes["feature_idx"])]).astype(np.int64),
            threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
            missing_left=nodes["missing_go_to_left"].astype(bool),
            left=np.where(leaf, 0, nodes["left"]).astype(np.int64),
            right=np.where(leaf, 0, nodes["right"]).astype(np.int64),
            value=nodes["value"].copy(),
            size=np.array([len(tree) for tree in trees]),
            baseline=np.array(model._baseline_prediction.item()),
        )

    def log_odds(self, x: np.ndarray) -> np.ndarray:
        """Return float64 [N] of features float [N, P]."""
        out = np.full(len(x), self.baseline.item())
        rows = np.arange(len(x))
        for start in np.cumsum(self.size) - self.size:
            node = np.full(len(x), start)
            while (inside := self.left[node] > 0).any():
                seen = x[rows, self.feature[node]].astype(np.float64)
                left = np.where(np.isnan(seen), self.missing_left[node], seen <= self.threshold[node])
                node = np.where(inside, start + np.where(left, self.left[node], self.right[node]), node)
            out += self.value[node]
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return asdict(self)
