"""The raw tables of an eICU-CRD release: a flat folder, times in minutes from unit admission.

Names are matched whatever their case, because the demo writes ``infusiondrug`` and ``admissiondrug`` where the full
database writes ``infusionDrug`` and ``admissionDrug``.
"""

from __future__ import annotations

from pathlib import Path

from datasets.raw import tables
from datasets.raw.tables import number


def minute(column: str) -> str:
    """Return SQL for an offset as whole minutes from unit admission, rounded down; NULL where it is blank or no number."""
    return f"TRY_CAST(floor({number(column)}) AS INTEGER)"


class Release(tables.Release):
    """The folder of one eICU-CRD release.

    Raises:
        CohortError: where the folder does not exist.
    """

    owner = "patientunitstayid"
    moment_form = "minutes such as 1439"
    read_moment = staticmethod(minute)

    def __init__(self, root: Path) -> None:
        super().__init__(root, "patient.csv.gz and the other eICU tables")
