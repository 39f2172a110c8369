"""Looking around: versions, help, lists, and what is said where Python is too old or a package is absent."""

import dataclasses
import json
import re
import sys
import tomllib
from enum import Enum
from pathlib import Path

import pytest

from benchmark import __main__ as entry
from benchmark import cli as command_line
from benchmark.cli import VERBS, main
from benchmark.overrides import OVERRIDES, STORED
from benchmark.plan.config import GROUPS, NOT_OVERRIDES, PATH_OPTIONS, CellLimits, RunConfig, list_names
from benchmark.plan.stored import CHOOSING
from benchmark.verbs.declarations import Declarations, import_declarations, read_declarations
from methods.registry import infos, read_info

ROOT = Path(__file__).resolve().parent.parent.parent
TYPES = {f.name: f.type for f in dataclasses.fields(RunConfig)}


def read_help(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    return capsys.readouterr().out


def test_the_version_is_that_of_the_project(capsys):
    assert main(["--version"]) == 0
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert capsys.readouterr().out == f"crl-mmnar-bench {version}\n"


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 6, 15), (2, 7, 18)])
def test_an_old_python_says_in_one_line_what_is_needed(monkeypatch, capsys, version):
    monkeypatch.setattr(sys, "version_info", version)
    assert entry.start(["list", "methods"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: this is Python {'.'.join(map(str, version))}, and 3.11 or newer is needed")
    assert "make install PYTHON=" in line


def test_a_python_that_is_new_enough_runs_the_command(capsys):
    assert entry.start(["--version"]) == 0


@pytest.mark.parametrize(
    ("argv", "package"),
    [(["list", "methods"], "rich"), (["run", "smoke"], "hydra"), (["status", "smoke"], "omegaconf")],
)
def test_absent_packages_are_one_line_that_says_how_to_install(monkeypatch, capsys, argv, package):
    for name in [n for n in sys.modules if n.startswith(("benchmark.verbs", "benchmark.plan", "benchmark.show"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: No module named '{package}")
    assert line.endswith("make install, then .venv/bin/python at the root of the clone")


def test_the_overrides_are_those_of_the_configuration():
    keys = {key.partition(".")[0] for key in OVERRIDES}
    assert keys == (set(TYPES) - NOT_OVERRIDES | {"method", *PATH_OPTIONS})
    limits = {f"limits.{f.name}" for f in dataclasses.fields(CellLimits)}
    assert limits == {key for key in OVERRIDES if key.startswith("limits.")}


def test_the_values_that_help_names_are_those_that_exist():
    import benchmark.plan.config as module

    enums = {k: getattr(module, str(t), None) for k, t in TYPES.items()}
    enums = {k: [e.value for e in t] for k, t in enums.items() if isinstance(t, type) and issubclass(t, Enum)}
    assert len(enums) == 8
    assert {key: OVERRIDES[key].split("|") for key in enums} == enums
    assert sorted(OVERRIDES["schedule"].split("|")) == list_names("schedule")
    assert set(GROUPS) <= set(OVERRIDES)


def test_what_chooses_among_stored_plans_is_what_status_and_report_list():
    assert {key for key in STORED if "." not in key} - {"store", "out"} == set(CHOOSING)


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_lists_the_overrides_that_its_verb_takes(capsys, verb):
    own = command_line.list_overrides(command_line._import_verb(verb))
    listed = re.findall(
        r"(?<![\w.])([a-z_]+(?:\.\w+)?)=", read_help(verb, capsys).partition("overrides, key=value:")[2]
    )
    assert listed == list(own)


def test_the_overrides_of_verbs_differ(capsys):
    assert "store=DIR" in read_help("store", capsys)
    assert "executor=" in read_help("run", capsys)
    assert "executor=" not in read_help("status", capsys)
    assert "protocol=" not in read_help("audit", capsys)
    assert "overrides" not in read_help("new", capsys)


def test_methods_are_listed_with_variants_hyper_parameters_and_origin(capsys):
    assert main(["list", "methods", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["logistic"]["defaults"]["max_iter"] == 300
    assert rows["logistic"]["grid"]["penalties"][0] == [1e-5]
    assert rows["mt"]["variants"]["wide"] == {"hidden": 128, "layers": 4}
    assert {row["origin"] for row in rows.values()} >= {"this repository"}
    assert main(["list", "methods"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("grape "))
    assert "feature, joint, all_edges" in line
    assert line.rstrip().endswith("this repository")


@pytest.mark.parametrize("name", [name for name, info in infos().items() if not info.is_plug_in])
def test_what_is_read_of_a_source_is_what_its_import_gives(name):
    assert read_declarations(infos()[name]) == import_declarations(name)


def test_one_method_is_listed_as_imported(capsys):
    assert main(["list", "methods", "logistic"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"method\.penalties +\(0\.0001, .*\[1e-05\], ", out)
    assert re.search(r"^ *selection +log_loss", out, re.MULTILINE)
    assert main(["list", "methods", "mt", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["defaults"]["tau_first"] == 1.0
    assert main(["list", "methods", "logistics"]) == 2
    assert main(["list", "datasets", "logistic"]) == 2
    assert "list datasets takes no name" in capsys.readouterr().err


INFO = 'INFO = {"title": "A", "citation": "c", "year": 2024, "family": "f", "based_on": "b"}\n'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (  # a variant by a name and a union, a field that another dataclass gives
            "from methods.base import Method\nfrom methods.common.training import TrainingConfig as T\n"
            "BASE = {'width': 2}\nclass Config(T):\n    lr: float = 1.0\n    width: int = -1\n"
            "class A(Method):\n    Config = Config\n    variants = {'wide': BASE | {'lr': 2.0}, **{'b': {}}}\n",
            (-1, {}, {"wide": {"width": 2, "lr": 2.0}, "b": {}}),
        ),
        (  # a grid that has to be run to be known: None for it alone
            "from methods.base import Method\nclass A(Method):\n    class Config:\n        width: int = 3\n"
            "    grid = {'width': list(range(3))}\n    variants = {}\n",
            (3, None, {}),
        ),
        ("class A:\n    pass\n", (None, None, None)),  # no method
    ],
)
def test_a_source_is_read_as_far_as_it_is_literal(tmp_path, source, expected):
    file = tmp_path / "a.py"
    file.write_text(INFO + source, encoding="utf-8")
    found = read_declarations(read_info(file, "a", "a"))
    width = None if found.defaults is None else found.defaults["width"]
    assert (width, found.grid, found.variants) == expected
    assert isinstance(found, Declarations)
