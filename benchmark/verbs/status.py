"""``status``: shows how far the newest matching plans are, and verifies stored files against their checksums."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from benchmark.overrides import STORED
from benchmark.show import NOTES, show, show_work
from benchmark.verbs.common import JSON, compose_config
from results.plan import Plan

STATES = ("done", "failed", "skipped", "to do", "broken")

OVERRIDES = STORED


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("experiment", nargs="?", default="=")
    parser.add_argument("--json", action="store_true", help=JSON)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="hash every file of the plans' cells and of their built cohorts; list those that are broken",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Print how far the newest matching plans are, by method; with ``--verify`` the broken cells alone.

    Exit status 1 where a cell is failed or broken.
    """
    from benchmark.plan.stored import choose_plans
    from results.storage.store import Store

    config = compose_config(options, "status")
    store = Store(config.store)
    plans = choose_plans(store, options.experiment, config, options.overrides)
    if options.verify:
        return _verify(store, plans, config.built, options)
    rows = [row for plan in plans for row in _count_cells(store, plan)]
    show(rows, tuple(rows[0]) if rows else (), options.json)
    return 1 if any(row["failed"] or row["broken"] for row in rows) else 0


def _count_cells(store: Any, plan: Plan) -> list[dict[str, Any]]:
    """Return a row for each method: its cells by state, from their records alone."""
    from results.storage.store import BrokenCell

    counts: dict[tuple[str, ...], Counter] = {}
    titles = {}
    for planned in plan.cells:
        try:
            status = (store.record(planned) or {"status": "to do"})["status"]
        except BrokenCell:
            status = "broken"
        row = planned.cell.group[3:6]
        titles[row] = planned.title
        counts.setdefault(row, Counter())[status] += 1
    where = {"dataset": plan.dataset, "protocol": plan.protocol}
    where |= {"arm": plan.arm.name} if plan.arm else {}
    return [{**where, "method": titles[row], **{s: count[s] for s in STATES}} for row, count in counts.items()]


def _verify(store: Any, plans: list[Plan], built: str, options: Namespace) -> int:
    """Print each file that is missing, extra or unlike its checksum, of cells and of built cohorts; return the exit status."""
    from datasets.registry import find_altered_files

    cells = {store.folder(p): p for plan in plans for p in plan.cells}
    stored = [folder for folder in cells if folder.is_dir()]
    with show_work(f"hashing the files of {len(stored)} cells"):
        faults = {folder: broken for folder in stored if (broken := store.faults(cells[folder]))}
    rows = [
        {"cell": cells[folder].cell.name, "file": name, "folder": str(folder)}
        for folder, names in faults.items()
        for name in names
    ]
    cohorts = find_altered_files(Path(built), {plan.dataset for plan in plans})
    altered = [
        {"cell": f"cohort {folder.name}", "file": name, "folder": str(folder)}
        for folder, names in cohorts.items()
        for name in names
    ]
    if rows or altered or options.json:
        show(rows + altered, ("cell", "file"), options.json)
    NOTES.print(f"{len(stored)} of {len(cells)} cells are stored, {len(faults)} of them broken")
    NOTES.print(f"{len(cohorts)} built cohorts hashed, {sum(map(bool, cohorts.values()))} of them altered")
    for name in sorted({plan.dataset for plan in plans}) if altered else ():
        NOTES.print(f"build an altered cohort again: python -m benchmark data build {name}, with its dataset.* options")
    if rows:
        again = " ".join(["python -m benchmark run", options.experiment, *options.overrides])
        NOTES.print(f"the next run computes them again: {again}")
    return 1 if rows or altered else 0
