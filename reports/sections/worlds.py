"""Of ``worlds``: each method less the plain network and less logistic regression, by world, and the rows that stay below the former."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.frames.tidy import COLUMNS
from reports.report import Section
from reports.tables.captions import compose_short_caption
from reports.tables.table import NOT_PLANNED, WORDS, Entry, Table, TableRow, make_text_entry
from results.plan import Plan
from results.rows import list_rows
from results.statistics.derivations.worlds import BASES, METRICS, PLAIN
from results.statistics.draws import FEWEST, LOWER_IS_BETTER, Interval, compute_draw_interval, find_side
from results.storage.store import Store

WORLDS = {
    "complete": ("Complete", "every modality of every stay is observed, at 24 h too, and every feature recorded"),
    "mcar": ("MCAR", "what is missing is missing by chance; the pattern still acts on the outcome"),
    "text": ("Text", "a factor that no modality but T shows acts on every outcome"),
    "long_series": (
        "Long series",
        "stays last 84 to 168 hours instead of 36 to 72; at 24 h all but the draw of the series is as in MNAR",
    ),
    "ten_modalities": ("Ten modalities", "the cohort of embedded-eicu, its patterns many and rare"),
    "mnar": ("MNAR", "the default"),
    "clusters": ("Clusters", "latent health is a mixture of four groups"),
    "interaction": ("Interaction", "what latent health does to an outcome depends on the pattern"),
}
"""By the arms' value: the heading of a column, and what the world is."""
NOT_LINEAR = ("clusters", "interaction")
NEAR, FAR = "A linear model is near the truth", "A linear model cannot be right"
NAMES = {"auc": "AUC", "log_loss": "Log loss"}
TITLES = {PLAIN: "the plain network", "logistic": "logistic regression"}
FEW = 2
"""Worlds in which all of the interval has to lie below for a row to be listed."""
CAPTION = (
    "{metric} of each method less that of {base}, by world: mean over tasks, folds and draws, with a t-interval at 95 % over them "
    "(two folds of a draw taken to correlate by {correlation:.2g}; it holds for other draws of the same worlds). {sign} Bold: all of the "
    "interval on one side of 0. Worlds in which a linear model cannot be right (clusters, interaction) stand on the right, next to the "
    "default, from which they depart; in the others it is near the truth. Above the rule, {metric} itself."
)
WEAK = (
    "Rows below the plain network (zero-filling with mask) by all of the interval in {few} worlds or more, by AUC or by log loss, with the "
    "reason that is known. With eight independent worlds a row as good as the plain network would be listed for one of the two metrics in "
    "1 or 2 cases of 100."
)


@dataclass(frozen=True)
class Number:
    """A row's number in a world: its mean, the interval of a difference, its counts of folds and draws, or the ``word`` in its place."""

    mean: float | None
    interval: Interval | None = None
    folds: int = 0
    draws: int = 0
    word: str = "missing"
    reason: str = ""

    def build_entry(self, metric: str, signed: bool) -> Entry:
        """Return the number as an entry of a table."""
        if self.mean is None:
            return make_text_entry(self.word)
        return Entry(self.mean, None, "", "", find_side(metric, self.interval) != 0, self.interval, signed=signed)


@dataclass(frozen=True, eq=False)
class World:
    """The draws of a world: the plans that were run, each with what was derived from it (None where nothing is stored)."""

    name: str
    planned: int
    draws: list[tuple[Plan, dict[str, Any] | None]]

    @property
    def title(self) -> str:
        """The heading of its column."""
        return WORLDS.get(self.name, (self.name, ""))[0]

    def summarise(self, method: str, variant: str, metric: str, field: str, correlation: float) -> Number:
        """Return the mean of a field of the stored values over draws and folds; a difference has its interval."""
        draws, words = [], []
        for _, derived in self.draws:
            row = next(
                (r for r in (derived or {}).get("rows", []) if (r["method"], r["variant"]) == (method, variant)), None
            )
            if row is not None and row["status"] != "done":
                words.append((row["status"], row["reason"] or ""))
            elif row is None and derived is not None:
                words.append(("not planned", ""))
            at = (method, variant, metric)
            own = [
                v[field] for v in (derived or {}).get("values", []) if (v["method"], v["variant"], v["metric"]) == at
            ]
            if any(x is not None for x in own):
                draws.append([x for x in own if x is not None])
        word, reason = words[0] if words else ("missing", "")
        folds = [x for own in draws for x in own]
        if not folds:
            return Number(None, word=WORDS.get(word, word), reason=reason)
        interval = None if field == "value" else compute_draw_interval(draws, correlation)
        return Number(sum(folds) / len(folds), interval, len(folds), len(draws), "", reason)


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return by metric and base a table methods x worlds, and one of the weak rows; CSV ``_differences``, ``_folds``, ``_weak``."""
    plans = [plan for plan in plans if plan.arm]
    if not plans:
        return Section()
    worlds, rows = collect_worlds(store, plans), list_known_rows(plans)
    tables = [
        build_world_table(store, plans, worlds, rows, metric, base)
        for base in BASES for metric in METRICS if base in {method for method, *_ in rows}
    ]  # fmt: skip
    frame = build_world_frame(plans[0], worlds, rows)
    weak, table = build_weak_table(plans, worlds, rows)
    return Section(
        (*tables, table), {"_differences": frame, "_folds": build_fold_frame(worlds), "_weak": weak}, instead=True
    )


def collect_worlds(store: Store, plans: Sequence[Plan]) -> list[World]:
    """Return the worlds of the experiment in the order of its arms, with the draws that were run."""
    first = plans[0].arm
    names = [str(arm.value) for arm in (first.of or [first])] if first else []
    found = []
    for name in dict.fromkeys(names):
        own = [plan for plan in plans if plan.arm and str(plan.arm.value) == name]
        draws = [(plan, (store.statistics(plan.name) or {}).get("worlds")) for plan in own]
        found.append(World(name, names.count(name), draws))
    return found


def list_known_rows(plans: Sequence[Plan]) -> list[tuple[str, str, str, bool]]:
    """Return (method, variant, title, known) of every row, in print order."""
    found = {(r.method, r.variant): (r.method, r.variant, r.title, r.known) for plan in plans for r in list_rows(plan)}
    return list(found.values())


def build_world_table(
    store: Store,
    plans: Sequence[Plan],
    worlds: list[World],
    rows: list[tuple[str, str, str, bool]],
    metric: str,
    base: str,
) -> Table:
    """Build the table of one metric against one base: the bases and the ceilings with their own numbers, then every difference."""
    correlation = 1 / plans[0].folds
    columns = tuple((FAR if w.name in NOT_LINEAR else NEAR, w.title) for w in worlds)
    body: list[TableRow] = []
    few: dict[str, None] = {}
    notes: dict[str, None] = {}
    for method, variant, title, known in rows:
        if known or (method, variant) in {(name, "default") for name in BASES}:
            numbers = [w.summarise(method, variant, metric, "value", correlation) for w in worlds]
            entries = [
                NOT_PLANNED if known and n.mean is None and w.draws else n.build_entry(metric, signed=False)
                for w, n in zip(worlds, numbers, strict=True)
            ]
            body.append((f"{title}: {NAMES[metric]}", True, tuple(entries)))
    for method, variant, title, known in rows:
        if known or (method, variant) == (base, "default"):
            continue
        numbers = [w.summarise(method, variant, metric, f"less_{base}", correlation) for w in worlds]
        body.append((title, False, tuple(n.build_entry(metric, signed=True) for n in numbers)))
        for w, n in zip(worlds, numbers, strict=True):
            if n.mean is not None and n.interval is None:
                few[w.title] = None
            if n.reason:
                notes[f"{title}: {n.reason}."] = None
    if few:
        notes[f"{', '.join(few)}: too few folds for an interval, which takes {FEWEST} differences."] = None
    sign = (
        "Log loss: a positive difference is worse." if metric in LOWER_IS_BETTER else "A positive difference is better."
    )
    what = CAPTION.format(metric=NAMES[metric], base=TITLES[base], correlation=correlation, sign=sign)
    ordered = sorted(plans, key=lambda plan: plan.dataset != "embedded-mimic")
    caption = compose_short_caption(store, ordered, what)
    title = f"{NAMES[metric]} less that of {TITLES[base]}"
    return Table(columns, tuple(body), caption, (*describe_worlds(worlds), *notes), title)


def describe_worlds(worlds: list[World]) -> list[str]:
    """Return a note on each world: what it is, its stays and patterns, and its draws."""
    notes = []
    for world in worlds:
        what = WORLDS.get(world.name, ("", ""))[1]
        if not world.draws:
            notes.append(f"{world.title}: {what}; not run.")
            continue
        seeds = ", ".join(str(plan.arm.also.get("draw", plan.arm.name)) for plan, _ in world.draws if plan.arm)
        plan, derived = world.draws[0]
        counts = [
            f"{landmark} N = {facts.n:,}, {_count_patterns(derived, landmark)}"
            for landmark, facts in plan.landmarks.items()
        ]
        notes.append(
            f"{world.title}: {what}; {len(world.draws)} of {world.planned} draws (seeds {seeds}), the first: {'; '.join(counts)}."
        )
    return notes


def _count_patterns(derived: dict[str, Any] | None, landmark: str) -> str:
    count = (derived or {}).get("patterns", {}).get(landmark)
    return "patterns not counted" if count is None else f"{count} pattern{'' if count == 1 else 's'}"


def build_world_frame(plan: Plan, worlds: list[World], rows: list[tuple[str, str, str, bool]]) -> pd.DataFrame:
    """Return every number by world, metric and base (none: the metric itself), tidy: COLUMNS, then what a difference has besides."""
    found = []
    for world in worlds:
        dataset = world.draws[0][0].dataset if world.draws else plan.dataset
        for method, variant, _, known in rows:
            for metric in METRICS:
                for base in (None, *(() if known else BASES)):
                    if (method, variant) == (base, "default"):
                        continue
                    n = world.summarise(
                        method, variant, metric, "value" if base is None else f"less_{base}", 1 / plan.folds
                    )
                    low, high = n.interval or (None, None)
                    found.append({
                        "experiment": plan.experiment, "dataset": dataset, "landmark": "all", "protocol": plan.protocol,
                        "task": "mean", "method": method, "variant": variant, "group": "all",
                        "metric": metric if base is None else f"difference_{metric}", "mean": n.mean, "folds": n.folds,
                        "status": "done" if n.mean is not None else n.word, "world": world.name, "draws": n.draws,
                        "base_method": base, "ci_low": low, "ci_high": high, "side": find_side(metric, n.interval), "reason": n.reason,
                    })  # fmt: skip
    further = ["world", "draws", "base_method", "ci_low", "ci_high", "side", "reason"]
    return pd.DataFrame(found).reindex(columns=[*COLUMNS, *further])


def build_fold_frame(worlds: list[World]) -> pd.DataFrame:
    """Return what was derived of every draw, by fold: what the means and intervals rest on."""
    return pd.DataFrame([
        {"world": world.name, "arm": plan.arm.name, "dataset": plan.dataset, **value}
        for world in worlds for plan, derived in world.draws if plan.arm and derived for value in derived["values"]
    ])  # fmt: skip


def build_weak_table(
    plans: Sequence[Plan], worlds: list[World], rows: list[tuple[str, str, str, bool]]
) -> tuple[pd.DataFrame, Table]:
    """Return the rows below the plain network in FEW worlds or more, as a frame and as a table, each with the reason that INFO gives."""
    reasons = {(row.method, row.variant): row.weak for plan in plans for row in plan.rows}
    found, body = [], []
    for method, variant, title, known in rows:
        if known or method == PLAIN:
            continue
        below = {
            metric: [
                w for w in worlds
                if find_side(metric, w.summarise(method, variant, metric, f"less_{PLAIN}", 1 / plans[0].folds).interval) < 0
            ]
            for metric in METRICS
        }  # fmt: skip
        if max(len(own) for own in below.values()) < FEW:
            continue
        reason = reasons.get((method, variant)) or next(
            (why for (m, _), why in reasons.items() if m == method and why), ""
        )
        found.append({"method": method, "variant": variant, **{f"worlds_{m}": " ".join(w.name for w in own) for m, own in below.items()},
                      "reason": reason})  # fmt: skip
        listed = [f"{len(own)}: {', '.join(w.title for w in own)}" if own else "none" for own in below.values()]
        body.append((title, False, tuple(make_text_entry(text) for text in [*listed, reason or "not known"])))
    ran = sum(bool(w.draws) for w in worlds)
    notes = () if body else (f"None of the rows, of {ran} worlds that were run.",)
    columns = (*(("Worlds below the plain network", NAMES[m]) for m in METRICS), ("", "Known reason"))
    frame = pd.DataFrame(found, columns=["method", "variant", *(f"worlds_{m}" for m in METRICS), "reason"])
    return frame, Table(columns, tuple(body), WEAK.format(few=FEW), notes, "Rows below the plain network")
