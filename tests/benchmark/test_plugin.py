"""A package of methods from outside, built and installed by pip into a folder of its own, used without a change to this repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmark.plan.config import load_config
from benchmark.plan.rows import select_method_rows
from methods.registry import PlugInWarning, UnreadableInfo, UnusableMethod
from tests.benchmark.conftest import SMALL

ROOT = Path(__file__).resolve().parent.parent.parent
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
FEW = (*SMALL, "landmark=icu_24h", "known=none", "method=nearest_mean,logistic")
BROKEN = r"plug-in method broken_info \(my_methods\.broken_info\) is left out: .*line 4: INFO must be a literal dict"
LACKS = r"method lacks_package cannot be imported: .*lacks_package\.py, line 3, ModuleNotFoundError: No module named 'a_package"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as pip builds it; setuptools, which torch depends on, is at hand without the network."""
    source = shutil.copytree(ROOT / "tests" / "plug_in", tmp_path_factory.mktemp("source") / "my-methods")
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", *OFFLINE, "--wheel-dir", out, source)
    return next(out.glob("my_methods-1.0-*.whl"))


@pytest.fixture
def installed(wheel, tmp_path):
    """A folder with the package in it, as in a user's environment."""
    pip("install", *OFFLINE, "--target", tmp_path / "environment", wheel)
    return tmp_path / "environment"


@pytest.fixture
def outside(installed, tmp_path, built):
    """Run a command line in a process that finds the package: (status, standard output, lines of standard error)."""

    def run(verb, *argv):
        places = (f"store={tmp_path / 'cells'}", f"out={tmp_path / 'out'}", f"built={built}")
        argv = [*argv, *(places if verb in ("run", "status", "report") else ())]
        environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "benchmark", verb, *argv], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if line.strip()]

    return run


def pip(*argv):
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, argv)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_list_has_the_one_that_works_and_warns_of_the_one_that_cannot_be_read(outside):
    status, out, err = outside("list", "methods", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    names = {name: row["title"] for name, row in rows.items()}
    assert rows["nearest_mean"]["origin"] == "my-methods 1.0"
    assert status == 0
    assert names["nearest_mean"] == "Nearest mean (plug-in)"
    assert {"crl_mmnar", "lacks_package"} < set(names)
    assert "broken_info" not in names
    assert len(err) == 1
    assert re.fullmatch(f"warning: {BROKEN}", err[0])


def test_check_holds_it_to_the_contract(outside):
    status, out, err = outside("check", "nearest_mean")
    assert status == 0, (out, err)


def test_run_and_report_and_a_change_of_its_own_modules(outside, installed, tmp_path):
    status, _, err = outside("run", "table1", "-j", "2", *FEW)
    assert status == 0, err
    assert any("4 cells, 0 done before, 4 to do" in line for line in err)
    assert [bool(re.match(f"warning: {BROKEN}", line)) for line in err if "warning" in line.lower()] == [True]

    status, out, err = outside("report", "table1")
    assert (status, "Nearest mean (plug-in)" in out) == (0, True), err
    tidy = pd.read_csv(tmp_path / "out" / "table1.csv")
    assert set(tidy["method"]) == {"nearest_mean", "logistic"}
    assert not {"failed", "missing"} & set(tidy["status"])

    with (installed / "my_methods" / "maths.py").open("a") as file:
        file.write("\n# another version of what nearest_mean imports\n")
    status, _, err = outside("run", "table1", *FEW)
    assert status == 0
    assert any("4 cells, 2 done before, 2 to do" in line for line in err), err


@pytest.mark.parametrize(("name", "fault"), [("lacks_package", LACKS), ("broken_info", BROKEN)])
def test_one_that_cannot_be_used_is_one_line_where_it_is_asked_for(outside, name, fault):
    status, out, err = outside("run", "table1", *SMALL, f"method={name}")
    assert (status, out, len(err)) == (2, "", 1), err
    assert re.match(f"error: .*{fault}", err[0])


def test_all_methods_are_those_that_can_be_used(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    with pytest.warns(PlugInWarning) as said:
        rows = {row.method for row in select_method_rows(load_config("table1", []))}
    assert {"nearest_mean", "crl_mmnar", "logistic"} <= rows
    assert not {"lacks_package", "broken_info"} & rows
    assert any(re.search(f"left out of method=all: {LACKS}", str(w.message)) for w in said)
    assert any(re.search(BROKEN, str(w.message)) for w in said)
    for name, error in (("lacks_package", UnusableMethod), ("broken_info", UnreadableInfo)):
        with pytest.raises(error, match=name):
            select_method_rows(load_config("table1", [f"method={name}"]))
