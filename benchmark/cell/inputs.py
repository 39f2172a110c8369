"""Where a cell finds its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CellInputs:
    """Where a cell finds its inputs: the landmark's folder of a built dataset, and the split's file."""

    landmark_folder: Path
    split_file: Path
