"""What a cell's key hashes: the method's file and all it imports, and nothing else."""

from pathlib import Path

from benchmark import source

ROOT = Path(source.ROOT)


def names(*paths):
    return {p.relative_to(ROOT).as_posix() for p in source.closure(*[ROOT / p for p in paths])}


def test_imports_are_followed():
    found = names("methods/zero_fill.py")
    assert {"methods/zero_fill.py", "methods/base.py", "methods/training.py", "datasets/cohort.py"} <= found
    assert not {"methods/gbdt.py", "benchmark/cli.py", "datasets/synthetic.py", "reports/latex.py"} & found


def test_a_cell_stands_on_its_runner_but_not_on_the_command_line():
    found = names("benchmark/run_cell.py")
    assert {"results/metrics.py", "methods/rectifier.py", "benchmark/splits.py"} <= found
    assert not any(name.startswith(("reports/", "benchmark/cli", "benchmark/verbs", "methods/crl")) for name in found)


def test_the_hash_changes_with_an_imported_file(tmp_path, monkeypatch):
    for package in source.PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "methods" / "a.py").write_text("from methods import b\n")
    (tmp_path / "methods" / "b.py").write_text("X = 1\n")
    (tmp_path / "methods" / "c.py").write_text("Y = 1\n")
    monkeypatch.setattr(source, "ROOT", tmp_path)

    def fresh():
        source.imported_modules.cache_clear()
        source.source_hash.cache_clear()
        return source.source_hash(tmp_path / "methods" / "a.py")

    before = fresh()
    (tmp_path / "methods" / "c.py").write_text("Y = 2\n")
    assert fresh() == before
    (tmp_path / "methods" / "b.py").write_text("X = 2\n")
    assert fresh() != before
