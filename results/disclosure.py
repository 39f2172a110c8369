"""Which counts must not leave a credentialed site: those from 1 to 9, and those from which one could be computed.

A count is hidden for itself where it is small. Others are hidden with it (the smallest first) until, in every sum whose total is known,
nothing or at least two members that are ten or more together are hidden, and no hidden count follows from all sums taken together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from scipy.linalg import null_space

LEAST = 10
SMALL = f"<{LEAST}"
HIDDEN = "hidden"


@dataclass(frozen=True)
class Count:
    """Rows with a label, and how many of them are positive."""

    n: int
    positives: int

    @property
    def negatives(self) -> int:
        """The others."""
        return self.n - self.positives

    @property
    def small(self) -> bool:
        """Whether it has from 1 to 9 rows, positives or negatives."""
        return any(is_small(count) for count in (self.n, self.positives, self.negatives))


Quantity = Callable[[Count], int]
ROWS, POSITIVES, NEGATIVES = attrgetter("n"), attrgetter("positives"), attrgetter("negatives")


@dataclass(frozen=True)
class Sum:
    """Members that add up to a known number, or to another count (``total``); ``rest``: what that has beyond them, printed nowhere."""

    members: tuple[str, ...]
    total: str | None = None
    rest: Count = Count(0, 0)


@dataclass(frozen=True)
class HiddenCounts:
    """Names of the counts whose rows are hidden, and of those whose positives are, which are all of the former and more."""

    n: frozenset[str]
    positives: frozenset[str]


def is_small(count: int) -> bool:
    """Return whether a count is from 1 to 9."""
    return 0 < count < LEAST


def choose_hidden(counts: Mapping[str, Count], sums: Sequence[Sum], n_also: Iterable[str] = ()) -> HiddenCounts:
    """Return what to hide of ``counts``; ``n_also``: names whose rows are hidden for another reason."""
    n = extend_hidden(counts, sums, {name for name, count in counts.items() if is_small(count.n)} | set(n_also), ROWS)
    positives = n | {name for name, count in counts.items() if count.small}
    before: set[str] | None = None
    while positives != before:
        before = positives
        for of in (POSITIVES, NEGATIVES):
            positives = extend_hidden(counts, sums, positives, of)
    return HiddenCounts(frozenset(n), frozenset(positives))


def extend_hidden(counts: Mapping[str, Count], sums: Sequence[Sum], hidden: Iterable[str], of: Quantity) -> set[str]:
    """Return ``hidden`` and what must be hidden with it, where ``of`` each count is printed."""
    found = set(hidden)
    while (name := _find_next(counts, sums, found, of)) is not None:
        found.add(name)
    return found


def find_determined(sums: Sequence[Sum], hidden: Iterable[str], of: Quantity) -> list[str]:
    """Return the hidden counts that follow from the sums and the counts shown."""
    names = sorted(hidden)
    if not names or not sums:
        return []
    rows = [[float(name in s.members) - float(name == s.total) for name in names] for s in sums]
    rests = np.diag([float(is_small(of(s.rest))) for s in sums])
    free = null_space(np.hstack([np.array(rows), rests[:, rests.any(axis=0)]]))
    return [name for name, freedom in zip(names, free, strict=False) if np.abs(freedom).max(initial=0) < 1e-9]


def select_shown_steps(counts: Sequence[int]) -> list[bool]:
    """Tell which steps of a flow can be printed: from one to the next printed, none or at least ten leave; the last is known anyway."""
    shown: list[int] = []
    for step, count in enumerate(counts):
        last = step == len(counts) - 1
        while last and shown and is_small(counts[shown[-1]] - count):
            shown.pop()
        if not is_small(count) and (not shown or not is_small(counts[shown[-1]] - count)):
            shown.append(step)
    return [step in shown for step in range(len(counts))]


def _find_next(counts: Mapping[str, Count], sums: Sequence[Sum], hidden: set[str], of: Quantity) -> str | None:
    """Return the smallest count that must be hidden next; None where nothing can be computed, or nothing more can be hidden."""
    for s in sums:
        inside = [of(counts[name]) for name in s.members if name in hidden] + [of(s.rest)] * is_small(of(s.rest))
        if inside and s.total not in hidden and (len(inside) == 1 or is_small(sum(inside))):
            found = _find_smallest(counts, s.members, hidden, of) or _find_smallest(counts, [s.total], hidden, of)
            if found is not None:
                return found
    for name in find_determined(sums, hidden, of):
        related = [other for s in sums if name in (*s.members, s.total) for other in (*s.members, s.total)]
        found = _find_smallest(counts, related, hidden, of)
        if found is not None:
            return found
    return None


def _find_smallest(
    counts: Mapping[str, Count], names: Iterable[str | None], hidden: set[str], of: Quantity
) -> str | None:
    left = {name for name in names if name is not None and name not in hidden and of(counts[name]) > 0}
    return min(left, key=lambda name: (of(counts[name]), name), default=None)
