"""The structured modality S at one landmark, and the list of every feature with its table, clock and unit."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd

from datasets.mimic_iv import sources
from datasets.mimic_iv import vocabulary as words
from datasets.mimic_iv.events import find_clocks
from datasets.mimic_iv.landmarks import ETHNICITIES, Selection
from datasets.mimic_iv.stays import DAY, HOUR, History
from datasets.mimic_iv.tables import Release
from datasets.raw.blocks import Block, blank_outside, encode_one_hot, join_blocks, stack_columns
from datasets.raw.engine import compute_long_features, compute_wide_features, select_rows_known_at_landmark
from datasets.raw.features import Feature, LongSource, list_source_features

AT_DISCHARGE = ("discharge_72h", "discharge")
"""Landmarks after a discharge alive, at which its destination and the length of stay are known."""

FIO2_HOURS = 4
"""An oxygen fraction charted longer than this before an arterial gas says nothing of it."""


def build_structured(con: duckdb.DuckDBPyConnection, history: History, selection: Selection) -> Block:
    """Build names and values float32 [N, d] of S at a landmark; the staged tables and table ``landmark`` must be there."""
    n = len(selection.index)
    blocks = [build_demographics(selection), build_admission(history, selection)]
    if selection.landmark in AT_DISCHARGE:
        blocks.append(build_discharge(history, selection))
    blocks += [compute_wide_features(con, source.name, source.columns, n) for source in sources.WIDE]
    blocks += [compute_long_features(con, source.name, source.select_measures(), n) for source in sources.LONG]
    names, values = join_blocks(*blocks)
    more = stack_columns(_derive_features(names, values, selection, compute_pf_ratio(con, n)))
    return join_blocks((names, values), more)


def build_demographics(selection: Selection) -> Block:
    """Build age, sex, ethnicity, language, marital status and insurance of the index admission: names and float32 [N, d]."""
    rows, race = selection.index, selection.groups["ethnicity"]
    told = pd.Series([race.labels[c] if c >= 0 else None for c in race.codes], dtype=object)
    numbers = {
        "age": rows.years.to_numpy(dtype=float),
        "male": np.where(rows.gender == "M", 1.0, np.where(rows.gender == "F", 0.0, np.nan)),
        "english": np.where(rows.language.isna(), np.nan, rows.language.str.upper().isin(["ENGLISH"])),
    }
    return join_blocks(
        stack_columns(numbers),
        encode_one_hot("ethnicity", told, tuple(ETHNICITIES)),
        encode_one_hot("marital", rows.marital, words.MARITAL),
        encode_one_hot("insurance", rows.insurance, words.INSURANCES),
    )


def build_admission(history: History, selection: Selection) -> Block:
    """Build the features of how the index stay began and what went before it: names and float32 [N, d]."""
    rows = selection.index
    before = count_earlier_admissions(history, rows)
    numbers = {
        "hours_in_hospital_before": blank_outside((rows.begin - rows.admitted) / HOUR, (-24, 365 * 24)),
        "hours_since_emergency": blank_outside((rows.begin - rows.emergency) / HOUR, (0, 30 * 24)),
        "icu_admission_hour": (rows.begin % DAY // HOUR).to_numpy(dtype=float),
        "earlier_admissions": before.admissions.to_numpy(dtype=float),
        "earlier_unplanned_admissions": before.unplanned.to_numpy(dtype=float),
        "days_since_discharge": ((rows.admitted - before.ended) / DAY).to_numpy(dtype=float),
        "year_after_2008": (rows.earliest - 2008).to_numpy(dtype=float),
    }
    return join_blocks(
        stack_columns(numbers),
        encode_one_hot("admission_type", rows.type, words.ADMISSION_TYPES),
        encode_one_hot("admission_location", rows.admission_location, words.ADMISSION_LOCATIONS),
        encode_one_hot("unit", rows.unit, words.UNITS),
    )


def build_discharge(history: History, selection: Selection) -> Block:
    """Build length of stay and destination, known once the patient has left: names and float32 [N, d]."""
    rows = selection.index
    inside = history.stays.merge(rows[["joined"]], on="joined")
    days = ((inside.end - inside.begin) / DAY).groupby(inside.joined).agg(["sum", "size"]).reindex(rows.joined)
    numbers = {
        "days_in_hospital": ((rows.discharged - rows.admitted) / DAY).to_numpy(dtype=float),
        "days_in_icu": days["sum"].to_numpy(dtype=float),
        "icu_stays": days["size"].to_numpy(dtype=float),
    }
    return join_blocks(stack_columns(numbers), encode_one_hot("destination", rows.destination, words.DESTINATIONS))


def count_earlier_admissions(history: History, index: pd.DataFrame) -> pd.DataFrame:
    """Count, by index stay, the ``admissions`` that ended before it, the ``unplanned`` ones, and when the last ``ended``."""
    pairs = index[["subject", "admitted", "joined"]].merge(
        history.joined[["subject", "joined", "discharged", "unplanned"]], on="subject", suffixes=("", "_other")
    )
    pairs = pairs[(pairs.discharged <= pairs.admitted) & (pairs.joined != pairs.joined_other)]
    by = pairs.groupby("subject")
    counts = pd.DataFrame({"admissions": by.size(), "unplanned": by.unplanned.sum(), "ended": by.discharged.max()})
    counts = counts.reindex(index.subject)
    return counts.fillna({"admissions": 0, "unplanned": 0}).reset_index(drop=True)


def compute_pf_ratio(con: duckdb.DuckDBPyConnection, n: int) -> np.ndarray:
    """Compute PaO2 / FiO2 in mm Hg of the latest arterial gas with a charted FiO2 at most ``FIO2_HOURS`` before it: float64 [n].

    NaN where no known gas has one. Of several values at one moment the largest counts, as in ``engine.summarise``.
    """

    def select(source: LongSource, name: str) -> str:
        item = [measure.name for _, _, measure in source.measures].index(name)
        rows = select_rows_known_at_landmark(source.name)
        return f"(SELECT row, event, max(x) AS x FROM {rows} WHERE item = {item} GROUP BY row, event)"

    pairs = (
        "SELECT gas.row, gas.event, 100.0 * gas.x / arg_max(air.x, air.event) AS ratio "
        f"FROM {select(sources.LAB, 'pao2')} gas JOIN {select(sources.CHART, 'fio2')} air "
        f"ON gas.row = air.row AND air.event BETWEEN gas.event - {FIO2_HOURS * HOUR} AND gas.event GROUP BY gas.row, gas.event, gas.x"
    )
    result = con.execute(f"SELECT row, arg_max(ratio, event) AS ratio FROM ({pairs}) GROUP BY row").fetchnumpy()
    ratio = np.full(n, np.nan)
    ratio[result["row"]] = result["ratio"]
    return ratio


def _derive_features(
    names: list[str], values: np.ndarray, selection: Selection, pf_ratio: np.ndarray
) -> dict[str, np.ndarray]:
    at = {name: values[:, names.index(name)].astype(np.float64) for name in _PARTS}
    hours = (selection.cutoff - selection.index.begin.to_numpy(dtype=float)) / HOUR
    with np.errstate(divide="ignore", invalid="ignore"):
        derived = {
            "shock_index": at["heart_rate_mean"] / at["systolic_mean"],
            "pf_ratio": pf_ratio,
            "gcs_last": at["gcs_eye_last"] + at["gcs_verbal_last"] + at["gcs_motor_last"],
            "gcs_min": at["gcs_eye_min"] + at["gcs_verbal_min"] + at["gcs_motor_min"],
            "bun_to_creatinine": at["bun_last"] / at["creatinine_last"],
            "fluid_balance": at["intake"] - at["output"],
            "urine_per_hour": at["urine"] / hours,
        }
    return {name: np.where(np.isfinite(x), x, np.nan) for name, x in derived.items()}


_PARTS = (
    "heart_rate_mean", "systolic_mean", "gcs_eye_last", "gcs_verbal_last", "gcs_motor_last", "gcs_eye_min",
    "gcs_verbal_min", "gcs_motor_min", "bun_last", "creatinine_last", "intake", "output", "urine",
)  # fmt: skip


def list_features(release: Release | None = None) -> tuple[Feature, ...]:
    """List every time-stamped feature of S with its table, clocks, unit and bounds; the rest is known at admission or discharge.

    With a ``release``, only the clocks that its tables have.
    """
    return tuple(
        feature
        for source in (*sources.WIDE, *sources.LONG)
        for feature in list_source_features(source, source.clocks if release is None else find_clocks(release, source))
    )
