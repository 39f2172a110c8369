"""What several verbs need. Imports nothing heavy."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError

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
    from benchmark.config import load_config

    return load_config(options.experiment, options.overrides)


def experiments() -> list[dict[str, str]]:
    """Name and description of each experiment."""
    found = []
    for path in sorted((Path(__file__).resolve().parents[1] / "conf" / "experiment").glob("*.yaml")):
        lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        found.append({"name": path.stem, "description": " ".join(line for line in lines if not line.startswith("@"))})
    return found
