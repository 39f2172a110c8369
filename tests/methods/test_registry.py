"""Reading INFO without importing, plug-ins, and errors by name."""

import subprocess
import sys
import textwrap
import warnings
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

from methods import registry
from methods.base import Method

METHODS = Path(__file__).parents[2] / "methods"
INFO = '{"title": "A", "citation": "c", "year": 2020, "family": "f", "based_on": "b"}'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    return tmp_path


def plug_in(path, monkeypatch, name, source, entry):
    (path / f"{name}.py").write_text(source)
    info = path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{entry}\n")
    monkeypatch.syspath_prepend(str(path))


def test_lists_this_repositorys_methods_with_sane_entries():
    found = registry.infos()
    assert {"crl_mmnar", "gbdt", "logistic", "s_only", "zero_fill", "mean_impute"} <= set(found)
    assert not {"base", "registry", "training", "layers", "plain_mlp"} & set(found)
    assert [n for n, i in found.items() if i.rectifier] == ["crl_mmnar"]
    assert all(i.file.is_file() and 1900 < i.year < 2100 and i.title for i in found.values())
    assert len({i.title for i in found.values()}) == len(found)


def test_listing_imports_neither_torch_nor_sklearn():
    code = (
        "import sys; from methods import registry; registry.infos(); assert not {'torch', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=registry.FOLDER.parent)


@pytest.mark.parametrize("name", list(registry.infos()))
def test_loads_a_method_whose_contract_is_filled_in(name):
    cls = registry.load(name)
    assert issubclass(cls, Method)
    defaults = cls.Config()
    assert all(hasattr(defaults, key) for key in cls.grid)
    assert all(hasattr(defaults, key) for changes in cls.variants.values() for key in changes)
    assert registry.source_file(name) in (METHODS / f"{name}.py", METHODS / name / "__init__.py")


def test_unknown_name_lists_the_nearest():
    with pytest.raises(registry.UnknownMethod, match=r"'crl_mnar'; nearest: crl_mmnar") as caught:
        registry.info("crl_mnar")
    assert "\n" not in str(caught.value)


def test_reads_files_and_packages_without_running_them(folder):
    (folder / "a.py").write_text(f"raise RuntimeError\nINFO = {INFO}\n")
    (folder / "p").mkdir()
    (folder / "p" / "__init__.py").write_text(f"INFO: dict = {INFO}\n")
    (folder / "none.py").write_text("x = 1  # no INFO here\n")
    assert {n: (i.title, i.module, i.uses_series) for n, i in registry.infos().items()} == {
        "a": ("A", "methods.a", False),
        "p": ("A", "methods.p", False),
    }


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ('INFO = {"title": name}', "line 1: INFO must be a literal"),
        ("INFO = {'title': 'A'}", "lacks 'citation'"),
        (f"INFO = {INFO[:-1]}, 'yaer': 3}}", "unknown keys yaer"),
        (f"INFO = {INFO.replace('2020', 'None')}", "must be int"),
        (f"INFO = {INFO[:-1]}, 'weak': ['few', 'stays']}}", r"INFO\['weak'\] must be str"),
        (f"INFO = {INFO}\ndef fit(:\n", "line 2: invalid syntax"),
    ],
)
def test_an_info_that_cannot_be_read_names_its_file_and_fault(folder, source, fault):
    (folder / "bad.py").write_text(source)
    with pytest.raises(registry.UnreadableInfo, match=rf"bad\.py.*{fault}"):
        registry.infos()


def test_plug_in_is_found_and_loaded(tmp_path, monkeypatch):
    source = f"""
        from methods.base import Method
        from methods.logistic import Logistic
        INFO = {INFO}
        class Mine(Method):
            pass
    """
    plug_in(tmp_path, monkeypatch, "plug_one", textwrap.dedent(source), "mine = plug_one")
    assert registry.info("mine").file == tmp_path / "plug_one.py"
    assert registry.load("mine").__name__ == "Mine"


@pytest.mark.parametrize(
    ("source", "entry", "fault"),
    [
        ("INFO = broken(", "mine = plug_two", "never closed"),
        ("x = 1", "mine = plug_two", "has no INFO"),
        (f"INFO = {INFO}", "mine = plug_absent", "cannot be found"),
        (f"INFO = {INFO}", "mine = plug_two.json", "cannot be found"),
        (f"INFO = {INFO}", "gbdt = plug_two", "exists already, in .*gbdt/__init__.py"),
        (f"INFO = {INFO}", "all = plug_two", "method=all stands for every method"),
        (f"INFO = {INFO}", "my-method = plug_two", "small letters, digits and underscores"),
    ],
)
def test_plug_in_that_cannot_be_read_is_a_warning_that_names_it(tmp_path, monkeypatch, source, entry, fault):
    plug_in(tmp_path, monkeypatch, "plug_two", source, entry)
    with pytest.warns(registry.PlugInWarning, match=rf"plug-in method {entry.split()[0]} .*{fault}"):
        found = registry.infos()
    assert not {"mine", "all", "my-method"} & set(found)
    assert found["gbdt"].module == "methods.gbdt"
    if not entry.startswith("gbdt"):
        with pytest.raises(registry.UnreadableInfo, match=fault):
            registry.load(entry.split()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.load("logistic")


class Editable:
    """Finds one module by a mapping, as an editable install does."""

    def __init__(self, name, file):
        self.name, self.file = name, file

    def find_spec(self, name, path=None, target=None):
        return spec_from_file_location(name, self.file) if name == self.name else None


def test_an_editable_install_is_found(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "edited.py").write_text(f"INFO = {INFO}\n")
    plug_in(tmp_path, monkeypatch, "anything", "", "mine = plug_edited")
    monkeypatch.setattr(
        sys, "meta_path", [*sys.meta_path, Editable("plug_edited", tmp_path / "elsewhere" / "edited.py")]
    )
    assert registry.info("mine").file == tmp_path / "elsewhere" / "edited.py"


FIELDS = """from dataclasses import dataclass
from methods.base import Method
@dataclass(frozen=True)
class C:
    hidden: int = 1
class A(Method):
    Config = C
"""


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("plug_lacks", "import no_such_package", r"plug_lacks\.py, line 2, ModuleNotFoundError: .*no_such_package"),
        ("plug_typo", "x = undefined_name", r"plug_typo\.py, line 2, NameError"),
        (
            "plug_config",
            "from methods.base import Method\nclass A(Method):\n    Config = dict",
            "A.Config must be a dataclass",
        ),
        ("plug_grid", FIELDS + "    grid = {'hiden': [1]}", "A's grid names 'hiden', no field .* nearest: hidden$"),
        (
            "plug_variant",
            FIELDS + "    variants = {'narrow': {'hiden': 1}}",
            "A's variant 'narrow' names 'hiden', no field .* nearest: hidden$",
        ),
    ],
)
def test_a_method_that_cannot_be_used_names_its_file_and_fault(tmp_path, monkeypatch, name, source, fault):
    plug_in(tmp_path, monkeypatch, name, f"INFO = {INFO}\n{source}\n", f"mine = {name}")
    assert registry.info("mine").is_plug_in
    assert not registry.info("gbdt").is_plug_in
    with pytest.raises(registry.UnusableMethod, match=fault):
        registry.load("mine")


def test_the_class_must_be_unambiguous(tmp_path, monkeypatch):
    two = f"from methods.base import Method\nINFO = {INFO}\nclass A(Method): pass\nclass B(Method): pass\n"
    plug_in(tmp_path, monkeypatch, "plug_three", two, "three = plug_three")
    with pytest.raises(registry.UnusableMethod, match=r"found A, B"):
        registry.load("three")
    named = two.replace('"year"', '"class": "B", "year"')
    plug_in(tmp_path, monkeypatch, "plug_four", named, "four = plug_four")
    assert registry.load("four").__name__ == "B"
