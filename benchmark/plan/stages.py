"""The cells of a run in the order that tuning asks for: first trials, the trials of the best three, then what they chose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from benchmark.cell.inputs import CellInputs
from benchmark.executors.work import Work
from benchmark.plan import tuning
from results.cell import PlannedCell, is_finished
from results.storage.store import Store

Placed = tuple[PlannedCell, CellInputs]


def to_do(store: Store, placed: Iterable[Placed]) -> list[Placed]:
    """The cells that are not stored whole, done or skipped; each key once."""
    by_folder = {store.folder(planned): (planned, place) for planned, place in placed}
    return [(planned, place) for planned, place in by_folder.values() if not is_finished(store.whole(planned))]


def stages(store: Store, work: list[Placed]) -> Iterator[list[Work]]:
    """What to compute, stage by stage; each is asked for when the one before it is stored."""
    tuned = [(planned, place) for planned, place in work if tuning.first_trials(planned)]
    plain = [(planned, place) for planned, place in work if not tuning.first_trials(planned)]
    yield [*_trials(store, tuned, tuning.first_trials), *(Work(*cell) for cell in plain)]
    yield _trials(store, tuned, lambda planned: tuning.further_trials(planned, store))
    yield [Work(planned, place, tuning.choose(planned, store)) for planned, place in tuned]


def count(store: Store, work: list[Placed]) -> int:
    """First trials that a run still has to make."""
    return len(_trials(store, work, tuning.first_trials))


def _trials(store: Store, tuned: Iterable[Placed], of: Callable[[PlannedCell], list[PlannedCell]]) -> list[Work]:
    return [Work(*cell) for cell in to_do(store, ((trial, place) for planned, place in tuned for trial in of(planned)))]
