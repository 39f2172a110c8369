"""Which stored plans a command applies to."""

from dataclasses import replace

import pytest

from benchmark.errors import UsageError
from benchmark.plan.config import load_config
from benchmark.plan.stored import choose_plans
from results.plan import Settings
from results.storage.store import Store
from tests.stores import made_plan


def plan(name, written, dataset="embedded-mimic", protocol="strict", n=1000, hyper=None, **settings):
    full = {
        "n": n,
        "landmark": None,
        "methods": ["all"],
        "hyper": hyper or {},
        "dataset": {"name": dataset, "kappa": None},
    } | settings
    return made_plan(
        name=name, experiment="table1", dataset=dataset, protocol=protocol, written=written, schedule="short", folds=5, n=n,
        settings=Settings(full),
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    plans = (
        plan("old", "2026-01-01"),
        plan("new", "2026-01-03", n=2000),
        plan("paper", "2026-01-02", protocol="paper"),
        plan("demo", "2026-01-02", dataset="eicu-demo", n=None),
        plan("wide", "2025-12-01", hyper={"hidden": 256}),
        replace(plan("mcar", "2025-12-02"), settings=Settings({"dataset": {"kappa": 0.0}, "hyper": {}})),
    )
    for p in sorted(plans, key=lambda p: p.written):
        store.write_plan(p)
    return store


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], ["paper", "new", "demo"]),
        (["dataset=embedded-mimic", "protocol=strict"], ["new"]),
        (["n=1000", "protocol=strict"], ["old"]),
        (["dataset=eicu-demo"], ["demo"]),
        (["method.hidden=256"], ["wide"]),
        (["dataset.kappa=0"], ["mcar"]),
        (["store=/elsewhere", "out=/x", "protocol=paper"], ["paper"]),
    ],
)
def test_the_newest_of_each_dataset_and_protocol_that_agrees(store, overrides, names):
    found = choose_plans(store, "table1", load_config("table1", overrides), overrides)
    assert sorted(p.name for p in found) == sorted(names)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seeds=3"], "nothing stored for table1 seeds=3"),
        (["bootstrap=3"], "bootstrap= does not choose among stored plans"),
    ],
)
def test_what_cannot_be_found_says_what_to_do(store, overrides, message):
    with pytest.raises(UsageError, match=message):
        choose_plans(store, "table1", load_config("table1", overrides), overrides)
