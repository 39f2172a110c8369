"""What each verb of the command line does."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError, unknown
from benchmark.show import NOTES, show, show_description

FINISHED = ("done", "skipped")
"""What a second run leaves as it is."""


def list_verb(options: Namespace) -> int:
    """Methods, datasets or experiments, without importing torch."""
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
        rows = _experiments()
        columns = ("name", "description")
    show(rows, columns, options.json)
    return 0


def run_verb(options: Namespace) -> int:
    """Compute the cells that are not done; a second call does nothing."""
    _needs_experiment(options, "run")
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


def status_verb(options: Namespace) -> int:
    """How far the newest matching plans are, by method."""
    from benchmark.stored import chosen_plans
    from results.store import Store, planned_cells

    config = _config(options, "status")
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


def report_verb(options: Namespace) -> int:
    """Tables and figures of the newest matching plans, from the store alone."""
    from benchmark.stored import chosen_plans
    from reports.build import assemble, write_report
    from reports.files import FORMATS, text_of
    from results.store import Store

    formats = tuple(dict.fromkeys(options.format.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    config = _config(options, "report")
    plans = chosen_plans(Store(config.store), options.experiment, config, options.overrides)
    report = assemble(Path(config.store), plans)
    for path in write_report(report, Path(config.out), formats):
        NOTES.print(f"wrote {path}")
    print(text_of(report.measured))
    return 0


def cards_verb(options: Namespace) -> int:
    """Data cards and model cards, from source and store."""
    from benchmark.cards import dataset_facts, method_facts
    from benchmark.config import load_config
    from reports.cards import write_cards

    config = load_config("table1", options.overrides)
    paths = write_cards(Path(config.store), method_facts(), dataset_facts(), Path(config.out) / "cards")
    NOTES.print(f"wrote {len(paths)} cards below {Path(config.out) / 'cards'}")
    return 0


def new_verb(options: Namespace) -> int:
    """A new method's file and its test, which pass as they are; prints what to do next."""
    from benchmark.scaffold import ROOT, write_method

    for path in write_method(options.method):
        print(f"wrote {path.relative_to(ROOT)}")
    print("next:")
    for command in (f"check {options.method}", f"run smoke method={options.method}"):
        print(f"  python -m benchmark {command}")
    return 0


def check_verb(options: Namespace) -> int:
    """The conformance suite on one method."""
    from benchmark.check import check_method, chosen_checks

    only = [name for name in options.only if "=" not in name]
    overrides = [*options.overrides, *(text for text in options.only if "=" in text)]
    checks = chosen_checks(only, options.slow)
    found = check_method(options.method, overrides, checks)
    own = [check.name for check in checks if not check.given]
    if own and any(text.startswith("dataset=") for text in overrides):
        NOTES.print(f"on cohorts of their own: {', '.join(own)}")
    rows = []
    with NOTES.status(f"{len(checks)} checks") as status:
        for check, result in zip(checks, found, strict=True):
            rows.append({**asdict(result), "protects": check.protects})
            status.update(f"{len(rows)} of {len(checks)} checks")
    show(rows, ("name", "verdict", "seconds", "protects"), options.json)
    counts = Counter(row["verdict"] for row in rows)
    for row in rows:
        if row["detail"]:
            style = "red" if row["verdict"] == "failed" else None
            NOTES.print(f"{row['verdict']}: {row['name']}: {row['detail']}", style=style)
    NOTES.print(f"{options.method}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["failed"] else 0


def data_verb(options: Namespace) -> int:
    """Cohorts from raw tables."""
    from datasets.registry import DATASETS

    overrides = list(options.overrides)
    if options.action == "list":
        return list_verb(Namespace(what="datasets", json=options.json))
    if options.dataset is None or "=" in options.dataset:
        raise UsageError(f"data {options.action} needs a dataset: {', '.join(DATASETS)}")
    if options.dataset not in DATASETS:
        raise unknown("dataset", options.dataset, DATASETS)
    from benchmark.config import load_config

    config = load_config("table1", [f"dataset={options.dataset}", *overrides])
    if options.action == "verify":
        return _verify(options.dataset, config.dataset, options.json)
    if options.action == "fetch":
        return _fetch(options.dataset, config.dataset.get("root"), options.json)
    from benchmark.experiment import prepare_dataset

    dataset = prepare_dataset(config, say=lambda text: NOTES.print(text), force=options.action == "build")
    described = describe_dataset(dataset)
    if options.json:
        print(json.dumps(described, indent=1))
    else:
        NOTES.print(f"{options.dataset}: {dataset.folder}")
        show_description(described, patterns=options.action == "describe")
    return 0


def describe_dataset(dataset: Any) -> dict[str, Any]:
    """By landmark: n, flow of inclusions, tasks, observed share by modality, patterns with outcomes, missing share by feature, and
    what the builder counted besides (``paper``, ``label rules``, ``absence``)."""
    from datasets.describe import describe_cohort, every_pattern, missing_shares

    described = {}
    for landmark, part in dataset.manifest["landmarks"].items():
        cohort = dataset.cohort(landmark)
        found = describe_cohort(cohort)
        counted = {
            k: v for k, v in part.get("notes", {}).items() if isinstance(v, list) and v and isinstance(v[0], dict)
        }
        if dataset.info.kind == "mimic":
            found["patterns"] = every_pattern(cohort, found["patterns"])
        described[landmark] = {"flow": part["flow"], **found, "missing": missing_shares(cohort), **counted}
    return described


def _needs_experiment(options: Namespace, verb: str) -> None:
    if "=" in options.experiment:
        raise UsageError(f"{verb} needs an experiment: {', '.join(row['name'] for row in _experiments())}")


def _config(options: Namespace, verb: str) -> Any:
    _needs_experiment(options, verb)
    from benchmark.config import load_config

    return load_config(options.experiment, options.overrides)


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


def _verify(name: str, options: dict[str, Any], as_json: bool) -> int:
    from datasets.registry import DATASETS, raw_root

    if DATASETS[name].kind == "embedded":
        raise UsageError(f"{name} is drawn, not downloaded: there is nothing to verify")
    from datasets.verify import verify

    rows = verify(raw_root(name, options.get("root")))
    show(rows, ("file", "status"), as_json)
    wrong = Counter(row["status"] for row in rows)
    NOTES.print(", ".join(f"{count} {status}" for status, count in wrong.items()))
    return 1 if wrong["differs"] else 0


def _fetch(name: str, root: str | None, as_json: bool) -> int:
    """Fetch an open release; print the commands for a credentialed one."""
    import os

    from datasets import fetch

    parent = os.environ.get("CRL_MMNAR_DATA")
    folder = Path(root) if root else Path(parent) / name if parent else None
    if name in fetch.CREDENTIALED:
        lines = fetch.commands(name, folder or Path(name))
        NOTES.print(f"{name} needs access granted at PhysioNet; run these yourself, wget asks for the password:")
        print(json.dumps(lines, indent=1) if as_json else "\n".join(lines))
        return 0
    if name not in fetch.OPEN:
        raise UsageError(f"{name} is drawn, not downloaded: there is nothing to fetch")
    if folder is None:
        raise UsageError(f"where to? pass root=DIR, or set CRL_MMNAR_DATA to the folder that {name}/ shall lie in")
    rows = fetch.fetch(name, folder, lambda text: NOTES.print(text))
    show(rows, ("file", "status"), as_json)
    counts = Counter(row["status"] for row in rows)
    NOTES.print(f"{folder}: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    return 0


def _experiments() -> list[dict[str, str]]:
    found = []
    for path in sorted((Path(__file__).resolve().parent / "conf" / "experiment").glob("*.yaml")):
        lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        found.append({"name": path.stem, "description": " ".join(line for line in lines if not line.startswith("@"))})
    return found
