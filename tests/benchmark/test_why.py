"""``why``: the part of a key that changed, by name."""

import json

import pytest

from benchmark.cell import keys
from benchmark.cli import main
from benchmark.errors import UsageError
from benchmark.plan.config import load_arms, load_config
from benchmark.plan.plan import plan_run
from benchmark.plan.replan import restore_config
from results.plan import Plan, Settings
from results.storage.store import Store
from tests.stores import made_plan

TINY = ("n=160", "folds=2", "dataset.draws=16", "bootstrap=5", "landmark=icu_24h", "known=ceiling")
CHOSEN = ("method=s_only", "method.max_epochs=1")
NAME = "embedded-mimic/icu_24h/strict/s_only/default/rectifier-off/tuning-none/fold-1/seed-0"


@pytest.fixture(scope="module")
def store(built, tmp_path_factory):
    root = tmp_path_factory.mktemp("cells")
    assert main(["run", "table1", *TINY, *CHOSEN, f"store={root}", f"built={built}"]) == 0
    return Store(root)


@pytest.fixture
def why(store, built, capsys):
    def ask(cell, *overrides, root=store.root):
        capsys.readouterr()
        status = main(["why", cell, "--json", *overrides, f"store={root}", f"built={built}"])
        out, err = capsys.readouterr()
        return (json.loads(out), status) if status == 0 else (err, status)

    return ask


def changed(answer, part):
    return {c["what"]: (c["old"], c["new"]) for c in answer["changed"][part]}


@pytest.mark.parametrize("named", [NAME, "s_only/default/rectifier-off/tuning-none/fold-1/seed-0", "path", "file"])
def test_what_is_stored_stands(store, why, named):
    folder = next((store.root / NAME).iterdir())
    answer, status = why({"path": str(store.root / NAME), "file": str(folder / "cell.json")}.get(named, named))
    assert status == 0
    assert (answer["cell"], answer["verdict"], answer["changed"]) == (NAME, "stands", {})
    assert answer["key"][:16] == folder.name


def test_a_changed_setting(why):
    answer, _ = why(NAME, "method.max_epochs=2", "device=cuda")
    assert answer["verdict"] == "changed"
    assert set(answer["changed"]) == {"config"}
    assert changed(answer, "config") == {"method.config.max_epochs": (1, 2), "device": ("cpu", "cuda")}


def test_another_cohort(why):
    answer, _ = why(NAME, "n=120", "dataset.kappa=0")
    assert set(answer["changed"]) == {"cohort", "split"}
    assert changed(answer, "cohort")["n"] == (160, 120)
    assert changed(answer, "cohort")["dataset.kappa"] == (None, 0.0)


def test_another_split(why):
    answer, _ = why(NAME, "folds=3")
    assert set(answer["changed"]) == {"split"}
    assert changed(answer, "split")["folds"] == (2, 3)


def test_a_changed_file(why, monkeypatch):
    read = keys.Path.read_bytes
    edited = keys.ROOT / "methods" / "common" / "training.py"
    monkeypatch.setattr(keys.Path, "read_bytes", lambda path: read(path) + (b"# edited" if path == edited else b""))
    for cached in (keys.hash_sources, keys._hash_file):
        cached.cache_clear()
    try:
        answer, _ = why(NAME)
        ceiling, _ = why(NAME.replace("s_only", "ceiling"))
    finally:
        monkeypatch.undo()
        for cached in (keys.hash_sources, keys._hash_file):
            cached.cache_clear()
    assert set(answer["changed"]) == {"source"}
    ((name, (old, new)),) = changed(answer, "source").items()
    assert name == "methods/common/training.py"
    assert old != new
    assert len(old) == len(new) == 12
    assert ceiling["verdict"] == "stands"


def test_broken_failed_and_missing(store, why, tmp_path):
    import shutil

    copy = Store(shutil.copytree(store.root, tmp_path / "copy"))
    planned = next(p for p in copy.plans("table1")[0].cells if p.cell.name == NAME)
    (copy.folder(planned) / "predictions.parquet").write_bytes(b"")
    answer, _ = why(NAME, root=copy.root)
    assert (answer["verdict"], answer["faults"]) == ("broken", ["predictions.parquet"])
    record = store.record(planned)
    copy.write(planned, record | {"status": "failed", "reason": "out of memory", "metrics": []}, {})
    answer, _ = why(NAME, root=copy.root)
    assert (answer["verdict"], answer["stored"]["reason"]) == ("failed", "out of memory")
    shutil.rmtree(copy.folder(planned))
    assert why(NAME, root=copy.root)[0]["verdict"] == "not stored"


def test_a_plan_that_was_not_run_yet_is_compared_with_the_last_result_of_the_name(store, why, built, tmp_path):
    import shutil

    copy = Store(shutil.copytree(store.root, tmp_path / "copy"))
    config = load_config("table1", [*TINY, "method=s_only", "method.max_epochs=3", f"built={built}"])
    plan = plan_run(config)
    copy.write_plan(plan.plan)
    answer, _ = why(NAME, root=copy.root)
    assert answer["plan"] == plan.name
    assert changed(answer, "config") == {"method.config.max_epochs": (1, 3)}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            (NAME.replace("s_only", "s_onyl"),),
            f"no stored plan has a cell {NAME.replace('s_only', 's_onyl')!r}; the nearest: {NAME}",
        ),
        (("s_only",), "'s_only' is the name of 2 cells: "),
        ((NAME, "folds=1"), "folds=1 is too small"),
        ((NAME, "fold=3"), "unknown override 'fold'"),
        ((NAME, "landmark=discharge"), "as it would be planned now"),
        (("folds=3",), "why needs a cell"),
    ],
)
def test_what_cannot_be_answered_is_one_line(why, argv, message):
    said, status = why(*argv)
    lines = [line for line in said.splitlines() if not line.startswith("building ")]
    assert status == 2
    assert len(lines) == 1
    assert message in lines[0]


def test_an_empty_store(why, tmp_path):
    assert "no plan is stored" in why(NAME, root=tmp_path)[0]


def test_the_text_names_the_part_and_the_values(store, built, capsys):
    assert main(["why", NAME, "method.max_epochs=2", f"store={store.root}", f"built={built}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == NAME
    assert lines[-2:] == ["changed: config", "  method.config.max_epochs: 1 -> 2"]


@pytest.mark.parametrize(
    ("experiment", "overrides"),
    [
        (
            "table1",
            (
                "method=crl_mmnar:concat,logistic",
                "method.hidden=16",
                "protocol=paper",
                "schedule=paper",
                "rectifier=off",
            ),
        ),
        ("table4", ("method=zero_fill", "landmark=icu_24h", "seeds=2")),
    ],
)
def test_a_stored_configuration_makes_the_same_plan(experiment, overrides, built):
    config = load_config(experiment, ["n=160", "folds=2", "dataset.draws=16", f"built={built}", *overrides])
    plan = plan_run(config)
    stored = Plan.from_json(json.loads(json.dumps(plan.plan.to_json())))
    again = plan_run(restore_config(stored, [f"built={built}"]))
    assert again.name == plan.name
    assert [p.key for p in again.cells] == [p.key for p in plan.cells]


def test_an_override_is_read_under_the_protocol_of_the_plan(built):
    small = ["n=160", "folds=2", "dataset.draws=16", "method=s_only", "known=none", f"built={built}"]
    plan = plan_run(load_config("table1", [*small, "protocol=paper"])).plan
    stored = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    with pytest.raises(UsageError, match="belong to protocol=strict"):
        restore_config(stored, ["rectifier=shrunk"])


def test_an_arm_keeps_its_settings():
    config = load_arms("sites", ["dataset=embedded-eicu", "arm=sites"])[0]
    from benchmark.plan.plan import _convert_to_plain

    settings = _convert_to_plain({**vars(config), "schedule": vars(config.schedule)})
    settings["arms"] = [arm["name"] for arm in config.arms]
    again = restore_config(made_plan(settings=Settings(settings)), [])
    assert (again.split, again.arm, again.arms) == (config.split, "sites", [{"name": "sites"}])


def test_settings_of_another_version_are_one_line():
    with pytest.raises(UsageError, match="plan p was written by another version"):
        restore_config(made_plan(settings=Settings({"experiment": "table1", "flavour": "sweet"})), [])


def test_a_record_names_the_files_of_its_source(store):
    for planned in store.plans("table1")[0].cells:
        sources = store.record(planned)["sources"]
        assert "benchmark/cell/run_cell.py" in sources
        assert ("methods/s_only.py" in sources) == (planned.cell.method == "s_only")
        assert sources == keys.hash_source_files(*keys.list_cell_sources(planned.config))
