"""Locked metrics: a CSV with every row's mean, spread and tolerance, and the value of each seed from which they follow."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from results.gate.judge import (
    ALL,
    COUNTS,
    KEY,
    GateError,
    add_method_all,
    check_same_stays,
    compute_tolerances,
    list_seeds,
)
from results.storage.files import replace_whole

LEAST_SEEDS = 20
"""Fewer tell too little of a spread."""
DERIVED = ("mean", "sd", "seeds", "tolerance")
SEED = "seed_"
DIGITS = 9
"""Decimals of a locked value."""


def make_locked(values: pd.DataFrame) -> pd.DataFrame:
    """Return the locked file's columns: KEY, COUNTS, DERIVED, ``seed_0``, ``seed_1``, ...; ``tolerance`` is that against one new seed.

    Args:
        values: as ``collect_gate_values`` gives them.

    Raises:
        GateError: fewer than LEAST_SEEDS seeds, or a cell that is not done.
    """
    seeds = list_seeds(values)
    if len(seeds) < LEAST_SEEDS:
        raise GateError(f"{len(seeds)} seeds are too few to lock: {LEAST_SEEDS} or more (seeds={LEAST_SEEDS})")
    lacking = values.index[values[seeds].isna().any(axis=1)]
    if len(lacking):
        methods = ", ".join(lacking.unique("method"))
        raise GateError(f"not every cell of {methods} is done, or a metric has no value: run again before locking")
    rounded = values.assign(**{str(s): values[s].round(DIGITS) for s in seeds}).drop(columns=seeds)
    rounded = add_method_all(rounded).round(DIGITS)
    return summarise_seeds(rounded.rename(columns={str(s): f"{SEED}{s}" for s in seeds})).reset_index()


def summarise_seeds(seeds: pd.DataFrame) -> pd.DataFrame:
    """Return COUNTS, DERIVED and the seeds of rows that have COUNTS and seeds; ``all`` among them."""
    of = seeds[list_seeds(seeds)]
    found = seeds[list(COUNTS)].astype(int).assign(
        mean=of.mean(axis=1).round(DIGITS), sd=of.std(axis=1, ddof=1).round(DIGITS), seeds=of.shape[1],
        tolerance=compute_tolerances(seeds, 1, len(seeds)).round(DIGITS),
    )  # fmt: skip
    return found.join(of)


def read_locked(path: Path) -> pd.DataFrame:
    """Read a locked file's values as ``collect_gate_values`` gives them: without ``all``, which follows from the methods.

    Raises:
        GateError: no such file, or not a locked one.
    """
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise GateError(f"{path} cannot be read as a locked CSV: {error}") from None
    lacking = [name for name in (*KEY, *COUNTS, f"{SEED}0") if name not in frame.columns]
    if lacking:
        raise GateError(f"{path} is not a locked CSV: it has no column {lacking[0]}")
    seeds = [name for name in frame.columns if name.startswith(SEED)]
    frame = frame[frame["method"] != "all"].set_index(list(KEY))[[*COUNTS, *seeds]]
    return frame.rename(columns={name: int(name.removeprefix(SEED)) for name in seeds})


def write_locked(path: Path, values: pd.DataFrame, keep: bool = False) -> pd.DataFrame:
    """Write the locked file of ``values``, rows as they come, and return it.

    Args:
        keep: what the file has of other methods stays in it, line for line.

    Raises:
        GateError: as ``make_locked``, or the methods that stay have other seeds or were measured on other stays.
    """
    if keep:
        return _write_some(path, values)
    frame = make_locked(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return frame


def _write_some(path: Path, values: pd.DataFrame) -> pd.DataFrame:
    """Replace the lines of some methods in a locked file, byte for byte no other, and return the file's rows.

    The lines of a new method go before those of the next in the alphabet, so that two authors' changes merge. Therefore the lines of
    ``all`` and the tolerances of the others stay as the last whole lock wrote them: both follow from the seeds, and whoever reads the
    file computes them again.
    """
    kept = read_locked(path)
    kept = kept[~kept.index.get_level_values("method").isin(values.index.unique("method"))]
    check_same_stays(kept, values)
    if len(kept) and list_seeds(kept) != list_seeds(values):
        raise GateError(
            f"{path} has {len(list_seeds(kept))} seeds, the new ones are {len(list_seeds(values))}: as many"
        )
    whole = make_locked(pd.concat([kept, values]))
    mine = set(values.index.unique("method"))
    lines = path.read_text(encoding="utf-8").splitlines()
    columns = lines[0].split(",")
    if set(columns) != set(whole.columns):
        raise GateError(
            f"{path} has other columns than a locked file of {len(list_seeds(values))} seeds: lock all methods"
        )
    for method in sorted(mine):
        new = whole.loc[whole["method"] == method, columns].to_csv(index=False, header=False).splitlines()
        own = [i for i, line in enumerate(lines) if i and line.split(",")[0] == method]
        later = [i for i, line in enumerate(lines) if i and (line.split(",")[0] == ALL or line.split(",")[0] > method)]
        at = own[0] if own else min(later, default=len(lines))
        lines = [line for i, line in enumerate(lines) if i not in own]
        lines[at:at] = new
    replace_whole(path, ("\n".join(lines) + "\n").encode())
    return pd.read_csv(path)
