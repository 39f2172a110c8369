"""``run --dry-run``: what a run would compute and about how long it would take, with nothing computed or stored."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.show import NOTES, show

if TYPE_CHECKING:
    from benchmark.plan.config import RunConfig
    from benchmark.plan.plan import PlannedRun
    from results.storage.store import Store

COLUMNS = ("dataset", "method", "cells", "done", "to do", "estimate")


class _NotBuilt(Exception):
    """The cohort is not there, and planning would build it."""


@dataclass
class Row:
    """A row of the run's tables: its cells, those that are stored, and the seconds that the others take, None where it is not known."""

    dataset: str
    method: str
    cells: int = 0
    done: int = 0
    seconds: float | None = 0.0


def preview_run(configs: list[RunConfig], store: Store, jobs: int, cell: str | None) -> int:
    """Print a line for each row of the run, and the sum; return the exit status."""
    from benchmark.plan.tuning_rounds import find_first_trials

    rows, trials = list[Row](), 0
    for config in configs:
        planned = plan_without_building(config)
        if planned is None:
            NOTES.print(
                f"{config.dataset['name']} is not built as asked: the run builds it first; reference predictions that come with it "
                "(ceilings) are not counted here"
            )
            rows += _list_rows_of_config(config)
            continue
        chosen = [p for p in planned.cells if cell is None or p.cell.name.endswith(cell)]
        found, work = _list_planned_rows(store, planned, chosen, _collect_seconds(store, planned))
        rows += found
        trials += len(find_first_trials(store, [(p, planned.inputs_of(p.cell)) for p in work]))
    if cell is not None and not sum(row.cells for row in rows):
        from benchmark.errors import unknown

        raise unknown("cell", cell, [p.cell.name for p in planned.cells] if planned else [])
    show([_format(row) for row in rows], COLUMNS, False)
    total = sum(row.cells for row in rows)
    left = sum(row.cells - row.done for row in rows)
    NOTES.print(
        f"{total} cells, {total - left} done before, {left} to do{_summarise(rows, trials, jobs)}; nothing was computed or written"
    )
    return 0


def _format(row: Row) -> dict[str, Any]:
    estimate = "" if row.cells == row.done else "not known" if row.seconds is None else format_seconds(row.seconds)
    return {
        "dataset": row.dataset,
        "method": row.method,
        "cells": row.cells,
        "done": row.done,
        "to do": row.cells - row.done,
        "estimate": estimate,
    }


def _summarise(rows: list[Row], trials: int, jobs: int) -> str:
    """Return what is said of the time that is left: of all rows, or of those that the store knows."""
    left = [row for row in rows if row.done < row.cells]
    known = [row.seconds for row in left if row.seconds is not None]
    if trials:
        return f" after {trials} trials of their tuning and those of the best, whose time is not known"
    if not left:
        return ""
    if not known:
        return ", no estimate: the store has no cell of the same methods, settings and stays"
    share = "" if len(known) == len(left) else f" for {len(known)} of {len(left)} rows, the others not known"
    return f", about {format_seconds(sum(known) / jobs)} with -j {jobs}{share}"


def format_seconds(seconds: float) -> str:
    """Return a duration in seconds or minutes, at least one second."""
    return f"{round(seconds / 60)} min" if seconds > 90 else f"{max(1, round(seconds))} s"


def plan_without_building(config: RunConfig) -> PlannedRun | None:
    """Plan a run on the cohorts that are built; None where the one that it asks for is not.

    Planning locks the folder of built cohorts and stores the split that it draws: it is given a folder of links, removed afterwards.
    """
    from benchmark.plan.plan import plan_run

    def stop_building(text: str) -> None:
        if text.startswith("building "):
            raise _NotBuilt

    with tempfile.TemporaryDirectory() as scratch:
        built = Path(config.built)
        for folder in built.glob("[!.]*/dataset.json") if built.is_dir() else ():
            _link(folder.parent, Path(scratch) / folder.parent.name)
        try:
            return plan_run(dataclasses.replace(config, built=scratch), say=stop_building)
        except _NotBuilt:
            return None


def _link(folder: Path, copy: Path) -> None:
    """Make ``copy`` a folder of links to what ``folder`` holds; folders that a plan writes to are copied as folders."""
    copy.mkdir()
    for entry in folder.iterdir():
        if entry.is_dir() and (entry.name == "splits" or (entry / "cohort").is_dir()):
            _link(entry, copy / entry.name)
        else:
            (copy / entry.name).symlink_to(entry.resolve())


def _list_planned_rows(
    store: Store, planned: PlannedRun, chosen: list[Any], seconds: dict[Any, float]
) -> tuple[list[Row], list[Any]]:
    """Return the rows of a plan, and those of its cells that are to do."""
    from benchmark.executors import read_stored_cell

    plan, rows, work = planned.plan, dict[str, Row](), []
    where = f"{plan.dataset} ({plan.arm.name})" if plan.arm else plan.dataset
    for p in chosen:
        row = rows.setdefault(p.title, Row(where, p.title))
        row.cells += 1
        if read_stored_cell(store, p).finished:
            row.done += 1
            continue
        work.append(p)
        one = seconds.get(_key(p.cell.landmark, p.config))
        row.seconds = None if one is None or row.seconds is None else row.seconds + one
    return list(rows.values()), work


def _list_rows_of_config(config: RunConfig) -> Iterator[Row]:
    """Yield the rows that the configuration alone tells of: methods, on each landmark, fold and seed."""
    from benchmark.plan.rows import select_method_rows
    from datasets.registry import DATASETS

    landmarks = (
        [config.landmark] if config.landmark else DATASETS[config.dataset["name"]].landmarks[config.protocol.value]
    )
    each = config.folds * config.seeds
    for row in select_method_rows(config):
        yield Row(config.dataset["name"], row.title, len(landmarks) * each, 0, None)


def _collect_seconds(store: Store, planned: PlannedRun) -> dict[Any, float]:
    """Return the mean seconds of stored cells by landmark and settings, of plans on as many stays of the same dataset."""
    from results.storage.store import BrokenCell

    taken: dict[Any, list[float]] = defaultdict(list)
    for plan in store.every_plan():
        if (plan.dataset, plan.n) == (planned.plan.dataset, planned.plan.n):
            for p in plan.cells:
                try:
                    record = store.record(p)
                except BrokenCell:
                    continue
                if record is not None and record["status"] == "done":
                    taken[_key(p.cell.landmark, p.config)].append(record["provenance"]["seconds"]["total"])
    return {key: sum(values) / len(values) for key, values in taken.items()}


def _key(landmark: str, settings: dict[str, Any]) -> tuple[str, str]:
    from results.cell import digest

    return landmark, digest(settings)
