"""Built datasets: reused while nothing they stand on changes, built again when something does, whole or not at all."""

import ast
import errno
import fcntl
import os
import threading
import time

import pytest

from datasets import registry
from datasets.cohort import CohortError

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
    monkeypatch.setenv("CRL_MMNAR_DATA", "")  # as if it were not set: never the working directory
    monkeypatch.setattr(registry, "DEFAULT_DATA", tmp_path)
    monkeypatch.chdir(tmp_path / "eicu-demo")
    (tmp_path / "eicu-demo" / "eicu-demo").mkdir()
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


def test_changed_raw_files_make_a_build_stale(tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    (root / "patient.csv").write_text("patientunitstayid\n")
    with pytest.raises(CohortError, match="patient"):
        registry.prepare("eicu-demo", {"root": str(root)}, tmp_path / "built")
    signature = registry.compute_eicu_signature(root)
    os.utime(root / "patient.csv", ns=(1, 1))
    assert registry.compute_eicu_signature(root) != signature


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
