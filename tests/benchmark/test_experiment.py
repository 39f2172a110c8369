import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.errors import UsageError
from benchmark.plan.config import load_config
from benchmark.plan.rows import select_known_rows, select_method_rows
from datasets.storage import GroundTruth
from methods import registry
from methods.base import NotApplicable
from methods.zero_fill import ZeroFill


def test_a_variant_may_have_a_name_of_its_own_to_print():
    titles = {
        row.variant: row.title
        for row in select_method_rows(load_config("table1", ["method=m3care,m3care:transductive,m3care:no_ln"]))
    }
    assert titles == {
        "default": "M3Care (bank inference)",
        "transductive": "M3Care (transductive: rows depend on their batch)",
        "no_ln": "M3Care (bank inference) (no_ln)",
    }


STAGES = {"vae_epochs": 60, "ot_steps": 50, "diffusion_epochs": 50}


@pytest.mark.parametrize("schedule", ["own", "paper", "short"])
def test_stages_whose_length_is_the_methods_are_cut_by_no_schedule_but_that_of_the_gate(schedule):
    asked = ["method=flexgen_ehr,flexgen_ehr:mean_fill,logistic"]
    scheduled = load_config("table1", [*asked, f"schedule={schedule}", "method.max_epochs=3"])
    for row in (row for row in select_method_rows(scheduled) if row.method == "flexgen_ehr"):
        assert {field: row.config[field] for field in STAGES} == STAGES
        assert row.config["max_epochs"] == 3
    for row in (row for row in select_method_rows(load_config("gate", asked)) if row.method == "flexgen_ehr"):
        assert {row.config[field] for field in STAGES} == {8}


def list_all(monkeypatch, experiment, *overrides, **beside):
    """Names and variants of the rows of ``method=all``, where the given methods name these variants in ``beside`` and others none."""
    for name in registry.infos():
        monkeypatch.setattr(registry.load(name), "beside", beside.get(name, ()))
    return [(row.method, row.variant) for row in select_method_rows(load_config(experiment, list(overrides)))]


def test_all_methods_include_the_variants_that_are_printed_beside_them(monkeypatch):
    plain = list_all(monkeypatch, "table1")
    beside = {"gru_d": ("pypots", "modality_as_sensor"), "crl_mmnar": ("concat",)}
    rows = list_all(monkeypatch, "table1", **beside)
    at = rows.index(("gru_d", "default"))
    assert rows[at + 1 : at + 3] == [("gru_d", "modality_as_sensor"), ("gru_d", "pypots")]
    assert rows[-2:] == [("crl_mmnar", "concat"), ("crl_mmnar", "default")]
    assert [row for row in rows if row[1] == "default"] == plain
    assert len(rows) == len(plain) + 3
    asked = "method=all,gru_d:pypots,gru_d:static_encoder"
    more = list_all(monkeypatch, "table1", asked, **beside)
    assert more == [*rows[: at + 3], ("gru_d", "static_encoder"), *rows[at + 3 :]]


def test_the_gate_a_first_look_and_methods_asked_for_by_name_have_no_rows_beside(monkeypatch):
    beside = {"gru_d": ("pypots",)}
    plain = list_all(monkeypatch, "table1")
    for experiment in ("gate", "smoke"):
        assert list_all(monkeypatch, experiment, **beside) == plain
    assert list_all(monkeypatch, "table1", "beside=false", **beside) == plain
    assert ("gru_d", "pypots") in list_all(monkeypatch, "smoke", "beside=true", **beside)
    assert list_all(monkeypatch, "table1", "method=gru_d", **beside) == [("gru_d", "default")]


def test_a_variant_printed_beside_must_exist(monkeypatch):
    with pytest.raises(UsageError, match="unknown variant of gru_d 'nonesuch'"):
        list_all(monkeypatch, "table1", gru_d=("nonesuch",))


def table4(*overrides):
    return select_method_rows(load_config("table4", list(overrides)))


def test_a_sweep_is_one_row_a_value_without_the_default():
    rows = table4()
    assert (rows[0].variant, rows[0].change) == ("default", {})
    swept = load_config("table4", []).sweep
    defaults = registry.load("crl_mmnar").Config()
    expected = [{f: v} for f, values in swept.items() for v in values if v != getattr(defaults, f)]
    assert [row.change for row in rows[1:]] == expected
    assert all(getattr(defaults, field) in values for field, values in swept.items())
    for row in rows[1:]:
        ((field, value),) = row.change.items()
        assert row.variant == f"{field}={value}"
        assert row.title == f"CRL-MMNAR ({field}={value})"
        if field != "lr":
            assert row.config[field] == value
        assert {k for k in row.config if row.config[k] != rows[0].config[k]} == {field}


def test_the_sweep_covers_the_ranges_of_the_papers_table_4():
    paper = pd.read_csv(Path(__file__).parents[2] / "results" / "published" / "paper.csv")
    paper = (
        paper[paper["table"] == "Table4"].pivot(index="method_or_row", columns="metric", values="mean").astype(float)
    )
    swept = load_config("table4", []).sweep
    names = {
        "lr": "Learning Rate", "weight_decay": "Weight Decay", "hidden": "Hidden Dimension", "dropout": "Dropout Rate",
        "lambda_con": "Contrastive Weight",
    }  # fmt: skip
    assert set(names) == set(swept)
    for field, name in names.items():
        assert (min(swept[field]), max(swept[field])) == (paper.loc[name, "range_low"], paper.loc[name, "range_high"])
        assert paper.loc[name, "default"] in swept[field]


def row_of(*overrides):
    """The only row of table1 under these overrides."""
    (row,) = select_method_rows(load_config("table1", list(overrides)))
    return row


def test_own_leaves_each_method_as_its_file_has_it():
    for name in ("grape", "gbdt", "raindrop"):
        own = dataclasses.asdict(registry.load(name).Config())
        assert row_of(f"method={name}", "schedule=own").config == own | {"rectifier": "off"}, name
    assert row_of("method=grape", "schedule=own", "schedule.max_epochs=3").config["max_epochs"] == 3


def test_a_schedule_is_for_methods_that_train_by_epochs():
    boosted = [row_of("method=gbdt", f"schedule={name}").config for name in ("own", "paper", "short")]
    assert boosted[0] == boosted[1] == boosted[2]


@pytest.mark.parametrize("name", ["zero_fill", "logistic", "gbdt", "crl_mmnar"])
def test_selection_reaches_every_method_and_its_cells(name):
    for rule in ("log_loss", "auc"):
        assert row_of(f"method={name}", f"selection={rule}").config["selection"] == rule
    assert row_of(f"method={name}").config["selection"] == "log_loss"
    with pytest.raises(UsageError, match=r"selection=log_loss\|auc sets it for all"):
        load_config("table1", [f"method={name}", "method.selection=auc"])


def test_a_swept_learning_rate_is_scaled_by_the_schedule_like_the_default():
    for schedule, factor in (("paper", 1.0), ("short", 1.4142)):
        lr = {row.change.get("lr"): row.config["lr"] for row in table4(f"schedule={schedule}", "seeds=1")}
        assert lr[1e-3] == pytest.approx(1e-3 * factor)
        assert lr[None] == pytest.approx(2e-4 * factor)


def test_a_variant_is_swept_under_its_own_name_and_fields_that_a_method_lacks_are_left_out():
    variants = [row.variant for row in table4("method=crl_mmnar:mmnar,s_only")]
    assert "mmnar+dropout=0.5" in variants
    assert "dropout=0.5" in variants
    assert sum("lambda_con" in v for v in variants) == 2


def test_what_a_sweep_varies_cannot_be_set_as_well():
    with pytest.raises(UsageError, match=r"method\.dropout= is what table4 varies"):
        table4("method.dropout=0.4")


def test_each_step_of_the_ladder_changes_one_thing():
    rows = select_method_rows(load_config("table2", []))
    assert [(row.variant, row.rectifier) for row in rows] == [("concat", "off"), ("mmnar", "off"), ("default", "on")]
    steps = [rows[0].config, rows[1].config, rows[2].config | {"rectifier": "off"}, rows[2].config]
    changed = [{k for k in a if a[k] != b[k]} for a, b in pairwise(steps)]
    assert changed == [{"fusion"}, {"reconstruct"}, {"rectifier"}]


@pytest.mark.parametrize(
    ("asked", "name", "kind"),
    [
        (["rectifier=on"], "on", "hierarchical"),
        (["rectifier=hierarchical"], "on", "hierarchical"),
        (["rectifier=on", "calibration=oof"], "on-oof", "hierarchical"),
        (["rectifier=offset"], "offset", "offset"),
        (["rectifier=shrunk", "calibration=oof"], "shrunk-oof", "shrunk"),
        (["rectifier=on", "protocol=paper"], "on", "on"),
        (["rectifier=off"], "off", "off"),
    ],
)
def test_a_rectifier_has_one_name_in_cells_and_its_kind_in_their_configuration(asked, name, kind):
    row = select_method_rows(load_config("table1", ["method=crl_mmnar", *asked]))[0]
    assert (row.rectifier, row.config["rectifier"]) == (name, kind)


def test_rectifier_on_holds_for_ablations_too():
    assert {row.rectifier for row in select_method_rows(load_config("table2", ["rectifier=on"]))} == {"on"}


def test_a_known_row_that_a_cohort_does_not_offer_is_left_out_but_a_typo_is_refused():
    offered = GroundTruth(predictions={"ceiling": np.zeros((1, 1))})
    config = load_config("mechanisms", [])
    assert [row.method for row in select_known_rows(config, None, offered)] == ["ceiling"]
    assert select_known_rows(config, None, GroundTruth()) == []
    with pytest.raises(UsageError, match="unknown known row 'ceilling'; did you mean ceiling"):
        select_known_rows(load_config("mechanisms", ["known=ceiling,ceilling"]), None, offered)


def test_the_reason_why_a_method_is_weak_comes_with_its_row(monkeypatch):
    info = registry.info
    monkeypatch.setattr(
        registry, "info", lambda name: dataclasses.replace(info(name), weak=f"{name} is short of breath")
    )
    rows = select_method_rows(load_config("worlds", ["method=s_only,crl_mmnar:mmnar"]))
    assert [row.weak for row in rows] == ["s_only is short of breath", "crl_mmnar is short of breath"]


def test_what_is_skipped_is_said_once_by_row_and_landmark(cli, monkeypatch):
    def fit(self, train, valid):
        raise NotApplicable("it reads reports, and this cohort has none")

    monkeypatch.setattr(ZeroFill, "fit", fit)
    status, _, err = cli(
        "run",
        "smoke",
        "n=160",
        "folds=2",
        "dataset.draws=16",
        "bootstrap=0",
        "method=zero_fill",
        "known=none",
        "seeds=2",
    )
    assert status == 0
    lines = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert lines == [
        f"skipped: zero_fill at {landmark}, 4 cells: it reads reports, and this cohort has none"
        for landmark in ("icu_24h", "discharge")
    ]
