"""Labs and charted values of MIMIC-IV in hourly bins from the index ICU admission (`datasets.raw.series`).

The last bin is the hour in which the landmark or, where that comes first, the hospital stay ends.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np

from datasets.cohort import Series
from datasets.mimic_iv import sources
from datasets.mimic_iv import vocabulary as words
from datasets.mimic_iv.stays import HOUR
from datasets.raw.series import build_hourly_series, map_items_to_channels

CHANNELS = (*(m.name for m in words.VITALS if m.name not in words.ONCE), *words.SERIES_LABS)


def build_series(con: duckdb.DuckDBPyConnection, end: np.ndarray, scratch: Path) -> Series:
    """Build the series of the stays of table ``landmark`` (id, row, cutoff); ``end`` float64 [N]: end of the bins in seconds, by row."""
    tables = [map_items_to_channels(source, CHANNELS) for source in sources.LONG]
    return build_hourly_series(con, tables, CHANNELS, end, HOUR, scratch)
