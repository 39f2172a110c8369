"""Save and load cohorts and their ground truth as plain arrays plus a JSON manifest (never pickle)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from datasets.cohort import Cohort, CohortError, Group, Modality, Series

FORMAT = 1


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is stored with a cohort and never passed to a method: planning reads its names, scoring its values.

    ``predictions``: name -> probabilities float64 [N, T] (NaN where there is none), e.g. the Bayes-optimal ones of a synthetic
    cohort, or APACHE's own. ``arrays``: name -> array with N rows first. ``notes``: JSON values, e.g. the dials and the solved intercepts.
    """

    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    notes: dict = field(default_factory=dict)


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder next to ``target`` that replaces it when the block ends well, and vanishes when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
        if target.exists():
            # A folder that is not empty cannot be replaced in one step, so the old one is moved out of the way first.
            aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.replace(target, aside / "old")
            os.replace(scratch, target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.replace(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def save_cohort(cohort: Cohort, folder: Path) -> None:
    """Write ``cohort`` to ``folder``, whole or not at all; slots of unobserved modalities are stored as NaN."""
    with replace_folder(Path(folder)) as scratch:
        _save_array(scratch, "patient", cohort.patient)
        _save_array(scratch, "observed", cohort.observed)
        _save_array(scratch, "outcomes", cohort.outcomes)
        if cohort.site is not None:
            _save_array(scratch, "site", cohort.site)
        for name, group in cohort.groups.items():
            _save_array(scratch, f"group.{name}", group.codes)
        for m, modality in enumerate(cohort.modalities):
            _save_array(
                scratch, f"modality.{m}", np.where(cohort.observed[:, m, None], modality.values, np.float32("nan"))
            )
        recorded = cohort.series and cohort.series.recorded
        for prefix, series in (("series", cohort.series), ("series.recorded", recorded)):
            for part in ("values", "mask", "hours") if series is not None else ():
                _save_array(scratch, f"{prefix}.{part}", getattr(series, part))
        manifest = {
            "format": FORMAT,
            "name": cohort.name,
            "landmark": cohort.landmark,
            "n": len(cohort),
            "tasks": cohort.tasks,
            "modalities": [{"name": m.name, "features": m.feature_names} for m in cohort.modalities],
            "groups": {name: group.labels for name, group in cohort.groups.items()},
            "site": cohort.site is not None,
            "series": None if cohort.series is None else cohort.series.channels,
            "recorded": recorded is not None,
            "fingerprint": cohort.fingerprint,
        }
        write_json(scratch / "manifest.json", manifest)


def load_cohort(folder: Path) -> Cohort:
    """Load the cohort stored in ``folder``, its arrays memory-mapped.

    Raises:
        CohortError: naming the file that is missing, truncated or of another format.
    """
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json")
    if manifest.get("format") != FORMAT:
        raise CohortError(
            f"{folder}/manifest.json has format {manifest.get('format')}, this program reads {FORMAT}: build it again"
        )
    series = None
    if manifest["series"] is not None:
        channels = tuple(manifest["series"])
        recorded = _load_series(folder, "series.recorded", channels) if manifest.get("recorded") else None
        series = replace(_load_series(folder, "series", channels), recorded=recorded)
    return Cohort(
        name=manifest["name"],
        landmark=manifest["landmark"],
        patient=_load_array(folder, "patient"),
        site=_load_array(folder, "site") if manifest["site"] else None,
        groups={k: Group(_load_array(folder, f"group.{k}"), tuple(v)) for k, v in manifest["groups"].items()},
        modalities=tuple(
            Modality(m["name"], _load_array(folder, f"modality.{j}"), tuple(m["features"]))
            for j, m in enumerate(manifest["modalities"])
        ),
        observed=_load_array(folder, "observed"),
        outcomes=_load_array(folder, "outcomes"),
        tasks=tuple(manifest["tasks"]),
        series=series,
        fingerprint=manifest["fingerprint"],
    )


def _load_series(folder: Path, prefix: str, channels: tuple[str, ...]) -> Series:
    return Series(*(_load_array(folder, f"{prefix}.{part}") for part in ("values", "mask", "hours")), channels)


def save_ground_truth(ground_truth: GroundTruth, folder: Path) -> None:
    """Write the ground truth of a cohort to ``folder``, whole or not at all."""
    with replace_folder(Path(folder)) as scratch:
        for name, values in ground_truth.predictions.items():
            _save_array(scratch, f"prediction.{name}", np.asarray(values, dtype=np.float64))
        for name, values in ground_truth.arrays.items():
            _save_array(scratch, f"array.{name}", np.asarray(values))
        manifest = {
            "format": FORMAT,
            "predictions": list(ground_truth.predictions),
            "arrays": list(ground_truth.arrays),
            "notes": ground_truth.notes,
        }
        write_json(scratch / "manifest.json", manifest)


def load_ground_truth(folder: Path) -> GroundTruth:
    """Load the ground truth stored in ``folder``; empty where there is no such folder."""
    folder = Path(folder)
    if not folder.exists():
        return GroundTruth()
    manifest = read_json(folder / "manifest.json")
    return GroundTruth(
        predictions={name: _load_array(folder, f"prediction.{name}") for name in manifest["predictions"]},
        arrays={name: _load_array(folder, f"array.{name}") for name in manifest["arrays"]},
        notes=manifest["notes"],
    )


def load_flow(landmark_folder: Path) -> list[dict]:
    """Load the flow of inclusions (``step``, ``n``) of the built cohort in ``landmark_folder``; empty without a manifest."""
    path = Path(landmark_folder).parent / "dataset.json"
    return read_json(path)["landmarks"][Path(landmark_folder).name]["flow"] if path.exists() else []


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON document, its keys in the given order."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read the JSON document in ``path``.

    Raises:
        CohortError: naming the file, where it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CohortError(f"{path} is missing: build the cohort again") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CohortError(f"{path} is broken ({error}): build the cohort again") from None


def _save_array(folder: Path, name: str, values: np.ndarray) -> None:
    np.save(folder / f"{name}.npy", np.ascontiguousarray(values), allow_pickle=False)


def _load_array(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise CohortError(f"{path} cannot be read ({error}): build the cohort again") from None
