"""The cells of a run in the order that tuning asks for: first trials, further trials of the best three, then what they chose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from benchmark.cell.inputs import CellInputs
from benchmark.executors.work import Work, read_stored_cell
from benchmark.plan import tuning
from results.cell import PlannedCell
from results.storage.store import Store

CellAndInputs = tuple[PlannedCell, CellInputs]
FURTHER = 1
"""The round, counted from 0, whose cells are known only when the round before it is stored."""


def find_first_trials(store: Store, cells: Iterable[CellAndInputs]) -> list[Work]:
    """Return the first trials that the tuned ones among ``cells`` still need."""
    return _find_trials(store, cells, tuning.list_first_trials)


def iterate_rounds(store: Store, cells: list[CellAndInputs], first: list[Work]) -> Iterator[list[Work]]:
    """Yield what to compute, round by round; the next round may be asked for when the one before it is stored.

    ``cells``: those of the run that are not finished; ``first``: their first trials, as ``find_first_trials`` gives them.
    """
    tuned = [(planned, inputs) for planned, inputs in cells if tuning.is_tuned(planned)]
    yield [*first, *(Work(planned, inputs) for planned, inputs in cells if not tuning.is_tuned(planned))]
    yield _find_trials(store, tuned, lambda planned: tuning.list_further_trials(planned, store))
    yield [Work(planned, inputs, tuning.choose_candidate(planned, store)) for planned, inputs in tuned]


def _find_trials(
    store: Store, cells: Iterable[CellAndInputs], list_trials: Callable[[PlannedCell], list[PlannedCell]]
) -> list[Work]:
    """Return the trials that are not finished; cells that share one need it once."""
    works = {store.folder(trial): Work(trial, inputs) for planned, inputs in cells for trial in list_trials(planned)}
    return [work for work in works.values() if not read_stored_cell(store, work.planned).finished]
