"""Reads test predictions to be audited: anyone's CSV or parquet, a stored cell's predictions, or all cells of a stored plan."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from benchmark.errors import UsageError, unknown
from results.audit.rounding import compute_half_widths
from results.cell import Cell
from results.metrics.calibration import logit
from results.storage.store import Store, read_plan

NEEDED = ("patient", "task", "label", "probability_base", "probability", "pattern", "fold")
OPTIONAL = ("row",)
PROBABILITIES = {"probability_base": "base", "probability": "after"}
MISSING = ("", "nan", "NaN", "NA", "None", "<NA>")
KEYS = ("patient", "task", "pattern", "fold", "row")
TRUTH = {"true": "1", "false": "0"}
PARQUET = b"PAR1"
"""The first bytes of every parquet file, however it is named."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Test predictions of one method: ``frame`` as ``results.audit.checks.examine_predictions`` takes it, ``left_out``: rows without one.

    ``rectifier``: of a stored cell, the step that its name has: ``off, on, offset, shrunk``; ``protocol`` likewise. ``base`` of a stored
    cell is the probability to which its rectifier adds an offset: that after the intercept that its record has.
    """

    name: str
    frame: pd.DataFrame
    left_out: int
    rectifier: str | None = None
    protocol: str | None = None


@dataclass(frozen=True, eq=False)
class TrainingList:
    """Training patients: ``frame`` with ``patient`` and maybe ``fold``; ``named``: the patients of all rows of the file."""

    path: Path
    frame: pd.DataFrame
    named: frozenset[str]

    def require_shared_keys(self, predictions: Predictions) -> None:
        """Refuse a list in which nothing is named as in the predictions: that no patient is in both would then mean nothing.

        Raises:
            UsageError: no patient of the file is tested, or no fold is.
        """
        tested = predictions.frame["patient"].unique()
        if self.named.isdisjoint(tested):
            raise UsageError(
                f"{self.path} shares no patient with the predictions, so "
                "nothing shows that both name patients alike: write identifiers as in the predictions, or, of one honest split, list its "
                "test patients too, with a column split (train, test)"
            )
        if "fold" in self.frame:
            listed, folds = (sorted(part["fold"].unique()) for part in (self.frame, predictions.frame))
            if set(listed).isdisjoint(folds):
                raise UsageError(
                    f"{self.path} shares no fold with the predictions (it has {', '.join(listed[:5])}, they {', '.join(folds[:5])}): "
                    "name folds as in the predictions, or leave the column out"
                )

    def find_unlisted_folds(self, predictions: Predictions) -> list[str]:
        """Return the folds of the predictions of which the list has no row."""
        return sorted(set(predictions.frame["fold"]) - set(self.frame["fold"])) if "fold" in self.frame else []


def read_predictions(path: Path, columns: Sequence[str], one_fold: bool) -> Iterator[Predictions]:
    """Yield the predictions in ``path``: those of one file, or those of each row and seed of a stored plan (``STORE/plans/NAME.json``).

    Args:
        columns: ``name=column in the file``.
        one_fold: all rows of the file are one test part; else it needs ``fold``.

    Raises:
        UsageError: a file that cannot be read or used, with the line where there is one.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file: give a CSV, a parquet file or a stored plan (STORE/plans/NAME.json)")
    if path.suffix == ".json":
        yield from _read_plan(path)
        return
    cell = path.with_name("cell.json")
    record = _read_json(cell) if path.name == "predictions.parquet" and cell.exists() else None
    stored = Cell(**record["cell"]) if record else None
    table = _select_test_rows(_rename_columns(read_table(path), columns, path))
    if stored is not None and "fold" not in table:
        table["fold"] = str(stored.fold)
    if one_fold:
        table["fold"] = "0"
    facts = (stored.rectifier, stored.protocol) if stored else (None, None)
    frame, left_out = parse_predictions(table, path)
    yield Predictions(path.name, _add_intercepts(frame, {frame["fold"].iloc[0]: record or {}}), left_out, *facts)


def read_train(path: Path, columns: Sequence[str]) -> TrainingList:
    """Return training patients from a table with ``patient`` and maybe ``fold`` and ``split`` (rows of ``train``), or one patient a line.

    Raises:
        UsageError: a file that cannot be read, or without patients.
    """
    if not path.is_file():
        raise UsageError(
            f"{path} is no file: --train takes a CSV or parquet with patient and fold, or one patient a line"
        )
    table = _rename_columns(read_table(path), columns, path, strict=False)
    if "patient" not in table:
        if len(table.columns) > 2:
            raise UsageError(f"{path} has no column patient; its columns: {', '.join(table.columns)}")
        first = table.columns[0]
        table = pd.DataFrame({"patient": [first, *table[first]]})
    table = _normalise_keys(table)
    table = table[~table["patient"].isin(MISSING)]
    named = frozenset(table["patient"])
    if "split" in table:
        table = table[table["split"].str.strip() == "train"]
    if table.empty:
        raise UsageError(f"{path} names no training patient")
    return TrainingList(path, table[[c for c in ("patient", "fold") if c in table]], named)


def read_table(path: Path) -> pd.DataFrame:
    """Return the file's columns as text, with ``line``: the line in a CSV (the header is 1), the row in a parquet file (the first is 1).

    Raises:
        UsageError: the file is empty, truncated or no table.
    """
    try:
        if _is_parquet(path):
            table = pd.read_parquet(path)
            start = 1
        else:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
            start = 2
    except pd.errors.EmptyDataError:
        raise UsageError(f"{path} is empty: it needs a header and a row for each prediction") from None
    except (OSError, EOFError, ValueError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"{path} cannot be read ({why[:120]}): is it whole?") from None
    table = pd.DataFrame({str(name).strip(): _convert_to_text(table[name]) for name in table})
    return table.assign(line=np.arange(start, start + len(table)))


def parse_predictions(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, int]:
    """Return the rows that have a prediction, in the columns and types of the audit, and how many have none.

    Raises:
        UsageError: a missing column, no rows, a value that cannot be, or a row that stands there twice.
    """
    lacking = [name for name in NEEDED if name not in table]
    if lacking:
        hint = "; --one-fold if all rows are one test part" if lacking == ["fold"] else ""
        raise UsageError(
            f"{path} lacks {', '.join(lacking)}: --columns {lacking[0]}=NAME says which column it is{hint}; "
            f"it has {', '.join(c for c in table if c != 'line')}"
        )
    if table.empty:
        raise UsageError(f"{path} has no test rows")
    table = _normalise_keys(table.reset_index(drop=True))
    out = table[["line", "patient", "task", "pattern", "fold", *(c for c in OPTIONAL if c in table)]].copy()
    for name in ("patient", "task", "pattern", "fold"):
        _refuse(table[name].isin(MISSING), table, path, name, f"{name} is empty")
    out["label"] = _parse_numbers(table, "label", path)
    _refuse(
        ~out["label"].isin((0, 1)) & out["label"].notna(),
        table,
        path,
        "label",
        "label {} is none of 0, 1, True, False, NaN",
    )
    for source, name in PROBABILITIES.items():
        value = _parse_numbers(table, source, path)
        _refuse(value.notna() & ~value.between(0, 1), table, path, source, source + " {} is not in [0, 1]")
        out[name] = value
    _refuse(out["base"].isna() != out["after"].isna(), table, path, "line", "one of the two probabilities is missing")
    predicted = out["base"].notna()
    out, text = out[predicted], table[predicted]
    if out.empty:
        raise UsageError(f"{path} has no row with both probabilities")
    same = out.duplicated([c for c in out if c != "line"], keep=False)
    if same.any():
        key = [c for c in out if c != "line"]
        first = out[same].groupby(key, dropna=False, sort=False)["line"].agg(list).iloc[0]
        raise UsageError(
            f"{path}: duplicate rows, {int(out.duplicated(key).sum())} in all, the first on lines {first[0]} and {first[1]}: "
            "each (patient, task, fold) must be there once"
        )
    for source, name in PROBABILITIES.items():
        out[f"{name}_half"] = compute_half_widths(out[name].to_numpy(), text[source].tolist())
    return out.reset_index(drop=True), int((~predicted).sum())


def _read_plan(path: Path) -> Iterator[Predictions]:
    """Yield the predictions of a plan's done cells, folds together, by landmark, method, variant, rectifier and seed."""
    if "cells" not in _read_json(path) or (plan := read_plan(path)) is None:
        raise UsageError(f"{path} is no stored plan: STORE/plans/NAME.json")
    store = Store(path.parent.parent)
    rows: dict[tuple, list[pd.DataFrame]] = {}
    records: dict[tuple, dict[str, dict[str, Any]]] = {}
    for planned in plan.cells:
        record = store.record(planned) or {}
        if record.get("status") == "done":
            table = _select_test_rows(store.predictions(planned))
            table = pd.DataFrame({name: _convert_to_text(table[name]) for name in table})
            table["line"], table["fold"] = np.arange(1, len(table) + 1), str(planned.cell.fold)
            rows.setdefault((*planned.cell.group, planned.cell.seed), []).append(table)
            records.setdefault((*planned.cell.group, planned.cell.seed), {})[str(planned.cell.fold)] = record
    if not rows:
        raise UsageError(f"{path}: none of its cells is done")
    for key, tables in rows.items():
        _, landmark, protocol, method, variant, rectifier, _, seed = key
        name = f"{landmark} {method}:{variant} rectifier-{rectifier} seed-{seed}"
        frame, left_out = parse_predictions(pd.concat(tables, ignore_index=True), path)
        yield Predictions(name, _add_intercepts(frame, records[key]), left_out, rectifier, protocol)


def _add_intercepts(frame: pd.DataFrame, records: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return the frame with ``base`` and ``base_half`` after the intercepts that the records, by fold, have of their tasks."""
    added = {
        (fold, task): value
        for fold, record in records.items()
        for task, value in ((record.get("rectifier") or {}).get("intercept") or {}).items()
    }
    intercept = np.array([added.get(key, 0.0) for key in zip(frame["fold"], frame["task"], strict=True)])
    base, half = frame["base"].to_numpy(), frame["base_half"].to_numpy()
    # the ends of the interval that a stored value stands for, since the slope is not that of the middle
    low, high = (expit(logit(end) + intercept) for end in (base - half, base + half))
    moved = intercept != 0
    return frame.assign(base=np.where(moved, (low + high) / 2, base), base_half=np.where(moved, (high - low) / 2, half))


def _rename_columns(table: pd.DataFrame, columns: Sequence[str], path: Path, strict: bool = True) -> pd.DataFrame:
    names = {}
    for text in columns:
        ours, _, theirs = text.partition("=")
        if ours not in (*NEEDED, *OPTIONAL, "split"):
            raise unknown("column", ours, (*NEEDED, *OPTIONAL, "split"))
        if not theirs:
            raise UsageError(f"--columns {text}: write it {ours}=NAME")
        if theirs not in table and strict:
            raise UsageError(
                f"{path} has no column {theirs} (--columns {text}); it has {', '.join(c for c in table if c != 'line')}"
            )
        if theirs in table:
            names[theirs] = ours
    clash = [ours for ours in names.values() if ours in table and ours not in names]
    return table.drop(columns=clash).rename(columns=names)


def _select_test_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"].astype(str).str.strip() == "test"].copy() if "split" in table else table


def _parse_numbers(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    text = table[name].str.strip()
    if name == "label":
        text = text.map(lambda value: TRUTH.get(value.lower(), value))
    value = pd.to_numeric(text.where(~text.isin(MISSING)), errors="coerce").astype(float)
    _refuse(value.isna() & ~text.isin(MISSING), table, path, name, name + " {} is no number")
    return value


def _refuse(wrong: pd.Series, table: pd.DataFrame, path: Path, name: str, what: str) -> None:
    if wrong.any():
        first = table[wrong.to_numpy()].iloc[0]
        raise UsageError(
            f"{path}, line {first['line']}: {what.format(repr(first[name]))} ({int(wrong.sum())} such rows)"
        )


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() in (".parquet", ".pq", ".parq"):
        return True
    with path.open("rb") as stream:
        return stream.read(len(PARQUET)) == PARQUET


def _normalise_keys(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its keys written in one way, so that those of two files can be compared."""
    return table.assign(**{name: _normalise_column(table[name]) for name in KEYS if name in table})


def _normalise_column(column: pd.Series) -> pd.Series:
    names = {text: normalise_key(text) for text in column.unique()}
    # 007 is 7 where a file was read as numbers once; where both stand in one file they are two names
    short = {text: re.sub(r"^(-?)0+(?=[0-9]+$)", r"\1", name) for text, name in names.items()}
    return column.map(short if len(set(short.values())) == len(set(names.values())) else names)


def normalise_key(text: str) -> str:
    """Return a key without spaces around it; a number without sign, exponent and decimals that say nothing; 1 or 0 for a truth value.

    So ``10000.0``, ``1e+04`` and ``10000`` are one key, exact beyond the digits of a float.
    """
    text = text.strip()
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE]\+[0-9]{1,2})?", text):
        whole, _, decimals = format(Decimal(text), "f").partition(".")
        decimals = decimals.rstrip("0")
        # a plain number keeps its leading zeros: they may tell two names apart
        whole = text.lstrip("+").partition(".")[0] if "e" not in text.lower() else whole
        return f"{whole}.{decimals}" if decimals else whole
    return TRUTH.get(text.lower(), text)


def _convert_to_text(column: pd.Series) -> pd.Series:
    if pd.api.types.is_float_dtype(column.dtype):
        return pd.Series([repr(float(v)) for v in column.astype(float)], index=column.index, dtype=object)
    return column.astype(object).where(column.notna(), "").map(lambda v: v.decode() if isinstance(v, bytes) else str(v))


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no JSON ({error})") from None
