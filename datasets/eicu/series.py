"""Labs and vitals in hourly bins before the landmark.

A stay's bins are whole hours from unit admission, in order: the first is the hour of admission, or of the first
record before it (at most a day), or the landmark's last bin less ``bins - 1``, whichever is later; the last is the
hour the landmark ends. The value of a bin is the mean of what was known of it at the landmark. Bins after a stay's
last have ``mask`` False and ``hours`` NaN.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import Series
from datasets.eicu import sources
from datasets.eicu import vocabulary as words
from datasets.eicu.events import SCALE, known_rows
from datasets.raw.mapped import zeros

BINS = 72
CHUNK = 10_000
"""Stays summarised at a time, so that the hourly groups of any one query stay small."""

HOUR = "CAST(floor(event / 60) AS INTEGER)"
"""SQL for the hour of an event, counted from unit admission."""

CHANNELS = tuple(m.name for m in words.VITALS) + words.SERIES_LABS


def build_series(con: duckdb.DuckDBPyConnection, cutoff: np.ndarray, scratch: Path) -> Series:
    """The series of the stays of table ``landmark`` (id, row, cutoff): ``cutoff`` int64 [N] in minutes, the same by row.

    Arrays too large for memory are mapped to files in ``scratch`` that are already unlinked when this returns.
    """
    n = len(cutoff)
    last = (cutoff - 1) // 60
    bins = int(min(BINS, last.max() + 1 + sources.DAY // 60))
    start = np.maximum(last - bins + 1, np.minimum(_first_hour(con, n), 0))
    con.register(
        "series_start_frame", pd.DataFrame({"row": np.arange(n, dtype=np.int32), "start": start.astype(np.int32)})
    )
    con.execute("CREATE OR REPLACE TEMP TABLE series_start AS SELECT * FROM series_start_frame")
    values = zeros((n, bins, len(CHANNELS)), np.float32, scratch)
    mask = zeros((n, bins, len(CHANNELS)), np.bool_, scratch)
    for low in range(0, n, CHUNK):
        values[low : low + CHUNK] = np.nan
        _fill_vitals(con, values, mask, low)
        _fill_labs(con, values, mask, low)
    hours = start[:, None] + np.arange(bins)[None, :]
    hours = np.where(hours <= last[:, None], hours, np.nan).astype(np.float32)
    return Series(values, mask, hours, CHANNELS)


def _first_hour(con: duckdb.DuckDBPyConnection, n: int) -> np.ndarray:
    """Hour of the first record of each stay among the channels, 0 where there is none."""
    first = np.zeros(n, dtype=np.int64)
    listed = ", ".join(str(i) for i in _lab_items())
    query = (
        f"SELECT row, min({HOUR}) AS hour FROM (SELECT row, event FROM {known_rows('vitals')} UNION ALL "
        f"SELECT row, event FROM {known_rows('lab')} WHERE item IN ({listed})) GROUP BY row"
    )
    found = con.execute(query).fetchnumpy()
    first[found["row"]] = found["hour"]
    return first


def _lab_items() -> dict[int, int]:
    """Item of the staged labs -> channel."""
    names = [m.name for _, _, m in sources.LAB.measures]
    return {names.index(name): CHANNELS.index(name) for name in words.SERIES_LABS}


def _hourly(table: str, selected: str, low: int) -> str:
    return (
        f"SELECT row, {HOUR} - start AS bin, {selected} FROM {known_rows(table)} JOIN series_start USING (row) "
        f"WHERE row BETWEEN {low} AND {low + CHUNK - 1} AND {HOUR} >= start"
    )


def _mean(x: str) -> str:
    return f"CASE WHEN count({x}) > 0 THEN CAST(sum({x}) AS DOUBLE) / count({x}) / {SCALE} END"


def _fill_vitals(con: duckdb.DuckDBPyConnection, values: np.ndarray, mask: np.ndarray, low: int) -> None:
    means = ", ".join(f"{_mean(m.name)} AS c{i}" for i, m in enumerate(words.VITALS))
    found = con.execute(f"{_hourly('vitals', means, low)} GROUP BY row, bin").fetchnumpy()
    for i in range(len(words.VITALS)):
        _put(values, mask, (found["row"], found["bin"]), np.full(len(found["row"]), i), found[f"c{i}"])


def _fill_labs(con: duckdb.DuckDBPyConnection, values: np.ndarray, mask: np.ndarray, low: int) -> None:
    channels = _lab_items()
    to_channel = np.full(len(sources.LAB.measures), -1)
    to_channel[list(channels)] = list(channels.values())
    hourly = _hourly("lab", f"item, {_mean('x')} AS mean", low)
    found = con.execute(f"{hourly} AND item IN ({', '.join(map(str, channels))}) GROUP BY row, bin, item").fetchnumpy()
    _put(values, mask, (found["row"], found["bin"]), to_channel[found["item"]], found["mean"])


def _put(
    values: np.ndarray, mask: np.ndarray, at: tuple[np.ndarray, np.ndarray], channel: np.ndarray, means: np.ndarray
) -> None:
    kept = ~np.ma.getmaskarray(means)
    where = at[0][kept], at[1][kept], channel[kept]
    values[where] = np.ma.getdata(means)[kept]
    mask[where] = True
