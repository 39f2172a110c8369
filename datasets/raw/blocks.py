"""Feature columns as blocks: their names and values float32 [N, d], built from one row a stay."""

from __future__ import annotations

import numpy as np
import pandas as pd

Block = tuple[list[str], np.ndarray]


def encode_one_hot(name: str, values: pd.Series, vocabulary: tuple[str, ...]) -> Block:
    """Return one column a word of ``vocabulary`` plus one for any other word; NaN where the field is empty."""
    codes = values.map({word: i for i, word in enumerate(vocabulary)}).fillna(len(vocabulary)).to_numpy(dtype=np.int64)
    table = np.eye(len(vocabulary) + 1, dtype=np.float32)[codes]
    table[values.isna().to_numpy()] = np.nan
    return [f"{name}={word}" for word in (*vocabulary, "another")], table


def blank_outside(values: pd.Series | np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Return the values as float64, NaN outside ``bounds``."""
    values = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore"):
        return np.where((values >= bounds[0]) & (values <= bounds[1]), values, np.nan)


def stack_columns(columns: dict[str, np.ndarray]) -> Block:
    """Stack named columns side by side."""
    return list(columns), np.stack(list(columns.values()), axis=1).astype(np.float32)


def join_blocks(*blocks: Block) -> Block:
    """Join the columns of several blocks side by side."""
    return [name for names, _ in blocks for name in names], np.concatenate([values for _, values in blocks], axis=1)
