"""The store as a user meets it: verify, merge, export, and disks that cannot be written."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from results.plan import Settings
from results.storage.store import Store
from tests.stores import ROWS, fabricate

TINY = (
    "n=160",
    "folds=2",
    "dataset.draws=16",
    "bootstrap=5",
    "landmark=icu_24h",
    "known=none",
    "schedule.max_epochs=1",
)
SMALL = {"n": 40, "folds": 2, "rows": ROWS[:2], "landmarks": {"icu_24h": ("mortality_inhosp",)}}


def one_line(err):
    lines = [line for line in err.splitlines() if line and not line.startswith(("building ", "warning: "))]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def embedded(root, **options):
    """a fabricated store that ``status`` can report on."""
    store, plan = fabricate(root, **{**SMALL, **options})
    settings = Settings({"landmark": None, "methods": ["all"], "hyper": {}, "dataset": {}})
    store.write_plan(replace(plan, settings=settings))
    return store, plan


def test_verify_lists_broken_cells_and_files(cli, tmp_path):
    store, plan = embedded(tmp_path / "cells")
    first, second, *_ = plan.cells
    status, out, err = cli("status", "table1", "--verify")
    assert (status, out) == (0, "")
    assert "4 of 4 cells are stored, 0 of them broken" in err
    (store.folder(first) / "predictions.parquet").write_bytes(b"PAR1")
    (store.folder(second) / "cell.json").unlink()
    status, out, err = cli("status", "table1", "--verify", "--json")
    assert status == 1
    assert [(row["cell"], row["file"]) for row in json.loads(out)] == [
        (first.cell.name, "predictions.parquet"), (second.cell.name, "cell.json"),
    ]  # fmt: skip
    assert "the next run computes them again: python -m benchmark run table1" in err
    status, out, _ = cli("status", "table1", "--json")
    assert status == 1
    assert [(row["done"], row["broken"]) for row in json.loads(out)] == [(1, 1), (2, 0)]


def test_a_report_does_not_print_a_broken_number(cli, tmp_path):
    store, plan = embedded(tmp_path / "cells")
    path = store.folder(plan.cells[0]) / "cell.json"
    path.write_text(path.read_text().replace('"value": 0.', '"value": 0.9', 1))
    status, out, err = cli("report", "table1")
    assert (status, out) == (2, "")
    assert "cell.json does not match its checksum: run again to compute it" in one_line(err)
    assert not (tmp_path / "out").exists()


def test_two_halves_of_a_run_make_the_whole(cli, tmp_path):
    whole = ("table1", *TINY, "method=logistic,s_only")
    assert cli("run", "table1", *TINY, "method=logistic")[0] == 0
    elsewhere = f"store={tmp_path / 'elsewhere'}"
    assert cli("run", "table1", *TINY, "method=s_only", elsewhere)[0] == 0
    status, out, _ = cli("store", "merge", str(tmp_path / "elsewhere"), "--json")
    assert status == 0
    assert [(row["copied"], row["plans"]) for row in json.loads(out)] == [(2, 1)]
    status, _, err = cli("run", *whole)
    assert (status, "4 cells, 4 done before, 0 to do" in err) == (0, True)
    assert cli("report", "table1", "method=logistic,s_only")[0] == 0


def test_a_merge_names_what_it_leaves(cli, tmp_path):
    fabricate(tmp_path / "cells", **SMALL)
    there, plan = fabricate(tmp_path / "there", draw=1, **SMALL)
    first, second, *_ = plan.cells
    shutil.rmtree(there.folder(second))
    (there.folder(first) / "SHA256SUMS").unlink()
    status, out, err = cli("store", "merge", str(tmp_path / "there"))
    assert status == 1
    assert f"broken there, left out: {first.cell.name}/{first.key[:16]} (SHA256SUMS)" in err
    assert err.count("different results of the same key, ours is kept") == 2
    assert out.split()[:4] == ["source", "copied", "replaced", "same"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("store", "merge"), "store merge needs the folder of a store"),
        (("store", "merge", "nowhere"), "nowhere is no store"),
        (("store", "merge", "elsewhere", "seeds=3"), "unknown override 'seeds'"),
        (
            ("store", "export", "out"),
            "metrics and tables, no rows of patients, with groups under 10 suppressed: say --public",
        ),
        (("store", "export", "--public"), "store export needs a new folder"),
        (("store", "export", "out", "--public"), "nothing stored in"),
        (("store", "swap"), "invalid choice"),
    ],
)
def test_wrong_usage_is_one_line(cli, argv, message):
    status, out, err = cli(*argv)
    assert (status, out) == (2, "")
    assert message in one_line(err)


@pytest.mark.parametrize(
    "argv",
    [
        ("run", "table1", *TINY, "method=logistic"),
        ("status", "table1"),
        ("report", "table1"),
        ("why", "cm_ae/default/rectifier-off/tuning-none/fold-0/seed-0"),
        ("store", "merge", "{there}", "store={tmp}/empty"),
        ("store", "export", "{tmp}/public", "--public"),
        ("compare", "{there}", "{there}", "table1"),
        ("lock", "{there}", "{tmp}/locked.csv", "table1"),
        ("cards", "store={there}", "out={tmp}/out"),
        ("audit", "--docs", "store={there}"),
        ("audit", "--predictions", "{plan}"),
    ],
    ids=lambda argv: "-".join(argv[: 2 if argv[0] in ("store", "audit") else 1]),
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "has format 99, this version reads up to 2: use the newer version"),
        ({"landmarks": {"icu_24h": {}}}, "is not as it was written ('tasks'): remove it and run again"),
    ],
    ids=["later", "lacking"],
)
def test_a_plan_that_cannot_be_read_is_one_line_for_every_command(cli, tmp_path, argv, change, message):
    store, plan = embedded(tmp_path / "cells")
    path = store.root / "plans" / f"{plan.name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    status, out, err = cli(*(text.format(tmp=tmp_path, there=store.root, plan=path) for text in argv))
    assert (status, out) == (2, "")
    assert one_line(err) == f"error: {path}: plan {plan.name} {message}"


def test_export_writes_every_experiment_or_one(cli, tmp_path):
    fabricate(tmp_path / "cells", **SMALL)
    fabricate(tmp_path / "cells", experiment="table2", **SMALL)
    assert cli("store", "export", str(tmp_path / "all"), "--public")[0] == 0
    assert {p.name for p in (tmp_path / "all" / "tables").iterdir()} >= {"table1.csv", "table2.csv"}
    assert cli("store", "export", str(tmp_path / "one"), "table2", "--public")[0] == 0
    assert {p.name.split(".")[0].split("_")[0] for p in (tmp_path / "one" / "tables").iterdir()} == {"table2"}
    status, _, err = cli("store", "export", str(tmp_path / "one"), "table2", "--public")
    assert (status, "is not an empty folder" in one_line(err)) == (2, True)


def read_only(monkeypatch, root):
    """Whatever would write below ``root`` meets a read-only file system, also as root."""

    def refusing(original, writes=lambda *args: True):
        def call(path, *args, **kwargs):
            if str(path).startswith(str(root)) and writes(*args, *kwargs.values()):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return original(path, *args, **kwargs)

        return call

    for name in ("rename", "replace", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    monkeypatch.setattr(os, "mkdir", refusing(os.mkdir, lambda *args: True))
    monkeypatch.setattr(Path, "open", refusing(Path.open, lambda mode="r", *args: mode not in ("r", "rb")))
    monkeypatch.setattr(Path, "mkdir", refusing(Path.mkdir, lambda *args: not root.exists()))


def test_a_read_only_store_is_read_and_not_run(cli, tmp_path, monkeypatch):
    from benchmark.verbs import run as verb

    store, _ = embedded(tmp_path / "cells")
    read_only(monkeypatch, store.root)
    monkeypatch.setattr(verb, "_execute", lambda *args: pytest.fail("it computed"))
    assert cli("status", "table1", "--verify")[0] == 0
    assert cli("report", "table1")[0] == 0
    status, _, err = cli("run", "table1", *TINY, "method=s_only")
    assert status == 2
    assert "Read-only file system; choose another store=DIR" in one_line(err)


def test_a_run_after_the_clock_went_back_is_the_newest(cli, tmp_path):
    store = Store(tmp_path / "cells")
    embedded(store.root, written="2031-01-01T00:00:00", draw=1)
    embedded(store.root, written="2030-01-01T00:00:00", rows=ROWS[1:2], draw=2)
    _, out, _ = cli("status", "table1", "--json")
    assert [row["method"] for row in json.loads(out)] == ["CM-AE (adapted)"]
