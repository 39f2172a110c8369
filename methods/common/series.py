"""Inputs of the methods that read irregular series: labs and vitals, standardised by what the training stays recorded.

Steps are the hours in which something was recorded, with the mean of each hour, or, as the variant ``as_recorded`` of a method, the
times of record themselves, the last 256 of a stay (``Series.recorded``; a cohort keeps them where it is asked to). A value that was not
recorded is never read. A method that needs series and gets a cohort without any raises ``NoSeries``; a run then skips it with that reason.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from datasets.cohort import Cohort, Series
from methods.base import NotApplicable
from methods.common.preprocessing import CLIP


class NoSeries(NotApplicable):
    """The cohort has no series, or not those that are asked for."""


STEPS = ("hours", "records")
"""What a step of a series is: an hour in which something was recorded, or a time of record."""


def require_series(cohort: Cohort, method: str, steps: str = "hours") -> Series:
    """Return the series of ``cohort`` whose ``steps`` are these of ``STEPS``.

    Raises:
        NoSeries: it has none; the line names ``method`` and what to do.
    """
    if cohort.series is None:
        raise NoSeries(
            f"{method} reads the series of labs and vitals, and {cohort.name} has none; run {method}:modality_as_sensor instead"
        )
    if steps == "hours":
        return cohort.series
    if cohort.series.recorded is None:
        raise NoSeries(
            f"{method}:as_recorded reads the times of record of the series, and {cohort.name} was built without them: "
            "pass dataset.recorded=true (embedded cohorts), or run " + method
        )
    return cohort.series.recorded


class SeriesScaler:
    """Each of C channels standardised by the mean and sd of its recorded training values, clipped to +-10 sd.

    After ``fit``: ``mean`` and ``scale`` float32 [C] (scale = 1 / sd, 0 for a channel that is constant or was never recorded).
    """

    mean: np.ndarray
    scale: np.ndarray

    def fit(self, series: Series) -> Self:
        """Fit the scaler on the series of training stays and return it."""
        mask = np.asarray(series.mask)
        count = mask.sum(axis=(0, 1))
        values = np.where(mask, series.values, 0).astype(np.float64)
        mean = values.sum(axis=(0, 1)) / np.maximum(count, 1)
        square = np.where(mask, values - mean, 0) ** 2
        sd = np.sqrt(square.sum(axis=(0, 1)) / np.maximum(count, 1))
        usable = sd > 1e-6 * np.maximum(np.abs(mean), 1e-6)
        self.mean = mean.astype(np.float32)
        self.scale = np.where(usable, 1 / np.where(usable, sd, 1), 0).astype(np.float32)
        return self

    def transform(self, series: Series) -> dict[str, np.ndarray]:
        """Return ``values`` float32 [N, L, C], ``mask`` bool [N, L, C] and ``hours`` float32 [N, L]; zeros where nothing was recorded.

        Zero is also the training mean of every channel.
        """
        mask = np.array(series.mask)
        values = np.clip((np.where(mask, series.values, self.mean) - self.mean) * self.scale, -CLIP, CLIP)
        hours = np.where(mask.any(axis=2), series.hours, np.float32(0)).astype(np.float32)
        return {"values": values.astype(np.float32), "mask": mask, "hours": hours}

    def state(self) -> dict[str, np.ndarray]:
        """Return what was fitted as plain arrays."""
        return {"mean": self.mean, "scale": self.scale}

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the scaler from its ``state`` and return it."""
        self.mean, self.scale = state["mean"], state["scale"]
        return self
