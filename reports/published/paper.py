"""What the paper's numbers are called here: its cohorts, tasks, methods, steps and rows, each mapped explicitly to the store's names."""

from __future__ import annotations

from dataclasses import dataclass

CITATION = "CRL-MMNAR (arXiv:2509.17228)"
REFERENCE = "crl_mmnar"
COHORTS = {
    "MIMIC-IV": ("mimic-iv", "mimic-iv-demo", "embedded-mimic"),
    "eICU": ("eicu", "eicu-demo", "embedded-eicu"),
}
"""The paper's cohort -> the datasets that stand for it here, the first being the cohort itself."""
WHY_NOT_COMPARABLE = {
    "mimic-iv-demo": "the open demo has 100 patients, not 20,000: too few to be compared",
    "eicu-demo": "the open demo is a sample of about 2,500 stays, not the cohort: not comparable",
    "embedded-mimic": "drawn from a structural causal model with the sizes of MIMIC-IV, no patients: not comparable",
    "embedded-eicu": "drawn from a structural causal model shaped like eICU, no patients: not comparable",
}
NEAREST_TASK: dict[tuple[str, str], tuple[str, ...]] = {("eICU", "readmission_30d"): ("icu_readmission",)}
"""Where the task itself is not derivable: eICU has no dates between hospital stays. The embedded cohort's tasks are those of MIMIC-IV."""
METHODS = {
    "CM-AE": "cm_ae", "MT": "mt", "SMIL": "smil", "GRAPE": "grape", "HGMF": "hgmf", "M3Care": "m3care", "COM": "com",
    "DrFuse": "drfuse", "MissModal": "missmodal", "FLEXGEN-EHR": "flexgen_ehr", "MUSE+": "muse", "GRU-D": "gru_d",
    "Raindrop": "raindrop", "CRL-MMNAR": REFERENCE,
}  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """Where in the tidy frames the counterpart of a printed row or number stands.

    ``variants``: the first that is there; ``group``: as in the frames; ``metric``: where it is not the printed one; ``factor``: from our
    unit to the paper's; ``over``: the least or greatest over the groups that are not ``all``, where the paper gives a range over them.
    """

    method: str = REFERENCE
    variants: tuple[str, ...] = ("default",)
    group: str = "all"
    metric: str | None = None
    task: str | None = None
    factor: float = 1.0
    over: str = ""


ROWS = {
    "Table1": {printed: Measure(method) for printed, method in METHODS.items()},
    "Table2": {
        "Basic Baseline": Measure(variants=("concat+no_rectifier", "concat")),
        "+ MMNAR": Measure(variants=("mmnar+no_rectifier", "mmnar")),
        "+ MR": Measure(variants=("no_rectifier", "mmnar_mr+no_rectifier", "mmnar_mr")),
        "+ Rectifier": Measure(),
    },
    "Table3": {
        "S only (Structured)": Measure(group="S"),
        "S+R (Struct.+Radio.)": Measure(group="S+R"),
        "S+T (Struct.+Text)": Measure(group="S+T"),
        "S+T+R (No Imaging)": Measure(group="S+T+R"),
        "S+I+T+R (Complete)": Measure(group="S+I+T+R"),
        "Zero-filling + Masking": Measure("zero_fill"),
        "Mean Imputation": Measure("mean_impute"),
    },
}
"""Printed rows of the paper's tables of results, by table."""
SWEPT = {
    "Learning Rate": "lr", "Weight Decay": "weight_decay", "Hidden Dimension": "hidden", "Dropout Rate": "dropout",
    "Contrastive Weight": "lambda_con",
}  # fmt: skip
"""Rows of Table 4 -> the hyper-parameter that is varied."""
NUMBERS = {
    "pattern_decode_accuracy_pct": Measure(metric="decoded_accuracy", factor=100),
    "embedding_norm_min": Measure(metric="norm", over="min"),
    "embedding_norm_max": Measure(metric="norm", over="max"),
    "embedding_outcome_corr_readmission_r": Measure(metric="norm_rate_r", task="readmission_30d"),
    "train_hours_low": Measure(metric="fit_seconds", factor=1 / 3600),
    "train_hours_high": Measure(metric="fit_seconds", factor=1 / 3600),
    "inference_ms_low": Measure(metric="latency_one_ms"),
    "inference_ms_high": Measure(metric="latency_one_ms"),
}
"""Numbers of the paper's text."""
OBSERVED = {
    "cohort_n": (), "has_structured_n": ("S",), "has_cxr_n": ("I",), "has_discharge_summary_n": ("T",), "has_radiology_n": ("R",),
    "has_any_text_n": ("T", "R"),
}  # fmt: skip
"""Counts of the paper's text -> modalities of which one at least is observed."""
EXPERIMENTS = {
    "table1": ("Table1", "Text:cohort"),
    "table2": ("Table2",),
    "table3": ("Table3",),
    "table4": ("Table4",),
    "efficiency": ("Text:AppC.5",),
    "embedding": ("Text:AppC.6",),
}
"""An experiment -> the parts of the paper that it reproduces; a part of the text with what its numbers are of."""
