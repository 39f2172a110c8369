"""docs/extending.md as a reader follows it: in a copy of the repository, with each file pasted where the page says."""

import json

import pandas as pd

from tests.guides import ROOT, blocks, fenced_files
from tests.test_architecture import find_wrong_arrows

GUIDE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
VERBS = "benchmark/cli.py"


def test_the_page_fences_nothing_that_is_not_pasted_or_run():
    assert [language for language, _ in blocks(GUIDE)] == [
        "yaml",
        "python",
        "python",
        "python",
        "python",
        "python",
        "sh",
    ]
    assert [text for language, text in blocks(GUIDE) if language != "sh"] == list(fenced_files(GUIDE).values())


def test_the_page_leads_from_a_question_to_its_tables(shell):
    for name, text in fenced_files(GUIDE).items():
        path = shell.clone / name
        if name == VERBS:
            text = path.read_text(encoding="utf-8").replace("VERBS = {\n", f"VERBS = {{\n{text}", 1)
        else:
            assert not path.exists()
        path.write_text(text, encoding="utf-8")
    assert find_wrong_arrows(shell.clone) == {}
    ((_, commands),) = [block for block in blocks(GUIDE) if block[0] == "sh"]
    said = shell(commands)
    assert "Sharpness" in said
    numbers = pd.read_csv(shell.clone / "reports" / "build" / "sharp_numbers.csv")
    assert set(numbers["metric"]) == {"sharpness"}
    assert numbers["mean"].between(0, 0.25, inclusive="neither").all()
    differences = pd.read_csv(shell.clone / "reports" / "build" / "sharp_differences.csv")
    assert set(differences["method"]) == {"s_only"}
    assert differences[differences["metric"] == "auc"]["difference"].notna().all()
    (plan,) = json.loads(shell("python -m benchmark plans --json"))
    assert plan["name"].startswith("sharp-embedded-mimic-strict-")
    assert plan["name"] in said
