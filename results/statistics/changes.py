"""Which rows of a plan a sweep changed, and from which row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from results.plan import Plan
from results.rows import TableRow, list_rows


@dataclass(frozen=True)
class Change:
    """``row`` is ``base`` with the hyper-parameter ``field`` at ``value``."""

    row: TableRow
    base: TableRow
    field: str
    value: Any


def list_changes(plan: Plan) -> list[Change]:
    """Return the rows that a sweep changed, after their rectifier if they have one, in print order."""
    rows = {_identify_row(row): row for row in list_rows(plan) if row.stage == "final" and row.cells}
    found = []
    for planned in plan.rows:
        key = (planned.method, planned.variant, planned.rectifier)
        for field, value in planned.change.items():
            variant = planned.variant.removesuffix(f"{field}={value}").rstrip("+") or "default"
            base = rows.get((planned.method, variant, planned.rectifier))
            if base is not None and key in rows:
                found.append(Change(rows[key], base, field, value))
    return found


def find_default(base: TableRow, field: str, plan: Plan) -> Any:
    """Return a hyper-parameter's value in the row that a sweep starts from; learning rates as before the schedule's factor."""
    value = base.cells[0].config["method"]["config"][field]
    return float(f"{value / plan.settings.lr_factor:.12g}") if field == "lr" else value


def _identify_row(row: TableRow) -> tuple[str, str, str]:
    cell = row.cells[0].cell
    return cell.method, cell.variant, cell.rectifier
