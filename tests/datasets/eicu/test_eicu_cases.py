"""Values of the demo that an independent rebuild and the public concepts agree on, read where they are at hand.

``cohort_values.csv`` in ``CRL_MMNAR_CASES`` has the columns dataset, landmark, id (``patientunitstayid``), feature ("modality|feature"),
stored (before it was mended), right and why.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from datasets.eicu.stays import encode_patients
from tests.at_hand import read_cohort_values


@pytest.fixture(scope="module")
def cases():
    return read_cohort_values("eicu-demo")


def test_every_case_of_the_demo_is_right(cases, demo, demo_built):
    patient = pd.read_csv(demo / "patient.csv.gz").set_index("patientunitstayid").uniquepid
    ours = []
    for case in cases.itertuples():
        cohort = demo_built[case.landmark].cohort
        row = cohort.patient.tolist().index(encode_patients(patient.loc[[case.id]])[0])
        name, feature = case.feature.split("|")
        modality = cohort.modalities[cohort.modality_names.index(name)]
        ours.append(modality.values[row, modality.feature_names.index(feature)])
    assert len(ours) > 0
    np.testing.assert_allclose(ours, cases.right, rtol=1e-5)
