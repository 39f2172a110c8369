"""Data and cases that some tests read where they are at hand, and are skipped without."""

import os
from pathlib import Path

import pandas as pd
import pytest

from datasets.registry import DEFAULT_DATA


def find_demo(name: str, table: str) -> Path:
    """Return the folder of an open demo that has ``table``; skip the test where it is absent."""
    root = Path(os.environ.get("CRL_MMNAR_DATA", DEFAULT_DATA)) / name
    if not (root / table).exists():
        pytest.skip(f"{name} is not at {root}; set CRL_MMNAR_DATA to the folder that holds it")
    return root


def read_cohort_values(dataset: str) -> pd.DataFrame:
    """Read the right values of a demo: ``landmark``, ``id``, ``feature`` ("modality|feature"), ``stored``, ``right``, ``why``."""
    folder = Path(os.environ.get("CRL_MMNAR_CASES", DEFAULT_DATA.parent / "cases"))
    path = folder / "cohort_values.csv"
    if not path.exists():
        pytest.skip(f"no cohort_values.csv in {folder}; set CRL_MMNAR_CASES to the folder that holds it")
    rows = pd.read_csv(path)
    return rows[rows.dataset == dataset]
