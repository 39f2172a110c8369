"""Where the files of a MIMIC-IV build lie and what it was asked for, as options of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets.cohort import CohortError
from datasets.raw.tables import SUFFIXES

PATH_OPTIONS = ("root", "note_root", "cxr_root", "encoder", "revision")
"""Options that a later build takes over from an earlier one."""

TABLES = ("hosp", "icu")


def name_variant(options: dict[str, Any]) -> list[str]:
    """Return what distinguishes the folder of a built cohort that is not the default one."""
    named = [options["subset"]] if options.get("subset") else []
    return named + (["observation_admit"] if options.get("observation_admit") else [])


def recall_options(options: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the options, with the paths of an earlier build where none is given; a path given as ``none`` is no path.

    Where an encoder is given, the earlier encoder's revision is dropped.
    """
    kept = {k: earlier[k] for k in PATH_OPTIONS if k in earlier and k not in options}
    if "encoder" in options:
        kept.pop("revision", None)
    return {k: v for k, v in {**kept, **options}.items() if v not in ("none", "", False)}


def list_raw_files(root: Path, options: dict[str, Any]) -> dict[str, Path]:
    """Return the raw tables that a build may read, by name wherever they lie; of the images, the folders by first digits.

    Raises:
        CohortError: where the folder of notes or images does not exist.
    """
    files = {f"{folder}/{p.name}": p for folder in TABLES for p in (root / folder).glob("*") if _is_read(p)}
    for option, holds in (("note_root", "note/discharge.csv.gz"), ("cxr_root", "files/ and the metadata of MIMIC-CXR")):
        if option in options:
            folder = Path(options[option])
            if not folder.is_dir():
                raise CohortError(f"{option}={folder} is no folder; give the one that holds {holds}")
            inside = [folder, *(folder / name for name in ("note", "files") if (folder / name).is_dir())]
            found = [p for part in inside for p in part.iterdir() if _is_read(p) or p.parent.name == "files"]
            files |= {f"{option}/{p.relative_to(folder).as_posix()}": p for p in found}
    return files


def _is_read(path: Path) -> bool:
    from datasets.mimic_iv.build import FABRICATED

    return path.is_file() and (path.name.lower().endswith(SUFFIXES) or path.name == FABRICATED)


def make_arguments(options: dict[str, Any], cache: Path) -> dict[str, Any]:
    """Return the arguments of ``build.build`` for these options; ``cache`` is a folder for encoded notes."""
    from datasets.mimic_iv.build import Extras

    notes, images = (Path(options[k]) if k in options else None for k in ("note_root", "cxr_root"))
    extras = Extras(notes, images, options.get("encoder"), options.get("revision"), cache=cache)
    return {
        "extras": extras,
        "subset": options.get("subset"),
        "observation_admit": bool(options.get("observation_admit")),
    }
