"""The record of a cell (``cell.json``): before anything is computed, after a failure, and with its provenance."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmark.cell import provenance
from benchmark.cell.keys import find_import_closure, hash_source_files, list_cell_sources
from methods.base import NotApplicable
from results.cell import PlannedCell

if TYPE_CHECKING:
    import pandas as pd

Frames = dict[str, "pd.DataFrame"]
Fill = Callable[[dict[str, Any], dict[str, float]], Frames]
"""Completes the record given to it, adds seconds by part to the second argument, and returns the frames by name."""


def new_record(planned: PlannedCell) -> dict[str, Any]:
    """Return the record of a cell before anything is computed."""
    return {
        "cell": asdict(planned.cell),
        "title": planned.title,
        "key": planned.key,
        "key_parts": planned.key_parts,
        "config": planned.config,
        "sources": hash_source_files(*list_cell_sources(planned.config)),
        "status": "done",
        "reason": None,
        "traceback": None,
        "metrics": [],
        "selection": None,
        "fit_report": {},
        "tuning": None,
        "rectifier": None,
        "probes": {},
        "provenance": {"started": provenance.now()},
    }


def failure_record(planned: PlannedCell, reason: str, trace: str | None = None) -> dict[str, Any]:
    """Return the record of a cell that failed, without its provenance."""
    return new_record(planned) | {"status": "failed", "reason": reason, "traceback": trace}


def with_provenance(record: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """Return the record with its provenance: commit, versions, hardware, threads, ``seconds`` by part, peak memory and times."""
    commit, clean = provenance.read_commit(find_import_closure(*list_cell_sources(record["config"])))
    method = record["config"].get("method", {"fitted": False})
    plug_in = provenance.find_plug_in(method["class"]) if method["fitted"] else None
    return record | {
        "provenance": {
            **record["provenance"],
            "commit": commit,
            "clean": clean,
            **({"plug_in": plug_in} if plug_in else {}),
            "versions": provenance.collect_versions(),
            "hardware": provenance.describe_hardware(record["config"].get("device", "cpu")),
            "threads": provenance.count_threads(),
            "seconds": {k: round(v, 4) for k, v in seconds.items()},
            "peak_memory_mib": provenance.read_peak_memory_mib(),
            "finished": provenance.now(),
        }
    }


def run_and_record(planned: PlannedCell, fill: Fill) -> tuple[dict[str, Any], Frames]:
    """Run ``fill`` and return the record that it completes and its frames; ``failed`` or ``skipped``, without frames, where it raises."""
    provenance.reset_peak_memory()
    started = time.perf_counter()
    record, frames = new_record(planned), Frames()
    seconds: dict[str, float] = {}
    try:
        frames = fill(record, seconds)
    except NotApplicable as reason:
        record |= {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        record = failure_record(planned, line, traceback.format_exc())
    return with_provenance(record, {**seconds, "total": time.perf_counter() - started}), frames
