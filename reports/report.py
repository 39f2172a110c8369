"""What a report is: what an experiment adds to it, and what its files hold before they are written."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure as MplFigure

from reports.frames.provenance import Provenance
from reports.tables.table import Table
from results.plan import Plan


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure: ``name`` of its files, ``caption`` under it, ``alt`` in words for those who do not see it, ``mpl_figure`` as drawn."""

    name: str
    caption: str
    alt: str
    mpl_figure: MplFigure


@dataclass(frozen=True, eq=False)
class Section:
    """Tables in print order; ``frames``: what stands behind ``<experiment>`` in the CSV's name -> frame; figures in print order;
    ``notes``: why a figure or table that a reader may look for is not there; ``instead``: these tables take the place of each plan's own,
    whose numbers the CSV has all the same."""

    tables: tuple[Table, ...] = ()
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    instead: bool = False


class ReportError(RuntimeError):
    """A report cannot be made; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Report:
    """What one experiment's files hold, before they are written; ``plans`` each with its provenance."""

    experiment: str
    plans: tuple[tuple[Plan, Provenance], ...]
    numbers: pd.DataFrame
    intervals: pd.DataFrame
    comparisons: pd.DataFrame
    published: pd.DataFrame
    measured: tuple[Table, ...]
    with_published: tuple[Table, ...]
    section: Section
    tuned: pd.DataFrame = field(default_factory=pd.DataFrame)
    fits: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables in print order: what was measured, then those with the paper's published numbers."""
        return (*self.measured, *self.with_published)

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """What stands behind the experiment in a CSV file's name -> its frame; none where a report has no such thing."""
        frames = {"": self.numbers, "_intervals": self.intervals, "_comparisons": self.comparisons}
        frames = {name: frame for name, frame in frames.items() if len(frame.columns)}
        frames |= self.section.frames
        frames |= {"_tuning": self.tuned} if len(self.tuned) else {}
        frames |= {"_fits": self.fits} if len(self.fits) else {}
        return frames | ({"_published": self.published} if len(self.published) else {})
