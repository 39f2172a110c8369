"""``data``: builds cohorts from raw tables."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import Any

from benchmark.errors import UsageError, unknown
from benchmark.overrides import DATA
from benchmark.show import NOTES, show, show_description, show_work
from benchmark.verbs.common import JSON
from benchmark.verbs.list import run as list_run

OVERRIDES = DATA


def arguments(parser: ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("action", choices=("list", "fetch", "build", "verify", "describe"))
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--json", action="store_true", help=JSON)
    parser.add_argument("overrides", nargs="*", metavar="key=value")


def run(options: Namespace) -> int:
    """List, fetch, build, verify or describe cohorts."""
    from datasets.registry import DATASETS

    overrides = list(options.overrides)
    if options.action == "list":
        return list_run(Namespace(what="datasets", name=None, json=options.json))
    if options.dataset is None or "=" in options.dataset:
        raise UsageError(f"data {options.action} needs a dataset: {', '.join(DATASETS)}")
    if options.dataset not in DATASETS:
        raise unknown("dataset", options.dataset, DATASETS)
    from benchmark.plan.config import load_config

    config = load_config("table1", [f"dataset={options.dataset}", *overrides])
    if options.action == "verify":
        return _verify(options.dataset, config.dataset, options.json)
    if options.action == "fetch":
        return _fetch(options.dataset, config.dataset.get("root"), options.json)
    from benchmark.plan.plan import prepare_dataset

    dataset = prepare_dataset(config, say=lambda text: NOTES.print(text), force=options.action == "build")
    described = describe_dataset(dataset)
    if options.json:
        print(json.dumps(described, indent=1))
    else:
        NOTES.print(f"{options.dataset}: {dataset.folder}")
        show_description(described, patterns=options.action == "describe")
    return 0


def describe_dataset(dataset: Any) -> dict[str, Any]:
    """Return by landmark: n, flow of inclusions, tasks, observed share by modality, patterns with outcomes, missing share by feature,
    constant features, and the builder's further counts (``paper``, ``label rules``, ``absence``)."""
    from datasets.describe import add_absent_patterns, compute_missing_shares, describe_cohort, list_constant_features

    described = {}
    for landmark, part in dataset.manifest["landmarks"].items():
        cohort = dataset.cohort(landmark)
        description = describe_cohort(cohort)
        counted = {
            k: v for k, v in part.get("notes", {}).items() if isinstance(v, list) and v and isinstance(v[0], dict)
        }
        if dataset.info.kind == "mimic":
            description["patterns"] = add_absent_patterns(cohort, description["patterns"])
        described[landmark] = {
            "flow": part["flow"],
            **description,
            "missing": compute_missing_shares(cohort),
            "constant": list_constant_features(cohort),
            **counted,
        }
    return described


def _verify(name: str, options: dict[str, Any], as_json: bool) -> int:
    from datasets.registry import DATASETS, find_raw_root

    if DATASETS[name].kind == "embedded":
        raise UsageError(f"{name} is drawn, not downloaded: there is nothing to verify")
    from datasets.raw.verify import verify_release

    root = find_raw_root(name, options.get("root"))
    with show_work(f"hashing the files in {root}"):
        rows = verify_release(root)
    show(rows, ("file", "status"), as_json)
    wrong = Counter(row["status"] for row in rows)
    NOTES.print(", ".join(f"{count} {status}" for status, count in wrong.items()))
    return 1 if wrong["differs"] else 0


def _fetch(name: str, root: str | None, as_json: bool) -> int:
    """Fetch an open release; print the commands for a credentialed one."""
    from datasets.raw import fetch
    from datasets.registry import choose_raw_root

    folder = choose_raw_root(name, root)
    if name in fetch.CREDENTIALED:
        lines = fetch.list_commands(name, folder)
        NOTES.print(f"{name} needs access granted at PhysioNet; run these yourself, wget asks for the password:")
        print(json.dumps(lines, indent=1) if as_json else "\n".join(lines))
        return 0
    if name not in fetch.OPEN:
        raise UsageError(f"{name} is drawn, not downloaded: there is nothing to fetch")
    rows = fetch.fetch_release(name, folder, lambda text: NOTES.print(text))
    show(rows, ("file", "status"), as_json)
    counts = Counter(row["status"] for row in rows)
    NOTES.print(f"{folder}: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    return 0
