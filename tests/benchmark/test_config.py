"""What is composed, and what is refused in one line."""

from contextlib import nullcontext

import pytest
import torch

from benchmark.errors import UsageError
from benchmark.plan.config import Protocol, RectifierKind, check_device, list_names, load_arms, load_config
from benchmark.plan.stored import open_store


def test_defaults():
    config = load_config("table1", [])
    assert (config.experiment, config.dataset["name"], config.folds, config.seeds) == ("table1", "embedded-mimic", 5, 1)
    assert (config.protocol, config.rectifier) == (Protocol.strict, RectifierKind.auto)
    assert (config.schedule.name, config.methods) == ("short", ["all"])


def test_overrides():
    config = load_config(
        "table1",
        [
            "dataset=eicu-demo",
            "root=/some/where",
            "method=crl_mmnar:mmnar,zero_fill",
            "method.hidden=64",
            "seeds=3",
            "schedule=paper",
            "protocol=paper",
            "rectifier=off",
            "store=/a b/c",
        ],
    )
    assert config.dataset == {"name": "eicu-demo", "root": "/some/where"}
    assert config.methods == ["crl_mmnar:mmnar", "zero_fill"]
    assert config.hyper == {"hidden": 64}
    assert (config.seeds, config.schedule.batch_size, config.protocol, config.store) == (
        3,
        32,
        Protocol.paper,
        "/a b/c",
    )
    assert config.rectifier is RectifierKind.off


def test_dials_of_the_embedded_cohort():
    config = load_config("table1", ["dataset=embedded-eicu", "dataset.kappa=0", "dataset.mechanism=mar"])
    assert (config.dataset["preset"], config.dataset["kappa"], config.dataset["mechanism"]) == ("eicu", 0.0, "mar")
    assert config.dataset["beta"] is None


def test_places_and_options_of_mimic_need_no_prefix():
    given = ["dataset=mimic-iv", "root=/a", "note_root=/b", "cxr_root=/c", "encoder=org/name", "subset=cxr_era"]
    config = load_config("table1", [*given, "dataset.revision=abc", "landmark=discharge"])
    assert config.dataset == {
        "name": "mimic-iv", "root": "/a", "note_root": "/b", "cxr_root": "/c", "encoder": "org/name", "revision": "abc",
        "subset": "cxr_era", "observation_admit": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("experiment", "overrides", "message"),
    [
        ("tabel1", [], "unknown experiment 'tabel1'; did you mean table1"),
        ("table1", ["dataset=eicu-dmo"], "unknown dataset 'eicu-dmo'; did you mean eicu-demo"),
        ("table1", ["seed=3"], "unknown override 'seed'; did you mean seeds"),
        ("table1", ["dataset.kapa=3"], "unknown override 'dataset.kapa'; did you mean dataset.kappa"),
        ("table1", ["dataset=eicu-demo", "dataset.kappa=3"], "unknown override 'dataset.kappa'"),
        ("table1", ["schedule=long"], "unknown schedule 'long'; did you mean own?"),
        ("table1", ["seeds=many"], "seeds=many"),
        ("table1", ["protocol=lax"], "lax"),
        ("table1", ["folds=1"], "folds=1 is too small"),
        ("table1", ["n=0"], "n=0 is too small"),
        ("table1", ["landmark=discharge", "dataset=eicu-demo"], "unknown landmark of eicu-demo under protocol=strict"),
        (
            "table1",
            ["landmark=discharge", "dataset=mimic-iv", "protocol=paper"],
            "unknown landmark of mimic-iv under protocol=paper",
        ),
        ("table1", ["dataset=eicu-demo", "note_root=/a"], "unknown override 'note_root'"),
        ("table1", ["dataset=mimic-iv", "dataset.subst=a"], "did you mean dataset.subset"),
        ("table1", ["nonsense"], "write key=value"),
        ("table1", ["method.lr=nan"], "method.lr=nan is no number to compute with"),
        ("table1", ["method.penalties=[1,nan]"], "method.penalties=nan is no number"),
        ("table1", ["method.widths={a:[inf]}"], "method.widths.a=inf is no number"),
        ("table1", ["limits.minutes=nan"], "limits.minutes=nan is no number"),
        ("table1", ["limits.gib=inf"], "limits.gib=inf is no number"),
        ("table1", ["dataset.kappa=-inf"], "dataset.kappa=-inf is no number"),
        ("table1", ["schedule.lr_factor=nan"], "schedule.lr_factor=nan is no number"),
        ("table1", ["dataset.name=mimic-iv"], "dataset.name= is no dial: dataset=NAME chooses"),
        ("table1", ["device=cdua"], "device=cdua is no device: cpu, cuda or cuda:N"),
        ("table1", ["device=cuda:"], "device=cuda: is no device"),
        ("table1", ["device="], "device= is no device"),
        ("table1", ["store="], "store= is empty: name a folder"),
        ("table1", ["out= "], "out= is empty"),
        ("table1", ["built="], "built= is empty"),
        ("table1", ["++store="], "store= is empty"),
        ("table1", ["dataset=eicu-demo", "root="], "root= is empty"),
        ("table1", ["dataset=mimic-iv", "dataset.note_root="], "dataset.note_root= is empty"),
        ("table1", ["store=~nobody-of-this-name/x"], "~nobody-of-this-name is nobody's home folder"),
        ("table1", ["method="], "names no method"),
        ("table1", ["protocol=paper", "rectifier=offset"], "belong to protocol=strict"),
        ("table1", ["protocol=paper", "rectifier=hierarchical"], "belong to protocol=strict"),
    ],
)
def test_refusals_say_what_would_be_right(experiment, overrides, message):
    with pytest.raises(UsageError) as refused:
        load_config(experiment, overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dataset", list_names("dataset"))
def test_every_dataset_composes(dataset):
    assert load_config("smoke", [f"dataset={dataset}"]).dataset["name"] == dataset


def test_an_experiment_without_arms_is_one_configuration():
    (config,) = load_arms("table1", ["seeds=2"])
    assert (config.arm, config.arms, config.seeds) == (None, [], 2)


def test_each_arm_has_its_overrides_and_those_of_the_command_line():
    configs = load_arms("mechanisms", ["folds=2"])
    by_name = {c.arm: c for c in configs}
    assert [c.arm for c in configs] == [a["name"] for a in load_config("mechanisms", []).arms]
    assert (by_name["mcar_beta=0"].dataset["mechanism"], by_name["mcar_beta=0"].dataset["beta"]) == ("mcar", 0.0)
    assert by_name["kappa=3.2"].dataset["kappa"] == 3.2
    assert by_name["mnar"].dataset["kappa"] is None
    assert {c.folds for c in configs} == {2}


def test_an_arm_knows_all_arms_of_its_experiment_but_not_their_overrides():
    (config,) = load_arms("learning_curve", ["arm=n=1000"])
    assert (config.arm, config.n, len(config.arms)) == ("n=1000", 1000, 1)
    of = config.arms[0]["of"]
    assert [a["name"] for a in of] == [a["name"] for a in load_config("learning_curve", []).arms]
    assert of[0] == {"name": "n=500", "axis": "n", "value": 500}


def test_arms_can_be_chosen_and_an_unknown_one_is_refused():
    assert [c.arm for c in load_arms("learning_curve", ["arm=n=2000, n=500"])] == ["n=500", "n=2000"]
    with pytest.raises(UsageError, match="unknown arm of learning_curve 'n=501'; did you mean n=500"):
        load_arms("learning_curve", ["arm=n=501"])


@pytest.mark.parametrize(("experiment", "override"), [("learning_curve", "n=300"), ("mechanisms", "dataset.kappa=1")])
def test_what_the_arms_vary_cannot_be_set_as_well(experiment, override):
    with pytest.raises(UsageError, match=f"{override.split('=')[0]}= is what the arms of {experiment} vary"):
        load_arms(experiment, [override])


def test_an_experiment_speaks_of_some_datasets_only():
    with pytest.raises(UsageError, match="applies to embedded-mimic, embedded-eicu, not to eicu-demo"):
        load_arms("mechanisms", ["dataset=eicu-demo"])


@pytest.mark.parametrize("experiment", ["learning_curve", "mechanisms"])
def test_an_axis_has_no_value_twice(experiment):
    places = [
        (axis, value)
        for arm in load_config(experiment, []).arms
        for axis, value in {arm["axis"]: arm["value"], **arm.get("also", {})}.items()
    ]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    "path", ["~/x", "~/a b", "~/${store}", "~/it's", '~/"both\'"', "~/back\\slash", "~/[1,2]", "~/a=b"]
)
def test_a_path_is_taken_as_it_is_typed_with_the_home_folder_for_a_tilde(path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/of-a-test")
    overrides = [f"{key}={path}" for key in ("store", "out", "built")]
    config = load_config("table1", ["dataset=mimic-iv", *overrides, f"root={path}", f"dataset.cxr_root={path}"])
    places = {config.store, config.out, config.built, config.dataset["root"], config.dataset["cxr_root"]}
    assert places == {path.replace("~", "/home/of-a-test")}


def test_a_verb_without_an_experiment_reads_store_alike(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of-a-test")
    assert str(open_store(["store=~/x"]).root) == "/home/of-a-test/x"
    with pytest.raises(UsageError, match="store= is empty"):
        open_store(["store="])


@pytest.mark.parametrize(
    ("device", "count", "words"),
    [("cuda", 0, "none of this kind"), ("cuda:2", 2, "2 of this kind"), ("cuda:1", 2, None)],
)
def test_a_device_is_refused_where_this_machine_computes_and_has_it_not(monkeypatch, device, count, words):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with (
        nullcontext()
        if words is None
        else pytest.raises(UsageError, match=f"device={device}: this machine has {words}")
    ):
        check_device(load_config("table1", [f"device={device}"]))
    check_device(load_config("table1", [f"device={device}", "executor=dask"]))  # its workers may have one
