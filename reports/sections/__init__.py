"""What each experiment prints after its main table: ``reports/sections/<experiment>.py``, with ``section(store, plans) -> Section``.

An experiment without a file of its own has the main table alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from reports.report import Section
from results.plan import Plan
from results.storage.store import Store


def load_section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return the section of the experiment that the plans are of; all plans are of one experiment."""
    name = f"reports.sections.{plans[0].experiment}"
    return import_module(name).section(store, plans) if find_spec(name) else Section()
