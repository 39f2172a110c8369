"""A plan: what a run intended, as the store keeps it, so that a report knows what is missing.

Written by ``benchmark`` (runs and the audit) through ``Plan.to_json``, read everywhere through ``Plan.from_json``. ``FORMAT`` goes up when
a field changes its meaning; format 1 had no number and lacked fields that have a default here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from results.cell import Cell, PlannedCell

FORMAT = 2


class UnreadablePlan(ValueError):
    """A stored plan that this version cannot read; the message says why."""


@dataclass(frozen=True)
class TaskCounts:
    """Stays of a landmark in which a task's outcome is defined, those with an event, and their share (None without stays)."""

    n: int
    positives: int
    prevalence: float | None = None


@dataclass(frozen=True)
class Landmark:
    """The cohort of a plan at one landmark.

    ``modalities``: name -> share of stays in which it is observed (None in an empty cohort); ``fingerprint`` of the cohort and ``split``,
    the split's hash, are parts of the cells' keys; ``notes``: sentences for captions; ``flow``: how many stays each rule of inclusion left.
    """

    n: int
    tasks: dict[str, TaskCounts]
    modalities: dict[str, float | None]
    fingerprint: str
    split: str
    notes: list[str] = field(default_factory=list)
    flow: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Landmark:
        """Read a landmark of a stored plan."""
        return cls(**{**value, "tasks": {task: TaskCounts(**counts) for task, counts in value["tasks"].items()}})


@dataclass(frozen=True)
class PlannedRow:
    """A row that a plan's tables have, by method, variant and rectifier.

    ``kind``: ``method``, or ``known`` for what is known of a cohort's truth;
    ``change``: the hyper-parameter that a sweep varies in this row, and its value; ``series``: whether it reads the series of labs and
    vitals; ``candidates``: how many a tuning tries; ``weak``: why the method stays below the plain network, where that is known.
    """

    method: str
    variant: str
    rectifier: str
    title: str
    kind: str
    change: dict[str, Any] = field(default_factory=dict)
    series: bool = False
    candidates: int = 0
    weak: str = ""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PlannedRow:
        """Read a row of a stored plan; those of 0.1.0 also told what a schedule cut from a method's stages, which none does any more."""
        return cls(**{name: v for name, v in value.items() if name != "cut"})


@dataclass(frozen=True)
class Arm:
    """One of the settings that an experiment compares.

    ``value`` on its ``axis``; ``also``: axis -> value where it stands on other axes too; ``set``: the overrides that make it; ``of``: all
    arms of its experiment, in print order.
    """

    name: str
    axis: str
    value: Any
    also: dict[str, Any] = field(default_factory=dict)
    set: list[str] = field(default_factory=list)
    of: list[Arm] = field(default_factory=list)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Arm:
        """Read an arm of a stored plan or of an experiment's file."""
        return cls(**{**value, "of": [cls.from_json(other) for other in value.get("of", [])]})


@dataclass(frozen=True)
class Settings:
    """The configuration of a run, by the names of its fields; ``given`` is all of it, the properties are what readers ask for."""

    given: dict[str, Any] = field(default_factory=dict)

    @property
    def outcomes(self) -> str:
        """``true``, or ``shuffled`` where no method can know anything."""
        return self.given.get("outcomes", "true")

    @property
    def split(self) -> str | None:
        """``folds``, or ``sites`` where whole hospitals are left out."""
        return self.given.get("split")

    @property
    def known(self) -> list[str]:
        """The comparison rows that were asked for."""
        return self.given.get("known", [])

    @property
    def arm(self) -> str | None:
        """The name of the arm, where the experiment has arms."""
        return self.given.get("arm")

    @property
    def arms(self) -> list[str]:
        """The names of the arms planned."""
        return self.given.get("arms", [])

    @property
    def methods(self) -> list[str]:
        """The methods that were asked for, as on the command line."""
        return self.given.get("methods", [])

    @property
    def hyper(self) -> dict[str, Any]:
        """The hyper-parameters that were set, by field."""
        return self.given.get("hyper", {})

    @property
    def dataset(self) -> dict[str, Any]:
        """The options of the dataset, by name."""
        return self.given.get("dataset") or {}

    @property
    def landmark(self) -> str | None:
        """The one landmark that was asked for, or None for all."""
        return self.given.get("landmark")

    @property
    def selection(self) -> str:
        """The rule that chose epochs and candidates on validation rows; plans before it was a setting went by the AUC."""
        return self.given.get("selection", "auc")

    @property
    def tuning(self) -> str:
        """How hyper-parameters were chosen: ``none``, ``grid`` or ``random``."""
        return self.given.get("tuning", "none")

    @property
    def budget(self) -> int | None:
        """The candidates of each method's random tuning."""
        return self.given.get("budget")

    @property
    def lr_factor(self) -> float:
        """What the schedule multiplies learning rates with."""
        return self.given["schedule"]["lr_factor"]


@dataclass(frozen=True)
class Plan:
    """What a run intended: its settings, the cohort at each landmark, the rows of its tables and their cells.

    ``written``: UTC; ``commit`` and ``clean``: of the source that planned it, with or without uncommitted changes (both None where that is
    not known); ``schedule`` to ``calibration``: names; ``n``: the size asked of a synthetic cohort; ``reference``: the method that others
    are compared with; ``bootstrap``: resamples of an interval; ``derived``: derivations asked for; ``audit``: what an audit notes besides;
    ``schedule_changes``: what the command line changed of the schedule, by field; ``sequence``: the store's count of plans, so that the
    newest is known whatever the clock says.
    """

    name: str
    experiment: str
    dataset: str
    protocol: str
    written: str
    landmarks: dict[str, Landmark]
    rows: list[PlannedRow]
    cells: list[PlannedCell]
    folds: int
    seeds: int
    description: str = ""
    commit: str | None = None
    clean: bool | None = True
    schedule: str = ""
    schedule_changes: dict[str, Any] = field(default_factory=dict)
    tuning: str = "none"
    rectifier: str = "auto"
    calibration: str = "valid"
    n: int | None = None
    reference: str | None = None
    bootstrap: int | None = None
    derived: list[str] = field(default_factory=list)
    arm: Arm | None = None
    settings: Settings = field(default_factory=Settings)
    audit: dict[str, Any] = field(default_factory=dict)
    sequence: int = 0
    format: int = FORMAT

    @property
    def source(self) -> str:
        """The commit of the source that planned it, with a word on changes, for a sentence: "not known" where there was no checkout."""
        changed = ", with uncommitted changes" if self.commit and self.clean is False else ""
        return f"{self.short_commit}{changed}"

    @property
    def short_commit(self) -> str:
        """The first ten digits of the commit, or "not known"."""
        return self.commit[:10] if self.commit else "not known"

    @property
    def landmark_tasks(self) -> list[tuple[str, str]]:
        """Every (landmark, task), in print order."""
        return [(landmark, task) for landmark, facts in self.landmarks.items() for task in facts.tasks]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        value = {f.name: getattr(self, f.name) for f in fields(self)}
        return value | {
            "landmarks": {name: asdict(facts) for name, facts in self.landmarks.items()},
            "rows": [asdict(row) for row in self.rows],
            "cells": [asdict(planned) for planned in self.cells],
            "arm": None if self.arm is None else asdict(self.arm),
            "settings": self.settings.given,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        """Read a plan from JSON values of this format or an earlier one.

        Raises:
            UnreadablePlan: a later format, or fields that are missing or of another kind.
        """
        if not isinstance(value, dict) or not isinstance(value.get("format", 1), int):
            raise UnreadablePlan("this is not a plan as this suite writes it: remove it and run again")
        name, written = value.get("name"), value.get("format", 1)
        if written > FORMAT:
            raise UnreadablePlan(
                f"plan {name} has format {written}, this version reads up to {FORMAT}: use the newer version"
            )
        known = {f.name for f in fields(cls)}
        more = {k: v for k, v in value.items() if k not in known}  # format 1 had the audit's facts among the plan's own
        try:
            return cls(
                **{k: v for k, v in value.items() if k in known}
                | {
                    "landmarks": {k: Landmark.from_json(facts) for k, facts in value["landmarks"].items()},
                    "rows": [PlannedRow.from_json(row) for row in value["rows"]],
                    "cells": [PlannedCell(**{**c, "cell": Cell(**c["cell"])}) for c in value["cells"]],
                    "arm": None if value.get("arm") is None else Arm.from_json(value["arm"]),
                    "settings": Settings(value.get("settings") or {}),
                    "audit": value.get("audit", {}) | more,
                    "format": FORMAT,
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UnreadablePlan(f"plan {name} is not as it was written ({error}): remove it and run again") from None
