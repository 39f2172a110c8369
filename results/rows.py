"""The rows of a plan's tables, and the cells behind each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results.cell import PlannedCell
from results.plan import Plan, PlannedRow


@dataclass(frozen=True)
class TableRow:
    """One row of a table: the cells of a method with a variant and a rectifier, at a stage of the prediction.

    ``stage`` is ``final``, or ``base`` for the same cells before their rectifier; ``variant`` is what the CSV prints, unique
    together with ``method``, with the hyper-parameters that were set (``hidden=32``); ``known`` rows (what is known of a cohort's truth,
    APACHE) stand apart and are never tested; ``series``: it reads the series of labs and vitals.
    """

    method: str
    variant: str
    title: str
    known: bool
    stage: str
    cells: tuple[PlannedCell, ...]
    series: bool = False


def list_rows(plan: Plan) -> list[TableRow]:
    """Return the rows of ``plan`` in print order; a row with the rectifier is followed by the one before it (``no_rectifier``).

    The latter is left out where the plan has that row as cells of their own (``rectifier=off``).
    """
    by_row: dict[tuple[str, str, str], list[PlannedCell]] = {}
    for planned in plan.cells:
        cell = planned.cell
        by_row.setdefault((cell.method, cell.variant, cell.rectifier), []).append(planned)
    listed = {(r.method, r.variant, r.rectifier) for r in plan.rows}
    rows: list[TableRow] = []
    taken: set[tuple[str, str]] = set()
    for r in plan.rows:
        method, variant, rectifier = r.method, r.variant, r.rectifier
        cells = tuple(by_row.get((method, variant, rectifier), ()))
        printed = name_variant(plan, r, cells)
        if (method, printed) in taken:
            printed = _join_variant(printed, f"rectifier_{rectifier}")
        taken.add((method, printed))
        known, series = r.kind == "known", r.series
        rows.append(TableRow(method, printed, r.title, known, "final", cells, series))
        before = _join_variant(printed, "no_rectifier")
        if rectifier != "off" and (method, variant, "off") not in listed and (method, before) not in taken:
            taken.add((method, before))
            title = f"{r.title}, before the rectifier"
            rows.append(TableRow(method, before, title, known, "base", cells, series))
    return rows


def name_variant(plan: Plan, row: PlannedRow, cells: Sequence[PlannedCell]) -> str:
    """Return a row's variant with the hyper-parameters that the command line set, of those that its method has: ``mmnar+hidden=32``.

    A cell's own variant has none of them, since its name gives the seed.
    """
    if row.kind != "method" or not cells:
        return row.variant
    has = cells[0].config.get("method", {}).get("config", {})
    given = [f"{field}={value}" for field, value in sorted(plan.settings.hyper.items()) if field in has]
    return _join_variant(row.variant, "+".join(given)) if given else row.variant


def find_reference_row(plan: Plan, rows: list[TableRow]) -> TableRow | None:
    """Return the row that others are compared with: the reference method's ``default``, else its first row, or None."""
    own = [r for r in rows if r.method == plan.reference and r.stage == "final" and not r.known]
    planned = [row.cells[0].cell.variant if row.cells else row.variant for row in own]  # without what was set
    return next(
        (row for row, variant in zip(own, planned, strict=True) if variant == "default"), own[0] if own else None
    )


def hash_keys(keys: Iterable[str]) -> str:
    """Return a hash of the keys of the cells that are done: what derived statistics rest on."""
    return hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:16]


def _join_variant(variant: str, suffix: str) -> str:
    return suffix if variant == "default" else f"{variant}+{suffix}"
