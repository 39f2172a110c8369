"""The paper protocol's rectifier: the rows being scored are the calibration rows too.

They are split in two within each pattern; each half is corrected with the Delta and the tau (``offsets``) that the other half alone gives
(tau by cross-fitting within that other half, ``minimum`` applying to it), so that no row's own outcome enters its own corrected value, not
even through tau. A pattern with fewer labelled rows in the other half is left alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from methods.common.rectifier.groups import split_in_halves
from methods.common.rectifier.offsets import MINIMUM, add_offsets, choose_tau, fit_pattern_offsets
from methods.common.rectifier.record import check_shapes, record_rectifier


def rectify_paper(
    probability: np.ndarray,
    label: np.ndarray,
    pattern: np.ndarray,
    seed: int,
    minimum: int = MINIMUM,
    tasks: tuple[str, ...] | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Apply the paper protocol: return corrected probabilities [N, T] of the rows given and the record that a cell stores.

    Shapes as in ``Rectifier.fit``. In the record, ``delta`` is the mean of the two halves' weighted by labelled rows (0 for a half too
    small), ``applied`` says that at least one half's was used, and ``tau`` holds both, that of the first half's rows first.
    """
    probability, label, pattern = check_shapes(probability, label, pattern)
    names, code = np.unique(pattern, return_inverse=True)
    second = split_in_halves(code, seed)
    out = probability.copy()
    taus, learned, used = [], [], []
    for half in (~second, second):
        other = (probability[~half], label[~half], code[~half], len(names))
        tau = choose_tau(*other, minimum, seed + 1, pooled=False)
        offsets = fit_pattern_offsets(*other, minimum, pooled=False)
        out[half] = add_offsets(probability[half], offsets, code[half], tau)
        taus.append(tau)
        learned.append(offsets)
        used.append(np.abs(offsets.delta) > tau)
    count = learned[0].count + learned[1].count
    delta = sum(o.delta * o.count for o in learned) / np.maximum(count, 1)
    tasks = tuple(str(t) for t in range(probability.shape[1])) if tasks is None else tasks
    record = record_rectifier("paper", taus, tasks, names, count, delta, used[0] | used[1], probability, out, pattern)
    return out, record
