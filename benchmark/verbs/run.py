"""``run``: computes the cells that an experiment still lacks."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError, unknown
from benchmark.overrides import OVERRIDES as ALL
from benchmark.show import NOTES
from benchmark.verbs.common import compute_rounds, renew_statistics, require_experiment
from results.cell import Cell

if TYPE_CHECKING:
    from benchmark.executors import Outcome, Work
    from benchmark.plan.tuning_rounds import CellAndInputs
    from results.storage.store import Store

OVERRIDES = tuple(ALL)


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("experiment", nargs="?", default="=")
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="processes, one thread each (default 1)")
    parser.add_argument(
        "--dry-run", action="store_true", help="the plan and an estimate of its time: nothing is computed or written"
    )
    parser.add_argument("--cell", metavar="NAME", help="this cell alone: its name, or an end of it")
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Compute the cells that are not done; a second call does nothing."""
    require_experiment(options, "run")
    if options.jobs < 1:
        raise UsageError(f"-j {options.jobs} is too small: 1 or more processes")
    from benchmark.plan.config import check_device, load_arms

    configs = load_arms(options.experiment, options.overrides)
    check_device(configs[0])
    from results.storage.store import Store

    if options.dry_run:
        from benchmark.verbs.preview import preview_run

        return preview_run(configs, Store(configs[0].store), options.jobs, options.cell)
    from benchmark.executors import read_stored_cell
    from benchmark.plan.plan import plan_run
    from benchmark.plan.tuning_rounds import find_first_trials

    started = time.perf_counter()
    plans = [plan_run(config, say=lambda text: NOTES.print(text)) for config in configs]
    store = Store(configs[0].store)
    for plan in plans:
        store.write_plan(plan.plan)
        store.write_groups(plan.name, plan.groups)
    cells = {store.folder(p): (p, plan.inputs_of(p.cell)) for plan in plans for p in plan.cells}
    stored = {folder: read_stored_cell(store, planned) for folder, (planned, _) in cells.items()}
    work = [cell for folder, cell in cells.items() if not stored[folder].finished]
    broken = [planned.cell.name for folder, (planned, _) in cells.items() if stored[folder].faults]
    if broken:
        NOTES.print(
            f"{len(broken)} stored cells do not match their checksums and are computed again: {', '.join(broken)}"
        )
    summary = f"{len(cells)} cells, {len(cells) - len(work)} done before, {len(work)} to do"
    if options.cell is not None:
        work = _select_named(options.cell, work, [planned.cell.name for planned, _ in cells.values()])
        summary += f", of which {len(work)} asked for"
    trials = find_first_trials(store, work)
    if trials:
        summary += f" after {len(trials)} trials of their tuning and those of the best"
    else:
        summary += _estimate((cell.record for cell in stored.values()), [p for p, _ in work], options.jobs)
    first = plans[0].plan
    arms = f", {len(plans)} arms" if len(plans) > 1 else ""
    datasets = " and ".join(dict.fromkeys(plan.plan.dataset for plan in plans))
    NOTES.print(f"{options.experiment} on {datasets} ({first.protocol}{arms}): {summary}")
    outcomes = _execute(store, work, trials, configs[0], options.jobs) if work else []
    failures = [outcome for outcome in outcomes if outcome.status == "failed"]
    for plan, config in zip(plans, configs, strict=True):
        renew_statistics(store, plan.plan, config.bootstrap)
    _print_skipped(outcomes)
    for outcome in failures:
        NOTES.print(f"failed: {outcome.cell.name}: {outcome.reason}", style="red")
    # a cell that failed in an earlier run and was not asked for in this one is still to do
    status = {folder: cell.record["status"] for folder, cell in stored.items() if cell.record and cell.finished}
    status |= {store.folder(outcome.planned): outcome.status for outcome in outcomes}
    counts = Counter(status.get(folder, "to do") for folder in cells)
    summary = f"{counts['done']} done, {counts['failed']} failed, {counts['skipped']} skipped"
    if counts["to do"]:
        summary += f", {counts['to do']} to do"
    seconds = time.perf_counter() - started
    NOTES.print(f"{summary} in {seconds:.0f} s; python -m benchmark report {options.experiment} writes the tables")
    return 1 if failures else 0


def _print_skipped(outcomes: list[Outcome]) -> None:
    """Say once by row, landmark and reason which cells were skipped."""
    skipped = [outcome for outcome in outcomes if outcome.status == "skipped"]
    counts = Counter((o.cell.method, o.cell.variant, o.cell.landmark, o.reason) for o in skipped)
    for (method, variant, landmark, reason), count in counts.items():
        row = method if variant == "default" else f"{method}:{variant}"
        NOTES.print(f"skipped: {row} at {landmark}, {count} cell{'' if count == 1 else 's'}: {reason}")


def _select_named(name: str, work: list[Any], known: list[str]) -> list[Any]:
    if not any(cell.endswith(name) for cell in known):
        raise unknown("cell", name, known)
    return [(planned, inputs) for planned, inputs in work if planned.cell.name.endswith(name)]


def _execute(store: Store, cells: list[CellAndInputs], trials: list[Work], config: Any, jobs: int) -> list[Outcome]:
    """Compute the cells after the trials of their tuning, of which ``trials`` are the first; return the outcomes of all."""
    from benchmark.plan.tuning_rounds import FURTHER, iterate_rounds

    return compute_rounds(
        iterate_rounds(store, cells, trials),
        len(cells) + len(trials),
        config,
        jobs,
        describe=lambda cell: f"{cell.landmark} {cell.method}",
        uncounted=(FURTHER,),
    )


def _estimate(stored: Iterable[dict[str, Any] | None], work: list[Any], jobs: int) -> str:
    """Return the estimated time from stored cells of the same rows; nothing where a row has none."""
    seconds: dict[tuple[str, ...], list[float]] = {}
    for record in stored:
        if record is not None:
            seconds.setdefault(Cell(**record["cell"]).group, []).append(record["provenance"]["seconds"]["total"])
    if not work or any(p.cell.group not in seconds for p in work):
        return ""
    total = sum(sum(seconds[p.cell.group]) / len(seconds[p.cell.group]) for p in work) / jobs
    return f", about {max(1, round(total / 60))} min" if total > 90 else f", about {max(1, round(total))} s"
