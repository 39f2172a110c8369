"""The ten virtual modalities of eICU at one landmark, and the list of every feature with its table, clock and modality.

A modality is missing for a stay when more than 80 % of its features are NaN, judged on all of them before anything is
dropped or imputed; whatever is left in a missing modality becomes NaN.
"""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import Modality
from datasets.eicu import sources, static
from datasets.eicu import vocabulary as words
from datasets.raw.blocks import Block, join_blocks
from datasets.raw.engine import compute_long_features, compute_wide_features
from datasets.raw.features import Feature, list_source_features

MODALITIES = (
    "Demographics", "Admission", "APACHE", "Diagnosis", "Medication", "Laboratory", "Vitals", "Respiratory", "Fluid balance",
    "Comorbidities",
)  # fmt: skip
MISSING_TENTHS = 8
"""A modality is missing when more than this many tenths of its features are NaN."""

STATIC = {"Demographics": static.build_demographics, "Admission": static.build_admission, "APACHE": static.build_apache}


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
        if name == "APACHE":
            # Nothing dates these rows but the day that they describe.
            values[cutoff < sources.DAY] = np.nan
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
    for source in sources.LONG:
        if measures := source.select_measures(modality):
            blocks.append(compute_long_features(con, source.name, measures, n))
    for source in sources.WIDE:
        columns = tuple(c for c in source.columns if c.modality == modality)
        if columns:
            blocks.append(compute_wide_features(con, source.name, columns, n))
    names, values = join_blocks(*blocks)
    if modality == "Vitals":
        return _append_columns(names, values, compute_shock_indices(names, values))
    if modality == "Fluid balance":
        _, totals = compute_wide_features(con, sources.INTAKE_OUTPUT.name, sources.FLUID_TOTALS, n)
        values = fill_from_totals(names, values, totals)
        return _append_columns(names, values, compute_balances(names, values, cutoff))
    return names, values


def compute_shock_indices(names: list[str], values: np.ndarray) -> dict[str, np.ndarray]:
    """Divide heart rate by systolic pressure, of the means and of the worst values."""
    at = {name: values[:, j] for j, name in enumerate(names)}
    return {
        "shock_index": at["heart_rate_mean"] / at["systolic_mean"],
        "shock_index_worst": at["heart_rate_max"] / at["systolic_min"],
    }


def fill_from_totals(names: list[str], values: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Return ``values`` with intake and output, where none of their cells is charted, from ``totals`` [N, 2]: intake, output."""
    values = values.copy()
    for total, name in enumerate(("intake", "output")):
        j = names.index(name)
        values[:, j] = np.where(np.isnan(values[:, j]), totals[:, total], values[:, j])
    return values


def compute_balances(names: list[str], values: np.ndarray, cutoff: np.ndarray) -> dict[str, np.ndarray]:
    """Return intake minus output (mL; NaN where either side is not charted), and urine per hour since unit admission (mL/h)."""
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
        listed += [Feature(name, *_find_static_origin(modality, name), modality=modality) for name in names]
    if modality == "Vitals":
        # The arterial line and the cuff give the same features: each is listed once, under both tables.
        tables, clock = ", ".join(source.table for source in sources.VITALS), ", ".join(sources.VITAL_PERIODIC.clocks)
        vitals = list_source_features(sources.VITAL_PERIODIC, sources.VITAL_PERIODIC.clocks, modality)
        listed += [replace(feature, table=tables) for feature in vitals]
    for source in (*sources.LONG, *sources.WIDE):
        listed += list_source_features(source, source.clocks, modality)
    if modality == "Vitals":
        listed += [Feature(f, tables, clock, modality=modality) for f in ("shock_index", "shock_index_worst")]
    if modality == "Fluid balance":
        source, units = sources.INTAKE_OUTPUT, {"fluid_balance": "mL", "urine_per_hour": "mL/h"}
        clock = ", ".join(source.clocks)
        listed += [Feature(f, source.table, clock, unit, modality=modality) for f, unit in units.items()]
    return listed


def _find_static_origin(modality: str, name: str) -> tuple[str, str]:
    if modality == "APACHE":
        table = {"aps": "apacheApsVar", "pred": "apachePredVar"}[name.split("_")[0]]
        return table, "none: known when the first day in the unit is over"
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
}
