"""What the documents point at exists."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from benchmark.cli import VERBS
from benchmark.verbs.report import SPEED
from tests.guides import ROOT, fenced_files

FOLDERS = ("benchmark", "datasets", "methods", "reports", "results", "tests", "docs")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = ("results/cells", "reports/build", "datasets/built", "results/locked", "results/speed")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`([\w.*/-]+)`", text)
    made = ("late_fusion", "NAME", *WRITTEN, *fenced_files(text))
    paths = [n for n in named if n.split("/")[0] in FOLDERS and "/" in n and not any(m in n for m in made)]
    assert [n for n in paths if not list(ROOT.glob(n.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_verbs_and_experiments_exist(page):
    text = page.read_text(encoding="utf-8")
    own = [Path(name) for name in fenced_files(text)]
    experiments = {SPEED} | {p.stem for p in [*own, *(ROOT / "benchmark" / "conf" / "experiment").glob("*.yaml")]}
    verbs = set(re.findall(r"python -m benchmark ([a-z]+)\b", text))
    assert verbs <= {*VERBS, *(path.stem for path in own if path.match("benchmark/verbs/*.py"))}
    assert set(re.findall(r"(?:`|benchmark )(?:run|report|status) ([a-z]\w*)", text)) <= experiments


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).is_file()] == []


def test_the_map_has_twelve_rows_each_to_a_place_of_its_own():
    rows = re.findall(
        r"^\| (.+?) \| (.+) \|$", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert rows.pop(0) == ("I want to", "open")
    assert rows.pop(0) == ("---", "---")
    assert len(rows) == 12
    places = [[n for n in re.findall(r"`([\w.*/-]+)`", where) if "/" in n or n.endswith(".md")] for _, where in rows]
    assert all(places)
    vague = [name for own in places for name in own if name.rstrip("/") in FOLDERS]  # a room is no answer
    assert vague == []
    assert [name for own in places for name in own if not list(ROOT.glob(name.rstrip("/")))] == []
    assert len({tuple(own) for own in places}) == 12
    assert "(docs/index.md)" in "".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:15])


def test_the_version_is_that_of_the_citation_and_of_the_changelog():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    released = version.partition(".dev")[0]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == released
    assert (citation["cff-version"], citation["license"]) == ("1.2.0", "MIT")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"Will be {released}." in changes if version != released else f"## [{released}] - " in changes


def test_the_workflow_pins_its_actions_and_covers_the_versions_and_the_slow_tests():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action)] == []
    jobs = yaml.safe_load(text)["jobs"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={jobs['test']['strategy']['matrix']['python'][0]}"
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert {"run": "make slow"} in jobs["slow"]["steps"]
    assert "schedule" in jobs["slow"]["if"]
    assert all(job["permissions"] == {"contents": "read"} for job in jobs.values())


def test_the_moved_modules_of_the_changelog_are_where_it_says():
    moved = re.findall(
        r"\| `(methods\.\w+)` \| `(methods\.[\w.]+)` \|", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    )
    assert len(moved) == 5
    for old, new in moved:
        assert not (ROOT / f"{old.replace('.', '/')}.py").exists()
        assert (ROOT / f"{new.replace('.', '/')}.py").exists()
