"""Where a number comes from is said as it is: without git, inside another repository, with files that no cell reads, of a plug-in."""

import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmark.cell import provenance
from reports.frames.provenance import collect_provenance
from reports.tables.captions import compose_short_caption
from tests.stores import fabricate, rewrite


def git(folder, *command):
    named = ("-c", "user.name=n", "-c", "user.email=e@e", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *named, *command], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A checkout with one method, one setting and a locked file."""
    if shutil.which("git") is None:
        pytest.skip("no git is installed")
    for name in (
        "methods/mine.py",
        "benchmark/conf/a.yaml",
        "results/locked/gate.csv",
        "README.md",
        "benchmark/cell/run_cell.py",
    ):
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clone" / name).write_text("x = 1\n")
    git(tmp_path / "clone", "init")
    git(tmp_path / "clone", "add", "-A")
    git(tmp_path / "clone", "commit", "-m", "first")
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "clone")
    provenance._read_tree.cache_clear()
    yield tmp_path / "clone"
    provenance._read_tree.cache_clear()


def read(clone):
    provenance._read_tree.cache_clear()
    files = [path for path in (clone / "methods").glob("*.py") if "draft" not in path.name]
    commit, clean = provenance.read_commit([*files, clone.parent / "elsewhere.py"])
    return commit is not None, clean


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("crl_mmnar_bench.egg-info/PKG-INFO", True),  # what pip leaves
        ("notes.txt", True),
        ("methods/draft.py", True),  # no cell reads it
        ("methods/notes.md", True),
        ("README.md", True),
        ("results/locked/gate.csv", True),  # what make lock writes
        ("methods/mine.py", False),
        ("methods/new.py", False),  # a cell reads it, and the commit lacks it
        ("benchmark/conf/a.yaml", False),
    ],
)
def test_a_change_is_one_that_a_number_may_depend_on(clone, name, clean):
    assert read(clone) == (True, True)
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).write_text("x = 2\n")
    assert read(clone) == (True, clean)


def test_an_ignored_file_that_a_cell_reads_is_a_change(clone):
    (clone / ".git" / "info" / "exclude").write_text("methods/new.py\n")
    (clone / "methods" / "new.py").write_text("x = 2\n")
    assert read(clone) == (True, False)


def test_a_hook_s_environment_is_that_of_another_repository(clone, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(clone / "nowhere"))
    assert read(clone) == (True, True)


@pytest.mark.parametrize("inside", [False, True], ids=["no repository", "another repository"])
def test_without_a_checkout_of_its_own_the_commit_is_not_known(clone, inside):
    shutil.rmtree(clone / ".git")
    if inside:
        (clone.parent / "theirs").write_text("")
        git(clone.parent, "init")
        git(clone.parent, "add", "theirs")
        git(clone.parent, "commit", "-m", "another's")
    assert read(clone) == (False, None)


def test_a_repository_that_holds_none_of_the_source_is_not_its_own(clone):
    shutil.rmtree(clone / ".git")
    git(clone, "init")
    git(clone, "add", "README.md")
    git(clone, "commit", "-m", "a paper's")
    assert read(clone) == (False, None)


@pytest.fixture
def store_and_plan(tmp_path):
    return fabricate(tmp_path, n=40, folds=2, landmarks={"icu_24h": ("mortality_inhosp",)})


def change_records(store, plan, **facts):
    for planned in plan.cells:
        record = store.record(planned)
        record["provenance"] |= facts
        rewrite(store, planned, record, {"predictions": store.predictions(planned)})


def test_what_is_not_known_is_said_to_be_so(store_and_plan):
    store, plan = store_and_plan
    change_records(store, plan, commit=None, clean=None)
    plan = replace(plan, commit=None, clean=None)
    caption = compose_short_caption(store, [plan], "A table.")
    assert "Commit not known; 2026-01-02." in caption
    assert (plan.source, plan.short_commit) == ("not known", "not known")
    assert not {"commit", "uncommitted changes"} & set(collect_provenance(store, plan).facts)


def test_a_plug_in_is_named_with_its_version(store_and_plan, monkeypatch):
    monkeypatch.setattr(provenance.registry, "info", lambda name: SimpleNamespace(is_plug_in=name == "theirs"))
    point = SimpleNamespace(name="theirs", dist=SimpleNamespace(name="my-methods", version="1.0"))
    monkeypatch.setattr(provenance, "entry_points", lambda group: [point])
    provenance.find_plug_in.cache_clear()
    assert provenance.find_plug_in("theirs") == {"distribution": "my-methods", "version": "1.0"}
    assert provenance.find_plug_in("logistic") is None
    provenance.find_plug_in.cache_clear()
    store, plan = store_and_plan
    change_records(store, plan, plug_in={"distribution": "my-methods", "version": "1.0"})
    assert collect_provenance(store, plan).facts["plug-ins"] == "my-methods 1.0"
    assert "; plug-ins: my-methods 1.0; 2026-01-02." in compose_short_caption(store, [plan], "A table.")
