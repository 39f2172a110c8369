"""Prints a comparison: as a table, one JSON document, or Markdown for a page of continuous integration."""

from __future__ import annotations

import json

import pandas as pd

from benchmark.show import show
from results.gate.judge import RED, VERDICTS

COLUMNS = ("method", "dataset", "task", "metric", "base", "new", "difference", "tolerance", "verdict")
NUMBERS = {"base": "{:.4f}", "new": "{:.4f}", "difference": "{:+.4f}", "tolerance": "{:.4f}"}
SAID = {
    "worse": "worse",
    "missing": "missing",
    "better": "better (to be locked: make lock)",
    "new": "new (to be locked: make lock)",
    "no tolerance": "without a tolerance (the base has one seed)",
    "ok": "ok",
}


def format_headline(verdicts: pd.DataFrame) -> str:
    """Return how many rows have which verdict, what is not ok first."""
    count = verdicts["verdict"].value_counts()
    parts = [f"{count[verdict]} {SAID[verdict]}" for verdict in VERDICTS if verdict in count]
    return f"{len(verdicts)} rows: {', '.join(parts)}"


def print_table(verdicts: pd.DataFrame, everything: bool) -> None:
    """Print what is not ok, or all rows, and one line that counts."""
    rows = _format_rows(verdicts if everything else verdicts[verdicts["verdict"] != "ok"])
    if rows:
        show(rows, COLUMNS, as_json=False)
    print(format_headline(verdicts))


def print_json(base: str, new: str, verdicts: pd.DataFrame) -> None:
    """Print all rows in full precision as one JSON document."""
    rows = verdicts.astype(object).where(verdicts.notna(), None).to_dict("records")
    counts = verdicts["verdict"].value_counts().to_dict()
    print(json.dumps({"base": base, "new": new, "verdicts": counts, "rows": rows}, indent=1))


def format_markdown(base: str, new: str, verdicts: pd.DataFrame) -> str:
    """Return a heading with the outcome, the rows that are not ok, and the others folded away."""
    outcome = "red" if verdicts["verdict"].isin(RED).any() else "green"
    lines = [f"## Gate: {outcome}", "", f"`{new}` against `{base}`. {format_headline(verdicts)}.", ""]
    apart = verdicts["verdict"] != "ok"
    if apart.any():
        lines += [*_format_markdown_table(verdicts[apart]), ""]
    if not apart.all():
        lines += [
            "<details><summary>rows that are ok</summary>",
            "",
            *_format_markdown_table(verdicts[~apart]),
            "",
            "</details>",
        ]
    return "\n".join(lines)


def _format_markdown_table(verdicts: pd.DataFrame) -> list[str]:
    rows = [[row[c] for c in COLUMNS] for row in _format_rows(verdicts)]
    ruler = ["---:" if c in NUMBERS else "---" for c in COLUMNS]
    return [f"| {' | '.join(cells)} |" for cells in (COLUMNS, ruler, *rows)]


def _format_rows(verdicts: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for row in verdicts.to_dict("records"):
        name = row["method"] if row["variant"] == "default" else f"{row['method']}:{row['variant']}"
        numbers = {c: "-" if pd.isna(row[c]) else form.format(row[c]) for c, form in NUMBERS.items()}
        rows.append({**row, **numbers, "method": name})
    return rows
