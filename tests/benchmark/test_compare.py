"""compare and lock as a user meets them: what is printed, and with which exit status."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from benchmark.verbs.show_gate import COLUMNS
from results.gate.locked_csv import make_locked
from results.plan import Settings
from results.storage.store import Store
from tests.results.gate.test_judge import moved, table
from tests.stores import ROWS, fabricate

TWO = ROWS[1:3]
WORSE = [(*row[:5], 0.0) if row[0] == "cm_ae" else row for row in TWO]
SETTINGS = {"methods": ["all"], "hyper": {}, "dataset": {}, "landmark": None, "arm": None}


def store_at(root, experiment="gate", rows=TWO, **options):
    """A fabricated store of two methods at one landmark, whose plan can be chosen: its path as text."""
    shape = {"n": 120, "folds": 2, "landmarks": {"icu_24h": ("mortality_inhosp",)}}
    store, plan = fabricate(root, experiment=experiment, rows=rows, **shape, **options)
    store.write_plan(replace(plan, settings=Settings(SETTINGS), rectifier="auto"))
    return str(root)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A store with three seeds: few, but a spread."""
    return store_at(tmp_path_factory.mktemp("base"), seeds=3)


@pytest.fixture
def files(tmp_path):
    """Two locked CSVs, the second with one row that got worse and one that got better."""
    was = table(["a", "b", "c"])
    now = moved(moved(was, "b", "auc", -0.2), "c", "brier", -0.2)
    for name, values in (("was", was), ("now", now)):
        make_locked(values).to_csv(tmp_path / f"{name}.csv", index=False)
    return str(tmp_path / "was.csv"), str(tmp_path / "now.csv")


def test_the_same_twice_is_one_line_and_well(cli, files):
    status, out, err = cli("compare", files[0], files[0], "--gate")
    assert (status, out, err) == (0, "8 rows: 8 ok\n", "")


def test_what_got_worse_comes_first_and_breaks_the_gate(cli, files):
    status, out, _ = cli("compare", *files, "--gate")
    assert status == 3
    lines = out.splitlines()
    assert tuple(lines[0].split()) == COLUMNS
    first = lines[1].split()
    assert (first[0], first[3], first[6][:5], first[8]) == ("b", "auc", "-0.20", "worse")
    assert "better (to be locked: make lock)" in lines[-1]
    assert not any(line.endswith(" ok") for line in lines[1:-1])


def test_without_gate_the_status_is_that_of_a_command_that_worked(cli, files):
    assert cli("compare", *files)[0] == 0


def test_all_prints_the_rows_that_are_ok(cli, files):
    assert len(cli("compare", *files, "--all")[1].splitlines()) == 1 + 8 + 1


def test_json_is_one_document(cli, files):
    status, out, err = cli("compare", *files, "--gate", "--json")
    document = json.loads(out)
    assert (status, err) == (3, "")
    assert document["rows"][0]["verdict"] == "worse"
    assert sum(document["verdicts"].values()) == len(document["rows"]) == 8


def test_markdown_is_a_heading_and_tables(cli, files):
    status, out, _ = cli("compare", *files, "--markdown")
    assert (status, out.startswith("## Gate: red\n")) == (0, True)
    assert "| b | d | death | auc |" in out
    assert out.index("| worse |") < out.index("<details>") < out.index("| ok |")
    assert cli("compare", files[0], files[0], "--markdown")[1].startswith("## Gate: green\n")


def test_a_store_is_compared_with_a_store_by_the_spread_of_its_seeds(cli, base, tmp_path):
    status, out, err = cli("compare", base, base, "--gate")
    assert (status, err) == (0, "")
    assert out == "12 rows: 12 ok\n"
    status, out, _ = cli("compare", base, store_at(tmp_path / "worse", rows=WORSE), "--json")
    lost = [r for r in json.loads(out)["rows"] if (r["method"], r["metric"]) == ("cm_ae", "auc")]
    assert lost[0]["difference"] < -0.03


def test_a_failed_cell_is_missing_and_breaks_the_gate(cli, base, tmp_path):
    new = store_at(tmp_path / "failed", failed={("s_only", "icu_24h", 1)})
    status, out, _ = cli("compare", base, new, "--gate")
    assert status == 3
    assert out.splitlines()[1].split()[0] == "s_only"
    assert "4 missing" in out.splitlines()[-1]


def test_one_seed_says_that_there_is_no_tolerance(cli, base, tmp_path):
    single = store_at(tmp_path / "single")
    status, out, _ = cli("compare", single, base)
    assert (status, out.splitlines()[-1]) == (0, "12 rows: 12 without a tolerance (the base has one seed)")
    status, out, err = cli("compare", single, base, "--gate")
    assert (status, out) == (2, "")
    assert "has one seed" in err


def test_method_restricts_the_rows(cli, base):
    status, out, _ = cli("compare", base, base, "method=s_only,cm_ae", "--json")
    assert {row["method"] for row in json.loads(out)["rows"]} == {"s_only", "cm_ae", "all"}
    status, _, err = cli("compare", base, base, "method=s_onyl")
    assert (status, err) == (2, "error: unknown method 's_onyl'; did you mean s_only?\n")


def test_the_newest_plan_of_the_experiment_asked_for(cli, base, tmp_path):
    other = store_at(tmp_path / "other", experiment="table1")
    assert cli("compare", other, other, "table1")[0] == 0
    status, _, err = cli("compare", base, other)
    assert (status, "nothing stored for gate" in err) == (2, True)


def test_several_plans_of_one_dataset_are_to_be_chosen_from(cli, tmp_path):
    root = store_at(tmp_path / "two")
    plan = Store(root).plans("gate")[0]
    Store(root).write_plan(replace(plan, name="other", protocol="paper"))
    status, _, err = cli("compare", root, root)
    assert (status, "choose with protocol= or arm=" in err) == (2, True)
    assert cli("compare", root, root, "protocol=strict")[0] == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("nowhere", "nowhere"), "nowhere does not exist: name a locked CSV or a store's folder"),
        (("{tmp}", "{tmp}"), "nothing stored for gate store={tmp}"),
        (("{tmp}/bad.csv", "{tmp}/bad.csv"), "is not a locked CSV: it has no column method"),
        (("{tmp}/binary.csv", "{tmp}/binary.csv"), "cannot be read as a locked CSV"),
        (("{was}", "{other}"), "not the same cohort"),
        (("{was}", "{was}", "table9"), "unknown experiment 'table9'"),
        (("{was}",), "the following arguments are required: new"),
        (("{was}", "{was}", "--json", "--markdown"), "not allowed with argument"),
    ],
)
def test_what_cannot_be_compared_is_one_line(cli, files, tmp_path, argv, message):
    (tmp_path / "bad.csv").write_text("x\n1\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    make_locked(table(n=200)).to_csv(tmp_path / "other.csv", index=False)
    names = {"tmp": tmp_path, "was": files[0], "other": tmp_path / "other.csv"}
    status, out, err = cli("compare", *(a.format(**names) for a in argv))
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message.format(**names) in err


def test_lock_writes_what_compare_reads(cli, tmp_path):
    root = store_at(tmp_path / "twenty", seeds=20, rows=TWO[:1])
    status, _, err = cli("lock", root, str(tmp_path / "new" / "gate.csv"))
    assert (status, err) == (0, f"wrote {tmp_path}/new/gate.csv: 4 rows from 20 seeds\n")
    frame = pd.read_csv(tmp_path / "new" / "gate.csv")
    assert set(frame["seeds"]) == {20}
    assert cli("compare", str(tmp_path / "new" / "gate.csv"), root, "--gate")[:2] == (0, "4 rows: 4 ok\n")


@pytest.mark.parametrize(
    ("file", "message"),
    [("gate.csv", "3 seeds are too few to lock: 20 or more (seeds=20)"), ("gate", "is no CSV to write")],
)
def test_what_cannot_be_locked_is_one_line_and_leaves_no_file(cli, base, tmp_path, file, message):
    status, out, err = cli("lock", base, str(tmp_path / file))
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
    assert not (tmp_path / file).exists()
