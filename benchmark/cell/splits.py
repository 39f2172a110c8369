"""Splits for cross-validation: stratified on the joint outcome, or by whole sites; one draw a cohort and kind, stored and hashed."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from datasets.cohort import Cohort, CohortError

VALID_SHARE = 0.15
SPLIT_SEED = 20_000


@dataclass(frozen=True, eq=False)
class Split:
    """A split: ``fold`` int16 [N], the fold in which a stay is tested; ``valid`` bool [K, N], the validation part of each fold's
    training part."""

    fold: np.ndarray
    valid: np.ndarray

    @property
    def hash(self) -> str:
        """SHA-256 over both arrays."""
        return hashlib.sha256(self.fold.tobytes() + self.valid.tobytes() + repr(self.valid.shape).encode()).hexdigest()

    def rows(self, fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows of the training, validation and test part of ``fold``; every stay is in exactly one."""
        test = self.fold == fold
        valid = self.valid[fold]
        return np.flatnonzero(~test & ~valid), np.flatnonzero(valid), np.flatnonzero(test)


def draw_split(cohort: Cohort, folds: int, seed: int = SPLIT_SEED) -> Split:
    """Draw the split of a cohort; a stay is a patient, so folds never share one.

    Raises:
        CohortError: where there are fewer stays than folds need.
    """
    if folds < 2 or len(cohort) < 4 * folds:
        raise CohortError(
            f"{cohort.name}/{cohort.landmark} has {len(cohort)} stays: too few for folds={folds} (2 or more, 4 stays each)"
        )
    strata = stratify_by_outcome(cohort.outcomes, least=folds)
    fold = np.empty(len(cohort), dtype=np.int16)
    for k, (_, test) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(strata, strata)):
        fold[test] = k
    valid = np.zeros((folds, len(cohort)), dtype=bool)
    for k in range(folds):
        rows = np.flatnonzero(fold != k)
        # a stratum of this size has about two stays in the validation part
        within = stratify_by_outcome(cohort.outcomes[rows], least=int(np.ceil(2 / VALID_SHARE)))
        _, chosen = train_test_split(rows, test_size=VALID_SHARE, random_state=seed + 1 + k, stratify=within)
        valid[k, chosen] = True
    return Split(fold, valid)


def draw_site_split(cohort: Cohort, folds: int, seed: int = SPLIT_SEED) -> Split:
    """Draw a split in which no site is in two parts of a fold: whole sites are tested, others validate, the rest train.

    Sites are dealt so that outcomes are spread as evenly as they allow (``StratifiedGroupKFold``); the validation part is a seventh
    of the training part's sites by the same rule, the nearest to 15 %.

    Raises:
        CohortError: the cohort has no sites, or fewer than folds need, or outcomes that cannot be dealt so.
    """
    if cohort.site is None:
        raise CohortError(
            f"{cohort.name}/{cohort.landmark} has no sites: split=sites needs a cohort of several hospitals"
        )
    sites, parts = len(np.unique(cohort.site)), round(1 / VALID_SHARE)
    if sites < (needed := count_needed_sites(folds)):
        raise CohortError(
            f"{cohort.name}/{cohort.landmark} has {sites} sites: split=sites with folds={folds} needs {needed}"
        )
    fold = np.empty(len(cohort), dtype=np.int16)
    strata = stratify_by_outcome(cohort.outcomes, least=folds)
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for k, (_, test) in enumerate(dealt.split(strata, strata, cohort.site)):
        fold[test] = k
    valid = np.zeros((folds, len(cohort)), dtype=bool)
    for k in range(folds):
        rows = np.flatnonzero(fold != k)
        # sites are dealt by their outcomes, so that a fold may get more of them than others
        if (left := len(np.unique(cohort.site[rows]))) < parts or len(rows) == len(cohort):
            raise CohortError(
                f"{cohort.name}/{cohort.landmark}: split=sites with folds={folds} tests {sites - left} of {sites} sites in fold {k}; "
                f"1 or more must be, and {parts} must be left: fewer folds or more sites"
            )
        within = stratify_by_outcome(cohort.outcomes[rows], least=parts)
        dealt = StratifiedGroupKFold(parts, shuffle=True, random_state=seed + 1 + k)
        _, chosen = next(dealt.split(within, within, cohort.site[rows]))
        valid[k, rows[chosen]] = True
    return Split(fold, valid)


def count_needed_sites(folds: int) -> int:
    """Return the fewest sites of a split: two a fold, and outside a fold that has its share of them as many as there are parts of which
    one validates."""
    sites = 2 * folds
    while sites - -(-sites // folds) < round(1 / VALID_SHARE):
        sites += 1
    return sites


def stratify_by_outcome(outcomes: np.ndarray, least: int) -> np.ndarray:
    """Return the stratum of each stay, int64 [N]: the joint outcome (0, 1 or undefined a task).

    Joint classes with fewer than ``least`` stays are merged into the class that is nearest to them (fewest tasks that differ, then
    the largest), the rarest first.
    """
    digits = np.where(np.isnan(outcomes), 2, np.nan_to_num(outcomes)).astype(np.int64)
    classes, codes = np.unique(digits, axis=0, return_inverse=True)
    codes = codes.ravel()
    count = np.bincount(codes, minlength=len(classes))
    while True:
        alive = np.flatnonzero(count)
        rare = alive[count[alive] < least]
        if len(rare) == 0 or len(alive) == 1:
            return codes.astype(np.int64)
        source = rare[np.argmin(count[rare])]
        others = alive[alive != source]
        differing = (classes[others] != classes[source]).sum(axis=1)
        target = others[np.lexsort((-count[others], differing))[0]]
        codes[codes == source] = target
        count[target] += count[source]
        count[source] = 0


DRAW = {"folds": draw_split, "sites": draw_site_split}


def load_or_draw_split(cohort: Cohort, folder: Path, folds: int, kind: str = "folds") -> tuple[Split, Path]:
    """Return the split of this kind stored in ``folder``, drawn and stored on first use, and its file.

    Raises:
        CohortError: it cannot be drawn, written or read.
    """
    path = folder / f"{kind}-{folds}-{cohort.fingerprint[:12]}.npz"
    if not path.exists():
        split = DRAW[kind](cohort, folds)
        # another process may draw the same split now: the file appears whole or not at all
        scratch = path.with_name(f".{os.getpid()}.npz")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(scratch, fold=split.fold, valid=split.valid)
            os.replace(scratch, path)
        except OSError as error:
            raise CohortError(
                f"cannot write {path}: {error.strerror or error}; choose another built=DIR, or draw the split where it can be written"
            ) from None
    return load_split(path), path


def load_split(path: Path) -> Split:
    """Return the split stored in ``path``."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Split(arrays["fold"], arrays["valid"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise CohortError(f"{path} cannot be read ({error}): remove it, and it is drawn again") from None
