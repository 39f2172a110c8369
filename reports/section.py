"""What an experiment adds to its report: tables, frames for CSV files, and figures."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure as Picture

from reports.tables.table import Table


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure: ``name`` of its files, ``caption`` under it, ``alt`` in words for those who do not see it, and the drawing."""

    name: str
    caption: str
    alt: str
    picture: Picture


@dataclass(frozen=True, eq=False)
class Section:
    """Tables in print order; ``frames``: what stands behind ``<experiment>`` in the CSV's name -> frame; figures in print order;
    ``notes``: why a figure or table that a reader may look for is not there."""

    tables: tuple[Table, ...] = ()
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
