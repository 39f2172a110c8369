"""Of ``efficiency``: what each method costs, and time against AUC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from reports.figures.time_figure import Panels, TimePoint, scatter_time_and_auc
from reports.frames.tidy import build_tidy_frame
from reports.report import Figure, Section
from reports.tables.captions import describe_settings
from reports.tables.probed import NumberIndex, build_probe_entry, build_probe_frame, collect_notes, list_methods
from reports.tables.table import Entry, Table, get_task_title, make_text_entry
from results.plan import Plan
from results.storage.store import Store

Said = dict[str, str]
"""What captions end with, as ``describe_settings`` gives it."""
PROBE = "efficiency"
LATENCIES = {"latency_one_ms": "one patient (ms)", "latency_batch_ms": "batch (ms a patient)"}
GPU = "gpu_memory_mib"
MEMORIES = {"peak_memory_mib": "memory (MiB)", GPU: "GPU memory (MiB)"}
WHAT = (
    "Seconds to fit one model (mean ± standard deviation over folds); milliseconds to predict, preprocessing included, one patient at a "
    "time and in a batch of at most 256 (median over repetitions, quartiles in brackets, means over folds); trainable parameters, or the "
    "numbers that a method without a network keeps; peak resident memory of the process, Python, libraries and cohort included."
)
SHARED = (
    "A cell runs on one thread; cells that ran at the same time (-j above 1) shared cores and memory, which lengthens times: compare those "
    "of one run with -j 1."
)


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return a table and a figure for each plan."""
    tables, figures, numbers = [], [], []
    for plan in plans:
        said, frame = describe_settings(store, plan), build_probe_frame(store, plan, PROBE)
        numbers.append(frame)
        devices = _describe_devices(store, plan, frame)
        tables.append(build_cost_table(said, plan, frame, devices))
        figures.append(_draw_time_figure(said, plan, frame, build_tidy_frame(store, plan), devices))
    frames = {"_numbers": pd.concat(numbers, ignore_index=True).drop(columns=["title", "by_fold"])}
    return Section(tuple(tables), frames, tuple(figures))


def build_cost_table(said: Said, plan: Plan, frame: pd.DataFrame, devices: str) -> Table:
    """Build a table with methods down and what they cost at each landmark across."""
    cells = NumberIndex(frame, ("metric",))
    memories = {m: head for m, head in MEMORIES.items() if m != GPU or frame["metric"].eq(GPU).any()}
    heads = ["fit (s)", *LATENCIES.values(), "parameters", *memories.values()]
    columns = tuple((landmark, head) for landmark in plan.landmarks for head in heads)
    rows, used = [], []
    for method, variant, title in list_methods(frame):
        entries: list[Entry] = []
        for landmark in plan.landmarks:
            at = (method, variant, landmark)
            used.append(cells.get(*at, "fit_seconds"))
            entries.append(build_probe_entry(used[-1], digits=2))
            entries += [_build_latency_entry(cells, at, metric) for metric in LATENCIES]
            size = build_probe_entry(cells.get(*at, "parameters"))
            entries.append(size if size.mean is None else make_text_entry(f"{size.mean:,.0f}{size.mark}"))
            entries += [build_probe_entry(cells.get(*at, metric), digits=0) for metric in memories]
        rows.append((title, False, tuple(entries)))
    caption = f"What each method costs. {WHAT} {SHARED} {devices} " + said["all"]
    return Table(columns, tuple(rows), caption, collect_notes(used))


def _build_latency_entry(cells: NumberIndex, at: tuple[str, str, str], metric: str) -> Entry:
    found = build_probe_entry(cells.get(*at, metric))
    if found.mean is None:
        return found
    low, high = ((cells.get(*at, f"{metric}_{q}") or {})["mean"] for q in ("q1", "q3"))
    return replace(found, sd=None, interval=(float(low), float(high)))


def _describe_devices(store: Store, plan: Plan, frame: pd.DataFrame) -> str:
    """Say on what the cells ran, and how busy that was."""
    names: dict[str, int | None] = {}
    for planned in plan.cells:
        record = store.record(planned) or {}
        for found in (record.get("probes") or {}).get(PROBE, []):
            names[found["device"]] = record["provenance"].get("hardware", {}).get("cores")
    load = frame[(frame["metric"] == "load") & frame["mean"].notna()]["mean"]
    where = "; ".join(f"{name} ({cores} cores)" if cores else name for name, cores in names.items())
    busy = f"; load meanwhile {load.min():.1f} to {load.max():.1f} processes" if len(load) else ""
    return f"Measured on {where}{busy}." if names else "No cell was measured."


def _draw_time_figure(said: Said, plan: Plan, frame: pd.DataFrame, metrics: pd.DataFrame, devices: str) -> Figure:
    """Draw the measured seconds to fit against the AUC of ``metrics``, a tidy frame; methods without both are named in the caption."""
    aucs = NumberIndex(metrics[(metrics["metric"] == "auc") & (metrics["stage"] == "final")], ("task",))
    times = NumberIndex(frame, ("metric",))
    panels: Panels = {place: [] for place in plan.landmark_tasks}
    absent: dict[str, None] = {}
    for (landmark, task), points in panels.items():
        for method, variant, title in list_methods(frame):
            time, auc = times.get(method, variant, landmark, "fit_seconds"), aucs.get(method, variant, landmark, task)
            if time is None or auc is None or pd.isna(time["mean"]) or pd.isna(auc["mean"]):
                absent[f"{title} ({get_task_title(task)}: {(auc or time or {}).get('status', 'missing')})"] = None
            else:
                points.append(TimePoint(title, time["mean"], auc["mean"], method == plan.reference))
    figure, alt = scatter_time_and_auc(panels, "seconds to fit (log scale)")
    without = f" Not shown, for want of a number: {', '.join(absent)}." if absent else ""
    what = (
        f"Seconds to fit one model against the AUC of the test part (means over folds). Square: the reference.{without}"
    )
    return Figure(f"time_auc_{plan.dataset}_{plan.protocol}", f"{what} {SHARED} {devices} {said['all']}", alt, figure)
