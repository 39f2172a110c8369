"""The scalar columns of GRAPE's ``feature`` graph (``methods/grape``), fitted on training stays."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from datasets.cohort import Cohort
from methods.common.preprocessing import Inputs, Preprocessor


class Block(NamedTuple):
    """The k columns v of one modality: those recorded (``basis`` empty), or (x - centre) @ basis [width, k]; then (v - low) * scale."""

    basis: np.ndarray
    centre: np.ndarray
    low: np.ndarray
    scale: np.ndarray

    def values(self, cohort: Cohort, inputs: Inputs, m: int, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return unscaled values [N, k] of modality m, 0 where there is no edge, and whether there is one."""
        rows = np.flatnonzero(inputs.observed[:, m])
        values = np.zeros((len(cohort), len(self.low)), dtype=np.float32)
        edges = np.zeros(values.shape, dtype=bool)
        if len(self.centre):
            k = self.basis.shape[1]
            values[rows, :k] = (inputs.x[m][rows] - self.centre) @ self.basis
            edges[rows, :k] = True
        elif len(keep):
            recorded = cohort.modalities[m].values[rows][:, keep]
            edges[rows] = ~np.isnan(recorded)
            values[rows] = np.nan_to_num(recorded)
        return values, edges


class Columns:
    """The scalar columns of the ``feature`` graph, fitted on training stays; a modality without any has one without edges."""

    blocks: tuple[Block, ...]

    def fit(self, train: Cohort, preprocessor: Preprocessor, raw_columns: int, components: int) -> Self:
        """Fit the columns on ``train``: of a modality those recorded, if at most ``raw_columns``, else ``components`` principal ones."""
        inputs, blocks = preprocessor.transform(train), []
        for m, s in enumerate(preprocessor.statistics):
            basis, centre, k = np.zeros((0, 0), np.float32), np.zeros(0, np.float32), len(s.keep)
            if k > raw_columns:
                basis, centre = principal_components(inputs.x[m][inputs.observed[:, m]], components)
                k = basis.shape[1]
            block = Block(basis, centre, *np.zeros((2, max(1, k)), np.float32))
            values, seen = block.values(train, inputs, m, s.keep)
            low = np.where(seen, values, np.inf).min(axis=0, initial=np.inf)
            span = np.where(seen, values, -np.inf).max(axis=0, initial=-np.inf) - low
            usable = np.isfinite(span) & (span > 1e-6 * np.abs(values).max(axis=0, initial=0))
            low, scale = np.where(usable, low, 0), np.where(usable, 1 / np.where(usable, span, 1), 0)
            blocks.append(block._replace(low=low.astype(np.float32), scale=scale.astype(np.float32)))
        self.blocks = tuple(blocks)
        return self

    @property
    def count(self) -> int:
        """Number of columns."""
        return sum(len(b.low) for b in self.blocks)

    def transform(self, cohort: Cohort, preprocessor: Preprocessor) -> dict[str, np.ndarray]:
        """Return ``values`` float32 [N, C] in [0, 1], 0 where there is no edge, and ``edges`` bool [N, C]."""
        inputs, values, edges = preprocessor.transform(cohort), [], []
        for m, (s, block) in enumerate(zip(preprocessor.statistics, self.blocks, strict=True)):
            found, seen = block.values(cohort, inputs, m, s.keep)
            values.append(np.where(seen, np.clip((found - block.low) * block.scale, 0, 1), np.float32(0)))
            edges.append(seen)
        return {"values": np.concatenate(values, axis=1), "edges": np.concatenate(edges, axis=1)}

    def state(self) -> dict[str, np.ndarray]:
        """Return what was fitted as plain arrays."""
        return {f"{m}.{k}": v for m, block in enumerate(self.blocks) for k, v in block._asdict().items()}

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the columns from their ``state`` and return them."""
        count = len({key.partition(".")[0] for key in state})
        self.blocks = tuple(Block(*(state[f"{m}.{k}"] for k in Block._fields)) for m in range(count))
        return self


def principal_components(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Find at most ``count`` principal directions [d, k] of x [n, d], those without variance left out; also return its mean [d]."""
    centre = x.mean(axis=0, dtype=np.float64)
    centred = x - centre
    variance, directions = np.linalg.eigh(centred.T @ centred)
    kept = np.flatnonzero(variance > 1e-6 * variance[-1])[::-1][:count]
    return directions[:, kept].astype(np.float32), centre.astype(np.float32)
