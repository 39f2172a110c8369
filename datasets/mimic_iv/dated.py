"""Notes and images before the cut at a landmark: one vector an item, with the moments it happened and became known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.cohort import CohortError

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Dated:
    """k items (notes, images), each with one vector of width d.

    ``subject`` int64 [k]; ``admission`` int64 [k] (``hadm_id``, -1 where the item has none); ``event`` datetime64[s] [k];
    ``known`` datetime64[s] [k], when the item entered the record (``storetime`` of a note, else ``charttime``; the date-time of an
    imaging study); ``vectors`` float32 [k, d]. An item without a moment (NaT) is never known.

    Raises:
        CohortError: on construction, where a field has another shape or dtype.
    """

    subject: Array
    admission: Array
    event: Array
    known: Array
    vectors: Array

    def __post_init__(self) -> None:
        k = len(self.subject)
        dtypes = {"subject": "int64", "admission": "int64", "event": "datetime64[s]", "known": "datetime64[s]"}
        for name, dtype in dtypes.items():
            values = getattr(self, name)
            if values.dtype != np.dtype(dtype) or values.shape != (k,):
                raise CohortError(f"dated items: {name} must be {dtype} [{k}], not {values.dtype} {list(values.shape)}")
        if self.vectors.dtype != np.float32 or self.vectors.ndim != 2 or len(self.vectors) != k:
            shape = list(self.vectors.shape)
            raise CohortError(f"dated items: vectors must be float32 [{k}, d], not {self.vectors.dtype} {shape}")

    def __len__(self) -> int:
        return len(self.subject)

    @property
    def width(self) -> int:
        """Length d of a vector."""
        return self.vectors.shape[1]

    def take(self, items: Array) -> Dated:
        """Return the items at the given positions, or of a bool mask [k]."""
        return Dated(
            self.subject[items], self.admission[items], self.event[items], self.known[items], self.vectors[items]
        )


def make_empty(width: int) -> Dated:
    """Return no item, of the given width."""
    moments = np.empty(0, dtype="datetime64[s]")
    numbers = np.empty(0, dtype=np.int64)
    return Dated(numbers, numbers, moments, moments, np.empty((0, width), dtype=np.float32))
