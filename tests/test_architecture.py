"""Imports run one way, and what has to start fast imports nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"datasets", "results", "methods", "benchmark", "reports"}
ALLOWED = {
    "datasets": {"datasets"},
    "results": {"results"},
    "methods": {"methods", "datasets", "results"},
    "benchmark": {"benchmark", "methods", "datasets", "results"},
    "reports": {"reports", "results"},
}
SEES_REPORTS = {f"benchmark/verbs/{verb}.py" for verb in ("report", "cards", "store", "audit")}
HEAVY = {"datasets": {"torch", "sklearn"}, "results": {"torch"}, "reports": {"torch", "sklearn"}}
RUNS_A_MODEL = {"datasets/mimic_iv/encoder.py"}
"""Where torch is imported after all: inside functions, which encode notes when a cohort is built."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0] if node.level == 0 else path.relative_to(ROOT).parts[0], node.lineno


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_run_one_way(package):
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        allowed = ALLOWED[package] | ({"reports"} if name in SEES_REPORTS else set())
        for module, line in imports(path):
            heavy = HEAVY.get(package, set()) - ({"torch"} if name in RUNS_A_MODEL else set())
            if (module in PACKAGES and module not in allowed) or module in heavy:
                wrong.append(f"{name}:{line} imports {module}")
    assert not wrong


@pytest.mark.parametrize("command", ["--help", "list methods", "list datasets", "list experiments"])
def test_looking_around_imports_nothing_heavy(command):
    code = f"""
import sys
from benchmark.cli import main
assert main({command.split()!r}) == 0
print(sorted({{"torch", "sklearn", "scipy", "pandas", "hydra"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_reports_work_without_torch_methods_and_datasets():
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "methods", "datasets", "benchmark"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import reports.build, reports.formats.html, reports.formats.latex, reports.speed, reports.tables.table
import reports.sections.table1
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0
