"""Notes and images of a patient as one vector a stay, cut at the landmark, and why a modality is absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from datasets.cohort import CohortError
from datasets.mimic_iv.dated import Dated
from datasets.mimic_iv.landmarks import EXEMPT, NOTES_UNTIL, Selection, is_in_cxr_era
from datasets.mimic_iv.stays import History
from datasets.raw.mapped import allocate_zeros

REASONS = ("observed", "not_given", "not_released", "not_yet_known", "not_recorded")
"""Why a modality is absent, by code: its files were not given; no such item of that year was released; an item of the index
admission exists, but became known at or after the landmark; there is none."""

OBSERVED, NOT_GIVEN, NOT_RELEASED, NOT_YET_KNOWN, NOT_RECORDED = range(len(REASONS))
CHUNK = 20_000
"""Items summed at a time."""

Pooled = tuple[np.ndarray, np.ndarray, np.ndarray]


def pool_items(name: str, items: Dated | None, history: History, selection: Selection, scratch: Path) -> Pooled:
    """Return values float32 [N, d], ``observed`` bool [N] and reasons int8 [N] of modality ``name`` (I, T or R).

    The value is the mean over the patient's items whose own moment and entry lie strictly before the landmark; for T over
    those of the index admission alone, whenever they were signed at the landmarks that exempt them; for I over studies, of
    the mean over a study's images.
    Where no file was given (None) the modality has one column and is unobserved for all.

    Raises:
        CohortError: where an item known before the landmark has a vector that is not finite.
    """
    n = len(selection.index)
    if items is None:
        return np.full((n, 1), np.nan, np.float32), np.zeros(n, bool), np.full(n, NOT_GIVEN, np.int8)
    frame, of_index = _attach_items(name, items, history, selection)
    known = (frame.known < selection.cutoff[frame.row]) & (frame.event < selection.cutoff[frame.row])
    if name == "T":
        exempt = _find_finite(items.vectors, frame.item.to_numpy()) & (selection.landmark in EXEMPT)
        known = of_index & (known | exempt)
    rows = frame[known].sort_values(["row", "known", "event", "item"], kind="stable")
    item, at = rows.item.to_numpy(), rows.row.to_numpy()
    vectors = items.vectors
    for bad in item[~_find_finite(vectors, item)][:1]:
        raise CohortError(
            f"modality {name}: an item of subject_id {items.subject[bad]} has a vector that is not finite"
        )
    if name == "I":
        study = (rows.row.diff().ne(0) | rows.event.diff().ne(0)).cumsum().to_numpy() - 1
        vectors, at = _average_groups(vectors, item, study), at[np.unique(study, return_index=True)[1]]
        item = np.arange(len(vectors))
    present, where = np.unique(at, return_inverse=True)
    values = allocate_zeros((n, items.width), np.float32, scratch)
    values[:] = np.nan
    values[present] = _average_groups(vectors, item, where)
    observed = np.zeros(n, dtype=bool)
    observed[present] = True
    later = np.zeros(n, dtype=bool)
    later[frame.row[of_index & ~known]] = True
    return values, observed, _explain_absence(name, selection, observed, later)


def _attach_items(name: str, items: Dated, history: History, selection: Selection) -> tuple[pd.DataFrame, pd.Series]:
    """Return the items of the selected patients with their ``row``, and which of them belong to the index admission."""
    index = selection.index
    frame = pd.DataFrame({"subject": items.subject, "hadm": items.admission, "item": np.arange(len(items))})
    for column, moments in (("event", items.event), ("known", items.known)):
        seconds = moments.astype(np.int64).astype(np.float64)
        frame[column] = np.where(np.isnat(moments), np.nan, seconds)
    rows = pd.DataFrame({"subject": index.subject, "row": np.arange(len(index)), "own": index.joined, "left": index.discharged,
                         "came": index.admitted})  # fmt: skip
    frame = frame.merge(rows, on="subject").merge(history.admissions[["hadm", "joined"]], on="hadm", how="left")
    frame = frame.sort_values("item").reset_index(drop=True)
    if name == "T":
        return frame, frame.joined == frame.own
    return frame, (frame.event >= frame.came) & (frame.event <= frame.left)


def _average_groups(vectors: np.ndarray, item: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the mean, float64, of the vectors of the items of each group, numbered from 0 without a gap, summed in the order given."""
    groups = int(group.max()) + 1 if len(group) else 0
    total = np.zeros((groups, vectors.shape[1]))
    for start in range(0, len(item), CHUNK):
        here = slice(start, start + CHUNK)
        np.add.at(total, group[here], vectors[item[here]].astype(np.float64))
    return total / np.bincount(group, minlength=groups)[:, None]


def _find_finite(vectors: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Return whether the vector of each item is finite: bool [k]."""
    parts = [np.isfinite(vectors[item[i : i + CHUNK]]).all(axis=1) for i in range(0, len(item), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _explain_absence(name: str, selection: Selection, observed: np.ndarray, later: np.ndarray) -> np.ndarray:
    index = selection.index
    released = is_in_cxr_era(index) if name == "I" else index.latest <= NOTES_UNTIL
    reasons = np.where(released.to_numpy(), NOT_RECORDED, NOT_RELEASED)
    return np.where(observed, OBSERVED, np.where(later, NOT_YET_KNOWN, reasons)).astype(np.int8)
