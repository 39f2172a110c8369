"""Cells and plans computed elsewhere, into a store: what is finished here stays, what is broken there is left out and named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from results.cell import FINISHED, Cell, PlannedCell
from results.plan import Plan
from results.rows import hash_keys, list_rows
from results.storage.files import StoreError
from results.storage.folders import RECORD, SUMS, find_faults, put_folder, read_checksums, read_verified
from results.storage.store import Store, parse_frame

PREDICTIONS = "predictions.parquet"


@dataclass
class MergeReport:
    """The cells of a source by outcome: ``copied``; ``replaced`` what failed or was broken here; ``same`` here already; ``kept``:
    ours is finished or failed too, theirs is not finished; ``different`` results of one key, ours kept; ``broken`` there, left out."""

    source: Path
    copied: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)


def merge_stores(store: Store, source: Path) -> MergeReport:
    """Merge the store at ``source`` into ``store``; called again after an interruption, it continues.

    Raises:
        StoreError: ``source`` is no store, or is this one; or this one cannot be written.
    """
    _check_source(store, source)
    merged = MergeReport(source)
    for folder in _find_cell_folders(source):
        _merge_cell(store.root / folder.relative_to(source), folder, merged, str(folder.relative_to(source)))
    theirs = Store(source)
    for plan in reversed(theirs.every_plan()):
        _merge_plan(store, theirs, plan, merged)
    return merged


def _check_source(store: Store, source: Path) -> None:
    here, there = store.root.resolve(), source.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise StoreError(f"{source} is this store, or one lies in the other: merge a store into another")
    if not (source / "plans").is_dir() and next(_find_cell_folders(source), None) is None:
        raise StoreError(f"{source} is no store: it has neither plans/ nor cells")


def _find_cell_folders(root: Path) -> Iterator[Path]:
    """Yield the folders of cells below ``root``, in order; half-written ones belong to no store."""
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if {RECORD, SUMS} & set(files):
            below.clear()
            yield Path(folder)


def _merge_cell(ours: Path, theirs: Path, merged: MergeReport, name: str) -> None:
    wrong = find_faults(theirs)
    if wrong or not _lies_where_named(theirs, name):
        merged.broken.append(f"{name} ({', '.join(wrong) or 'not the cell of this folder'})")
        return
    here = _read_status(ours)
    if here in FINISHED:
        if _read_status(theirs) not in FINISHED:
            merged.kept.append(name)
        else:
            (merged.same if _have_equal_results(ours, theirs) else merged.different).append(name)
    elif here == "failed" and _read_status(theirs) not in FINISHED:
        merged.kept.append(name)
    else:
        put_folder(ours, {file: read_verified(theirs, file) for file in read_checksums(theirs)})
        (merged.copied if here is None else merged.replaced).append(name)


def _lies_where_named(folder: Path, name: str) -> bool:
    """Return whether a cell lies where its name and the parts of its key say."""
    try:
        record = json.loads(read_verified(folder, RECORD))
        planned = PlannedCell(Cell(**record["cell"]), record["config"], record["key_parts"], record["title"])
    except (KeyError, TypeError, ValueError):
        return False
    return name == f"{planned.cell.name}/{planned.key[:16]}"


def _read_status(folder: Path) -> str | None:
    """Return the status of a cell, ``broken``, or None where there is none."""
    if find_faults(folder):
        return "broken"
    return json.loads(read_verified(folder, RECORD))["status"] if folder.is_dir() else None


def _have_equal_results(ours: Path, theirs: Path) -> bool:
    """Return whether two finished cells have the same results: status and predictions, value for value."""
    sums = [read_checksums(folder).get(PREDICTIONS) for folder in (ours, theirs)]
    if _read_status(ours) != _read_status(theirs) or (sums[0] is None) != (sums[1] is None):
        return False
    return sums[0] == sums[1] or parse_frame(read_verified(ours, PREDICTIONS)).equals(
        parse_frame(read_verified(theirs, PREDICTIONS))
    )


def _merge_plan(store: Store, theirs: Store, plan: Plan, merged: MergeReport) -> None:
    """Merge a plan that is not here, its groups, and its statistics where they rest on cells that are the same here."""
    name = plan.name
    ours = next((p for p in store.every_plan() if p.name == name), None)
    statistics, own = theirs.statistics(name), store.statistics(name)
    basis = _hash_done_keys(store, ours or plan)
    outdated = own is None or own.get("basis") != basis
    if statistics and statistics.get("basis") == basis and outdated and not _has_any_of(plan, merged.different):
        store.write_statistics(name, statistics)
    if ours is None:
        groups = theirs.groups(name)
        if groups is not None:
            store.write_groups(name, groups)
        store.write_plan(plan)
        merged.plans.append(name)


def _has_any_of(plan: Plan, names: list[str]) -> bool:
    return bool({f"{p.cell.name}/{p.key[:16]}" for p in plan.cells} & set(names))


def _hash_done_keys(store: Store, plan: Plan) -> str:
    cells = {p.key: p for row in list_rows(plan) for p in row.cells}
    return hash_keys(key for key, planned in cells.items() if _read_status(store.folder(planned)) == "done")
