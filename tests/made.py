"""A small valid cohort with every field, to break in one place at a time."""

import numpy as np

from datasets.cohort import Cohort, Group, Modality, Series


def fields(n=6):
    rng = np.random.default_rng(0)
    observed = np.ones((n, 2), dtype=bool)
    observed[1, 1] = False
    values = rng.normal(size=(n, 3)).astype(np.float32)
    values[1] = np.nan
    mask = rng.random((n, 4, 2)) < 0.5
    return {
        "name": "made",
        "landmark": "icu_24h",
        "patient": np.arange(n, dtype=np.int64) * 10,
        "modalities": (
            Modality("S", rng.normal(size=(n, 2)).astype(np.float32), ("age", "heart rate")),
            Modality("T", values, ("t0", "t1", "t2")),
        ),
        "observed": observed,
        "outcomes": np.array([[0, 1], [1, np.nan]] * (n // 2), dtype=np.float32),
        "tasks": ("mortality_inhosp", "icu_90d"),
        "site": np.arange(n, dtype=np.int64) % 2,
        "groups": {"sex": Group(np.zeros(n, dtype=np.int16), ("F", "M"))},
        "series": Series(
            np.where(mask, 1.0, np.nan).astype(np.float32),
            mask,
            np.tile(np.arange(4, dtype=np.float32), (n, 1)),
            ("heart rate", "lactate"),
        ),
    }


def change(**changes):
    return Cohort(**{**fields(), **changes})
