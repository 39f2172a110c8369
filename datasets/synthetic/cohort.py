"""The synthetic cohort: drawn from a structural causal model in which every assumption is a dial (`datasets.synthetic.model`).

Landmarks: ``icu_24h`` (all stays; what comes last in the clinical order is not there yet, some modalities are known with probability
``known_24h``, 24 hours of series), ``discharge`` (those alive, everything) and ``stay`` (paper protocol: the inputs of ``discharge``,
all stays, all tasks). One latent h and one admission a stay: contents, series and outcomes are the same at every landmark, and what is
observed at 24 h is also observed at discharge. Readmission and ICU return are undefined (NaN) for those who died in hospital. Mortality
depends on the pattern at 24 h, the other two on the pattern at discharge, whatever the landmark they are predicted from. Sex and age
band are drawn independently of everything else; sites (eICU-like) differ in what they send, not in who is treated there.

Defaults, measured at n = 20,000, seed 0 (AUC; "others" = best prediction without the pattern less that from S or demographics alone,
"evidence" and "cause" = what the ceiling loses when the pattern is not used as such, "series" = the ceiling with the series):

====== ========= ================ ======= ====== ======== ===== ======
preset landmark  task             ceiling others evidence cause series
====== ========= ================ ======= ====== ======== ===== ======
mimic  icu_24h   mortality_inhosp 0.796   0.084  0.012    0.011 0.842
mimic  stay      mortality_inhosp 0.840   0.118  0.023    0.007 0.863
mimic  discharge readmission_30d  0.811   0.124  0.025    0.012 0.840
mimic  discharge icu_90d          0.827   0.113  0.020    0.007 0.851
eicu   icu_24h   mortality_inhosp 0.812   0.161  0.019    0.008 0.840
eicu   stay      mortality_inhosp 0.818   0.165  0.029    0.001 0.848
eicu   discharge readmission_30d  0.796   0.151  0.029    0.008 0.827
eicu   discharge icu_90d          0.785   0.174  0.033    0.012 0.821
====== ========= ================ ======= ====== ======== ===== ======

Favoured by construction, if not by intent: shared-and-private factor models (contents are Gaussian factors under one monotone
function), and a rectifier or any model with a term per pattern (Delta is additive on the logit). The other worlds take these advantages
away one at a time (`datasets.synthetic.departures`).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, fields, replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from datasets.cohort import Cohort
from datasets.storage import GroundTruth
from datasets.synthetic.draw import draw_cohorts
from datasets.synthetic.params import SyntheticParams
from datasets.synthetic.presets import make_world
from datasets.synthetic.truth import compute_ground_truths

SOURCES = sorted(Path(__file__).parent.glob("*.py"))


def build(params: SyntheticParams) -> dict[str, tuple[Cohort, GroundTruth]]:
    """Build the cohort and its ground truth at each landmark: ``icu_24h``, ``discharge``, ``stay``.

    On one thread: matrix products on several sum in another order, and the same cohort would differ in its last digits.
    """
    with threadpool_limits(1):
        world = make_world(params)
        cohorts, h = draw_cohorts(world, params.n, params.seed, fingerprint_params(params), params.recorded)
        truths = compute_ground_truths(world, cohorts, h, params.points)
    notes = {"params": asdict(params), "world": world.summary()}
    return {
        landmark: (cohorts[landmark], replace(truth, notes={**notes, **truth.notes}))
        for landmark, truth in truths.items()
    }


def fingerprint_params(params: SyntheticParams) -> str:
    """Return a hash of the generator's source and of every parameter, the seed included."""
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update(source.read_bytes())
    digest.update(repr([(f.name, getattr(params, f.name)) for f in fields(params)]).encode())
    return digest.hexdigest()
