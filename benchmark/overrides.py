"""The overrides of the command line, ``key=value``: which there are, and what a verb's help says of those that it takes."""

from __future__ import annotations

from collections.abc import Iterable

OVERRIDES = {
    "dataset": "NAME",
    "dataset.DIAL": "VALUE",
    "root": "DIR",
    "note_root": "DIR",
    "cxr_root": "DIR",
    "encoder": "NAME",
    "subset": "NAME",
    "method": "NAME[:VARIANT],...",
    "method.FIELD": "VALUE",
    "n": "STAYS",
    "folds": "N",
    "seeds": "N",
    "split": "folds|sites",
    "protocol": "strict|paper",
    "landmark": "NAME",
    "arm": "NAME,...",
    "outcomes": "true|shuffled",
    "known": "all|none|NAME,...",
    "rectifier": "auto|on|off|hierarchical|offset|shrunk",
    "calibration": "valid|oof",
    "selection": "log_loss|auc",
    "schedule": "short|paper|own",
    "tuning": "none|grid|random",
    "budget": "N",
    "beside": "true|false",
    "reference": "METHOD",
    "bootstrap": "N",
    "device": "cpu|cuda",
    "executor": "local|dask|slurm|stacked",
    "scheduler": "tcp://HOST:PORT",
    "slurm.OPTION": "VALUE",
    "limits.minutes": "N",
    "limits.gib": "N",
    "store": "DIR",
    "out": "DIR",
    "built": "DIR",
}
"""Each key with the values that it takes; what is written in capitals the user chooses."""
DATA = ("dataset.DIAL", "root", "note_root", "cxr_root", "encoder", "subset", "n", "built")
"""Those that say which cohort a dataset is built to, and where."""
STORED = (
    "dataset", "dataset.DIAL", "method", "method.FIELD", "n", "folds", "seeds", "split", "protocol", "landmark", "arm", "outcomes",
    "rectifier", "selection", "schedule", "tuning", "budget", "store", "out",
)  # fmt: skip
"""Those that choose among the plans of a store."""


def describe_overrides(keys: Iterable[str]) -> str:
    """Return the lines of a verb's help on the overrides that it takes."""
    return " ".join(["overrides, key=value:", *(f"{key}={OVERRIDES[key]}" for key in keys)])
