"""Cells and plans computed elsewhere, into a store: what is finished here stays, what is broken there is left out and named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from results.cell import FINISHED, Cell, PlannedCell
from results.plan import Plan
from results.rows import basis_of, rows_of
from results.storage.files import StoreError
from results.storage.folders import RECORD, SUMS, checked, checksums, faults, put
from results.storage.store import Store, parse_frame

PREDICTIONS = "predictions.parquet"


@dataclass
class Merged:
    """Cells of a source by what became of them: ``copied``; ``replaced`` what failed or was broken here; ``same`` here already; ``kept``:
    ours is finished or failed too, theirs is not finished; ``different`` results of one key, ours kept; ``broken`` there, left out."""

    source: Path
    copied: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)


def merge(store: Store, source: Path) -> Merged:
    """Merge the store at ``source`` into ``store``; called again after an interruption, it continues.

    Raises:
        StoreError: ``source`` is no store, or is this one; or this one cannot be written.
    """
    _check(store, source)
    merged = Merged(source)
    for folder in _cell_folders(source):
        _merge_cell(store.root / folder.relative_to(source), folder, merged, str(folder.relative_to(source)))
    theirs = Store(source)
    for plan in reversed(theirs.every_plan()):
        _merge_plan(store, theirs, plan, merged)
    return merged


def _check(store: Store, source: Path) -> None:
    here, there = store.root.resolve(), source.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise StoreError(f"{source} is this store, or one lies in the other: merge a store into another")
    if not (source / "plans").is_dir() and next(_cell_folders(source), None) is None:
        raise StoreError(f"{source} is no store: it has neither plans/ nor cells")


def _cell_folders(root: Path) -> Iterator[Path]:
    """The folders of cells below ``root``, in order; half-written ones are nobody's."""
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if {RECORD, SUMS} & set(files):
            below.clear()
            yield Path(folder)


def _merge_cell(ours: Path, theirs: Path, merged: Merged, name: str) -> None:
    wrong = faults(theirs)
    if wrong or not _at_its_place(theirs, name):
        merged.broken.append(f"{name} ({', '.join(wrong) or 'not the cell of this folder'})")
        return
    here = _status(ours)
    if here in FINISHED:
        if _status(theirs) not in FINISHED:
            merged.kept.append(name)
        else:
            (merged.same if _equal(ours, theirs) else merged.different).append(name)
    elif here == "failed" and _status(theirs) not in FINISHED:
        merged.kept.append(name)
    else:
        put(ours, {file: checked(theirs, file) for file in checksums(theirs)})
        (merged.copied if here is None else merged.replaced).append(name)


def _at_its_place(folder: Path, name: str) -> bool:
    """Whether a cell lies where its name and the parts of its key say."""
    try:
        record = json.loads(checked(folder, RECORD))
        planned = PlannedCell(Cell(**record["cell"]), record["config"], record["key_parts"], record["title"])
    except (KeyError, TypeError, ValueError):
        return False
    return name == f"{planned.cell.name}/{planned.key[:16]}"


def _status(folder: Path) -> str | None:
    """The status of a cell, ``broken``, or None where there is none."""
    if faults(folder):
        return "broken"
    return json.loads(checked(folder, RECORD))["status"] if folder.is_dir() else None


def _equal(ours: Path, theirs: Path) -> bool:
    """Whether two finished cells say the same: status and predictions, value for value."""
    sums = [checksums(folder).get(PREDICTIONS) for folder in (ours, theirs)]
    if _status(ours) != _status(theirs) or (sums[0] is None) != (sums[1] is None):
        return False
    return sums[0] == sums[1] or parse_frame(checked(ours, PREDICTIONS)).equals(
        parse_frame(checked(theirs, PREDICTIONS))
    )


def _merge_plan(store: Store, theirs: Store, plan: Plan, merged: Merged) -> None:
    """A plan that is not here, its groups, and its statistics where they rest on cells that are the same here."""
    name = plan.name
    ours = next((p for p in store.every_plan() if p.name == name), None)
    statistics, own = theirs.statistics(name), store.statistics(name)
    basis = _basis(store, ours or plan)
    outdated = own is None or own.get("basis") != basis
    if statistics and statistics.get("basis") == basis and outdated and not _any_of(plan, merged.different):
        store.write_statistics(name, statistics)
    if ours is None:
        groups = theirs.groups(name)
        if groups is not None:
            store.write_groups(name, groups)
        store.write_plan(plan)
        merged.plans.append(name)


def _any_of(plan: Plan, names: list[str]) -> bool:
    return bool({f"{p.cell.name}/{p.key[:16]}" for p in plan.cells} & set(names))


def _basis(store: Store, plan: Plan) -> str:
    cells = {p.key: p for row in rows_of(plan) for p in row.cells}
    return basis_of(key for key, planned in cells.items() if _status(store.folder(planned)) == "done")
