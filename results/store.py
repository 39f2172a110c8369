"""The store: one folder a cell, written to a temporary name and renamed, so that a cell exists whole or not at all.

Layout below the store's root::

    <dataset>/<landmark>/<protocol>/<method>/<variant>/rectifier-…/tuning-…/fold-…/seed-…/<key>/
        cell.json, predictions.parquet, <probe>.parquet
    plans/<plan>.json, plans/<plan>.statistics.json, plans/<plan>.groups.parquet
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.cell import Cell, PlannedCell, check_record

PREDICTION_COLUMNS = ("split", "row", "patient", "task", "label", "probability_base", "probability", "pattern")


class StoreError(RuntimeError):
    """The store cannot be read or written; the message says which file and what to do."""


class Store:
    """Cells and plans below one root folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    # cells

    def folder(self, planned: PlannedCell) -> Path:
        """Where the cell of this key lies, whether it exists or not."""
        return self.root / planned.cell.name / planned.key[:16]

    def record(self, planned: PlannedCell) -> dict[str, Any] | None:
        """The stored record (``cell.json``) of this cell under this key, or None."""
        path = self.folder(planned) / "cell.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise StoreError(f"{path} is broken ({error}): remove its folder and run again") from None

    def faults(self, planned: PlannedCell) -> list[str]:
        return []

    def predictions(self, planned: PlannedCell) -> pd.DataFrame:
        """The stored predictions of a cell that is done, with the columns PREDICTION_COLUMNS."""
        return self.frame(planned, "predictions")

    def frame(self, planned: PlannedCell, name: str) -> pd.DataFrame:
        """A frame of a cell that is done: ``predictions``, or what the probe ``name`` stored."""
        return _read_parquet(self.folder(planned) / f"{name}.parquet")

    def write(self, planned: PlannedCell, record: dict[str, Any], frames: dict[str, pd.DataFrame]) -> Path:
        """Store a cell's record and its frames (``predictions`` and those of probes), whole or not at all; replaces a failed one of
        the same key."""
        check_record(record)
        target = self.folder(planned)
        scratch = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
            for name, frame in frames.items():
                write = _write_predictions if name == "predictions" else _write_frame
                write(scratch / f"{name}.parquet", frame)
            text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
            _write_synced(scratch / "cell.json", text + "\n")
            if target.exists():
                shutil.rmtree(target)
            os.replace(scratch, target)
        except OSError as error:
            raise _cannot_write(target, error) from None
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
        return target

    # plans

    def write_plan(self, name: str, plan: dict[str, Any]) -> Path:
        """Store what a run intends, so that a report knows what is missing."""
        return self._write_json(self.root / "plans" / f"{name}.json", plan)

    def write_statistics(self, name: str, statistics: dict[str, Any]) -> Path:
        """Store what is slow to derive from predictions (bootstrap intervals), beside its plan."""
        return self._write_json(self.root / "plans" / f"{name}.statistics.json", statistics)

    def write_groups(self, name: str, groups: pd.DataFrame) -> Path:
        """Store beside a plan which stay belongs to which group: ``landmark``, ``row`` and a column a group."""
        path = self.root / "plans" / f"{name}.groups.parquet"
        return _replace(path, lambda scratch: _write_frame(scratch, groups))

    def groups(self, name: str) -> pd.DataFrame | None:
        """The groups stored beside a plan, or None."""
        path = self.root / "plans" / f"{name}.groups.parquet"
        return _read_parquet(path) if path.exists() else None

    def plans(self, experiment: str) -> list[dict[str, Any]]:
        """All plans of an experiment, the newest first, each with its ``name``."""
        found = []
        for path in (self.root / "plans").glob("*.json"):
            if not path.name.endswith(".statistics.json"):
                plan = json.loads(path.read_text(encoding="utf-8"))
                if plan["experiment"] == experiment:
                    found.append(plan)
        return sorted(found, key=lambda p: p["written"], reverse=True)

    def statistics(self, name: str) -> dict[str, Any] | None:
        """The derived statistics stored beside a plan, or None."""
        path = self.root / "plans" / f"{name}.statistics.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _write_json(self, path: Path, value: dict[str, Any]) -> Path:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return _replace(path, lambda scratch: _write_synced(scratch, text))


def planned_cells(plan: dict[str, Any]) -> list[PlannedCell]:
    """The cells of a stored plan."""
    return [PlannedCell(Cell(**c["cell"]), c["config"], c["key_parts"], c["title"]) for c in plan["cells"]]


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, write: Callable[[Path], None]) -> Path:
    """``path``, written under another name and renamed."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(scratch)
        os.replace(scratch, path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    finally:
        scratch.unlink(missing_ok=True)
    return path


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot write {path}: {error.strerror or error}; free space or choose another store=DIR")


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}): remove its folder and run again") from None


def _write_frame(path: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(path, index=False, compression="zstd")


def _write_predictions(path: Path, frame: pd.DataFrame) -> None:
    frame = frame.loc[:, list(PREDICTION_COLUMNS)]
    for column in ("label", "probability_base", "probability"):
        frame = frame.assign(**{column: frame[column].astype(np.float32)})
    for column in ("split", "task", "pattern"):
        frame = frame.assign(**{column: frame[column].astype("category")})
    frame.to_parquet(path, index=False, compression="zstd")
