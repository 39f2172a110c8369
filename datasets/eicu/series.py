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
from datasets.eicu.events import SCALE, select_rows_known_at_landmark
from datasets.raw.mapped import allocate_zeros

BINS = 72
CHUNK = 10_000
"""Stays summarised at a time, so that the hourly groups of any one query stay small."""

HOUR = "CAST(floor(event / 60) AS INTEGER)"
"""SQL for the hour of an event, counted from unit admission."""

CHANNELS = tuple(m.name for m in words.VITALS) + words.SERIES_LABS


def build_series(con: duckdb.DuckDBPyConnection, cutoff: np.ndarray, scratch: Path) -> Series:
    """Build the series of the stays of table ``landmark`` (id, row, cutoff): ``cutoff`` int64 [N] in minutes, the same by row.

    Arrays too large for memory are mapped to files in ``scratch`` that are already unlinked when this returns.
    """
    n = len(cutoff)
    last = (cutoff - 1) // 60
    bins = int(min(BINS, last.max() + 1 + sources.DAY // 60))
    start = np.maximum(last - bins + 1, np.minimum(_read_first_hours(con, n), 0))
    con.register(
        "series_start_frame", pd.DataFrame({"row": np.arange(n, dtype=np.int32), "start": start.astype(np.int32)})
    )
    con.execute("CREATE OR REPLACE TEMP TABLE series_start AS SELECT * FROM series_start_frame")
    values = allocate_zeros((n, bins, len(CHANNELS)), np.float32, scratch)
    mask = allocate_zeros((n, bins, len(CHANNELS)), np.bool_, scratch)
    for low in range(0, n, CHUNK):
        values[low : low + CHUNK] = np.nan
        _fill_vitals(con, values, mask, low)
        _fill_labs(con, values, mask, low)
    hours = start[:, None] + np.arange(bins)[None, :]
    hours = np.where(hours <= last[:, None], hours, np.nan).astype(np.float32)
    return Series(values, mask, hours, CHANNELS)


def _read_first_hours(con: duckdb.DuckDBPyConnection, n: int) -> np.ndarray:
    """Return the hour of the first record of each stay among the channels, 0 where there is none."""
    first = np.zeros(n, dtype=np.int64)
    listed = ", ".join(str(i) for i in _map_items_to_channels())
    query = (
        f"SELECT row, min({HOUR}) AS hour FROM (SELECT row, event FROM {select_rows_known_at_landmark('vitals')} UNION ALL "
        f"SELECT row, event FROM {select_rows_known_at_landmark('lab')} WHERE item IN ({listed})) GROUP BY row"
    )
    result = con.execute(query).fetchnumpy()
    first[result["row"]] = result["hour"]
    return first


def _map_items_to_channels() -> dict[int, int]:
    """Map the items of the staged labs to their channels."""
    names = [m.name for _, _, m in sources.LAB.measures]
    return {names.index(name): CHANNELS.index(name) for name in words.SERIES_LABS}


def _select_hourly(table: str, selected: str, low: int) -> str:
    return (
        f"SELECT row, {HOUR} - start AS bin, {selected} FROM {select_rows_known_at_landmark(table)} JOIN series_start USING (row) "
        f"WHERE row BETWEEN {low} AND {low + CHUNK - 1} AND {HOUR} >= start"
    )


def _average(x: str) -> str:
    return f"CASE WHEN count({x}) > 0 THEN CAST(sum({x}) AS DOUBLE) / count({x}) / {SCALE} END"


def _fill_vitals(con: duckdb.DuckDBPyConnection, values: np.ndarray, mask: np.ndarray, low: int) -> None:
    means = ", ".join(f"{_average(m.name)} AS c{i}" for i, m in enumerate(words.VITALS))
    result = con.execute(f"{_select_hourly('vitals', means, low)} GROUP BY row, bin").fetchnumpy()
    for i in range(len(words.VITALS)):
        _write_bins(values, mask, (result["row"], result["bin"]), np.full(len(result["row"]), i), result[f"c{i}"])


def _fill_labs(con: duckdb.DuckDBPyConnection, values: np.ndarray, mask: np.ndarray, low: int) -> None:
    channels = _map_items_to_channels()
    to_channel = np.full(len(sources.LAB.measures), -1)
    to_channel[list(channels)] = list(channels.values())
    hourly = _select_hourly("lab", f"item, {_average('x')} AS mean", low)
    result = con.execute(f"{hourly} AND item IN ({', '.join(map(str, channels))}) GROUP BY row, bin, item").fetchnumpy()
    _write_bins(values, mask, (result["row"], result["bin"]), to_channel[result["item"]], result["mean"])


def _write_bins(
    values: np.ndarray, mask: np.ndarray, at: tuple[np.ndarray, np.ndarray], channel: np.ndarray, means: np.ndarray
) -> None:
    kept = ~np.ma.getmaskarray(means)
    where = at[0][kept], at[1][kept], channel[kept]
    values[where] = np.ma.getdata(means)[kept]
    mask[where] = True
