"""Numbers that the paper published next to those measured here, never in the same column, each with its source.

A difference (measured - published) is given only where the cohort and the task are the paper's own. Contradictions among the printed
numbers (``results/published/footnotes.csv``) are footnotes of the published column.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from reports.published.measured import TIDY, Measured, find_measured, index_frame
from reports.published.paper import CITATION, COHORTS, EXPERIMENTS, WHY_NOT_COMPARABLE
from reports.tables.table import METRICS, NOT_PLANNED, Entry, Table, get_task_title, make_text_entry
from results.plan import Plan

SOURCE = Path(__file__).resolve().parents[2] / "results" / "published" / "paper.csv"
FOOTNOTES = SOURCE.with_name("footnotes.csv")
LABEL = "Published by the paper beside measured here"
NUMBER = ["table", "dataset", "task", "method", "metric"]
COLUMNS = [
    "source", "dataset", "task", "method", "metric", "published", "published_sd", "cohort", "protocol", "arm", "measured_task",
    "measured_method", "measured_variant", "measured", "measured_sd", "difference", "comment", "footnote",
]  # fmt: skip
HEADS = METRICS | {"delta_auc": "AUC, less the step before", "n": "N"}
LONG = ("Table 4", "Text")
"""Parts of the paper whose numbers differ in kind: one a line."""
NOTES = (
    "Published: as printed in the paper, mean ± standard deviation over its five seeds where it gives one. No split, prediction or "
    "baseline code was published with it, so that none of these numbers can be recomputed.",
    "The released code labels death in any later admission and ICU admission without a time limit, where the paper names in-hospital "
    "death and 90 days; it holds no eICU pipeline.",
)


@cache
def load_published(experiment: str) -> pd.DataFrame:
    """Return the published numbers that an experiment reproduces, in the paper's order; may be empty.

    Columns: NUMBER, ``published``, ``published_sd``, ``footnote``. ``method`` is the row's name as printed, ``metric`` in lower case; the
    sizes of Table 3's patterns are rows of metric ``n``.
    """
    raw = pd.read_csv(SOURCE).rename(columns={"method_or_row": "method", "mean": "published", "std": "published_sd"})
    part = raw["table"].where(raw["table"] != "Text", "Text:" + raw["method"])
    raw = raw[part.isin(EXPERIMENTS.get(experiment, ()))].assign(metric=lambda f: f["metric"].str.lower())
    sizes = raw[raw["n"].notna()].drop_duplicates(["table", "dataset", "method"])
    sizes = sizes.assign(task="-", metric="n", published=sizes["n"], published_sd=float("nan"))
    frame = pd.concat([raw, sizes])[[*NUMBER, "published", "published_sd"]].reset_index(drop=True)
    frame = frame.astype({"published": float, "published_sd": float})
    return frame.assign(footnote=[_find_footnote(row) for row in frame.to_dict("records")])


def compare_with_published(plans: Sequence[Plan], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return every number of ``load_published``, for each plan, with what was measured: COLUMNS; no rows without such a table in the paper.

    Args:
        plans: the report's, of one experiment.
        frames: the report's frames; those with the columns of a tidy frame are searched, in this order.
    """
    tidy = [index_frame(f) for f in frames if set(TIDY) <= set(f.columns)]
    found = []
    for plan in plans:
        cohort = {"cohort": plan.dataset, "protocol": plan.protocol, "arm": (plan.arm.name if plan.arm else None)}
        for row in load_published(plans[0].experiment).to_dict("records"):
            number = find_measured(row, plan, tidy)
            found.append({
                **row, **cohort, "source": f"{CITATION}, {row['table'].replace('Table', 'Table ').lstrip()}", "measured_task": number.task,
                "measured_method": number.method, "measured_variant": number.variant, "measured": number.value,
                "measured_sd": number.sd, **_compute_difference(row, plan, number),
            })  # fmt: skip
    return pd.DataFrame(found, columns=COLUMNS)


def build_published_tables(frame: pd.DataFrame, plans: Sequence[Plan]) -> list[Table]:
    """Build tables from the frame of ``compare_with_published``: one for each plan, part of the paper, cohort and task."""
    tables = []
    frame = frame.assign(arm=frame["arm"].fillna(""))
    for (source, cohort, protocol, arm, dataset, task), own in frame.groupby(
        ["source", "cohort", "protocol", "arm", "dataset", "task"], sort=False
    ):
        plan = next(
            p for p in plans
            if (p.dataset, p.protocol, p.arm.name if p.arm else "") == (cohort, protocol, arm)
        )  # fmt: skip
        tables.append(_build_table(own, source, dataset, task, plan, several=len(plans) > 1))
    return tables


def _build_table(own: pd.DataFrame, source: str, dataset: str, task: str, plan: Plan, several: bool) -> Table:
    letters = {text: chr(ord("a") + i) for i, text in enumerate(dict.fromkeys(t for t in own["footnote"] if t))}
    numbers = {text: str(i) for i, text in enumerate(dict.fromkeys(t for t in own["comment"] if t), 1)}
    place = source.removeprefix(f"{CITATION}, ")
    long = place in LONG
    own = own.assign(title=own["method"] + ": " + own["metric"].str.replace("_", " ") if long else own["method"])
    metrics = [""] if long else list(dict.fromkeys(own["metric"]))
    rows = []
    for title, cells in own.groupby("title", sort=False):
        entries: list[Entry] = []
        for metric in metrics:
            cell = cells if long else cells[cells["metric"] == metric]
            entries += _build_entries(cell.iloc[0].to_dict(), letters) if len(cell) else [NOT_PLANNED] * 3
        said = dict.fromkeys(numbers[t] for t in cells["comment"] if t)
        rows.append((str(title), False, (*entries, make_text_entry(", ".join(said)))))
    heads = [HEADS.get(m, m) for m in metrics]
    columns = [(head, kind) for head in heads for kind in ("published", "measured", "difference")]
    size = f"protocol {plan.protocol}, folds: {plan.folds}, seeds: {plan.seeds}"
    measured = f"{plan.dataset} ({plan.description.rstrip('.')}), {size}"
    return Table(
        (*columns, ("", "comment")),
        tuple(rows),
        f"{LABEL}. Source of the published column: {source}; {dataset}{_format_task(task)}. Measured: {measured}; commit "
        f"{plan.short_commit}, {plan.written[:10]}. Difference: measured - published, only where cohort and task are the same.",
        (*(f"{n}: {text}." for text, n in numbers.items()), *(f"({a}) {text}" for text, a in letters.items()), *NOTES),
        f"Paper, {place}: {dataset}{_format_task(task)}" + (f" ({plan.dataset}, {plan.protocol})" if several else ""),
    )


def _format_task(task: str) -> str:
    return "" if task in ("-", "unspecified") else f", {get_task_title(task)}"


def _build_entries(cell: dict[str, Any], letters: dict[str, str]) -> list[Entry]:
    """Return the entries published, measured and difference."""
    mark = f"({letters[cell['footnote']]})" if cell["footnote"] else ""
    count = cell["metric"] in ("n", "default", "range_low", "range_high") or cell["metric"].endswith("_n")

    def number(value: float, sd: float = float("nan"), mark: str = "", signed: bool = False) -> Entry:
        if pd.isna(value):
            return Entry(None, None, "–", mark, False)
        if count:
            return Entry(None, None, f"{value:,.6g}", mark, False)
        return Entry(
            float(value),
            None if pd.isna(sd) else float(sd),
            "",
            mark,
            False,
            signed=signed,
            digits=_choose_digits(cell),
        )

    return [
        number(cell["published"], cell["published_sd"], mark),
        number(cell["measured"], cell["measured_sd"]),
        number(cell["difference"], signed=True),
    ]


def _choose_digits(cell: dict[str, Any]) -> int:
    """Return the number of decimals: those of the paper."""
    if cell["metric"] in HEADS or cell["metric"] in ("auc_low", "auc_high"):
        return 3
    return 4 if abs(cell["published"]) < 0.1 else 2


def _compute_difference(row: dict[str, Any], plan: Plan, number: Measured) -> dict[str, Any]:
    """Return the difference, or None, and the comment that says why or what else differs."""
    said = [number.comment] if number.comment else []
    if plan.dataset in WHY_NOT_COMPARABLE and plan.dataset in COHORTS.get(row["dataset"], (plan.dataset,)):
        said.append(WHY_NOT_COMPARABLE[plan.dataset])
    comparable = number.value is not None and number.same and plan.dataset == COHORTS.get(row["dataset"], ("",))[0]
    if comparable:
        said.append("the paper's folds and its code for this cohort are not published: labels and preprocessing differ")
    return {
        "difference": number.value - row["published"] if comparable else None,
        "comment": "; ".join(said),
    }


@cache
def _load_footnotes() -> list[dict[str, str]]:
    return pd.read_csv(FOOTNOTES, dtype=str, keep_default_na=False).to_dict("records")


def _find_footnote(row: dict[str, Any]) -> str:
    """Return the footnotes of a published number: those whose filled fields are its own."""
    at = {"table": row["table"], "dataset": row["dataset"], "task": row["task"], "method_or_row": row["method"]}
    found = [
        note["footnote"] for note in _load_footnotes()
        if all(note[name] in ("", value) for name, value in at.items())
        and note["metric"].lower() in ("", row["metric"])
        and (row["metric"] != "n" or note["metric"] == "n")
    ]  # fmt: skip
    return " ".join(found)
