"""The cohort: the only thing a method ever sees of a dataset.

N stays (one a patient), M modalities, T tasks. Everything in it, the observation pattern included, is cut at the landmark.
Builders write NaN into the slots of unobserved modalities; nothing here, and no method, reads those slots.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

Array = np.ndarray


class CohortError(ValueError):
    """A cohort that breaks its contract; the message names the field and the row of the first fault."""


@dataclass(frozen=True, eq=False)
class Modality:
    """One group of features: ``values`` float32 [N, d], NaN inside an observed modality = a feature not recorded."""

    name: str
    values: Array
    feature_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Number of features d."""
        return self.values.shape[1]


@dataclass(frozen=True, eq=False)
class Group:
    """A grouping of the stays (sex, age band, ...): ``codes`` int16 [N] into ``labels``, -1 = unknown. Never an input."""

    codes: Array
    labels: tuple[str, ...]


RECORDED = 256
"""Times of record that a stay keeps at most: its last."""


@dataclass(frozen=True, eq=False)
class Series:
    """Labs and vitals in hourly bins before the landmark: values float32 [N, L, C], mask bool [N, L, C], hours float32 [N, L].

    ``hours`` counts from the admission; bins beyond a stay's last one have ``mask`` False and hours NaN. Where ``mask`` is False
    the value is NaN. ``recorded``: the same channels as they were recorded, where a cohort keeps that; its steps are a stay's times of
    record, at most ``RECORDED``, in their order.
    """

    values: Array
    mask: Array
    hours: Array
    channels: tuple[str, ...]
    recorded: Series | None = None

    def take(self, rows: Array) -> Series:
        """Return the series of the given rows (integer positions)."""
        recorded = None if self.recorded is None else self.recorded.take(rows)
        return Series(self.values[rows], self.mask[rows], self.hours[rows], self.channels, recorded)


def collect_records(
    row: Array, hours: Array, channel: Array, values: Array, n: int, channels: tuple[str, ...]
) -> Series:
    """Return the series of n stays whose steps are the times of K records: ``row``, ``hours``, ``channel`` (a position), ``values`` [K].

    A stay with more than ``RECORDED`` times keeps the last. Of several records of a channel at one time the last given counts.
    """
    order = np.lexsort((hours, row))
    row, hours, channel, values = row[order], hours[order].astype(np.float32), channel[order], values[order]
    new = np.ones(len(row), dtype=bool)
    new[1:] = (np.diff(row) != 0) | (np.diff(hours) != 0)
    count = np.bincount(row[new], minlength=n)
    # the position of a record's time among its stay's, less the times that are left out
    place = new.cumsum() - 1 - (count.cumsum() - count)[row] - np.maximum(count - RECORDED, 0)[row]
    kept = place >= 0
    row, place, channel = row[kept], place[kept], channel[kept]
    shape = (n, min(RECORDED, max(1, count.max(initial=0))))
    at = np.full(shape, np.nan, dtype=np.float32)
    at[row, place] = hours[kept]
    contents = np.full((*shape, len(channels)), np.nan, dtype=np.float32)
    contents[row, place, channel] = values[kept]
    return Series(contents, ~np.isnan(contents), at, channels)


@dataclass(frozen=True, eq=False)
class Cohort:
    """One dataset at one landmark, checked on construction.

    Shapes: ``patient`` int64 [N]; ``site`` int64 [N] or None; ``observed`` bool [N, M] (delta, the observation pattern);
    ``outcomes`` float32 [N, T] of 0, 1 or NaN (undefined). ``fingerprint`` is a hash of the content; leave it empty to have it computed.

    Raises:
        CohortError: with the field and the row of the first fault.
    """

    name: str
    landmark: str
    patient: Array
    modalities: tuple[Modality, ...]
    observed: Array
    outcomes: Array
    tasks: tuple[str, ...]
    site: Array | None = None
    groups: dict[str, Group] = field(default_factory=dict)
    series: Series | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        _check_cohort(self)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", compute_fingerprint(self))

    def __len__(self) -> int:
        return len(self.patient)

    @property
    def modality_names(self) -> tuple[str, ...]:
        """Names of the M modalities, in order."""
        return tuple(m.name for m in self.modalities)

    def take(self, rows: Array) -> Cohort:
        """Return the cohort of the given rows (integer positions, or a bool mask [N]), in the given order."""
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        digest = hashlib.sha256(self.fingerprint.encode() + np.ascontiguousarray(rows, dtype=np.int64).tobytes())
        return replace(
            self,
            patient=self.patient[rows],
            site=None if self.site is None else self.site[rows],
            groups={k: Group(g.codes[rows], g.labels) for k, g in self.groups.items()},
            modalities=tuple(replace(m, values=m.values[rows]) for m in self.modalities),
            observed=self.observed[rows],
            outcomes=self.outcomes[rows],
            series=None if self.series is None else self.series.take(rows),
            fingerprint=digest.hexdigest(),
        )

    def without_outcomes(self) -> Cohort:
        """Return the same stays with every outcome undefined (NaN): what a method gets at prediction time."""
        digest = hashlib.sha256(f"{self.fingerprint} without outcomes".encode()).hexdigest()
        return replace(self, outcomes=np.full_like(self.outcomes, np.nan), fingerprint=digest)


def name_patterns(observed: Array, modality_names: tuple[str, ...]) -> list[str]:
    """Name the observation pattern of each stay, e.g. ``S+T`` from [1, 0, 1, 0]; ``none`` where nothing is observed."""
    patterns, inverse = np.unique(np.asarray(observed, dtype=bool), axis=0, return_inverse=True)
    names = ["+".join(n for n, seen in zip(modality_names, p, strict=True) if seen) or "none" for p in patterns]
    return [names[i] for i in inverse.ravel()]


def compute_fingerprint(cohort: Cohort) -> str:
    """Return the SHA-256 of everything a method could read, without the slots of unobserved modalities."""
    digest = hashlib.sha256()

    def text(*parts: object) -> None:
        digest.update(repr(parts).encode())

    def array(name: str, values: Array | None) -> None:
        if values is None:
            return text(name, None)
        values = np.ascontiguousarray(values)
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
        text(name, values.dtype.str, values.shape)
        digest.update(values.tobytes())

    text(cohort.name, cohort.landmark, cohort.tasks)
    for name in ("patient", "site", "observed", "outcomes"):
        array(name, getattr(cohort, name))
    for name, group in sorted(cohort.groups.items()):
        text(group.labels)
        array(name, group.codes)
    for m, modality in enumerate(cohort.modalities):
        text(modality.feature_names)
        array(modality.name, modality.values[cohort.observed[:, m]])
    for series in (cohort.series, cohort.series and cohort.series.recorded):
        if series is not None:
            text(series.channels)
            for name in ("values", "mask", "hours"):
                array(name, getattr(series, name))
    return digest.hexdigest()


def _make_error(cohort: Cohort, what: str) -> CohortError:
    return CohortError(f"cohort {cohort.name}/{cohort.landmark}: {what}")


def _check_array(cohort: Cohort, name: str, values: Array, dtype: str, shape: tuple[int | None, ...]) -> None:
    if not isinstance(values, np.ndarray):
        raise _make_error(cohort, f"{name} must be a numpy array, not {type(values).__name__}")
    if values.dtype != np.dtype(dtype):
        raise _make_error(cohort, f"{name} must be {dtype}, not {values.dtype}")
    if values.ndim != len(shape) or any(w is not None and w != g for w, g in zip(shape, values.shape, strict=True)):
        wanted = ", ".join("any" if w is None else str(w) for w in shape)
        raise _make_error(cohort, f"{name} must have shape [{wanted}], not {list(values.shape)}")


def _find_first(bad: Array) -> int:
    return int(np.flatnonzero(bad)[0])


def _check_cohort(c: Cohort) -> None:
    n, m, t = len(c.patient), len(c.modalities), len(c.tasks)
    _check_array(c, "patient", c.patient, "int64", (None,))
    if m == 0 or t == 0:
        raise _make_error(c, "needs at least one modality and one task")
    for what, names in (("modalities", c.modality_names), ("tasks", c.tasks)):
        if len(set(names)) != len(names):
            raise _make_error(c, f"{what} has a name twice: {', '.join(names)}")
    order = np.argsort(c.patient, kind="stable")
    twice = order[1:][np.diff(c.patient[order]) == 0]
    if len(twice):
        row = int(twice.min())
        raise _make_error(
            c, f"patient {c.patient[row]} stands twice, again in row {row}; one stay a patient is allowed"
        )
    if c.site is not None:
        _check_array(c, "site", c.site, "int64", (n,))
    _check_array(c, "observed", c.observed, "bool", (n, m))
    _check_array(c, "outcomes", c.outcomes, "float32", (n, t))
    bad = ~(np.isnan(c.outcomes) | (c.outcomes == 0) | (c.outcomes == 1))
    if bad.any():
        row, col = np.argwhere(bad)[0]
        raise _make_error(
            c, f"outcomes[{c.tasks[col]}] is {c.outcomes[row, col]} in row {row}; only 0, 1 and NaN are outcomes"
        )
    for j, modality in enumerate(c.modalities):
        where = f"modality {modality.name}"
        _check_array(c, where, modality.values, "float32", (n, len(modality.feature_names)))
        infinite = np.isinf(modality.values).any(axis=1) & c.observed[:, j]
        if infinite.any():
            row = _find_first(infinite)
            col = _find_first(np.isinf(modality.values[row]))
            raise _make_error(
                c, f"{where}, feature {modality.feature_names[col]} is infinite in row {row}; NaN means not recorded"
            )
    for name, group in c.groups.items():
        _check_array(c, f"group {name}", group.codes, "int16", (n,))
        bad = (group.codes < -1) | (group.codes >= len(group.labels))
        if bad.any():
            raise _make_error(
                c,
                f"group {name} has code {group.codes[_find_first(bad)]} in row {_find_first(bad)} and {len(group.labels)} labels",
            )
    if c.series is not None:
        _check_series(c, "series", c.series, n)
        if c.series.recorded is not None:
            _check_series(c, "series.recorded", c.series.recorded, n)
            if c.series.recorded.channels != c.series.channels:
                raise _make_error(c, "series.recorded has other channels than series")


def _check_series(c: Cohort, name: str, s: Series, n: int) -> None:
    _check_array(c, f"{name}.values", s.values, "float32", (n, None, len(s.channels)))
    _check_array(c, f"{name}.mask", s.mask, "bool", s.values.shape)
    _check_array(c, f"{name}.hours", s.hours, "float32", s.values.shape[:2])
    bad = (s.mask & ~np.isfinite(s.values)).any(axis=(1, 2))
    if bad.any():
        raise _make_error(c, f"{name}.values has a recorded value that is not finite in row {_find_first(bad)}")
    bad = (s.mask.any(axis=2) & ~np.isfinite(s.hours)).any(axis=1)
    if bad.any():
        raise _make_error(c, f"{name}.hours is not finite where something was recorded, in row {_find_first(bad)}")
