"""The graph of HGMF (``methods/hgmf``): stays typed by their observation pattern, and their neighbours among the training stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from methods.common.preprocessing import Inputs
from methods.common.training import CHUNK

MOST_TYPES = 32
GRID = 2.0**20
"""Squared distances are compared in units of 1 / GRID."""


@dataclass(frozen=True, eq=False)
class HypernodeGraph:
    """Types and neighbours, from N training stays.

    ``patterns`` bool [P, M], the last one empty; ``other`` whether there is a type P for stays of no such pattern; ``whole`` whether a stay
    keeps the modalities that its type lacks; ``types`` int64 [N]; ``rows[m]`` int64 [N_m] and ``values[m]`` float32 [N_m, d_m]: the
    training stays that have modality m, and their x_m.
    """

    patterns: np.ndarray
    other: np.ndarray
    types: np.ndarray
    whole: np.ndarray
    rows: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, inputs: Inputs, smallest: int, whole: bool) -> Self:
        """Build the graph of these stays, with types of at least ``smallest`` of them, and no type ``other`` where stays are ``whole``."""
        patterns, other = choose_types(inputs.observed, smallest)
        other = other and not whole
        types, seen = assign(inputs.observed, patterns, other, whole)
        rows = tuple(np.flatnonzero(s) for s in seen.T)
        return cls(
            patterns,
            np.array(other),
            types,
            np.array(whole),
            rows,
            tuple(x[r] for x, r in zip(inputs.x, rows, strict=True)),
        )

    @property
    def count(self) -> int:
        """Number of types."""
        return len(self.patterns) + int(self.other)

    def attach(self, inputs: Inputs, k: int, device: str, themselves: bool = False) -> dict[str, np.ndarray]:
        """Attach stays: ``types`` int64 [B], ``seen`` bool [B, M], and ``neighbours`` int64 [B, M k]: training stays, each once, -1 = none.

        ``themselves``: the stays are the training stays, none of which is its own neighbour.
        """
        types, seen = assign(inputs.observed, self.patterns, bool(self.other), bool(self.whole))
        found = np.full((*seen.shape, k), -1, dtype=np.int64)
        for m, (x, rows, values) in enumerate(zip(inputs.x, self.rows, self.values, strict=True)):
            centres = np.flatnonzero(seen[:, m])
            near = find_nearest(x[centres], values, k, device, themselves)
            found[centres, m, : near.shape[1]] = rows[near]
        found = np.sort(found.reshape(len(types), seen.shape[1] * k), axis=1)
        found[:, 1:][found[:, 1:] == found[:, :-1]] = -1
        return {"types": types, "seen": seen, "neighbours": found}

    def state(self) -> dict[str, np.ndarray]:
        """Return what was fitted as plain arrays."""
        parts = {f"{m}.{n}": v for n in ("rows", "values") for m, v in enumerate(getattr(self, n))}
        return {"patterns": self.patterns, "other": self.other, "types": self.types, "whole": self.whole, **parts}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> Self:
        """Restore the graph from its ``state``."""
        rows, values = (tuple(state[f"{m}.{n}"] for m in range(state["patterns"].shape[1])) for n in ("rows", "values"))
        return cls(state["patterns"], state["other"], state["types"], state["whole"], rows, values)


def choose_types(observed: np.ndarray, smallest: int) -> tuple[np.ndarray, bool]:
    """Choose the patterns that are types, bool [P, M], the most frequent first, the empty one last; and whether a type ``other`` exists."""
    patterns, counts = np.unique(observed[observed.any(axis=1)], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_TYPES]
    order = order[counts[order] >= smallest]
    left = counts.sum() - counts[order].sum()
    other = left >= smallest or (left > 0 and not len(order))
    return np.concatenate([patterns[order], np.zeros((1, observed.shape[1]), dtype=bool)]), bool(other)


def assign(observed: np.ndarray, patterns: np.ndarray, other: bool, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Assign stays with these patterns [B, M] their types int64 [B] and what counts as observed, bool [B, M].

    A pattern that is no type is ``other``, as it is; without that type, the largest type within it, the more frequent of equal ones, and
    what that type lacks counts as unobserved unless stays are ``whole``.
    """
    more = patterns.astype(np.float32) @ (~observed).astype(np.float32).T
    types = np.where(more.T == 0, patterns.sum(axis=1), -1).argmax(axis=1)
    seen = patterns[types]
    if other:
        types = np.where((seen == observed).all(axis=1), types, len(patterns))
    return types, observed if other or whole else seen


def find_nearest(x: np.ndarray, bank: np.ndarray, k: int, device: str, themselves: bool = False) -> np.ndarray:
    """Find the rows of ``bank`` [N, d] nearest to those of x [B, d], int64 [B, min(k, N)], in chunks; ``themselves``: x is the bank."""
    n = len(bank)
    k = min(k, n - themselves)
    if k < 1 or not len(x):
        return np.zeros((len(x), 0), dtype=np.int64)
    bank = torch.from_numpy(bank).to(device, torch.float64)
    lengths, index, parts = bank.square().sum(dim=1), torch.arange(n, device=device), []
    for begin in range(0, len(x), CHUNK // 2):
        some = torch.from_numpy(x[begin : begin + CHUNK // 2]).to(device, torch.float64)
        squared = torch.addmm(lengths, some, bank.T, alpha=-2).add_(some.square().sum(dim=1, keepdim=True))
        if themselves:
            squared[torch.arange(len(some), device=device), index[begin : begin + len(some)]] = squared.max() + 1
        key = squared.mul_(GRID).round_().long().mul_(n).add_(index)
        parts.append(key.topk(k, dim=1, largest=False).values.remainder(n).cpu())
    return torch.cat(parts).numpy()
