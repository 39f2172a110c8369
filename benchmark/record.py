"""The record of a cell (``cell.json``): how it begins, what a failure makes of it, and its provenance."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmark import provenance
from benchmark.source import cell_sources, source_files
from results.cell import PlannedCell


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


def failed(planned: PlannedCell, reason: str, traceback: str | None = None) -> dict[str, Any]:
    """The record of a cell that failed, without its provenance."""
    return begun(planned) | {"status": "failed", "reason": reason, "traceback": traceback}


def ended(record: dict[str, Any], seconds: dict[str, float], cohort: dict[str, Any] | None = None) -> dict[str, Any]:
    """The record with its provenance: commit, versions, hardware, threads, ``seconds`` by part, peak memory, times, and the cohort."""
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
            "cohort": cohort,
        }
    }
