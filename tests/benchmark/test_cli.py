"""The command line as a user meets it: one command computes, a second does nothing, and faults are one line."""

import gzip
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from benchmark.cli import main
from results.cell import Cell
from results.storage.store import Store
from tests.benches import write
from tests.benchmark.conftest import SMALL
from tests.stores import stored

ROOT = Path(__file__).resolve().parent.parent.parent
CHEAP = ("method=logistic,s_only", "method.max_epochs=2")


def cells(folder):
    return {
        p.relative_to(folder): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not {"plans", "locks"} & set(p.parts)
    }


def one_line(err):
    """The error's line: the only one, but for notes of progress before it."""
    lines = [line for line in err.splitlines() if line and not line.startswith("building ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def test_run_then_status_then_report(cli, tmp_path):
    status, _, err = cli("run", "table1", "-j", "2", *SMALL, *CHEAP)
    assert status == 0, err
    assert "20 cells, 0 done before, 20 to do" in err
    before = cells(tmp_path / "cells")
    assert len(before) == 60

    status, _, err = cli("run", "table1", *SMALL, *CHEAP)
    assert (status, "20 done before, 0 to do" in err) == (0, True)
    assert cells(tmp_path / "cells") == before

    status, out, _ = cli("status", "table1", "--json")
    rows = json.loads(out)
    assert status == 0
    assert {row["done"] for row in rows} == {4}
    assert {row["method"] for row in rows} >= {"Logistic regression", "Ceiling (Bayes-optimal)"}

    status, out, _ = cli("report", "table1")
    assert (tmp_path / "out" / "table1.html").read_text().startswith("<!DOCTYPE html>")
    assert status == 0
    assert "Logistic regression" in out
    tidy = pd.read_csv(tmp_path / "out" / "table1.csv")
    assert list(tidy.columns) == [
        "experiment", "dataset", "landmark", "protocol", "task", "method", "variant", "group", "metric",
        "mean", "sd_seeds", "sd_folds", "folds", "seeds", "n", "positives", "status",
    ]  # fmt: skip
    assert {"logistic", "s_only", "ceiling", "ceiling_series", "oracle_features"} <= set(tidy["method"])
    assert (tmp_path / "out" / "table1.tex").read_text().startswith("\\documentclass")
    assert (tmp_path / "out" / "table1_published.csv").exists()

    path = next(tmp_path.rglob("fold-1/**/predictions.parquet"))
    flipped = bytearray(before[path.relative_to(tmp_path / "cells")])
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(flipped)
    assert cli("status", "table1", "--verify")[0] == 1
    status, _, err = cli("run", "table1", *SMALL, *CHEAP)
    assert (status, "19 done before, 1 to do" in err) == (0, True)
    assert "1 stored cells do not match their checksums" in err
    assert path.read_bytes() == before[path.relative_to(tmp_path / "cells")]
    assert cli("status", "table1", "--verify")[0] == 0


def test_a_run_hashes_each_stored_cell_once(cli, monkeypatch):
    few = (*SMALL, "landmark=icu_24h", "known=none", "method=logistic")
    assert cli("run", "table1", *few)[0] == 0
    looked, faults = [], Store.faults
    monkeypatch.setattr(Store, "faults", lambda store, planned: looked.append(planned.cell) or faults(store, planned))
    assert cli("run", "table1", *few)[0] == 0
    assert looked
    assert len(looked) == len(set(looked))


def test_a_cell_alone_equals_the_cell_inside_a_run(cli, tmp_path):
    assert cli("run", "table1", *SMALL, "method=s_only", "method.max_epochs=2", "known=none")[0] == 0
    whole = {
        p: b for p, b in cells(tmp_path / "cells").items() if p.name == "predictions.parquet" and "icu_24h" in p.parts
    }
    (tmp_path / "cells").rename(tmp_path / "before")
    assert (
        cli("run", "table1", "-j", "2", *SMALL, "landmark=icu_24h", "method=s_only,logistic", "method.max_epochs=2")[0]
        == 0
    )
    again = cells(tmp_path / "cells")
    assert whole
    assert all(again[p] == b for p, b in whole.items())


def test_hyper_parameters_and_variants_have_names_and_cells_of_their_own(cli, tmp_path):
    few = ("landmark=icu_24h", "known=none", "method.max_epochs=1")
    assert cli("run", "table1", *SMALL, *few, "method=crl_mmnar:concat,crl_mmnar:mmnar", "method.hidden=16")[0] == 0
    _, out, _ = cli("status", "table1", "--json")
    assert [row["method"] for row in json.loads(out)] == [
        "CRL-MMNAR (concat, max_epochs=1, hidden=16)",
        "CRL-MMNAR (mmnar, max_epochs=1, hidden=16)",
    ]


def test_a_failing_cell_is_recorded_shown_and_exit_1(cli, tmp_path, monkeypatch):
    from methods.logistic import Logistic

    def fail(self, train, valid):
        raise RuntimeError("the matrix is singular")

    monkeypatch.setattr(Logistic, "fit", fail)
    status, _, err = cli("run", "table1", *SMALL, *CHEAP, "landmark=icu_24h")
    assert status == 1
    assert "RuntimeError: the matrix is singular" in err
    status, out, _ = cli("status", "table1", "--json")
    assert {row["method"]: row["failed"] for row in json.loads(out)}["Logistic regression"] == 2
    assert status == 1
    _, out, _ = cli("report", "table1")
    assert "failed" in out
    tidy = pd.read_csv(tmp_path / "out" / "table1.csv")
    assert set(tidy[tidy["method"] == "logistic"]["status"]) == {"failed"}
    monkeypatch.undo()
    status, _, err = cli("run", "table1", *SMALL, *CHEAP, "landmark=icu_24h")
    assert (status, "2 to do" in err) == (0, True)


def test_a_killed_run_continues_where_it_was(cli, tmp_path, built):
    """SIGKILL in the middle: its other processes end, what was finished keeps its bytes, the rest follows, and the report is that of an
    unbroken run."""
    chosen = (*SMALL, "method=s_only,zero_fill", "method.max_epochs=12", "seeds=2")
    store = tmp_path / "cells"
    argv = [sys.executable, "-m", "benchmark", "run", "table1", "-j", "2", *chosen, f"store={store}", f"built={built}"]
    process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(stored(store)) < 4 and process.poll() is None:
        time.sleep(0.02)
    others = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(others) >= 4
    assert psutil.wait_procs(others, timeout=20)[1] == []
    finished = {p: b for p, b in cells(store).items() if ".writing-" not in str(p)}
    assert 12 <= len(finished) < 3 * 32, "the run was not killed in its middle"

    status, _, err = cli("run", "table1", "-j", "2", *chosen)
    assert status == 0, err
    after = cells(store)
    assert all(after[p] == b for p, b in finished.items())
    assert len([p for p in after if p.name == "cell.json"]) == 32
    assert cli("report", "table1")[0] == 0
    killed = (tmp_path / "out" / "table1.csv").read_bytes()
    store.rename(tmp_path / "aside")
    assert cli("run", "table1", *chosen)[0] == 0
    assert cli("report", "table1")[0] == 0
    assert (tmp_path / "out" / "table1.csv").read_bytes() == killed


def test_an_interrupt_says_how_to_go_on(cli, monkeypatch):
    from benchmark.verbs import run as verb

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "_execute", interrupt)
    status, _, err = cli("run", "table1", *SMALL, *CHEAP)
    assert status == 130
    assert "the same command continues" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "table1", "method=crl_mmmar"], "crl_mmnar"),
        (["run", "table1", "method=crl_mmnar:mmnr"], "did you mean mmnar"),
        (["run", "table1", "method=logistic", "method.hiden=3"], "method.hiden"),
        (["run", "table1", "method=crl_mmnar", "method.hidden=abc"], "hidden"),
        (["run", "table1", "method=crl_mmnar", "method.hidden=7"], "multiple of heads"),
        (["run", "table1", "dataset=mimic"], "unknown dataset 'mimic'; did you mean"),
        (["run", "table1", "dataset.kappa=-1"], "kappa must be a number from 0 to 10"),
        (["run", "table1", "dataset.world=flat"], "world must be one of factors"),
        (["run", "table1", "n=10"], "too few for folds=5"),
        (["run", "table1", "dataset=eicu", "n=10"], "n= is a dial of embedded cohorts"),
        (["run", "table1", "known=oracle"], "unknown known row 'oracle'"),
        (["run", "table1", "-j", "0"], "-j 0 is too small"),
        (["run"], "run needs an experiment: "),
        (["run", "table1", "--fast"], "--fast"),
        (["report", "table1"], "python -m benchmark run table1"),
        (["report", "table1", "--format", "docx"], "unknown format 'docx'; known: csv, html, tex, txt"),
        (["status", "tabel1"], "did you mean table1"),
        (["list", "metods"], "invalid choice"),
        (["data", "build"], "needs a dataset"),
        (["data", "build", "eicu-dmo"], "did you mean eicu-demo"),
        (["data", "verify", "embedded-mimic"], "nothing to verify"),
        (["data", "build", "eicu-demo", "root=/nowhere"], "no raw tables of eicu-demo in /nowhere"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(cli, argv, message):
    status, out, err = cli(*argv)
    assert (status, out) == (2, "")
    assert message in one_line(err)


def test_report_speed_writes_what_make_bench_measured(tmp_path, capsys):
    measured = write(tmp_path / "speed")
    assert main(["report", "speed", f"store={measured}", f"out={tmp_path / 'out'}"]) == 0
    assert "Raindrop, training step" in capsys.readouterr().out
    assert (tmp_path / "out" / "speed.html").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [("store={}/nowhere", "make bench"), ("sotre=x", "did you mean store"), ("n=3", "known: out, store")],
)
def test_report_speed_says_what_is_wrong_in_one_line(tmp_path, capsys, override, message):
    assert main(["report", "speed", override.format(tmp_path)]) == 2
    assert message in one_line(capsys.readouterr().err)


def test_a_missing_package_says_how_to_install(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "benchmark.verbs.list", None)
    status, out, err = cli("list", "methods")
    assert (status, out) == (2, "")
    assert "make install" in one_line(err)


def copied(data_root, folder):
    folder.mkdir()
    for path in (data_root / "eicu-demo").glob("*.csv.gz"):
        (folder / path.name).symlink_to(path)
    return folder


def rewritten(folder, name, change):
    path = folder / name
    with gzip.open(path, "rt", encoding="utf-8") as file:
        text = file.read()
    path.unlink()
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(change(text))


def truncated(folder, name):
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "lab.csv.gz").unlink(), ["lab"]),
        (lambda f: truncated(f, "vitalAperiodic.csv.gz"), ["vitalAperiodic"]),
        (lambda f: rewritten(f, "medication.csv.gz", lambda t: t.replace("drugorderoffset", "orderoffset", 1)),
         ["medication", "drugorderoffset"]),
        (lambda f: rewritten(f, "patient.csv.gz", lambda t: t + t.splitlines()[-1] + "\n"), ["patient", "twice"]),
    ],
    ids=["missing table", "truncated gz", "missing column", "duplicate stay"],
)  # fmt: skip
def test_unusable_raw_tables_are_named_in_one_line(cli, data_root, tmp_path, spoil, words):
    folder = copied(data_root, tmp_path / "raw")
    spoil(folder)
    status, _, err = cli("data", "build", "eicu-demo", f"root={folder}")
    assert status == 2
    last = [line for line in err.splitlines() if line][-1]
    assert last.startswith("error: ")
    assert all(word in last for word in words), last
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("file", "spoil"),
    [("outcomes.npy", lambda a: a * 2), ("outcomes.npy", lambda a: 1 - a), ("patient.npy", lambda a: a * 0)],
)
def test_a_built_cohort_that_was_altered_is_refused_in_one_line(cli, tmp_path, file, spoil):
    import numpy as np

    mine = f"built={tmp_path / 'mine'}"
    assert cli("data", "build", "embedded-mimic", "n=200", "dataset.draws=16", mine)[0] == 0
    for path in (tmp_path / "mine").rglob(file):
        np.save(path, spoil(np.load(path)))
    status, _, err = cli("run", "table1", *SMALL, "n=200", *CHEAP, mine)
    assert status == 2
    said = one_line(err)
    assert file in said
    assert "as it was built: build it again by python -m benchmark data build embedded-mimic" in said


def test_list_gives_one_json_document(cli):
    for what, name in (("methods", "crl_mmnar"), ("datasets", "eicu-demo"), ("experiments", "table1")):
        status, out, err = cli("list", what, "--json")
        assert (status, err) == (0, "")
        assert name in {row["name"] for row in json.loads(out)}


def test_data_describe_gives_the_documented_json(cli):
    status, out, _ = cli("data", "describe", "embedded-mimic", "--json", "n=200", "dataset.draws=16")
    described = json.loads(out)
    assert status == 0
    assert set(described) == {"icu_24h", "discharge", "stay"}
    for part in described.values():
        assert {"n", "flow", "tasks", "modalities", "patterns", "missing", "constant"} <= set(part)
        assert sum(p["n"] for p in part["patterns"]) == part["n"]
        assert set(part["flow"][0]) == {"step", "n"}


def test_the_seed_of_a_cell_is_its_names(cli):
    cell = Cell("d", "l", "strict", "m", "default", "off", "none", 0, 0)
    assert cell.draw_seed() == Cell(**{**cell.__dict__, "rectifier": "on"}).draw_seed()
    others = [
        Cell(**{**cell.__dict__, k: v}).draw_seed()
        for k, v in (("fold", 1), ("seed", 1), ("method", "n"), ("variant", "v"))
    ]
    assert len({cell.draw_seed(), *others}) == 5


def test_altered_labels_of_a_built_cohort_stop_a_run_and_are_listed_by_status(cli, tmp_path):
    argv = ("smoke", "n=100", "method=logistic", "landmark=icu_24h", "dataset.draws=16", f"built={tmp_path / 'own'}")
    assert cli("run", *argv)[0] == 0
    assert cli("status", "--verify", *argv)[0] == 0
    (path,) = (tmp_path / "own").glob("*/icu_24h/cohort/outcomes.npy")
    np.save(path, 1 - np.load(path))
    status, out, err = cli("run", *argv)
    assert (status, out, err.count("\n"), "outcomes.npy is not as it was built" in err) == (2, "", 1, True), err
    status, out, err = cli("status", "--verify", *argv, "--json")
    assert (status, [row["file"] for row in json.loads(out)]) == (1, ["icu_24h/cohort/outcomes.npy"])
    assert cli("data", "build", "embedded-mimic", "n=100", "dataset.draws=16", f"built={tmp_path / 'own'}")[0] == 0
    assert cli("run", *argv)[0] == 0
