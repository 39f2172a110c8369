"""The datasets by name: how each is built, where it is kept once built, and which landmarks each protocol uses.

A built dataset is a folder ``built/<id>/`` with ``dataset.json`` (signature, flow) and, by landmark, ``<landmark>/cohort/`` and
``<landmark>/known/``. A change of the builder's source, of its parameters or of the content of raw tables makes it stale, and it is
built again; where they lie, their times and other files in their folder do not. Built files are compared with their checksums before use.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.cohort import Cohort, CohortError
from datasets.raw.checksums import Stamp, find_changed_files, stamp_files
from datasets.storage import (
    GroundTruth,
    load_cohort,
    load_ground_truth,
    read_json,
    replace_folder,
    save_cohort,
    save_ground_truth,
    write_json,
)

PACKAGE = Path(__file__).resolve().parent
BUILT = PACKAGE / "built"
SHARED = tuple(
    PACKAGE / "raw" / name
    for name in (
        "tables.py",
        "blocks.py",
        "drug_words.py",
        "mapped.py",
        "engine.py",
        "features.py",
        "series.py",
        "silence.py",
        "checksums.py",
    )
)
"""Sources that every builder of raw tables stands on."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class DatasetInfo:
    """The facts of a dataset that need none of its files.

    ``on_request`` are strict landmarks used only where ``landmark=`` names them; ``cautions`` what a reader of its numbers must know;
    ``tunable``: validation parts hold enough events to choose hyper-parameters by.
    """

    name: str
    kind: str
    description: str
    landmarks: dict[str, tuple[str, ...]]
    licence: str
    citation: str
    on_request: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    tunable: bool = True


_SYNTHETIC = {"strict": ("icu_24h", "discharge"), "paper": ("stay",)}
_EICU = {"strict": ("icu_24h", "unit_discharge"), "paper": ("stay",)}
_MIMIC = {"strict": ("icu_24h", "discharge_72h"), "paper": ("stay",)}
_MIMIC_CITATION = (
    "Johnson AEW et al. (2023). MIMIC-IV, a freely accessible electronic health record dataset. Scientific Data 10:1"
)
_EICU_CITATION = "Pollard TJ et al. (2018). The eICU Collaborative Research Database. Scientific Data 5:180178"
_DRAWN = (
    "Drawn from a model, no patient is in it: it shows what a method can learn where the truth is known, not what it is worth in a clinic.",
    "Gaussian factors suit models of shared and private parts, an additive effect of the pattern suits a rectifier.",
)
_NO_DATES = (
    "No dates between hospital stays: a 30-day readmission cannot be derived; icu_readmission, within the hospital stay, stands for it.",
    "Nothing orders the hospital stays of a patient within a year but their identifiers, so the first stay is the first by identifier.",
)
_OVERLAP = (
    "The default text encoder, Bio_ClinicalBERT, was pre-trained on the notes of MIMIC-III (admissions of 2001 to 2012); patients of the "
    "years 2008 to 2012 are in MIMIC-IV as well, so it may have read their notes. all-MiniLM-L6-v2 was not trained on clinical notes.",
    "The X-ray embeddings come from a network of another institution; whether it saw these images is for its paper (Sellergren et al. "
    "2022, Radiology) to say, and was not checked here.",
)
DATASETS = {
    info.name: info
    for info in (
        DatasetInfo(
            "embedded-mimic",
            "embedded",
            "structural causal model with a known ceiling, sizes of MIMIC-IV",
            _SYNTHETIC,
            "MIT",
            "this suite",
            cautions=_DRAWN,
        ),
        DatasetInfo(
            "embedded-eicu",
            "embedded",
            "structural causal model with a known ceiling, ten modalities and thirty sites",
            _SYNTHETIC,
            "MIT",
            "this suite",
            cautions=_DRAWN,
        ),
        DatasetInfo(
            "eicu-demo",
            "eicu",
            "eICU-CRD demo 2.0.1, 2,520 unit stays",
            _EICU,
            "ODbL 1.0",
            "Johnson A et al. (2021). eICU Collaborative Research Database Demo 2.0.1. PhysioNet. " + _EICU_CITATION,
            cautions=(
                *_NO_DATES,
                "A small, open subset of eICU-CRD: intervals are wide, and nothing here ranks methods.",
            ),
            tunable=False,
        ),
        DatasetInfo(
            "eicu",
            "eicu",
            "eICU-CRD 2.0, 200,859 unit stays",
            _EICU,
            "PhysioNet credentialed 1.5.0",
            _EICU_CITATION,
            cautions=_NO_DATES,
        ),
        DatasetInfo(
            "mimic-iv-demo",
            "mimic",
            "MIMIC-IV demo 2.2, 100 patients: too few for any number here to mean anything",
            _MIMIC,
            "ODbL 1.0",
            "Johnson A et al. (2023). MIMIC-IV Clinical Database Demo 2.2. PhysioNet. " + _MIMIC_CITATION,
            ("discharge",),
            ("100 patients, without notes and images: what runs on it shows that the code runs, no more.", *_OVERLAP),
            tunable=False,
        ),
        DatasetInfo(
            "mimic-iv",
            "mimic",
            "MIMIC-IV 2.2 to 3.1 with notes 2.2 and chest X-ray embeddings 1.0",
            _MIMIC,
            "PhysioNet credentialed 1.5.0",
            _MIMIC_CITATION,
            ("discharge",),
            ("One hospital; dates are shifted, so that only groups of years are known.", *_OVERLAP),
        ),
    )
}


@dataclass(frozen=True)
class Dataset:
    """A built dataset: its folder and its manifest (``dataset.json``)."""

    info: DatasetInfo
    folder: Path
    manifest: dict[str, Any]

    def cohort(self, landmark: str) -> Cohort:
        """Return the cohort at a landmark, memory-mapped."""
        return load_cohort(self.folder / landmark / "cohort")

    def ground_truth(self, landmark: str) -> GroundTruth:
        """Return the ground truth stored with the cohort at a landmark; no method gets it."""
        return load_ground_truth(self.folder / landmark / "known")


def choose_raw_root(name: str, root: str | None = None) -> Path:
    """Return where a dataset's raw tables belong: ``root``, else ``$CRL_MMNAR_DATA/NAME``, else ``data/NAME`` in the working directory."""
    return Path(root) if root else Path(os.environ.get("CRL_MMNAR_DATA") or "data").expanduser() / name


def find_raw_root(name: str, root: str | None = None) -> Path:
    """Return the folder of a dataset's raw tables, where ``choose_raw_root`` says.

    Raises:
        CohortError: where there is no such folder.
    """
    folder = choose_raw_root(name, root)
    if not folder.is_dir():
        raise CohortError(
            f"no raw tables of {name} in {folder.absolute()}: pass root=DIR or set CRL_MMNAR_DATA to the folder that holds {name}/"
        )
    return folder


def prepare(
    name: str,
    options: dict[str, Any],
    built: Path | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Return the built dataset, built first where it is missing or stale.

    ``options`` are the dials of a synthetic cohort, or ``root`` of raw tables (for MIMIC-IV also ``note_root``, ``cxr_root``,
    ``encoder``, ``revision``, ``subset``, ``observation_admit``); None means the default. Where the raw tables are gone and a built
    cohort is there, that one is used. MIMIC-IV remembers from its last build where its files lie.
    """
    info = DATASETS[name]
    options = {k: v for k, v in options.items() if v is not None}
    say = progress or (lambda text: None)
    built = Path(built) if built else BUILT
    how = {"embedded": _prepare_synthetic, "eicu": _prepare_eicu, "mimic": _prepare_mimic}
    with _lock_building(built, name, say):
        return how[info.kind](info, options, built, force, say)


@contextmanager
def _lock_building(built: Path, name: str, say: Progress) -> Iterator[None]:
    """Let one process at a time look for a dataset and build it; the next one finds it built."""
    try:
        built.mkdir(parents=True, exist_ok=True)
        file = (built / f".{name}.lock").open("a")
    except OSError:  # built cohorts that can only be read need no lock, and whoever has to build says what is wrong
        yield
        return
    with file:  # closing it lets the lock go
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process builds {name}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: of two builds at a time both are whole, and the last one stays
            pass
        yield


def _prepare_synthetic(info: DatasetInfo, options: dict[str, Any], built: Path, force: bool, say: Progress) -> Dataset:
    from datasets.synthetic import cohort as synthetic
    from datasets.synthetic.params import SyntheticParams

    params = SyntheticParams(**{"preset": info.name.removeprefix("embedded-"), **options})
    signature = _compute_digest(
        dataclasses.asdict(params), *_read_sources(sorted((PACKAGE / "synthetic").glob("*.py")))
    )
    folder = built / f"{info.name}-{signature[:12]}"
    ready = None if force else _find_current(info, folder, signature)
    if ready:
        return ready
    say(f"building {info.name} with {params.n:,} stays")
    parts = synthetic.build(params)
    landmarks = {landmark: {"flow": [{"step": "drawn", "n": params.n}, {"step": "at risk at the landmark", "n": len(cohort)}]}
                 for landmark, (cohort, _) in parts.items()}  # fmt: skip
    manifest = {
        "name": info.name,
        "signature": signature,
        "parameters": dataclasses.asdict(params),
        "landmarks": landmarks,
    }
    return _store_dataset(info, folder, manifest, parts)


def _prepare_eicu(info: DatasetInfo, options: dict[str, Any], built: Path, force: bool, say: Progress) -> Dataset:
    folder = built / info.name
    try:
        root = find_raw_root(info.name, options.get("root"))
    except CohortError:
        if (folder / "dataset.json").exists() and not force and "root" not in options:
            return _require_unchanged(Dataset(info, folder, read_json(folder / "dataset.json")))
        raise
    raw = stamp_files(_list_eicu_files(root), _read_stamps(folder))
    signature = _compute_digest(
        _list_contents(raw), *_read_sources([*SHARED, *sorted((PACKAGE / "eicu").glob("*.py"))])
    )
    ready = None if force else _find_current(info, folder, signature, raw=raw)
    if ready:
        return ready
    from datasets.eicu import build

    say(f"building {info.name} from its raw tables")
    parts = build.build(root, name=info.name, progress=say)
    landmarks = {landmark: {"flow": part.flow, "notes": part.notes} for landmark, part in parts.items()}
    manifest = {"name": info.name, "signature": signature, "parameters": {}, "landmarks": landmarks, "raw": raw}
    return _store_dataset(
        info, folder, manifest, {landmark: (part.cohort, part.ground_truth) for landmark, part in parts.items()}
    )


def _prepare_mimic(info: DatasetInfo, options: dict[str, Any], built: Path, force: bool, say: Progress) -> Dataset:
    from datasets.mimic_iv import locations

    folder = built / "-".join([info.name, *locations.name_variant(options)])
    # A variant that was never built takes the paths of the default build.
    before = [f / "dataset.json" for f in (folder, built / info.name)]
    earlier = next((read_json(path).get("parameters", {}) for path in before if path.exists()), {})
    options = locations.recall_options(options, earlier)
    try:
        root = find_raw_root(info.name, options.get("root"))
    except CohortError:
        if (folder / "dataset.json").exists() and not force:
            return _require_unchanged(Dataset(info, folder, read_json(folder / "dataset.json")))
        raise
    raw = stamp_files(locations.list_raw_files(root, options), _read_stamps(folder))
    dials = {k: v for k, v in options.items() if k not in ("root", "note_root", "cxr_root")}
    sources = [p for p in sorted((PACKAGE / "mimic_iv").glob("*.py")) if not p.name.startswith("fabricate")]
    signature = _compute_digest(dials, _list_contents(raw), *_read_sources([*SHARED, *sources]))
    ready = None if force else _find_current(info, folder, signature, raw=raw, parameters=options)
    if ready:
        return ready
    from datasets.mimic_iv import build

    say(f"building {info.name} from its raw tables")
    parts = build.build(
        root, name=info.name, progress=say, **locations.make_arguments(options, built / "encoded_notes")
    )
    landmarks = {landmark: {"flow": part.flow, "notes": part.notes} for landmark, part in parts.items()}
    manifest = {"name": info.name, "signature": signature, "parameters": options, "landmarks": landmarks, "raw": raw}
    return _store_dataset(
        info, folder, manifest, {landmark: (part.cohort, part.ground_truth) for landmark, part in parts.items()}
    )


def find_altered_files(built: Path, names: set[str]) -> dict[Path, list[str]]:
    """Hash every file of the built datasets of these names below ``built``; return by folder those that are not as they were built."""
    altered = {}
    for path in sorted(Path(built).glob("[!.]*/dataset.json")):
        manifest = read_json(path)
        if manifest["name"] in names:
            altered[path.parent] = find_changed_files(path.parent, manifest.get("files", {}), content=True)
    return altered


def _list_eicu_files(root: Path) -> dict[str, Path]:
    """Return the tables in ``root`` that a build reads, by name."""
    from datasets.eicu.build import list_tables
    from datasets.raw.tables import SUFFIXES

    wanted = {table.lower() + suffix for table in list_tables() for suffix in SUFFIXES}
    return {p.name: p for p in root.iterdir() if p.is_file() and p.name.lower() in wanted}


def _read_stamps(folder: Path) -> dict[str, Stamp]:
    """Return the stamps of the raw files that the dataset built in ``folder`` was built from; empty where there is none."""
    path = folder / "dataset.json"
    return read_json(path).get("raw", {}) if path.exists() else {}


def _list_contents(raw: dict[str, Stamp]) -> list[tuple[str, str]]:
    return [(name, stamp[2]) for name, stamp in sorted(raw.items())]


def _find_current(info: DatasetInfo, folder: Path, signature: str, **seen: Any) -> Dataset | None:
    """Return the dataset built in ``folder`` where it has this signature; ``seen``, its places and times, is noted in its manifest."""
    if not (folder / "dataset.json").exists():
        return None
    manifest = read_json(folder / "dataset.json")
    if manifest.get("signature") != signature or "files" not in manifest:
        return None
    found = _require_unchanged(Dataset(info, folder, manifest | seen))
    if found.manifest != manifest:
        with contextlib.suppress(
            OSError
        ):  # built cohorts that can only be read: tables are hashed again by the next run
            scratch = folder / f".dataset.{os.getpid()}.json"
            write_json(scratch, found.manifest)
            os.replace(scratch, folder / "dataset.json")
    return found


def _require_unchanged(dataset: Dataset) -> Dataset:
    """Return a built dataset whose files are as they were built.

    Raises:
        CohortError: naming those that are not.
    """
    changed = find_changed_files(dataset.folder, dataset.manifest.get("files", {}))
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise CohortError(
            f"{dataset.folder / changed[0]}{more} is not as it was built: build it again by "
            f"python -m benchmark data build {dataset.info.name} with the same options, or put the file back"
        )
    return dataset


def _store_dataset(
    info: DatasetInfo, folder: Path, manifest: dict[str, Any], parts: dict[str, tuple[Cohort, GroundTruth]]
) -> Dataset:
    try:
        with replace_folder(folder) as scratch:
            for landmark, (cohort, ground_truth) in parts.items():
                save_cohort(cohort, scratch / landmark / "cohort")
                save_ground_truth(ground_truth, scratch / landmark / "known")
            files = {p.relative_to(scratch).as_posix(): p for p in scratch.rglob("*") if p.is_file()}
            manifest = manifest | {"files": stamp_files(files, {})}
            write_json(scratch / "dataset.json", manifest)
    except OSError as error:
        raise CohortError(
            f"cannot write {folder}: {error.strerror or error}; free space or choose another built=DIR"
        ) from None
    return Dataset(info, folder, manifest)


def _read_sources(paths: list[Path]) -> list[str]:
    return [p.read_text(encoding="utf-8") for p in [PACKAGE / "cohort.py", *paths]]


def _compute_digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
