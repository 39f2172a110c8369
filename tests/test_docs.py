"""What the documents point at exists."""

import re
from pathlib import Path

import pytest

from benchmark.cli import VERBS
from benchmark.verbs.report import SPEED

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("benchmark", "datasets", "methods", "reports", "results", "tests", "docs")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = ("results/cells", "reports/build", "datasets/built", "results/locked", "results/speed")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_exist(page):
    named = re.findall(r"`([\w.*/-]+)`", page.read_text(encoding="utf-8"))
    made = ("late_fusion", *WRITTEN)
    paths = [n for n in named if n.split("/")[0] in FOLDERS and "/" in n and not any(m in n for m in made)]
    assert [n for n in paths if not list(ROOT.glob(n.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_verbs_and_experiments_exist(page):
    text = page.read_text(encoding="utf-8")
    experiments = {SPEED} | {p.stem for p in (ROOT / "benchmark" / "conf" / "experiment").glob("*.yaml")}
    verbs = set(re.findall(r"python -m benchmark ([a-z]+)\b", text))
    assert verbs <= set(VERBS)
    assert set(re.findall(r"(?:`|benchmark )(?:run|report|status) ([a-z]\w*)", text)) <= experiments
