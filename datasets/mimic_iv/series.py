"""Labs and charted values in hourly bins before the landmark.

A stay's bins are whole hours from the index ICU admission, in order. The last is the hour in which the landmark or, where that
comes first, the hospital stay ends; the first is the hour of ICU admission, or of the first record before it (at most a day), or
the last one less ``BINS`` - 1, whichever is later. The value of a bin is the mean of what was known of it at the landmark. Bins after
a stay's last have ``mask`` False and ``hours`` NaN.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import Series
from datasets.mimic_iv import sources
from datasets.mimic_iv import vocabulary as words
from datasets.mimic_iv.events import SCALE, select_rows_known_at_landmark
from datasets.mimic_iv.sources import LongSource
from datasets.mimic_iv.stays import HOUR
from datasets.raw.mapped import allocate_zeros

BINS = 72
CHUNK = 10_000
"""Stays summarised at a time, so that the hourly groups of any one query stay small."""

CHANNELS = (*(m.name for m in words.VITALS if m.name not in words.ONCE), *words.SERIES_LABS)
BIN = f"CAST(floor(event / {HOUR}) AS INTEGER)"
"""SQL for the hour of an event, counted from the index ICU admission."""


def build_series(con: duckdb.DuckDBPyConnection, end: np.ndarray, scratch: Path) -> Series:
    """Build the series of the stays of table ``landmark`` (id, row, cutoff); ``end`` float64 [N]: where the bins end, in seconds, by row.

    Arrays too large for memory are mapped to files in ``scratch`` that are already unlinked when this returns.
    """
    n = len(end)
    last = np.ceil(end / HOUR).astype(np.int64) - 1
    earliest = sources.SECONDS // HOUR
    bins = int(min(BINS, max(last.max(), 0) + 1 + earliest))
    start = np.maximum(last - bins + 1, np.minimum(_read_first_hours(con, n), 0))
    limits = pd.DataFrame(
        {"row": np.arange(n, dtype=np.int32), "start": start.astype(np.int32), "final": last.astype(np.int32)}
    )
    con.register("series_limits_frame", limits)
    con.execute("CREATE OR REPLACE TEMP TABLE series_limits AS SELECT * FROM series_limits_frame")
    values = allocate_zeros((n, bins, len(CHANNELS)), np.float32, scratch)
    mask = allocate_zeros((n, bins, len(CHANNELS)), np.bool_, scratch)
    for low in range(0, n, CHUNK):
        values[low : low + CHUNK] = np.nan
        for source in sources.LONG:
            _fill_bins(con, source, values, mask, low)
    hours = start[:, None] + np.arange(bins)[None, :]
    hours = np.where(hours <= last[:, None], hours, np.nan).astype(np.float32)
    return Series(values, mask, hours, CHANNELS)


def _map_items_to_channels(source: LongSource) -> dict[int, int]:
    """Map the items of a staged source to their channels."""
    names = [m.name for _, m in source.measures]
    return {i: CHANNELS.index(name) for i, name in enumerate(names) if name in CHANNELS}


def _read_first_hours(con: duckdb.DuckDBPyConnection, n: int) -> np.ndarray:
    """Return the hour of the first record of each stay among the channels, 0 where there is none."""
    first = np.zeros(n, dtype=np.int64)
    parts = [
        f"SELECT row, event FROM {select_rows_known_at_landmark(s.name)} WHERE item IN ({', '.join(map(str, _map_items_to_channels(s)))})"
        for s in sources.LONG
    ]
    result = con.execute(f"SELECT row, min({BIN}) AS hour FROM ({' UNION ALL '.join(parts)}) GROUP BY row").fetchnumpy()
    first[result["row"]] = result["hour"]
    return first


def _fill_bins(
    con: duckdb.DuckDBPyConnection, source: LongSource, values: np.ndarray, mask: np.ndarray, low: int
) -> None:
    channels = _map_items_to_channels(source)
    to_channel = np.full(len(source.measures), -1)
    to_channel[list(channels)] = list(channels.values())
    result = con.execute(
        f"SELECT row, {BIN} - start AS bin, item, CAST(sum(x) AS DOUBLE) / count(x) / {SCALE} AS mean "
        f"FROM {select_rows_known_at_landmark(source.name)} JOIN series_limits USING (row) WHERE row BETWEEN {low} AND {low + CHUNK - 1} "
        f"AND {BIN} BETWEEN start AND final AND item IN ({', '.join(map(str, channels))}) GROUP BY row, bin, item"
    ).fetchnumpy()
    where = result["row"], result["bin"], to_channel[result["item"]]
    values[where] = result["mean"]
    mask[where] = True
