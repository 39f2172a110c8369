"""``list``: lists methods, datasets or experiments, without importing torch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from benchmark.show import show
from benchmark.verbs.common import JSON, list_experiments


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("what", choices=("methods", "datasets", "experiments"))
    parser.add_argument("--json", action="store_true", help=JSON)


def run(options: Namespace) -> int:
    """List methods, datasets or experiments, without importing torch."""
    rows: Sequence[dict[str, Any]]
    columns: tuple[str, ...]
    if options.what == "methods":
        from methods.registry import infos

        rows = [
            {
                "name": name,
                "title": i.title,
                "year": i.year,
                "family": i.family,
                "uses_series": i.uses_series,
                "citation": i.citation,
            }
            for name, i in sorted(infos().items())
        ]
        columns = ("name", "title", "year", "family")
    elif options.what == "datasets":
        from datasets.registry import DATASETS

        rows = [
            {
                "name": d.name,
                "description": d.description,
                "landmarks": d.landmarks,
                "licence": d.licence,
                "citation": d.citation,
            }
            for d in DATASETS.values()
        ]
        columns = ("name", "description", "licence")
    else:
        rows = list_experiments()
        columns = ("name", "description")
    show(rows, columns, options.json)
    return 0
