"""The store: one folder a cell with the checksums of its files, put in place whole or not at all.

Layout below the store's root::

    <dataset>/<landmark>/<protocol>/<method>/<variant>/rectifier-…/tuning-…/fold-…/seed-…/<key>/
        cell.json, predictions.parquet, <probe>.parquet, SHA256SUMS
    plans/<plan>.json, plans/<plan>.statistics.json, plans/<plan>.groups.parquet
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.cell import PlannedCell, check_record
from results.plan import Plan, UnreadablePlan
from results.storage.files import BrokenCell, StoreError, write_whole
from results.storage.folders import RECORD, find_faults, put_folder, read_verified

__all__ = ["PREDICTION_COLUMNS", "BrokenCell", "Store", "StoreError", "parse_frame", "read_plan"]

PREDICTION_COLUMNS = ("split", "row", "patient", "task", "label", "probability_base", "probability", "pattern")


class Store:
    """Cells and plans below one root folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    # cells

    def folder(self, planned: PlannedCell) -> Path:
        """Return where the cell of this key lies, whether it exists or not."""
        return self.root / planned.cell.name / planned.key[:16]

    def record(self, planned: PlannedCell) -> dict[str, Any] | None:
        """Return the stored record (``cell.json``) of this cell under this key, or None.

        Raises:
            BrokenCell: it is not what was written.
        """
        try:
            return json.loads(read_verified(self.folder(planned), RECORD))
        except FileNotFoundError:
            return None

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return the records of every whole cell of this name, whatever its key, the one that finished last first."""
        found = []
        for path in (self.root / name).glob(f"[!.]*/{RECORD}"):
            if not find_faults(path.parent):
                found.append(json.loads(path.read_bytes()))
        return sorted(found, key=lambda record: record["provenance"]["finished"], reverse=True)

    def predictions(self, planned: PlannedCell) -> pd.DataFrame:
        """Return the stored predictions of a cell that is done, with the columns PREDICTION_COLUMNS."""
        return self.frame(planned, "predictions")

    def frame(self, planned: PlannedCell, name: str) -> pd.DataFrame:
        """Return a frame of a cell that is done: ``predictions``, or what the probe ``name`` stored.

        Raises:
            BrokenCell: it is not what was written.
            StoreError: the cell has no such frame.
        """
        path = self.folder(planned) / f"{name}.parquet"
        try:
            return parse_frame(read_verified(path.parent, path.name))
        except FileNotFoundError:
            raise StoreError(f"{path} is not stored: run again") from None

    def faults(self, planned: PlannedCell) -> list[str]:
        """Return names of this cell's files that are missing, extra or unlike their checksum; none where it is whole or not stored."""
        return find_faults(self.folder(planned))

    def write(self, planned: PlannedCell, record: dict[str, Any], frames: dict[str, pd.DataFrame]) -> Path:
        """Store a cell's record and its frames (``predictions`` and those of probes), whole or not at all.

        A failed or broken cell of the same key is replaced; one that is finished, by another runner meanwhile, is kept.

        Raises:
            StoreError: it cannot be written.
        """
        check_record(record)
        files = {f"{name}.parquet": _encode_cell_frame(name, frame) for name, frame in frames.items()}
        return put_folder(self.folder(planned), files | {RECORD: _encode_json(record)})

    # plans

    def write_plan(self, plan: Plan) -> Path:
        """Store a plan; from then on it is the newest, whatever the clock says."""
        sequence = 1 + max((p.sequence for p in self.every_plan()), default=0)
        document = plan.to_json() | {"sequence": sequence}
        return write_whole(self.root / "plans" / f"{plan.name}.json", _encode_json(document))

    def write_statistics(self, name: str, statistics: dict[str, Any]) -> Path:
        """Store what is slow to derive from predictions (bootstrap intervals), next to its plan."""
        return write_whole(self.root / "plans" / f"{name}.statistics.json", _encode_json(statistics))

    def write_groups(self, name: str, groups: pd.DataFrame) -> Path:
        """Store with a plan which stay belongs to which group: ``landmark``, ``row`` and a column a group."""
        return write_whole(self.root / "plans" / f"{name}.groups.parquet", _encode_frame(groups))

    def groups(self, name: str) -> pd.DataFrame | None:
        """Return the groups stored with a plan, or None."""
        path = self.root / "plans" / f"{name}.groups.parquet"
        try:
            return parse_frame(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read ({error}): remove it and run again") from None

    def every_plan(self) -> list[Plan]:
        """Return all plans, the newest first.

        Raises:
            StoreError: one of them cannot be read.
        """
        paths = (p for p in (self.root / "plans").glob("[!.]*.json") if not p.name.endswith(".statistics.json"))
        plans = [plan for path in paths if (plan := read_plan(path)) is not None]
        return sorted(plans, key=lambda p: (p.sequence, p.written), reverse=True)

    def plans(self, experiment: str) -> list[Plan]:
        """Return all plans of an experiment, the newest first."""
        return [plan for plan in self.every_plan() if plan.experiment == experiment]

    def statistics(self, name: str) -> dict[str, Any] | None:
        """Return the derived statistics stored with a plan, or None."""
        return _read_json(self.root / "plans" / f"{name}.statistics.json")


def parse_frame(content: bytes) -> pd.DataFrame:
    """Read a stored frame from the bytes of its file."""
    return pd.read_parquet(io.BytesIO(content))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is broken ({error}): remove it and run again") from None


def read_plan(path: Path) -> Plan | None:
    """Return the plan in a file of a store, or None where there is no such file.

    Raises:
        StoreError: it cannot be read; the message says why and names the file.
    """
    value = _read_json(path)
    try:
        return None if value is None else Plan.from_json(value)
    except UnreadablePlan as error:
        raise StoreError(f"{path}: {error}") from None


def _encode_json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _encode_frame(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _encode_cell_frame(name: str, frame: pd.DataFrame) -> bytes:
    """Return a cell's frame as the bytes of a file; predictions in float32 and dictionaries."""
    if name == "predictions":
        frame = frame.loc[:, list(PREDICTION_COLUMNS)]
        for column in ("label", "probability_base", "probability"):
            frame = frame.assign(**{column: frame[column].astype(np.float32)})
        for column in ("split", "task", "pattern"):
            frame = frame.assign(**{column: frame[column].astype("category")})
    return _encode_frame(frame)
