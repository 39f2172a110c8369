"""Data and cases that some tests read where they are at hand, and are skipped without."""

import os
from pathlib import Path

import pandas as pd
import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
"""A folder next to the clone, where data and cases are looked for unless the environment names others."""


def choose_data_folder() -> Path:
    """Return the folder that may hold the open demos: ``$CRL_MMNAR_DATA``, else ``shared/data`` next to the clone."""
    return Path(os.environ.get("CRL_MMNAR_DATA") or SHARED / "data")


def find_demo(name: str, table: str) -> Path:
    """Return the folder of an open demo that has ``table``; skip the test where it is absent."""
    root = choose_data_folder() / name
    if not (root / table).exists():
        pytest.skip(f"{name} is not at {root}; set CRL_MMNAR_DATA to the folder that holds it")
    return root


def read_cohort_values(dataset: str) -> pd.DataFrame:
    """Read the right values of a demo: ``landmark``, ``id``, ``feature`` ("modality|feature"), ``stored``, ``right``, ``why``."""
    folder = Path(os.environ.get("CRL_MMNAR_CASES", SHARED / "cases"))
    path = folder / "cohort_values.csv"
    if not path.exists():
        pytest.skip(f"no cohort_values.csv in {folder}; set CRL_MMNAR_CASES to the folder that holds it")
    rows = pd.read_csv(path)
    return rows[rows.dataset == dataset]
