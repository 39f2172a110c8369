"""Arrays that may be larger than memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

IN_MEMORY = 2**26
"""Arrays of more bytes than this are mapped to a file."""


def allocate_zeros(shape: tuple[int, ...], dtype: type, scratch: Path) -> np.ndarray:
    """Allocate zeros, in memory or mapped to a file in ``scratch`` that is already unlinked when this returns."""
    if int(np.prod(shape)) * np.dtype(dtype).itemsize <= IN_MEMORY:
        return np.zeros(shape, dtype)
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".array") as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)
