"""Recorded values in hourly bins before the landmark.

A stay's bins are whole hours from the index admission, in order. The last is the hour in which the series ends; the first is the hour
of admission, or of the first record before it (at most a day), or the last one less ``BINS`` - 1, whichever is later. The value of a
bin is the mean of what was known of it at the landmark. Bins after a stay's last have ``mask`` False and ``hours`` NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import Series
from datasets.raw.engine import select_rows_known_at_landmark, summarise
from datasets.raw.features import LongSource
from datasets.raw.mapped import allocate_zeros

BINS = 72
HOURS_BEFORE = 24
"""Records up to this many hours before the index admission have a bin."""

CHUNK = 10_000
"""Stays summarised at a time, so that the hourly groups of any one query stay small."""


@dataclass(frozen=True)
class ChannelTable:
    """A staging table and the channels in it: ``columns`` of a wide one, or ``items`` of a long one -> position of the channel."""

    name: str
    columns: dict[str, int] = field(default_factory=dict)
    items: dict[int, int] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """SQL for the rows that hold a channel."""
        return f"item IN ({', '.join(map(str, self.items))})" if self.items else "true"


def map_items_to_channels(source: LongSource, channels: Sequence[str]) -> ChannelTable:
    """Return the staging table of ``source`` with the items that are ``channels``."""
    names = [measure.name for _, _, measure in source.measures]
    return ChannelTable(source.name, items={i: channels.index(n) for i, n in enumerate(names) if n in channels})


def build_hourly_series(
    con: duckdb.DuckDBPyConnection,
    tables: Sequence[ChannelTable],
    channels: tuple[str, ...],
    end: np.ndarray,
    hour: int,
    scratch: Path,
) -> Series:
    """Build the series of the stays of table ``landmark`` (id, row, cutoff) from the staging ``tables``.

    ``end`` [N]: where the bins end, from the index admission, by row; ``hour``: the length of an hour in the unit of ``end``. Arrays too
    large for memory are mapped to files in ``scratch`` that are already unlinked when this returns.
    """
    n, in_hours = len(end), f"CAST(floor(event / {hour}) AS INTEGER)"
    last = np.ceil(end / hour).astype(np.int64) - 1
    bins = int(min(BINS, max(last.max(), 0) + 1 + HOURS_BEFORE))
    # A first record after admission does not move the first bin: hours without any record are kept from admission on.
    start = np.maximum(last - bins + 1, np.minimum(_read_first_hours(con, tables, in_hours, n), 0))
    limits = pd.DataFrame(
        {"row": np.arange(n, dtype=np.int32), "start": start.astype(np.int32), "final": last.astype(np.int32)}
    )
    con.register("series_limits_frame", limits)
    con.execute("CREATE OR REPLACE TEMP TABLE series_limits AS SELECT * FROM series_limits_frame")
    values = allocate_zeros((n, bins, len(channels)), np.float32, scratch)
    mask = allocate_zeros((n, bins, len(channels)), np.bool_, scratch)
    for low in range(0, n, CHUNK):
        values[low : low + CHUNK] = np.nan
        for table in tables:
            _fill_bins(con, table, in_hours, low, values, mask)
    hours = start[:, None] + np.arange(bins)[None, :]
    hours = np.where(hours <= last[:, None], hours, np.nan).astype(np.float32)
    return Series(values, mask, hours, channels)


def _read_first_hours(
    con: duckdb.DuckDBPyConnection, tables: Sequence[ChannelTable], in_hours: str, n: int
) -> np.ndarray:
    """Return the hour of the first record of each stay among the channels, 0 where there is none."""
    first = np.zeros(n, dtype=np.int64)
    rows = [f"SELECT row, event FROM {select_rows_known_at_landmark(t.name)} WHERE {t.wanted}" for t in tables]
    result = con.execute(
        f"SELECT row, min({in_hours}) AS hour FROM ({' UNION ALL '.join(rows)}) GROUP BY row"
    ).fetchnumpy()
    first[result["row"]] = result["hour"]
    return first


def _fill_bins(
    con: duckdb.DuckDBPyConnection, table: ChannelTable, in_hours: str, low: int, values: np.ndarray, mask: np.ndarray
) -> None:
    """Write the hourly means of ``CHUNK`` stays from row ``low`` into ``values`` and ``mask`` [N, L, C]."""
    means = {name: f"m{i}" for i, name in enumerate(table.columns or ["x"])}
    selected = ", ".join(f"{summarise('mean', x)} AS {mean}" for x, mean in means.items())
    item = "item, " if table.items else ""
    result = con.execute(
        f"SELECT row, {in_hours} - start AS bin, {item}{selected} FROM {select_rows_known_at_landmark(table.name)} "
        f"JOIN series_limits USING (row) WHERE row BETWEEN {low} AND {low + CHUNK - 1} "
        f"AND {in_hours} BETWEEN start AND final AND {table.wanted} GROUP BY {item}row, bin"
    ).fetchnumpy()
    for name, mean in means.items():
        kept = ~np.ma.getmaskarray(result[mean])
        if table.items:
            channel = np.array([table.items[i] for i in result["item"][kept].tolist()], dtype=np.int64)
        else:
            channel = np.full(kept.sum(), table.columns[name])
        where = result["row"][kept], result["bin"][kept], channel
        values[where] = np.ma.getdata(result[mean])[kept]
        mask[where] = True
