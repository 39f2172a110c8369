import pandas as pd
import pytest

from reports.cards import write_cards
from reports.frames.tidy import build_tidy_frame
from reports.report import ReportError
from tests.stores import fabricate

METHOD = {
    "name": "cm_ae", "title": "CM-AE (adapted)", "citation": "Ngiam et al.", "year": 2011, "family": "f", "based_on": "the paper",
    "uses_series": False, "rectifier": False, "weak": "",
    "docstring": "Equations.\n\nAdaptations:\n- one <of> them", "defaults": {"lr": 0.001},
    "grid": {"lr": [0.1, 0.01]}, "variants": {"subset": {"views": "subset"}, "plain": {}},
}  # fmt: skip
DATASET = {
    "name": "embedded-mimic", "description": "drawn", "licence": "MIT", "citation": "this suite", "cautions": ("No patient is in it.",),
    "landmarks": {"strict": ("icu_24h",)}, "on_request": (),
}  # fmt: skip


@pytest.fixture
def cards(tmp_path):
    store, plan = fabricate(tmp_path / "cells", failed=[("cm_ae", "discharge", f) for f in range(5)])
    rows = pd.DataFrame({"landmark": "icu_24h", "row": range(200), "sex": ["F"] * 120 + ["M"] * 75 + [None] * 5})
    store.write_groups(plan.name, rows)
    other = METHOD | {"name": "absent", "title": "Absent"}
    paths = write_cards(store.root, [METHOD, other], [DATASET, DATASET | {"name": "nowhere"}], tmp_path / "out")
    return {p.relative_to(tmp_path / "out").as_posix(): p.read_text(encoding="utf-8") for p in paths}, store, plan


def test_a_card_for_each(cards):
    assert set(cards[0]) == {
        "methods/cm_ae.md", "methods/absent.md", "datasets/embedded-mimic.md", "datasets/nowhere.md",
    }  # fmt: skip


def test_a_model_card_has_the_source_and_the_numbers_of_the_store(cards):
    texts, store, plan = cards
    text = texts["methods/cm_ae.md"]
    assert "- one <of> them" in text
    assert "| `lr` | 0.001 | 0.1, 0.01 |" in text
    assert "- `plain`: the defaults" in text
    frame = build_tidy_frame(store, plan)
    own = frame[(frame["method"] == "cm_ae") & (frame["task"] == "mortality_inhosp") & (frame["metric"] == "auc")]
    assert f"| {own['mean'].iloc[0]:.3f} ± {own['sd_folds'].iloc[0]:.3f} |" in text
    lines = [line for line in text.splitlines() if "(discharge)" in line]
    assert len(lines) == 2
    assert all(line.count("failed") == 6 for line in lines)


def test_a_model_card_says_why_a_method_is_weak_where_that_is_known(cards, tmp_path):
    assert "Below the plain network" not in cards[0]["methods/cm_ae.md"]
    (path,) = write_cards(cards[1].root, [METHOD | {"weak": "it reads S alone."}], [], tmp_path / "weak")
    line = next(
        line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("**Below the plain network**")
    )
    assert line.endswith("compares them: it reads S alone.")


def test_nothing_stored_says_how_to_run_it(cards):
    assert "Nothing is stored: `python -m benchmark run table1 method=absent`" in cards[0]["methods/absent.md"]
    assert "Nothing is stored of it" in cards[0]["datasets/nowhere.md"]


def test_a_data_card_has_outcomes_cautions_and_no_small_group(cards):
    texts, _, plan = cards
    text = texts["datasets/embedded-mimic.md"]
    t = plan.landmarks["icu_24h"].tasks["mortality_inhosp"]
    assert f"| In-hospital mortality (`mortality_inhosp`) | {t.n:,} | {t.positives:,} |" in text
    assert "- No patient is in it." in text
    assert "sex: F 120; M 75; unknown under 10." in text


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "out").write_text("a file, no folder")
    with pytest.raises(ReportError, match="choose another out=DIR"):
        write_cards(tmp_path / "cells", [], [DATASET], tmp_path / "out")
