"""What ``make bench`` measured: pytest-benchmark's JSON as a frame a table, the rows that were not measured among them.

``tests/speed/conftest.py`` adds to that JSON ``planned``, a row {"table", what names it ...} for each that could have been measured, and
``provenance`` (commit, clean, versions, hardware, finished). The ``extra_info`` of a benchmark has its row and the numbers of it, and
``rounds`` where they are not those of pytest-benchmark.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from results.storage.files import StoreError

FOLDER = "results/speed"
SECONDS = "seconds"
"""The number that every row has."""


@dataclass(frozen=True, eq=False)
class BenchmarkRun:
    """``frames``: table -> rows in the order of the tests, with what names them (``names``), ``rounds``, ``status`` (done or missing) and
    their numbers, NaN where missing; ``provenance`` as the JSON has it."""

    frames: dict[str, pd.DataFrame]
    names: dict[str, list[str]]
    provenance: dict[str, Any]

    def tidy(self) -> pd.DataFrame:
        """Return one row a number: table, what names the row, rounds, status, metric, value."""
        parts = []
        for table, frame in self.frames.items():
            fixed = [*self.names[table], "rounds", "status"]
            parts.append(frame.melt(id_vars=fixed, var_name="metric").assign(table=table))
        columns = dict.fromkeys(["table", *(name for names in self.names.values() for name in names)])
        return pd.concat(parts, ignore_index=True).reindex(columns=[*columns, "rounds", "status", "metric", "value"])


def read_newest(folder: Path) -> BenchmarkRun:
    """Read the newest measurements in ``folder``: of the files ``DATE-MACHINE.json`` that are not empty, the last by name.

    Raises:
        StoreError: there is none, or it is none of ``make bench``.
    """
    found = sorted(path for path in folder.glob("*.json") if path.stat().st_size)
    if not found:
        raise StoreError(f"nothing measured in {folder}: make bench")
    try:
        return parse_benchmarks(json.loads(found[-1].read_text(encoding="utf-8")))
    except (ValueError, KeyError, OSError) as error:
        raise StoreError(
            f"{found[-1]} cannot be read as what make bench writes ({type(error).__name__}: {error}); remove it"
        ) from None


def parse_benchmarks(document: dict[str, Any]) -> BenchmarkRun:
    """Read the measurements of one JSON document.

    Raises:
        KeyError: it is not of ``make bench``.
    """
    measured = [(b["extra_info"], b["stats"]["rounds"]) for b in document["benchmarks"]]
    rows: dict[str, list[dict[str, Any]]] = {}
    names: dict[str, dict[str, None]] = {}
    for planned in document["planned"]:
        found = [(info, rounds) for info, rounds in measured if planned.items() <= info.items()]
        info, rounds = found[0] if found else (planned, 0)
        row = {"rounds": rounds} | info | {"status": "done" if found else "missing"}
        table = row.pop("table")
        rows.setdefault(table, []).append(row)
        names.setdefault(table, {}).update(dict.fromkeys(key for key in planned if key != "table"))
    frames = {table: _make_frame(own, list(names[table])) for table, own in rows.items()}
    return BenchmarkRun(frames, {table: list(own) for table, own in names.items()}, document["provenance"])


def _make_frame(rows: list[dict[str, Any]], names: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    numbers = [column for column in frame if column not in (*names, "rounds", "status", SECONDS)]
    return frame.reindex(columns=[*names, "rounds", "status", SECONDS, *numbers])
