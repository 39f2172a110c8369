"""``list``: lists methods, datasets or experiments, without importing torch; one method by name, whose file is imported."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError
from benchmark.show import show
from benchmark.verbs.common import JSON, list_experiments

if TYPE_CHECKING:
    from benchmark.verbs.declarations import Declarations
    from methods.registry import Info

HERE = "this repository"
UNREAD = "?"
"""What the table has for variants that the source does not say literally."""


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("what", choices=("methods", "datasets", "experiments"))
    parser.add_argument(
        "name", nargs="?", metavar="METHOD", help="of methods: this one, its hyper-parameters and variants as imported"
    )
    parser.add_argument("--json", action="store_true", help=JSON)


def run(options: Namespace) -> int:
    """List methods, datasets or experiments; nothing is imported but the method that is named."""
    rows: Sequence[dict[str, Any]]
    columns: tuple[str, ...]
    if options.name is not None:
        if options.what != "methods":
            raise UsageError(f"list {options.what} takes no name; list methods METHOD does")
        return _show_method(options.name, options.json)
    if options.what == "methods":
        rows = _list_methods()
        columns = ("name", "title", "year", "family", "variants", "origin")
        if not options.json:
            rows = [
                {**row, "variants": UNREAD if row["variants"] is None else ", ".join(row["variants"])} for row in rows
            ]
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


def _list_methods() -> list[dict[str, Any]]:
    """Return a row for each method, from its source."""
    from benchmark.verbs.declarations import read_declarations
    from methods.registry import infos

    origins = _find_origins()
    return [_describe(i, read_declarations(i), origins) for _, i in sorted(infos().items())]


def _describe(info: Info, declared: Declarations, origins: dict[str, str]) -> dict[str, Any]:
    return {
        "name": info.name,
        "title": info.title,
        "year": info.year,
        "family": info.family,
        "uses_series": info.uses_series,
        "citation": info.citation,
        "origin": origins.get(info.name, info.module) if info.is_plug_in else HERE,
        "defaults": declared.defaults,
        "grid": declared.grid,
        "variants": declared.variants,
    }


def _find_origins() -> dict[str, str]:
    """Return by the name of a plug-in's method the distribution that registers it, with its version."""
    from importlib.metadata import entry_points

    from methods.registry import GROUP

    return {point.name: f"{point.dist.name} {point.dist.version}" for point in entry_points(group=GROUP) if point.dist}


def _show_method(name: str, as_json: bool) -> int:
    """Print one method with its hyper-parameters, as JSON or as tables."""
    from benchmark.verbs.declarations import import_declarations
    from methods.registry import info

    declared = import_declarations(name)
    row = _describe(info(name), declared, _find_origins())
    if as_json:
        show([row], (), as_json)
        return 0
    facts = ("name", "title", "year", "family", "citation", "origin")
    show(({"": key, " ": row[key]} for key in facts), ("", " "), as_json)
    hyper = [
        {
            "hyper-parameter": key if key == "selection" else f"method.{key}",
            "default": value,
            "grid": ", ".join(map(str, row["grid"].get(key, ()))),
        }
        for key, value in row["defaults"].items()
    ]
    if hyper:
        show(hyper, ("hyper-parameter", "default", "grid"), as_json)
    variants = [
        {"variant": f"{name}:{key}", "changes": ", ".join(f"{k}={v}" for k, v in changes.items()) or "nothing"}
        for key, changes in row["variants"].items()
    ]
    if variants:
        show(variants, ("variant", "changes"), as_json)
    return 0
