"""``status``: how far the newest matching plans are."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter

from benchmark.show import show
from benchmark.verbs.common import JSON, config_of


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("experiment", nargs="?", default="=")
    parser.add_argument("--json", action="store_true", help=JSON)
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """How far the newest matching plans are, by method."""
    from benchmark.stored import chosen_plans
    from results.store import Store, planned_cells

    config = config_of(options, "status")
    store = Store(config.store)
    rows = []
    for plan in chosen_plans(store, options.experiment, config, options.overrides):
        counts: dict[str, Counter] = {}
        for planned in planned_cells(plan):
            status = (store.record(planned) or {"status": "to do"})["status"]
            counts.setdefault(planned.title, Counter())[status] += 1
        for title, count in counts.items():
            known = {s: count[s] for s in ("done", "failed", "skipped", "to do")}
            where = {"dataset": plan["dataset"], "protocol": plan["protocol"]}
            where |= {"arm": plan["arm"]["name"]} if plan.get("arm") else {}
            rows.append({**where, "method": title, **known})
    show(rows, tuple(rows[0]) if rows else (), options.json)
    return 1 if any(row["failed"] for row in rows) else 0
