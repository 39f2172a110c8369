"""The wording of fabricated notes: a discharge summary and a radiology report, in the sections and marks of real ones.

Every number and diagnosis in them is a row of the patient's tables; everything else is fixed wording. Names and dates are
``___``, as in the release.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MARK = "FABRICATED TEXT: written by a program from table rows, not by a clinician, and part of no release of MIMIC."


@dataclass(frozen=True)
class Lab:
    """One laboratory test before a moment: its first and last value there, in ``unit``."""

    label: str
    unit: str
    first: float
    last: float


@dataclass(frozen=True)
class Admission:
    """What a note says of an admission: ``sex`` F or M, ``age`` in years."""

    sex: str
    age: int
    kind: str
    source: str
    destination: str
    died: bool


def _write_value(lab: Lab, value: float) -> str:
    return f"{lab.label} {value:g} {lab.unit}".strip()


def _name_person(sex: str) -> str:
    return {"F": "woman", "M": "man"}.get(sex, "patient")


def write_discharge_summary(about: Admission, diagnoses: Sequence[str], labs: Sequence[Lab]) -> str:
    """Write a discharge summary of an admission: its coded diagnoses, its first and last laboratory values, how it ended."""
    chief = diagnoses[0] if diagnoses else "not coded"
    lines = [
        MARK,
        "",
        "Name:  ___                     Unit No:   ___",
        "Admission Date:  ___              Discharge Date:   ___",
        f"Date of Birth:  ___             Sex:   {about.sex}",
        "Attending: ___.",
        "",
        "Chief Complaint:",
        chief,
        "",
        "History of Present Illness:",
        f"Mr./Ms. ___ is a {about.age} year old {_name_person(about.sex)} admitted ({about.kind.lower()}) from "
        f"{about.source.lower() or 'an unrecorded place'} with {chief.lower()}. Seen at ___ on ___.",
        "",
        "Past Medical History and Problems of This Admission:",
        *(f"{i}. {title}" for i, title in enumerate(diagnoses, 1)),
        "",
        "Pertinent Results:",
        "ADMISSION LABS:",
        *(_write_value(lab, lab.first) for lab in labs),
        "DISCHARGE LABS:",
        *(_write_value(lab, lab.last) for lab in labs),
        "",
        "Brief Hospital Course:",
        *(_write_course(title, labs) for title in diagnoses[:8]),
        *(_write_trend(lab) for lab in labs if lab.first != lab.last),
        "",
        "Discharge Disposition:",
        "Expired" if about.died else (about.destination.capitalize() or "Not recorded"),
        "",
        "Discharge Condition:",
        "Deceased." if about.died else "Stable.",
        "",
        "Followup Instructions:",
        "___",
    ]
    return "\n".join(lines)


def _write_course(title: str, labs: Sequence[Lab]) -> str:
    seen = f" while {labs[len(title) % len(labs)].label.lower()} was followed" if labs else ""
    return f"# {title}: managed by the ___ team{seen}."


def _write_trend(lab: Lab) -> str:
    return f"{lab.label} {'rose' if lab.last > lab.first else 'fell'} from {lab.first:g} to {lab.last:g} {lab.unit}.".replace(
        " .", "."
    )


def write_radiology_report(sex: str, age: int, kind: str, earlier: Sequence[str], labs: Sequence[Lab]) -> str:
    """Write a report of a chest radiograph: it knows the diagnoses of earlier admissions and the values resulted before it."""
    history = "; ".join(title.lower() for title in earlier[:6]) or "no earlier admission"
    recent = "; ".join(_write_value(lab, lab.last) for lab in labs[:12]) or "none resulted"
    lines = [
        MARK,
        "",
        "EXAMINATION:  CHEST (PORTABLE AP)",
        "",
        f"INDICATION:  ___ year old {_name_person(sex)} ({age}), {kind.lower()}. History: {history}.",
        "",
        "COMPARISON:  ___",
        "",
        f"FINDINGS:  Recent laboratory results: {recent}.",
        *(_write_finding(lab) for lab in labs if lab.label in _FINDINGS),
        "",
        "IMPRESSION:  As above. Discussed with Dr. ___ at ___.",
    ]
    return "\n".join(lines)


_FINDINGS = {
    "White Blood Cells": (11.0, "Focal opacity is possible.", "No focal opacity."),
    "Urea Nitrogen": (30.0, "Small effusions and vascular congestion.", "No effusion."),
    "Lactate": (2.0, "Support devices in place.", "No support device."),
}


def _write_finding(lab: Lab) -> str:
    limit, above, below = _FINDINGS[lab.label]
    return above if lab.last > limit else below
