"""The files that a cell reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CellInputs:
    """The inputs of a cell: the landmark's folder of a built dataset, and the split's file."""

    landmark_folder: Path
    split_file: Path
