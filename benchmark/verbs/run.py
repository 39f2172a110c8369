"""``run``: compute what an experiment still lacks."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.show import NOTES
from benchmark.verbs.common import needs_experiment

FINISHED = ("done", "skipped")
"""What a second run leaves as it is."""


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("experiment", nargs="?", default="=")
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="processes, one thread each (default 1)")
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """Compute the cells that are not done; a second call does nothing."""
    needs_experiment(options, "run")
    if options.jobs < 1:
        raise UsageError(f"-j {options.jobs} is too small: 1 or more processes")
    from benchmark.config import arms_of

    configs = arms_of(options.experiment, options.overrides)
    from benchmark.experiment import make_plan
    from results.store import Store

    started = time.perf_counter()
    plans = [make_plan(config, say=lambda text: NOTES.print(text)) for config in configs]
    store = Store(configs[0].store)
    for plan in plans:
        store.write_plan(plan.name, plan.document)
        store.write_groups(plan.name, plan.groups)
    places = {store.folder(p): (p, plan.place(p.cell)) for plan in plans for p in plan.cells}
    records = {folder: store.record(p) for folder, (p, _) in places.items()}
    work = [places[folder] for folder, record in records.items() if (record or {}).get("status") not in FINISHED]
    count = f"{len(places)} cells, {len(places) - len(work)} done before, {len(work)} to do"
    estimate = _estimate([p for p, _ in places.values()], list(records.values()), [p for p, _ in work], options.jobs)
    document = plans[0].document
    arms = f", {len(plans)} arms" if len(plans) > 1 else ""
    NOTES.print(f"{options.experiment} on {document['dataset']} ({document['protocol']}{arms}): {count}{estimate}")
    failures = _execute(work, configs[0].store, options.jobs) if work else []
    for plan, config in zip(plans, configs, strict=True):
        if work or store.statistics(plan.name) is None:
            _derive(store, plan, config.bootstrap)
    skipped = [folder for folder, (p, _) in places.items() if (store.record(p) or {}).get("status") == "skipped"]
    for name, reason in failures:
        NOTES.print(f"failed: {name}: {reason}", style="red")
    ended = f"{len(places) - len(failures) - len(skipped)} done, {len(failures)} failed, {len(skipped)} skipped"
    NOTES.print(
        f"{ended} in {time.perf_counter() - started:.0f} s; python -m benchmark report {options.experiment} writes the tables"
    )
    return 1 if failures else 0


def _derive(store: Any, plan: Any, resamples: int) -> None:
    from results.statistics import derive

    with NOTES.status("intervals and comparisons"):
        store.write_statistics(plan.name, derive(store, plan.document, resamples))


def _execute(work: list[Any], store: str, jobs: int) -> list[tuple[str, str]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from benchmark.executors import run_local

    failures = []
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=NOTES) as bar:
        task = bar.add_task("", total=len(work))
        for outcome in run_local(work, Path(store), jobs):
            bar.update(task, advance=1, description=f"{outcome.cell.landmark} {outcome.cell.method}")
            if outcome.status == "failed":
                failures.append((outcome.cell.name, outcome.reason or ""))
    return failures


def _estimate(cells: list[Any], records: list[Any], work: list[Any], jobs: int) -> str:
    """From the cells of the same rows that are stored already; silent where there are none for some row."""
    if not work:
        return ""
    seconds: dict[tuple[str, ...], list[float]] = {}
    for planned, record in zip(cells, records, strict=True):
        if record:
            seconds.setdefault(planned.cell.group, []).append(record["provenance"]["seconds"]["total"])
    if any(p.cell.group not in seconds for p in work):
        return ""
    total = sum(sum(seconds[p.cell.group]) / len(seconds[p.cell.group]) for p in work) / jobs
    return f", about {max(1, round(total / 60))} min" if total > 90 else f", about {max(1, round(total))} s"
