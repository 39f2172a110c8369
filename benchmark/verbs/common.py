"""What several verbs need. Imports nothing heavy."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.show import NOTES
from results.plan import Plan

JSON = "one JSON document on standard output, nothing else"


def needs_experiment(options: Namespace, verb: str) -> None:
    """Raises:
    UsageError: the verb was given no experiment.
    """
    if "=" in options.experiment:
        raise UsageError(f"{verb} needs an experiment: {', '.join(row['name'] for row in experiments())}")


def config_of(options: Namespace, verb: str) -> Any:
    """The composed configuration that the command line asks for."""
    needs_experiment(options, verb)
    from benchmark.plan.config import load_config

    return load_config(options.experiment, options.overrides)


def experiments() -> list[dict[str, str]]:
    """Name and description of each experiment."""
    found = []
    for path in sorted((Path(__file__).resolve().parents[1] / "conf" / "experiment").glob("*.yaml")):
        lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        found.append({"name": path.stem, "description": " ".join(line for line in lines if not line.startswith("@"))})
    return found


def renew_statistics(store: Any, plan: Plan, resamples: int | None = None) -> None:
    """Intervals and comparisons of a plan anew, unless those stored rest on the same cells and were made by the same code."""
    from benchmark.cell.keys import ROOT, source_hash
    from results.rows import hash_keys, list_rows
    from results.statistics.derive import derive
    from results.statistics.fold_values import find_done_cells

    files = [ROOT / "results" / "statistics" / "derivations" / f"{name}.py" for name in plan.derived]
    source = source_hash(ROOT / "results" / "statistics" / "derive.py", *files)
    basis = hash_keys(find_done_cells(store, list_rows(plan)))
    stored = store.statistics(plan.name)
    if stored is None or (stored["basis"], stored.get("source")) != (basis, source):
        with NOTES.status("intervals and comparisons"):
            store.write_statistics(plan.name, derive(store, plan, resamples) | {"source": source})
