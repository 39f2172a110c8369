import dataclasses
import math

import pytest

from results.cell import Cell, PlannedCell, check_record

CELL = Cell("eicu-demo", "icu_24h", "strict", "cm_ae", "default", "off", "none", 1, 0)


def record(**metric):
    one = {"split": "test", "task": "icu_90d", "metric": "auc", "value": 0.5, "reason": None}
    return {"status": "done", "metrics": [one | metric]}


def test_name_holds_every_field():
    assert CELL.name == "eicu-demo/icu_24h/strict/cm_ae/default/rectifier-off/tuning-none/fold-1/seed-0"
    for field in dataclasses.fields(Cell):
        other = dataclasses.replace(CELL, **{field.name: 7 if field.type == "int" else "other"})
        assert other.name != CELL.name


def test_seed_follows_the_name_but_for_the_rectifier():
    assert dataclasses.replace(CELL, rectifier="on").draw_seed() == CELL.draw_seed()
    others = [
        dataclasses.replace(CELL, **{k: v}) for k, v in {"fold": 2, "seed": 1, "method": "mt", "variant": "x"}.items()
    ]
    assert len({c.draw_seed() for c in (CELL, *others)}) == 5
    assert 0 <= CELL.draw_seed() < 2**32


def test_group_is_what_folds_and_seeds_share():
    assert dataclasses.replace(CELL, fold=4, seed=9).group == CELL.group
    assert dataclasses.replace(CELL, variant="x").group != CELL.group


def test_key_depends_on_every_part_and_not_on_their_order():
    key = PlannedCell(CELL, {}, {"a": "1", "b": "2"}, "CM-AE").key
    assert PlannedCell(CELL, {}, {"b": "2", "a": "1"}, "printed otherwise").key == key
    assert PlannedCell(CELL, {}, {"a": "1", "b": "3"}, "CM-AE").key != key


@pytest.mark.parametrize(
    "good",
    [
        {"status": "failed", "metrics": []},
        record(),
        record(value=None, reason="one class only"),
        record(metric="log_loss", value=3.2),
        record(metric="calibration_slope", value=-1.5),
    ],
)
def test_a_possible_record_passes(good):
    check_record(good)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"status": "finished", "metrics": []}, "'finished' is none of done, failed, skipped"),
        (record(value=1.2), "auc of icu_90d on test is 1.2, outside its range"),
        (record(metric="brier", value=-0.1), "brier of icu_90d on test is -0.1"),
        (record(metric="ece", value=2.0), "outside its range"),
        (record(metric="log_loss", value=math.inf), "outside its range"),
        (record(value=math.nan), "outside its range"),
        (record(value=None), "auc of icu_90d on test has neither a value nor a reason"),
    ],
)
def test_an_impossible_record_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        check_record(bad)
