"""Measurements of a fitted method besides its predictions: one file a probe, asked for by an experiment (``probes:``).

A probe is a module with ``probe(fitted: Fitted) -> tuple[list[dict], DataFrame | None]``: numbers (``metric``, ``value`` or None with a
``reason``, and what tells them apart: ``group``, ``task``, ...) for ``cell.json``, and perhaps a frame, stored as ``<probe>.parquet``,
from which the numbers can be recomputed. Its source is part of the key of the cells that ask for it, and of no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datasets.cohort import Cohort
from methods.base import Method

Found = tuple[list[dict[str, Any]], pd.DataFrame | None]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A method fitted on the ``train`` rows of ``cohort`` (``rows``: train, valid, test), with the cell's seed and its seconds so far.

    ``cohort`` is what the method may see: without the series where it does not declare to read them.
    """

    method: Method
    cohort: Cohort
    rows: dict[str, np.ndarray]
    seed: int
    seconds: dict[str, float]


def find_probe_file(name: str) -> Path:
    """Return the file of a probe."""
    return Path(__file__).resolve().parent / f"{name}.py"


def measure(name: str, fitted: Fitted | None) -> Found:
    """Return what the probe ``name`` measures; nothing where nothing was fitted."""
    if fitted is None:
        return [], None
    return import_module(f"benchmark.cell.probes.{name}").probe(fitted)
