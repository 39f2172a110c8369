"""``store``: merges results computed elsewhere into this store, and exports what may leave a credentialed site."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError, unknown
from benchmark.show import NOTES, show, show_work
from benchmark.verbs.common import JSON

COLUMNS = ("source", "copied", "replaced", "same", "kept", "different", "broken", "plans")

OVERRIDES = ("store",)


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("action", choices=("merge", "export"))
    parser.add_argument(
        "places", nargs="*", metavar="PLACE", help="merge: SOURCE ...; export: DIR [EXPERIMENT]; store=DIR"
    )
    parser.add_argument("--public", action="store_true", help="export what may leave a credentialed site")
    parser.add_argument("--json", action="store_true", help=JSON)


def run(options: Namespace) -> int:
    """Merge stores into this one, or export the public part of it."""
    from benchmark.plan.stored import open_store

    overrides = [text for text in options.places if "=" in text]
    for text in overrides:
        if text.partition("=")[0] != "store":
            raise unknown("override", text.partition("=")[0], ["store"])
    places = [text for text in options.places if "=" not in text]
    act = _merge if options.action == "merge" else _export
    return act(open_store(overrides), places, options)


def _merge(store: Any, sources: list[str], options: Namespace) -> int:
    """Merge stores; exit status 1 where a cell could not be merged: broken there, or with other results here."""
    from results.merge import merge_stores

    if not sources:
        raise UsageError("store merge needs the folder of a store: store merge SOURCE [SOURCE ...] [store=DIR]")
    rows, left = [], 0
    for source in sources:
        with show_work(f"merging {source}"):
            merged = merge_stores(store, Path(source))
        rows.append({"source": source, **{name: len(getattr(merged, name)) for name in COLUMNS[1:]}})
        for name in merged.different:
            NOTES.print(f"different results of the same key, ours is kept: {name}", style="red")
        for name in merged.broken:
            NOTES.print(f"broken there, left out: {name}", style="red")
        left += len(merged.different) + len(merged.broken)
    show(rows, COLUMNS, options.json)
    return 1 if left else 0


def _export(store: Any, places: list[str], options: Namespace) -> int:
    from benchmark.plan.stored import find_newest_plans
    from reports.public.public import CONTENTS, write_export

    if not 1 <= len(places) <= 2:
        raise UsageError("store export needs a new folder: store export DIR --public [EXPERIMENT] [store=DIR]")
    if not options.public:
        raise UsageError(
            "store export writes metrics and tables, no rows of patients, with groups under 10 suppressed: say --public to "
            f"write {', '.join(line.split()[0] for line in CONTENTS.splitlines())} to {places[0]}"
        )
    experiments = find_newest_plans(store, places[1] if len(places) > 1 else None)
    with show_work("tables"):
        made = write_export(store.root, experiments, Path(places[0]))
    for name in made.files:
        NOTES.print(f"wrote {Path(places[0]) / name}")
    NOTES.print(f"{made.tally.counts} counts and {made.tally.values} other numbers are suppressed: README.txt says how")
    return 0
