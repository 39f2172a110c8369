"""Labs and vitals of eICU in hourly bins from unit admission to the landmark (`datasets.raw.series`)."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np

from datasets.cohort import Series
from datasets.eicu import sources
from datasets.eicu import vocabulary as words
from datasets.raw.series import ChannelTable, build_hourly_series, map_items_to_channels

VITALS = tuple(m.name for m in words.VITALS)
CHANNELS = VITALS + words.SERIES_LABS
HOUR = 60


def build_series(con: duckdb.DuckDBPyConnection, cutoff: np.ndarray, scratch: Path) -> Series:
    """Build the series of the stays of table ``landmark`` (id, row, cutoff): ``cutoff`` int64 [N] in minutes, the same by row."""
    vitals = ChannelTable("vitals", columns={name: CHANNELS.index(name) for name in VITALS})
    labs = map_items_to_channels(sources.LAB, CHANNELS)
    return build_hourly_series(con, (vitals, labs), CHANNELS, cutoff, HOUR, scratch)
