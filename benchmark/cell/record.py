"""The record of a cell (``cell.json``): how it begins, what a failure makes of it, and its provenance."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmark.cell import provenance
from benchmark.cell.keys import cell_sources, source_files
from methods.base import NotApplicable
from results.cell import PlannedCell

if TYPE_CHECKING:
    import pandas as pd

Frames = dict[str, "pd.DataFrame"]
Fill = Callable[[dict[str, Any], dict[str, float]], Frames]
"""Completes a record, given it and a place for seconds by part: the frames by name."""


def begun(planned: PlannedCell) -> dict[str, Any]:
    """A record before anything is computed."""
    return {
        "cell": asdict(planned.cell),
        "title": planned.title,
        "key": planned.key,
        "key_parts": planned.key_parts,
        "config": planned.config,
        "sources": source_files(*cell_sources(planned.config)),
        "status": "done",
        "reason": None,
        "traceback": None,
        "metrics": [],
        "selection": None,
        "tuning": None,
        "rectifier": None,
        "probes": {},
        "provenance": {"started": provenance.now()},
    }


def failed(planned: PlannedCell, reason: str, trace: str | None = None) -> dict[str, Any]:
    """The record of a cell that failed, without its provenance."""
    return begun(planned) | {"status": "failed", "reason": reason, "traceback": trace}


def ended(record: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """The record with its provenance: commit, versions, hardware, threads, ``seconds`` by part, peak memory and times."""
    commit, clean = provenance.commit()
    return record | {
        "provenance": {
            **record["provenance"],
            "commit": commit,
            "clean": clean,
            "versions": provenance.versions(),
            "hardware": provenance.hardware(record["config"].get("device", "cpu")),
            "threads": provenance.threads(),
            "seconds": {k: round(v, 4) for k, v in seconds.items()},
            "peak_memory_mib": provenance.peak_memory_mib(),
            "finished": provenance.now(),
        }
    }


def recorded(planned: PlannedCell, fill: Fill) -> tuple[dict[str, Any], Frames]:
    """The record that ``fill`` completes and the frames that it gives; ``failed`` or ``skipped``, without frames, where it raises."""
    provenance.reset_peak_memory()
    started = time.perf_counter()
    record, seconds, frames = begun(planned), {}, {}
    try:
        frames = fill(record, seconds)
    except NotApplicable as reason:
        record |= {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        record = failed(planned, line, traceback.format_exc())
    return ended(record, {**seconds, "total": time.perf_counter() - started}), frames
