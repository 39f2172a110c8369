"""What probes measured, as a tidy frame: one row a number, with the same states and notes as the metrics of ``reports/frames/tidy.py``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from reports.frames.tidy import COLUMNS, get_row_state, set_dtypes, summarise_values
from reports.tables.table import WORDS, Entry
from results.plan import Plan
from results.rows import TableRow, list_rows
from results.storage.store import Store

KEY = ["metric", "group", "task"]
ROW = ["method", "variant", "landmark"]
NO_CELL = ("failed", "skipped", "missing")


def build_probe_frame(store: Store, plan: Plan, probe: str) -> pd.DataFrame:
    """Return every number of a probe, for each method of the plan in print order (what is known of a cohort is not probed).

    Columns as of ``build_tidy_frame`` (``task`` empty where a number is of no task), with ``title``, ``by_fold`` and ``note``. A row
    without a number has one row for each that another method has at that landmark; its status says why.
    """
    rows = [row for row in list_rows(plan) if row.stage == "final" and not row.known]
    records = {p.key: store.record(p) for row in rows for p in row.cells}
    found = []
    for landmark in plan.landmarks:
        values = {i: _collect_values(row, landmark, records, probe) for i, row in enumerate(rows)}
        keys = dict.fromkeys(key for own in values.values() for key in own)
        for i, row in enumerate(rows):
            if not any(p.cell.landmark == landmark for p in row.cells):
                continue
            status, note, expected = get_row_state(row, landmark, records)
            names = {"landmark": landmark, "method": row.method, "variant": row.variant, "title": row.title}
            for key in keys or [(probe, "all", "")]:
                at = dict(zip(KEY, key, strict=True)) | names
                if key in values[i]:
                    found.append(summarise_values(values[i][key], status, note, expected) | at)
                else:  # a reason that the probe gave for another number of the row stands for this one too
                    without = [v for own in values[i].values() for v in own if v["value"] is None]
                    found.append(
                        summarise_values(without, status, note, expected) | at | {"n": pd.NA, "positives": pd.NA}
                    )
    frame = pd.DataFrame(found).assign(experiment=plan.experiment, dataset=plan.dataset, protocol=plan.protocol)
    frame["positives"] = frame["positives"].where(frame["task"] != "")
    return set_dtypes(frame)[[*COLUMNS, "title", "by_fold", "note"]]


def build_probe_entry(
    cell: dict[str, Any] | None, *, spread: str | None = "sd_folds", digits: int = 3, signed: bool = False
) -> Entry:
    """Return a number of ``build_probe_frame`` as an entry of a table; a word where there is none."""
    if cell is None:
        return Entry(None, None, WORDS["undefined"], "", False)
    if cell["status"] in WORDS:
        return Entry(None, None, WORDS[cell["status"]], "‡" if cell["status"] == "undefined" else "", False)
    sd = None if spread is None or pd.isna(cell[spread]) else float(cell[spread])
    mark = "†" if cell["status"] == "partial" else ""
    return Entry(float(cell["mean"]), sd, "", mark, False, signed=signed, digits=digits)


def collect_notes(cells: Iterable[dict[str, Any] | None]) -> tuple[str, ...]:
    """Say why numbers among ``cells`` are missing or rest on fewer cells, each reason once a method, with the landmarks where it holds."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        if cell is not None and cell["note"]:
            mark = {"undefined": "‡ ", "partial": "† "}.get(cell["status"], "")
            found.setdefault((f"{mark}{cell['title']}", cell["note"]), {})[cell["landmark"]] = None
    return tuple(f"{title} ({', '.join(landmarks)}): {note}." for (title, note), landmarks in found.items())


def list_methods(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """List (method, variant, title) in print order."""
    columns = (frame[c] for c in ("method", "variant", "title"))
    return list(dict.fromkeys(zip(*columns, strict=True)))


class NumberIndex:
    """The rows of a frame of ``build_probe_frame`` by method, variant, landmark and the columns ``by``."""

    def __init__(self, frame: pd.DataFrame, by: Sequence[str]) -> None:
        self.found = {tuple(c[k] for k in (*ROW, *by)): c for c in frame.to_dict("records")}
        nothing = frame[frame["status"].isin(NO_CELL)].drop_duplicates(ROW)
        self.states = {tuple(c[k] for k in ROW): c for c in nothing.to_dict("records")}

    def get(self, method: str, variant: str, landmark: str, *at: str) -> dict[str, Any] | None:
        """Return the number; where no cell of the row is done, what says so; None where the probe gave no such number."""
        return self.found.get((method, variant, landmark, *at), self.states.get((method, variant, landmark)))


def _collect_values(
    row: TableRow, landmark: str, records: dict[str, Any], probe: str
) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Return every value of a row at a landmark by KEY, with fold and seed; no task is an empty text, and no count is 0."""
    values: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for planned in row.cells:
        record = records[planned.key]
        if planned.cell.landmark == landmark and record and record["status"] == "done":
            at = {"fold": planned.cell.fold, "seed": planned.cell.seed}
            for found in record.get("probes", {}).get(probe, []):
                value = found | at | {"task": found["task"] or "", "positives": found["positives"] or 0}
                values.setdefault(tuple(value[k] for k in KEY), []).append(value)
    return values
