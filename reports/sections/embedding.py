"""Of ``embedding``: patterns decoded from representations, their norms, and how norms go with outcomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from reports.figures.drawing import create_figure, get_line_style
from reports.report import Figure, Section
from reports.tables.captions import describe_settings
from reports.tables.probed import NumberIndex, build_probe_entry, build_probe_frame, collect_notes, list_methods
from reports.tables.table import NOT_PLANNED, Entry, Table, get_task_title, make_text_entry
from results.plan import Plan
from results.storage.store import Store

Said = dict[str, str]
"""What captions end with, as ``describe_settings`` gives it."""
PROBE = "embedding"
DECODED = {
    "decoded_accuracy": "Accuracy", "decoded_balanced": "Balanced accuracy", "majority_accuracy": "Majority", "chance": "Chance",
}  # fmt: skip
CORRELATIONS = {"norm_rate_r": "r over patterns", "norm_outcome_r": "r over stays"}
Z = NormalDist().inv_cdf(0.975)
FEWEST = 4
MOST_PATTERNS = 16
"""Of a table and of the names in a figure; the CSV has all."""
LONG = 6
"""Modalities whose patterns have long names."""
BY_CONSTRUCTION = (
    "CRL-MMNAR's h is a mean of layer-normalised tokens, one for each observed modality (its variant concat apart): before any training "
    "the norm is the square root of the size of h for a stay with one modality, and less the more tokens are averaged. Norms by pattern "
    "show this too."
)


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return tables of decoding, correlations and norms by pattern, and a figure of norms against rates, for each plan."""
    tables, figures, numbers, correlations = [], [], [], []
    for plan in plans:
        said, frame = describe_settings(store, plan), build_probe_frame(store, plan, PROBE)
        numbers.append(frame)
        correlations.append(pool_correlations(frame))
        tables += [build_decoding_table(said, plan, frame), build_correlation_table(said, plan, correlations[-1])]
        tables += [build_pattern_table(said, plan, frame, landmark) for landmark in plan.landmarks]
        figures += draw_norm_figures(said, plan, frame)
    all_numbers = pd.concat(numbers, ignore_index=True).drop(columns=["title", "by_fold"])
    frames = {
        "_numbers": all_numbers,
        "_correlations": pd.concat(correlations, ignore_index=True).drop(columns="title"),
    }
    return Section(tuple(tables), frames, tuple(figures))


def build_decoding_table(said: Said, plan: Plan, frame: pd.DataFrame) -> Table:
    """Build a table of methods by landmark: accuracy of the decoded pattern with its baselines, and the range of mean norms."""
    cells = NumberIndex(frame[frame["group"] == "all"], ("metric",))
    norms = frame[(frame["metric"] == "norm") & frame["mean"].notna()].groupby(["method", "variant", "landmark"])[
        "mean"
    ]
    span = norms.agg(["min", "max"])
    used, rows, columns = [], [], []
    for landmark in plan.landmarks:
        where = f" ({landmark})" if len(plan.landmarks) > 1 else ""
        columns += [(f"Pattern decoded from h{where}", name) for name in DECODED.values()]
        columns += [(f"Mean norm by pattern{where}", name) for name in ("Lowest", "Highest")]
    for method, variant, title in list_methods(frame):
        entries: list[Entry] = []
        for landmark in plan.landmarks:
            own = [cells.get(method, variant, landmark, metric) for metric in DECODED]
            used += own
            entries += [
                build_probe_entry(c, spread=None if metric == "chance" else "sd_folds")
                for c, metric in zip(own, DECODED, strict=True)
            ]
            if (method, variant, landmark) in span.index:
                ends = span.loc[(method, variant, landmark)]
                entries += [Entry(float(x), None, "", "", False, digits=2) for x in ends]
            else:
                entries += [build_probe_entry(own[0])] * 2
        rows.append((title, False, tuple(entries)))
    caption = (
        "What the representation h says of the observation pattern: a logistic regression fitted on the training part's h decodes "
        "the pattern of test stays (mean ± standard deviation over folds; balanced: mean over patterns; majority: the training part's most "
        "frequent pattern; chance: 1 / number of patterns). " + said["all"]
    )
    ours = any(method == "crl_mmnar" for method, _, _ in list_methods(frame))
    more = (BY_CONSTRUCTION,) if ours else ()
    return Table(tuple(columns), tuple(rows), caption, (*collect_notes(used), *more))


def pool_correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Return correlations averaged over folds on Fisher's z scale, with 95 % intervals, a row for each.

    Tidy columns, with ``r, ci_low, ci_high, points`` (mean over folds) instead of mean and spreads. A plan without any number
    keeps its rows, which say why.

    Patterns are the same ones in every fold, so that folds do not narrow their interval; stays are others, so that they do.
    """
    rows = []
    for cell in frame[frame["metric"].isin([*CORRELATIONS, PROBE])].to_dict("records"):
        values = [(r, n) for r, n, _ in cell["by_fold"].values()]
        keys = (
            "experiment",
            "dataset",
            "landmark",
            "protocol",
            "task",
            "method",
            "variant",
            "metric",
            "folds",
            "seeds",
            "status",
            "note",
            "title",
        )
        row = {k: cell[k] for k in keys} | dict.fromkeys(("r", "ci_low", "ci_high", "points"), math.nan)
        rows.append(row | (average_correlations(values, cell["metric"] == "norm_outcome_r") if values else {}))
    return pd.DataFrame(rows)


def average_correlations(values: list[tuple[float, int]], independent: bool) -> dict[str, float]:
    """Return r, its 95 % interval and the mean number of points, from (r, points) of each fold.

    Fisher 1921: tanh(z ± 1.96 / sqrt(n - 3)); ``independent``: the folds are of different stays, so that their errors average out.
    """
    r, n = (np.array(v, dtype=float) for v in zip(*values, strict=True))
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    sd = 1 / np.sqrt(n - (FEWEST - 1))
    half = Z * (np.sqrt((sd**2).sum()) / len(sd) if independent else sd.mean())
    low, middle, high = np.tanh([z.mean() - half, z.mean(), z.mean() + half])
    return {"r": float(middle), "ci_low": float(low), "ci_high": float(high), "points": float(n.mean())}


def build_correlation_table(said: Said, plan: Plan, correlations: pd.DataFrame) -> Table:
    """Build a table of methods by task: r over patterns and over stays with intervals."""
    cells = NumberIndex(correlations, ("task", "metric"))
    places = plan.landmark_tasks
    rows, used = [], []
    for method, variant, title in list_methods(correlations):
        entries = []
        for place in places:
            own = [cells.get(method, variant, *place, metric) for metric in CORRELATIONS]
            used += own
            points = own[0]["points"] if own[0] is not None else math.nan
            entries += [
                make_text_entry("–" if math.isnan(points) else f"{points:.3g}"),
                *(_build_correlation_entry(c) for c in own),
            ]
        rows.append((title, False, tuple(entries)))
    columns = tuple((get_task_title(task), name) for _, task in places for name in ("Patterns", *CORRELATIONS.values()))
    caption = (
        "Pearson's correlation of the norm of h with the outcome, with 95 % intervals by Fisher's z: over patterns (mean norm with outcome "
        f"rate, each pattern once; nothing is said below {FEWEST} patterns, and little is known below twenty) and over stays "
        "(point-biserial). Averaged over folds. " + said["all"]
    )
    return Table(columns, tuple(rows), caption, collect_notes(used))


def build_pattern_table(said: Said, plan: Plan, frame: pd.DataFrame, landmark: str) -> Table:
    """Build a table of patterns, the most frequent first: stays, outcome rates, and each method's mean norm."""
    own = frame[frame["landmark"] == landmark]
    rates, sizes = count_outcomes(own)
    norms = NumberIndex(own[own["metric"].isin(["norm", PROBE])], ("group",))
    methods, tasks = list_methods(own), list(plan.landmarks[landmark].tasks)
    columns = [("Stays", "n"), *((f"{get_task_title(t)}, positive", "of defined") for t in tasks)]
    columns += [("Mean norm of h", title) for _, _, title in methods]
    listed = list(sizes)[:MOST_PATTERNS] or ["no pattern: no method has a representation"]
    rows = []
    for name in listed:
        counts = [rates.get((name, task)) for task in tasks]
        entries = [make_text_entry(f"{sizes[name]:,}") if name in sizes else NOT_PLANNED]
        entries += [
            NOT_PLANNED if c is None else make_text_entry(f"{c[0]} of {c[1]} ({c[0] / c[1]:.1%})") for c in counts
        ]
        entries += [_build_norm_entry(norms.get(m, v, landmark, name)) for m, v, _ in methods]
        rows.append((shorten_pattern(name, list(plan.landmarks[landmark].modalities)), False, tuple(entries)))
    left = len(sizes) - len(listed)
    more = (f"The {MOST_PATTERNS} most frequent of {len(sizes)} patterns; the CSV has all.",) if left > 0 else ()
    what = "Mean norm of h (± standard deviation over folds) and outcome rate by observation pattern, test stays of all folds"
    return Table(tuple(columns), tuple(rows), f"{what}, {landmark}. " + said[landmark], more)


def shorten_pattern(pattern: str, modalities: list[str]) -> str:
    """Return a pattern's name, by what it lacks where it would name more than half of many modalities."""
    seen = pattern.split("+")
    if len(modalities) < LONG or 2 * len(seen) <= len(modalities):
        return pattern
    lacking = ", ".join(m for m in modalities if m not in seen)
    return f"all but {lacking}" if lacking else "all"


def count_outcomes(own: pd.DataFrame) -> tuple[dict[tuple[str, str], tuple[int, int]], dict[str, int]]:
    """Return (pattern, task) -> (positives, defined), and pattern -> stays in falling order, over the folds of the method that has most."""
    rates = own[(own["metric"] == "outcome_rate") & own["mean"].notna()].sort_values(
        "n", ascending=False, kind="stable"
    )
    found = {
        (c["group"], c["task"]): (int(c["positives"]), int(c["n"]))
        for c in rates.drop_duplicates(["group", "task"]).to_dict("records")
    }
    sizes = (
        own[own["metric"].eq("norm") & own["mean"].notna()]
        .groupby("group")["n"]
        .max()
        .sort_values(ascending=False, kind="stable")
    )
    return found, {str(k): int(v) for k, v in sizes.items()}


def draw_norm_figures(said: Said, plan: Plan, frame: pd.DataFrame) -> list[Figure]:
    """Draw mean norm against outcome rate, a point for each pattern, a panel for each task; no figure without any representation.

    Shown is the reference method, else the first with a representation.
    """
    has = frame[(frame["metric"] == "norm") & frame["mean"].notna()]
    if has.empty:
        return []
    methods = sorted(list_methods(has), key=lambda m: (m[0] != plan.reference, m[1] != "default"))
    method, variant, title = methods[0]
    places = plan.landmark_tasks
    figure, axes = create_figure(3.4 * len(places), 3.3, 1, len(places))
    for ax, (landmark, task) in zip(axes, places, strict=True):
        own = has[(has["landmark"] == landmark) & (has["method"] == method) & (has["variant"] == variant)]
        rates, sizes = count_outcomes(frame[frame["landmark"] == landmark])
        norm = dict(zip(own["group"], own["mean"], strict=True))
        shown = [name for name in sizes if name in norm and (name, task) in rates][:MOST_PATTERNS]
        for i, name in enumerate(sorted(shown, key=lambda name: norm[name])):
            positives, n = rates[name, task]
            low, high = compute_wilson_interval(positives, n)
            ax.plot([norm[name]] * 2, [100 * low, 100 * high], color=get_line_style(7).colour, linewidth=1, zorder=1)
            ax.scatter(
                norm[name],
                100 * positives / n,
                s=12 + 120 * n / sum(sizes.values()),
                color=get_line_style(0).colour,
                zorder=2,
            )
            if len(shown) <= MOST_PATTERNS // 2:
                place = (norm[name], 100 * positives / n)
                ax.annotate(name, place, (4, -11 if i % 2 else 4), textcoords="offset points", fontsize=8)
        ax.set_title(f"{get_task_title(task)}\n({landmark})", fontsize=9)
        ax.set_xlabel("mean norm of h")
        ax.margins(0.12)
    axes[0].set_ylabel("outcome rate (%)")
    caption = (
        f"{title}: mean norm of the representation and outcome rate by observation pattern, area by stays; bars are 95 % Wilson intervals "
        f"of the rate; the {MOST_PATTERNS} most frequent patterns at most. " + said["all"]
    )
    alt = f"A point for each observation pattern: mean norm of h of {title} across, outcome rate upwards, {len(places)} panels by task."
    return [Figure(f"embedding_norms_{plan.dataset}_{plan.protocol}", caption, alt, figure)]


def compute_wilson_interval(positives: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    p, z2 = positives / n, Z * Z
    middle, half = p + z2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)


def _build_correlation_entry(cell: dict[str, Any] | None) -> Entry:
    if cell is None or math.isnan(cell["r"]):
        return build_probe_entry(cell)
    mark = "†" if cell["status"] == "partial" else ""
    return Entry(cell["r"], None, "", mark, False, (cell["ci_low"], cell["ci_high"]), signed=True, digits=2)


def _build_norm_entry(cell: dict[str, Any] | None) -> Entry:
    """Return the entry of a mean norm; a pattern that only some folds test needs no mark."""
    return build_probe_entry(cell if cell is None or pd.isna(cell["mean"]) else cell | {"status": "done"}, digits=2)
