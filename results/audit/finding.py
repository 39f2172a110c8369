"""What is declared of a post-processing step, and what a check says of predictions that do not agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

NAMES = ("offset", "logit_offset", "monotone", "none")
LINES = 4
"""Positions in the file that an example has at most."""


@dataclass(frozen=True)
class DeclaredStep:
    """The declared step, of base probability p in a (task, pattern, fold).

    - ``offset``: clip(p + c); ``logit_offset``: sigmoid(logit p + c), with one c a group, or one for each of two halves of it;
    - ``monotone``: any increasing function of p, one a (task, fold);
    - ``none``: p.

    ``clip``: where the result is cut. ``fitted_on``: ``other`` rows than those corrected, or the ``same``.
    """

    name: str
    halves: bool = False
    clip: tuple[float, float] = (0.0, 1.0)
    fitted_on: str = "other"

    @property
    def by_pattern(self) -> bool:
        """Whether the step acts by pattern."""
        return self.name in ("offset", "logit_offset")

    @property
    def offsets(self) -> int:
        """Offsets that a group may have."""
        return 2 if self.halves else 1

    def __str__(self) -> str:
        said = {
            "offset": "additive offset",
            "logit_offset": "offset on the logit scale",
            "monotone": "an increasing function a task and fold",
            "none": "no change",
        }[self.name]
        if not self.by_pattern:
            return said
        return f"{'at most two offsets' if self.halves else 'one'} {'(' + said + ')' if self.halves else said} a task, pattern and fold"


@dataclass(frozen=True)
class Place:
    """A group that a finding concerns: ``pattern`` (None: several) in ``fold`` (None: all), its numbers, and ``lines`` that show it.

    ``values``: offsets found in the group, as printed, and the rows of each.
    """

    pattern: str | None
    fold: str | None
    numbers: dict[str, float]
    lines: tuple[int, ...]
    values: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the place as JSON values, its numbers by their names."""
        values = {} if self.values is None else {"values": self.values}
        return {"pattern": self.pattern, "fold": self.fold, **self.numbers, **values, "lines": self.lines}


@dataclass(frozen=True)
class Finding:
    """One kind of inconsistency in one task: where it is largest, on how many rows, and an example.

    ``query``: worth asking about, and no inconsistency. ``lines``: positions in the file. ``places``: the groups concerned,
    the worst first.
    """

    kind: str
    query: bool
    task: str
    pattern: str | None
    fold: str | None
    groups: int
    rows: int
    patients: int
    lines: tuple[int, ...]
    what: str
    numbers: dict[str, float] = field(default_factory=dict)
    places: tuple[Place, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self) | {"places": [place.to_json() for place in self.places]}


def make_finding(
    kind: str,
    task: str,
    rows: pd.DataFrame,
    what: str,
    *,
    places: Sequence[Place] = (),
    lines: Sequence[int] | None = None,
    query: bool = False,
    numbers: dict[str, float] | None = None,
) -> Finding:
    """Return a finding on ``rows`` (with ``line, patient``), shown at the first of ``places``.

    ``lines`` are that place's if not given; without places, those of the first rows.
    """
    first = places[0] if places else Place(None, None, {}, tuple(int(line) for line in rows["line"].head(LINES)))
    shown = first.lines if lines is None else lines
    return Finding(
        kind, query, task, first.pattern, first.fold, len(places), len(rows), int(rows["patient"].nunique()),
        tuple(shown[:LINES]), what, numbers or {}, tuple(places),
    )  # fmt: skip


def select_at_places(rows: pd.DataFrame, places: Sequence[Place]) -> pd.DataFrame:
    """Return the rows of the patterns and folds of ``places``; a pattern of None stands for all."""
    named = {(place.pattern, place.fold) for place in places}
    at = [
        (p, f) in named or (None, f) in named
        for p, f in zip(rows["pattern"].astype(str), rows["fold"].astype(str), strict=True)
    ]
    return rows[at]
