"""Built datasets: reused while nothing they stand on changes, built again when something does, whole or not at all."""

import ast
import errno
import fcntl
import os
import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from datasets import registry
from datasets.cohort import CohortError
from datasets.storage import GroundTruth
from tests.made import change

SMALL = {"n": 60, "draws": 16}


def test_a_synthetic_cohort_is_built_once(tmp_path):
    said = []
    first = registry.prepare("embedded-mimic", SMALL, tmp_path, progress=said.append)
    again = registry.prepare("embedded-mimic", {**SMALL, "kappa": None}, tmp_path, progress=said.append)
    assert (again.folder, len(said)) == (first.folder, 1)
    other = registry.prepare("embedded-mimic", {**SMALL, "seed": 1}, tmp_path, progress=said.append)
    assert other.folder != first.folder
    assert other.cohort("stay").fingerprint != first.cohort("stay").fingerprint


def test_what_is_known_lies_beside_the_cohort_and_not_in_it(tmp_path):
    dataset = registry.prepare("embedded-mimic", SMALL, tmp_path)
    assert "ceiling" in dataset.ground_truth("icu_24h").predictions
    names = {p.name for p in (dataset.folder / "icu_24h" / "cohort").iterdir()}
    assert not any("prediction" in name or "truth" in name for name in names)


def test_the_flow_counts_the_stays_at_each_landmark(tmp_path):
    dataset = registry.prepare("embedded-mimic", SMALL, tmp_path)
    for landmark, part in dataset.manifest["landmarks"].items():
        assert part["flow"][-1]["n"] == len(dataset.cohort(landmark))


def test_a_broken_off_build_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry, "save_ground_truth", full)
    with pytest.raises(CohortError, match="No space left on device; free space or choose another built=DIR"):
        registry.prepare("embedded-mimic", SMALL, tmp_path)
    assert [p for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


def test_raw_tables_are_found_by_root_or_by_the_environment(tmp_path, monkeypatch):
    (tmp_path / "eicu-demo").mkdir()
    monkeypatch.setenv("CRL_MMNAR_DATA", str(tmp_path))
    assert registry.find_raw_root("eicu-demo") == tmp_path / "eicu-demo"
    assert registry.find_raw_root("eicu", str(tmp_path)) == tmp_path
    with pytest.raises(CohortError, match="pass root=DIR or set CRL_MMNAR_DATA"):
        registry.find_raw_root("eicu")
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    monkeypatch.setenv("CRL_MMNAR_DATA", f"~/{tmp_path.name}")
    assert registry.find_raw_root("eicu-demo") == tmp_path / "eicu-demo"


def test_a_cohort_is_built_where_nothing_can_be_locked(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert registry.prepare("embedded-mimic", SMALL, tmp_path).folder.is_dir()


def test_a_second_build_says_that_it_waits(tmp_path):
    said, found = [], []
    with (tmp_path / ".embedded-mimic.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        second = threading.Thread(
            target=lambda: found.append(registry.prepare("embedded-mimic", SMALL, tmp_path, progress=said.append))
        )
        second.start()
        while not said:
            time.sleep(0.01)
        assert (said, found) == (["another process builds embedded-mimic: waiting for it"], [])
    second.join()
    assert found


@pytest.mark.parametrize("unset", [None, ""])
def test_raw_tables_lie_in_the_working_directory_unless_something_names_a_folder(tmp_path, monkeypatch, unset):
    monkeypatch.delenv("CRL_MMNAR_DATA", raising=False)
    if unset is not None:
        monkeypatch.setenv("CRL_MMNAR_DATA", unset)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CohortError, match=f"no raw tables of eicu-demo in {tmp_path}/data/eicu-demo"):
        registry.find_raw_root("eicu-demo")
    (tmp_path / "data" / "eicu-demo").mkdir(parents=True)
    assert registry.find_raw_root("eicu-demo").resolve() == tmp_path / "data" / "eicu-demo"


@pytest.fixture
def eicu(tmp_path, monkeypatch):
    """Build eICU from a folder of raw tables by a builder that counts: (folder of the raw tables, prepare, the builds so far)."""
    from datasets.eicu import build

    builds = []

    def count(root, name, progress):
        builds.append(root)
        part = SimpleNamespace(cohort=change(landmark="stay"), ground_truth=GroundTruth(), flow=[], notes={})
        return {"stay": part}

    monkeypatch.setattr(build, "build", count)
    root = tmp_path / "raw"
    root.mkdir()
    (root / "patient.csv").write_text("patientunitstayid\n1\n")
    (root / "infusiondrug.csv").write_text("patientunitstayid\n1\n")

    def prepare(root=root, **how):
        return registry.prepare("eicu-demo", {"root": str(root)}, tmp_path / "built", **how)

    prepare()
    return root, prepare, builds


UNREAD = {
    "touched": lambda root: os.utime(root / "patient.csv", ns=(1, 1)),
    "an unrelated file": lambda root: (root / "notes to myself.txt").write_text("x"),
    "an unrelated table": lambda root: (root / "my_patients.csv").write_text("x"),
    "a hidden file": lambda root: (root / ".DS_Store").write_text("x"),
}


@pytest.mark.parametrize("what", UNREAD)
def test_raw_tables_of_the_same_content_are_not_built_from_again(eicu, what):
    root, prepare, builds = eicu
    before = prepare().manifest["signature"]
    UNREAD[what](root)
    assert (prepare().manifest["signature"], len(builds)) == (before, 1)


def test_a_moved_raw_folder_is_the_same(eicu, tmp_path, monkeypatch):
    root, prepare, builds = eicu
    shutil.copytree(root, tmp_path / "elsewhere[1]", copy_function=shutil.copyfile)
    prepare(tmp_path / "elsewhere[1]")
    assert len(builds) == 1
    monkeypatch.setattr("datasets.raw.checksums.compute_digest", None)  # its times are noted: nothing is hashed now
    prepare(tmp_path / "elsewhere[1]")


@pytest.mark.parametrize("table", ["patient.csv", "infusiondrug.csv"])
def test_changed_raw_tables_make_a_build_stale(eicu, table):
    root, prepare, builds = eicu
    (root / table).write_text("patientunitstayid\n2\n")
    prepare()
    (root / table).unlink()
    prepare()
    assert len(builds) == 3


def invert(path):
    labels = np.load(path)
    np.save(path, 1 - labels)


ALTERED = {
    "labels inverted": ("cohort/outcomes.npy", invert),
    "file cut": ("cohort/modality.0.npy", lambda p: p.write_bytes(p.read_bytes()[:100])),
    "file gone": ("cohort/observed.npy", lambda p: p.unlink()),
    "tasks renamed": ("cohort/manifest.json", lambda p: p.write_text(p.read_text().replace("icu_90d", "icu_30d"))),
    "truth altered": ("known/manifest.json", lambda p: p.write_text(p.read_text() + " ")),
}


@pytest.mark.parametrize("what", ALTERED)
def test_altered_files_of_a_built_cohort_are_named_and_not_used(eicu, tmp_path, what):
    _, prepare, builds = eicu
    name, alter = ALTERED[what]
    alter(tmp_path / "built" / "eicu-demo" / "stay" / name)
    with pytest.raises(CohortError, match=f"{name} is not as it was built: build it again by .*data build eicu-demo"):
        prepare()
    prepare(force=True)
    prepare()
    assert len(builds) == 2


def test_altered_files_are_seen_where_the_raw_tables_are_gone(eicu, tmp_path, monkeypatch):
    monkeypatch.setenv("CRL_MMNAR_DATA", str(tmp_path / "nowhere"))
    registry.prepare("eicu-demo", {}, tmp_path / "built")
    invert(tmp_path / "built" / "eicu-demo" / "stay" / "cohort" / "outcomes.npy")
    with pytest.raises(CohortError, match="is not as it was built"):
        registry.prepare("eicu-demo", {}, tmp_path / "built")


def test_a_copied_cohort_is_as_it_was_built_and_a_forged_time_is_seen_by_hashing(eicu, tmp_path):
    _, prepare, builds = eicu
    path = tmp_path / "built" / "eicu-demo" / "stay" / "cohort" / "outcomes.npy"
    os.utime(path, ns=(1, 1))
    prepare()
    assert len(builds) == 1
    time = registry.read_json(tmp_path / "built" / "eicu-demo" / "dataset.json")["files"]["stay/cohort/outcomes.npy"][1]
    invert(path)
    os.utime(path, ns=(time, time))
    altered = registry.find_altered_files(tmp_path / "built", {"eicu-demo"})
    assert list(altered.values()) == [["stay/cohort/outcomes.npy"]]
    assert registry.find_altered_files(tmp_path / "built", {"eicu"}) == {}


def test_every_shared_source_that_a_builder_imports_makes_its_cohorts_stale():
    """A module of datasets.raw that a builder of raw tables reaches, whatever the path, is one of SHARED, and none is there in vain."""

    def imported(path):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("datasets.raw"):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                files = (registry.PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in names)
                yield from (file for file in files if file.is_file())

    todo = [p for builder in ("eicu", "mimic_iv") for p in sorted((registry.PACKAGE / builder).glob("*.py"))]
    reached = set()
    while todo:
        new = set(imported(todo.pop())) - reached
        reached |= new
        todo += new
    assert reached == set(registry.SHARED)
