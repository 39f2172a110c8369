"""What a method costs: seconds to fit, milliseconds a patient to predict, numbers that it holds, memory.

Latency is that of ``predict_proba``, preprocessing included, after a warm-up: for one patient at a time (other test patients in
turn) and for a batch of at most 256, divided by its size; the median over repetitions, with their quartiles. The probe runs where the
cell runs, on as many threads as the run gives it; the load of the machine meanwhile is noted.

Numbers: ``fit_seconds``; ``latency_one_ms`` and ``latency_batch_ms``, each also ``_q1`` and ``_q3``; ``parameters``, the
trainable ones of a network, or all numbers in the state of another method; ``peak_memory_mib``, the highest resident memory of the process
while the cell ran (Python, libraries and cohort included); on a GPU ``gpu_memory_mib``, the highest allocated there; ``load``, processes
that ran or waited (one-minute average). Each has ``device``, its name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
import pandas as pd

from benchmark.cell import provenance
from benchmark.cell.probes import Fitted, Found
from datasets.cohort import Cohort
from methods.base import Method

BATCH = 256
WARM_UP = 3
REPEATS = {"one": 50, "batch": 10}
FEWEST = 5
PATIENCE = 5.0
"""Seconds after which no repetition starts, FEWEST done."""
MIB = 2**20


def probe(fitted: Fitted) -> Found:
    """Return the numbers, and the frame ``what, repeat, stays, seconds`` of all repetitions."""
    test = fitted.cohort.take(fitted.rows["test"]).without_outcomes()
    one = cycle([test.take(np.array([i])) for i in range(min(REPEATS["one"], len(test)))])
    batch = cycle([test.take(np.arange(min(BATCH, len(test))))])
    parts = [time_predictions(fitted.method, what, given) for what, given in (("one", one), ("batch", batch))]
    frame = pd.concat(parts, ignore_index=True)
    values = {
        "fit_seconds": fitted.seconds["fit"],
        **summarise_latencies(frame),
        "parameters": count_parameters(fitted.method),
        **read_memory(fitted.method.device),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    device = name_device(fitted.method.device)
    return [
        {
            "metric": metric, "group": "all", "task": None,
            "value": None if value is None else float(value), "reason": "the system does not tell" if value is None else None,
            "n": len(test), "positives": None, "device": device,
        }
        for metric, value in values.items()
    ], frame  # fmt: skip


def time_predictions(method: Method, what: str, cohorts: Iterator[Cohort]) -> pd.DataFrame:
    """Return the seconds of ``predict_proba`` for one cohort after another: ``what, repeat, stays, seconds``."""
    for cohort in islice(cohorts, WARM_UP):
        method.predict_proba(cohort)
    rows: list[tuple[str, int, int, float]] = []
    started = time.perf_counter()
    for cohort in islice(cohorts, REPEATS[what]):
        if len(rows) >= FEWEST and time.perf_counter() - started > PATIENCE:
            break
        clock = time.perf_counter()
        method.predict_proba(cohort)
        rows.append((what, len(rows), len(cohort), time.perf_counter() - clock))
    return pd.DataFrame(rows, columns=["what", "repeat", "stays", "seconds"])


def summarise_latencies(frame: pd.DataFrame) -> dict[str, float]:
    """Return median and quartiles of the milliseconds a patient, for one and for a batch."""
    milliseconds: dict[str, float] = {}
    for what, own in frame.groupby("what", sort=False):
        q1, median, q3 = np.quantile(1000 * own["seconds"] / own["stays"], [0.25, 0.5, 0.75])
        milliseconds |= {f"latency_{what}_ms": median, f"latency_{what}_ms_q1": q1, f"latency_{what}_ms_q3": q3}
    return milliseconds


def count_parameters(method: Method) -> int:
    """Return how many parameters of a network are trainable, or how many numbers the state of another method holds."""
    module: Any = getattr(method, "module", None)
    if hasattr(module, "parameters"):
        return sum(p.numel() for p in module.parameters() if p.requires_grad)
    return sum(a.size for a in method.state().values() if a.dtype.kind in "biuf")


def read_memory(device: str) -> dict[str, float | None]:
    """Return the peak memory of the process, and of the GPU where the method ran on one."""
    peaks = {"peak_memory_mib": provenance.read_peak_memory_mib()}
    if device.startswith("cuda"):
        import torch

        peaks["gpu_memory_mib"] = torch.cuda.max_memory_allocated(device) / MIB
    return peaks


def name_device(device: str) -> str:
    """Return the processor's or the GPU's name."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return provenance.describe_hardware()["cpu"]
