"""The ten virtual modalities of eICU at one landmark, and the list of every feature with its table, clock and modality.

A modality is missing for a stay when more than 80 % of its features are NaN, judged on all of them before anything is
dropped or imputed; whatever is left in a missing modality becomes NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import Modality
from datasets.eicu import sources, static
from datasets.eicu import vocabulary as words
from datasets.eicu.events import compute_long_features, compute_wide_features
from datasets.eicu.sources import LAB, RESPIRATORY_CHARTING, LongSource
from datasets.raw.blocks import Block, join_blocks

MODALITIES = (
    "Demographics", "Admission", "APACHE", "Diagnosis", "Medication", "Laboratory", "Vitals", "Respiratory", "Fluid balance",
    "Comorbidities",
)  # fmt: skip
MISSING_TENTHS = 8
"""A modality is missing when more than this many tenths of its features are NaN."""

STATIC = {"Demographics": static.build_demographics, "Admission": static.build_admission, "APACHE": static.build_apache}


@dataclass(frozen=True)
class Feature:
    """One entry of the allow-list: ``clock`` names the columns that say when it was known, or says why none is
    needed."""

    name: str
    modality: str
    table: str
    clock: str
    unit: str = ""
    low: float | None = None
    high: float | None = None


def build_modalities(
    con: duckdb.DuckDBPyConnection, frame: pd.DataFrame, cutoff: np.ndarray
) -> tuple[tuple[Modality, ...], np.ndarray]:
    """Build the modalities and ``observed`` bool [N, M] of the stays in ``frame``, cut at ``cutoff`` (minutes, int64 [N]).

    The staged tables and table ``landmark`` (id, row, cutoff) must be there.
    """
    n = len(frame)
    modalities, seen = [], []
    for name in MODALITIES:
        names, values = _build_block(con, frame, cutoff, name, n)
        missing = np.isnan(values).sum(axis=1) * 10 > MISSING_TENTHS * len(names)
        values[missing] = np.nan
        modalities.append(Modality(name, values, tuple(names)))
        seen.append(~missing)
    return tuple(modalities), np.stack(seen, axis=1)


def _build_block(
    con: duckdb.DuckDBPyConnection, frame: pd.DataFrame, cutoff: np.ndarray, modality: str, n: int
) -> Block:
    blocks: list[Block] = []
    if modality in STATIC:
        blocks.append(STATIC[modality](frame))
    if modality == "Vitals":
        blocks.append(compute_wide_features(con, "vitals", sources.VITAL_PERIODIC.columns, n))
    blocks += [
        compute_long_features(con, source, modality, n)
        for source in (LAB, RESPIRATORY_CHARTING)
        if source.features(modality)
    ]
    for source in sources.WIDE:
        columns = tuple(c for c in source.columns if c.modality == modality)
        if columns:
            blocks.append(compute_wide_features(con, source.table, columns, n))
    names, values = join_blocks(*blocks)
    if modality == "Vitals":
        return _append_columns(names, values, compute_shock_indices(names, values))
    if modality == "Fluid balance":
        return _append_columns(names, values, compute_balances(names, values, cutoff))
    return names, values


def compute_shock_indices(names: list[str], values: np.ndarray) -> dict[str, np.ndarray]:
    """Divide heart rate by systolic pressure, of the means and of the worst values."""
    at = {name: values[:, j] for j, name in enumerate(names)}
    return {
        "shock_index": at["heart_rate_mean"] / at["systolic_mean"],
        "shock_index_worst": at["heart_rate_max"] / at["systolic_min"],
    }


def compute_balances(names: list[str], values: np.ndarray, cutoff: np.ndarray) -> dict[str, np.ndarray]:
    """Return intake minus output (mL), and urine per hour since unit admission (mL/h)."""
    at = {name: values[:, j] for j, name in enumerate(names)}
    return {
        "fluid_balance": at["intake"] - at["output"] - at["dialysis_out"],
        "urine_per_hour": at["urine"] / (cutoff / 60),
    }


def _append_columns(names: list[str], values: np.ndarray, derived: dict[str, np.ndarray]) -> Block:
    return [*names, *derived], np.concatenate([values, np.stack(list(derived.values()), axis=1)], axis=1).astype(
        np.float32
    )


def list_features() -> tuple[Feature, ...]:
    """List every feature of the ten modalities, in the order of the columns within each."""
    return tuple(feature for modality in MODALITIES for feature in _list_modality(modality))


def _list_modality(modality: str) -> list[Feature]:
    blank = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _STATIC_COLUMNS.items()})
    listed: list[Feature] = []
    if modality in STATIC:
        names, _ = STATIC[modality](blank)
        listed += [Feature(name, modality, *_find_static_origin(modality, name)) for name in names]
    if modality == "Vitals":
        tables = ", ".join(source.table for source in sources.VITALS)
        for column in sources.VITAL_PERIODIC.columns:
            clock = ", ".join(sources.VITAL_PERIODIC.clocks)
            listed += [
                Feature(f, modality, tables, clock, column.unit, column.low, column.high) for f in column.features
            ]
    for source in (LAB, RESPIRATORY_CHARTING):
        listed += _list_long(source, modality)
    for source in sources.WIDE:
        for column in source.columns:
            if column.modality == modality:
                clocks = ", ".join(source.clocks)
                listed += [
                    Feature(f, modality, source.table, clocks, column.unit, column.low, column.high)
                    for f in column.features
                ]
    if modality == "Vitals":
        listed += [Feature(f, modality, tables, clock) for f in ("shock_index", "shock_index_worst")]
    if modality == "Fluid balance":
        source = sources.INTAKE_OUTPUT
        listed += [Feature("fluid_balance", modality, source.table, ", ".join(source.clocks), "mL")]
        listed += [Feature("urine_per_hour", modality, source.table, ", ".join(source.clocks), "mL/h")]
    return listed


def _list_long(source: LongSource, modality: str) -> list[Feature]:
    return [
        Feature(m.name + end, modality, source.table, ", ".join(source.clocks), m.unit, m.low, m.high)
        for _, how, m in source.features(modality)
        for end in sources.STATISTICS[how]
    ]


def _find_static_origin(modality: str, name: str) -> tuple[str, str]:
    if modality == "APACHE":
        table = {"aps": "apacheApsVar", "pred": "apachePredVar", "score": "apachePatientResult"}[name.split("_")[0]]
        return table, "none: first day in the unit"
    of_hospital = name.startswith(("region=", "hospital_beds", "teaching"))
    return ("hospital", "none: constant") if of_hospital else ("patient", "none: known at unit admission")


_TEXT = (
    "gender",
    "ethnicity",
    "hospital_source",
    "unit_source",
    "unit_type",
    "stay_type",
    "beds",
    "teaching",
    "region",
)
_STATIC_COLUMNS = {
    **dict.fromkeys(_TEXT, "object"),
    **dict.fromkeys(("years", "height", "weight", "hospital_start", "unit_hour", "visit"), "float64"),
    **{f"apacheApsVar_{c}": "float64" for c in words.APACHE_APS},
    **{f"apachePredVar_{c}": "float64" for c in words.APACHE_PRED},
    **{f"apachePatientResult_{c}": "float64" for c in words.APACHE_SCORES},
}
