"""A cell: the unit of work, of caching and of failure, and the record of what came out of it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

STATUSES = ("done", "failed", "skipped")
FINISHED = ("done", "skipped")
"""What a second run leaves as it is."""
TRIAL = "trial"
"""What the tuning of a cell's name begins with where the cell tries one candidate of a tuning."""
BOUNDED = {"auc", "auprc", "brier", "ece", "ece_debiased", "brier_recalibrated"}


def is_finished(record: dict[str, Any] | None) -> bool:
    """Return whether no run computes the cell of this record again."""
    return record is not None and record["status"] in FINISHED


@dataclass(frozen=True, order=True)
class Cell:
    """dataset x landmark x protocol x method (+ variant) x rectifier x tuning x fold x seed."""

    dataset: str
    landmark: str
    protocol: str
    method: str
    variant: str
    rectifier: str
    tuning: str
    fold: int
    seed: int

    @property
    def group(self) -> tuple[str, ...]:
        """What the cells of all folds and seeds share: one row of a table at one landmark."""
        return (self.dataset, self.landmark, self.protocol, self.method, self.variant, self.rectifier, self.tuning)

    @property
    def name(self) -> str:
        """The cell's name, e.g. ``eicu-demo/icu_24h/strict/s_only/default/rectifier-off/tuning-none/fold-0/seed-0``."""
        return "/".join(
            (self.dataset, self.landmark, self.protocol, self.method, self.variant, f"rectifier-{self.rectifier}",
             f"tuning-{self.tuning}", f"fold-{self.fold}", f"seed-{self.seed}")
        )  # fmt: skip

    def draw_seed(self) -> int:
        """Return the seed of everything random in this cell, from its name alone.

        The rectifier is left out: it comes after the prediction, so a cell with it and one without share the base prediction. All
        trials of a tuning share theirs: candidates are told apart by what they are, not by what they drew.
        """
        parts = {k: v for k, v in asdict(self).items() if k != "rectifier"}
        if self.tuning.startswith(TRIAL):
            parts["tuning"] = TRIAL
        return int.from_bytes(bytes.fromhex(digest(parts))[:4], "big")


@dataclass(frozen=True)
class PlannedCell:
    """A cell, its resolved configuration, the parts its key is made of, and the name to print."""

    cell: Cell
    config: dict[str, Any]
    key_parts: dict[str, str]
    title: str

    @property
    def key(self) -> str:
        """SHA-256 over the parts: configuration, cohort, split and source."""
        return digest(self.key_parts)


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_record(record: dict[str, Any]) -> None:
    """Refuse a record that cannot be true.

    Raises:
        ValueError: an unknown status, a metric out of its range, or a NaN metric without a reason.
    """
    if record["status"] not in STATUSES:
        raise ValueError(f"status {record['status']!r} is none of {', '.join(STATUSES)}")
    for m in record["metrics"]:
        value, where = m["value"], f"{m['metric']} of {m['task']} on {m['split']}"
        if value is None:
            if not m.get("reason"):
                raise ValueError(f"{where} has neither a value nor a reason")
        elif not math.isfinite(value) or (m["metric"] in BOUNDED and not -1e-9 <= value <= 1 + 1e-9):
            raise ValueError(f"{where} is {value}, outside its range")
