"""Functions that several verbs need. Imports nothing heavy."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError
from benchmark.show import format_progress, make_progress, report_every_minute, show_work
from results.plan import Plan

if TYPE_CHECKING:
    from benchmark.executors import Outcome, Work
    from results.cell import Cell

JSON = "one JSON document on standard output, nothing else"


def require_experiment(options: Namespace, verb: str) -> None:
    """Check that the verb was given an experiment.

    Raises:
        UsageError: it was not.
    """
    if "=" in options.experiment:
        raise UsageError(f"{verb} needs an experiment: {', '.join(row['name'] for row in list_experiments())}")


def compose_config(options: Namespace, verb: str) -> Any:
    """Compose the configuration that the command line asks for."""
    require_experiment(options, verb)
    from benchmark.plan.config import load_config

    return load_config(options.experiment, options.overrides)


def list_experiments() -> list[dict[str, str]]:
    """Return name and description of each experiment."""
    rows = []
    for path in sorted((Path(__file__).resolve().parents[1] / "conf" / "experiment").glob("*.yaml")):
        lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        rows.append({"name": path.stem, "description": " ".join(line for line in lines if not line.startswith("@"))})
    return rows


def compute_rounds(
    rounds: Iterable[list[Work]],
    total: int,
    config: Any,
    jobs: int,
    describe: Callable[[Cell], str],
    uncounted: Container[int] = (),
) -> list[Outcome]:
    """Compute cells round by round, with a progress bar or a line a minute, and return their outcomes.

    A round is asked for when all cells of the one before it are stored. ``total``: how many cells there are in all, without the rounds
    numbered in ``uncounted``, whose cells are known only when their turn comes; ``describe``: what the bar says of the last cell.
    """
    from benchmark.executors import make_job, run_job

    outcomes: list[Outcome] = []

    def describe_progress(seconds: float) -> str:
        failed = sum(outcome.status == "failed" for outcome in list(outcomes))
        return format_progress(len(outcomes) - failed, failed, total - len(outcomes), seconds)

    with make_progress() as bar, report_every_minute(describe_progress):
        task = bar.add_task("", total=total)
        for number, works in enumerate(rounds):
            if number in uncounted:
                total += len(works)
                bar.update(task, total=total)
            for outcome in run_job(*make_job(works, config, jobs)) if works else ():
                bar.update(task, advance=1, description=describe(outcome.cell))
                outcomes.append(outcome)
    return outcomes


def renew_statistics(store: Any, plan: Plan, resamples: int | None = None) -> None:
    """Derive intervals and comparisons of a plan, unless those stored rest on the same cells and were derived by the same code."""
    from benchmark.cell.keys import ROOT, hash_sources
    from results.rows import hash_keys, list_rows
    from results.statistics.derive import derive
    from results.statistics.fold_values import find_done_cells

    files = [ROOT / "results" / "statistics" / "derivations" / f"{name}.py" for name in plan.derived]
    source = hash_sources(ROOT / "results" / "statistics" / "derive.py", *files)
    basis = hash_keys(find_done_cells(store, list_rows(plan)))
    stored = store.statistics(plan.name)
    if stored is None or (stored["basis"], stored.get("source")) != (basis, source):
        with show_work(f"intervals and comparisons of {plan.name}"):
            store.write_statistics(plan.name, derive(store, plan, resamples) | {"source": source})
