"""Random contents of the sizes of the embedded cohorts: their modalities' widths and observed shares, 24 hours of ten channels. Two
features of the first modality decide the outcomes, of which a fifth is positive."""

from functools import lru_cache
from itertools import cycle, islice

import numpy as np

from benchmark.check.cohorts import draw_random_series
from datasets.cohort import Cohort, Modality
from datasets.synthetic.presets import EICU, MIMIC

PRESETS = {"eICU-like": EICU, "MIMIC-like": MIMIC}


@lru_cache(maxsize=1)
def random_cohort(preset, n, m):
    """``n`` stays with the first ``m`` modalities of a preset of PRESETS, which begins again where it ends; the same for all callers."""
    rng = np.random.default_rng(0)
    shapes = list(islice(cycle(PRESETS[preset]), m))
    observed = rng.random((n, m)) < [shape.share for shape in shapes]
    modalities = tuple(
        Modality(
            f"{shape.name}_{i}",
            rng.normal(size=(n, shape.width)).astype(np.float32),
            tuple(f"{shape.name}_{i}_{j}" for j in range(shape.width)),
        )
        for i, shape in enumerate(shapes)
    )
    outcomes = (modalities[0].values[:, :2] > 0.84).astype(np.float32)
    series = draw_random_series(rng.normal(size=n), rng, bins=24, channels=10)
    tasks = ("readmission_30d", "icu_90d")
    return Cohort("random", "made", np.arange(n), modalities, observed, outcomes, tasks, series=series)
