"""What a cell's key hashes: the method's file and all it imports, and nothing else."""

from pathlib import Path

import pytest

from benchmark.cell import keys

ROOT = Path(keys.ROOT)


def names(*paths):
    return {p.relative_to(ROOT).as_posix() for p in keys.find_import_closure(*[ROOT / p for p in paths])}


def test_imports_are_followed():
    found = names("methods/zero_fill.py")
    assert {"methods/zero_fill.py", "methods/base.py", "methods/common/training.py", "datasets/cohort.py"} <= found
    assert (
        not {"methods/gbdt/__init__.py", "benchmark/cli.py", "datasets/synthetic/cohort.py", "reports/formats/latex.py"}
        & found
    )


def test_a_cell_stands_on_its_runner_but_not_on_the_command_line():
    found = names("benchmark/cell/run_cell.py")
    assert {"results/metrics/scores.py", "methods/common/rectifier/strength.py", "benchmark/cell/splits.py"} <= found
    assert not any(name.startswith(("reports/", "benchmark/cli", "benchmark/verbs", "methods/crl")) for name in found)


def test_the_hash_changes_with_an_imported_file(tmp_path, monkeypatch):
    for package in keys.PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "methods" / "a.py").write_text("from methods import b\n")
    (tmp_path / "methods" / "b.py").write_text("X = 1\n")
    (tmp_path / "methods" / "c.py").write_text("Y = 1\n")
    monkeypatch.setattr(keys, "ROOT", tmp_path)

    def fresh():
        keys.find_imported_modules.cache_clear()
        keys.hash_sources.cache_clear()
        return keys.hash_sources(tmp_path / "methods" / "a.py")

    before = fresh()
    (tmp_path / "methods" / "c.py").write_text("Y = 2\n")
    assert fresh() == before
    (tmp_path / "methods" / "b.py").write_text("X = 2\n")
    assert fresh() != before


def test_the_reason_why_a_method_is_weak_is_no_part_of_the_hash(tmp_path, monkeypatch):
    """It is written when the method has run; in whatever form, and only as an entry of INFO."""
    (tmp_path / "methods").mkdir()
    monkeypatch.setattr(keys, "ROOT", tmp_path)
    path = tmp_path / "methods" / "a.py"

    def fresh(info, rest="X = 1", name="INFO"):
        path.write_text(f'"""A method."""\n\n{name} = {{{info}}}\n{rest}\n')
        for cached in (keys.find_imported_modules, keys.hash_sources, keys._hash_file):
            cached.cache_clear()
        return keys.hash_sources(path), *keys.hash_source_files(path).values()

    plain = fresh('"title": "A", "year": 1')
    assert fresh('"title": "A", "year": 1, "weak": "few stays"') == plain
    assert (
        fresh('\n    "title": "A",\n    "weak": (\n        "few "\n        "stays"\n    ),\n    "year": 1,\n') == plain
    )
    annotated = fresh('"title": "A"', name="INFO: dict")
    assert fresh('"title": "A", "weak": "few stays"', name="INFO: dict") == annotated
    assert fresh('"title": "B", "year": 1') != plain
    assert fresh('"title": "A", "year": 1', 'X = {"weak": "few stays"}') != plain
    assert fresh('"title": "A", "year": 1', "X = 2") != plain


def plug_in(folder):
    """A package with a method in a sub-package, what it imports, and what it does not."""
    files = {
        "pack/__init__.py": "",
        "pack/maths.py": "from methods.common import layers\nX = 1\n",
        "pack/deep/__init__.py": "",
        "pack/deep/method.py": "import numpy\nimport beside\nfrom pack import maths\nfrom . import near\nfrom ..far import Y\n",
        "pack/deep/near.py": "X = 1\n",
        "pack/far.py": "Y = 1\n",
        "pack/unread.py": "X = 1\n",
        "beside.py": "X = 1\n",
        "numpy/__init__.py": "X = 1\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "pack" / "deep" / "method.py"


def test_a_plug_in_stands_on_its_own_package_and_on_what_it_imports_from_this_project(tmp_path):
    method = plug_in(tmp_path)
    found = keys.find_import_closure(method)
    assert {p.relative_to(tmp_path).as_posix() for p in found if p.is_relative_to(tmp_path)} == {
        "beside.py", "pack/__init__.py", "pack/maths.py", "pack/far.py",
        "pack/deep/__init__.py", "pack/deep/method.py", "pack/deep/near.py",
    }  # fmt: skip
    assert {p.relative_to(ROOT).as_posix() for p in found if p.is_relative_to(ROOT)} == {
        "methods/common/__init__.py", "methods/common/layers.py",
    }  # fmt: skip


@pytest.mark.parametrize(
    "file", ["pack/far.py", "pack/deep/near.py", "pack/__init__.py", "beside.py", "pack/unread.py"]
)
def test_the_hash_of_a_plug_in_changes_with_its_own_modules_alone(tmp_path, file):
    hashes = []
    for folder, text in (("a", None), ("elsewhere/b", None), ("c", "Y = 2\n")):
        method = plug_in(tmp_path / folder)
        if text:
            (tmp_path / folder / file).write_text(text)
        hashes.append(keys.hash_sources(ROOT / "benchmark" / "cell" / "run_cell.py", method))
    assert hashes[0] == hashes[1]
    assert (hashes[0] == hashes[2]) == (file == "pack/unread.py")


@pytest.mark.parametrize("how", ["importlib.import_module('pack.' + 'unread')", "__import__('pack.unread')"])
def test_a_plug_in_that_imports_at_run_time_stands_on_its_whole_package(tmp_path, how):
    hashes = []
    for folder, text in (("a", "X = 1\n"), ("b", "X = 2\n")):
        method = plug_in(tmp_path / folder)
        (tmp_path / folder / "pack" / "maths.py").write_text(f"import importlib\n{how}\n")
        (tmp_path / folder / "pack" / "unread.py").write_text(text)
        hashes.append(keys.hash_sources(method))
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("file", ["weights.json", "deep/tables/INFO.csv"])
def test_a_plug_in_stands_on_the_data_files_of_its_package(tmp_path, file):
    hashes = []
    for folder, text in (("a", "INFO,1"), ("b", "INFO,2")):
        method = plug_in(tmp_path / folder)
        (tmp_path / folder / "pack" / file).parent.mkdir(exist_ok=True)
        (tmp_path / folder / "pack" / file).write_text(text)
        hashes.append(keys.hash_sources(method))
    assert hashes[0] != hashes[1]


def test_a_plug_in_stands_on_the_version_of_its_distribution(tmp_path, monkeypatch):
    method, hashes = plug_in(tmp_path), []
    monkeypatch.syspath_prepend(str(tmp_path))
    for version in ("1.0", "1.1"):
        info = tmp_path / f"pack-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pack\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[crl_mmnar_bench.methods]\nmine = pack.deep.method\n")
        keys.hash_sources.cache_clear()
        hashes.append((keys.hash_sources(method), keys.hash_source_files(method)["version of pack"]))
        (info / "entry_points.txt").unlink()
        (info / "METADATA").unlink()
        info.rmdir()
    assert (hashes[0][0] != hashes[1][0], hashes[0][1], hashes[1][1]) == (True, "1.0", "1.1")


def test_an_environment_inside_the_clone_is_not_the_project(tmp_path, monkeypatch):
    outside = keys.hash_sources(plug_in(tmp_path / "outside"))
    monkeypatch.setattr(keys, "ROOT", tmp_path / "clone")
    for package in ("methods/common", "environment"):
        (tmp_path / "clone" / package).mkdir(parents=True)
    for file in ("common/__init__.py", "common/layers.py"):
        (tmp_path / "clone" / "methods" / file).write_bytes((ROOT / "methods" / file).read_bytes())
    assert keys.hash_sources(plug_in(tmp_path / "clone" / "environment")) == outside
