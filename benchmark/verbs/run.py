"""``run``: compute what an experiment still lacks."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError, unknown
from benchmark.show import NOTES, progress
from benchmark.verbs.common import needs_experiment, renew_statistics
from results.cell import Cell

if TYPE_CHECKING:
    from benchmark.executors import Outcome


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("experiment", nargs="?", default="=")
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="processes, one thread each (default 1)")
    parser.add_argument("--cell", metavar="NAME", help="this cell alone: its name, or an end of it")
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Compute the cells that are not done; a second call does nothing."""
    needs_experiment(options, "run")
    if options.jobs < 1:
        raise UsageError(f"-j {options.jobs} is too small: 1 or more processes")
    from benchmark.plan.config import arms_of

    configs = arms_of(options.experiment, options.overrides)
    from benchmark.plan.plan import plan_run
    from benchmark.plan.stages import count
    from results.cell import is_finished
    from results.storage.store import Store

    started = time.perf_counter()
    plans = [plan_run(config, say=lambda text: NOTES.print(text)) for config in configs]
    store = Store(configs[0].store)
    for plan in plans:
        store.write_plan(plan.plan)
        store.write_groups(plan.name, plan.groups)
    placed = {store.folder(p): (p, plan.inputs_of(p.cell)) for plan in plans for p in plan.cells}
    found = {folder: store.whole(planned) for folder, (planned, _) in placed.items()}
    work = [cell for folder, cell in placed.items() if not is_finished(found[folder])]
    broken = [planned.cell.name for planned, _ in work if store.faults(planned)]
    if broken:
        NOTES.print(
            f"{len(broken)} stored cells do not match their checksums and are computed anew: {', '.join(broken)}"
        )
    said = f"{len(placed)} cells, {len(placed) - len(work)} done before, {len(work)} to do"
    if options.cell is not None:
        work = _named(options.cell, work, [planned.cell.name for planned, _ in placed.values()])
        said += f", of which {len(work)} asked for"
    trials = count(store, work)
    said += f" after {trials} trials of their tuning and those of the best" if trials else ""
    said += _estimate(found.values(), [p for p, _ in work], options.jobs) if not trials else ""
    first = plans[0].plan
    arms = f", {len(plans)} arms" if len(plans) > 1 else ""
    NOTES.print(f"{options.experiment} on {first.dataset} ({first.protocol}{arms}): {said}")
    failures = _execute(store, work, configs[0], options.jobs) if work else {}
    for plan, config in zip(plans, configs, strict=True):
        renew_statistics(store, plan.plan, config.bootstrap)
    for outcome in failures.values():
        NOTES.print(f"failed: {outcome.cell.name}: {outcome.reason}", style="red")
    found |= {store.folder(planned): store.whole(planned) for planned, _ in work}
    left = [placed[folder][0] for folder, record in found.items() if not is_finished(record)]
    skipped = [record for record in found.values() if is_finished(record) and record["status"] == "skipped"]
    failed = [p for p in left if p.key in failures]
    said = f"{len(placed) - len(left) - len(skipped)} done, {len(failed)} failed, {len(skipped)} skipped"
    if len(left) > len(failed):
        said += f", {len(left) - len(failed)} to do"
    seconds = time.perf_counter() - started
    NOTES.print(f"{said} in {seconds:.0f} s; python -m benchmark report {options.experiment} writes the tables")
    return 1 if failures else 0


def _named(name: str, work: list[Any], known: list[str]) -> list[Any]:
    if not any(cell.endswith(name) for cell in known):
        raise unknown("cell", name, known)
    return [(planned, place) for planned, place in work if planned.cell.name.endswith(name)]


def _execute(store: Any, work: list[Any], config: Any, jobs: int) -> dict[str, Outcome]:
    """Compute stage by stage, with a bar of progress: the outcomes of the cells that failed, by key."""
    from benchmark.executors import job_of, run_job
    from benchmark.plan.stages import count, stages

    failures = {}
    with progress() as bar:
        total = len(work) + count(store, work)
        task = bar.add_task("", total=total)
        for number, stage in enumerate(stages(store, work)):
            if number == 1:  # the trials of the best three are known now
                bar.update(task, total=total + len(stage))
            for outcome in run_job(*job_of(stage, config, jobs)) if stage else ():
                bar.update(task, advance=1, description=f"{outcome.cell.landmark} {outcome.cell.method}")
                if outcome.status == "failed":
                    failures[outcome.planned.key] = outcome
    return failures


def _estimate(stored: Iterable[dict[str, Any] | None], work: list[Any], jobs: int) -> str:
    """From the cells of the same rows that are stored already; silent where there are none for some row."""
    seconds: dict[tuple[str, ...], list[float]] = {}
    for record in stored:
        if record is not None:
            seconds.setdefault(Cell(**record["cell"]).group, []).append(record["provenance"]["seconds"]["total"])
    if not work or any(p.cell.group not in seconds for p in work):
        return ""
    total = sum(sum(seconds[p.cell.group]) / len(seconds[p.cell.group]) for p in work) / jobs
    return f", about {max(1, round(total / 60))} min" if total > 90 else f", about {max(1, round(total))} s"
