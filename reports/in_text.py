"""Numbers that the paper gives in its text and appendices, in tables of their own: never beside measured ones."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reports.published import SOURCE
from reports.tables import Table, words

CITATION = "CRL-MMNAR (arXiv:2509.17228)"


def text_table(wanted: Mapping[str, str], what: str, notes: tuple[str, ...]) -> Table:
    """A table of numbers given in the text (table ``Text`` of the published numbers): ``wanted`` is metric -> how to print its name."""
    raw = pd.read_csv(SOURCE, dtype=str)
    own = raw[raw["table"].eq("Text") & raw["metric"].isin(wanted)]
    rows = tuple(
        (wanted[r["metric"]], False, (words(r["mean"]), words(r["dataset"]), words(r["method_or_row"])))
        for r in own.to_dict("records")
    )
    columns = (("Published", "Value"), ("Published", "Cohort"), ("Published", "Where"))
    caption = f"Published by the paper, not measured here: {what}. Source: {CITATION}."
    return Table(columns, rows, caption, notes)
