"""Imports run one way, between the rooms and inside each, none in a circle; and what has to start fast imports nothing heavy.

Imports inside functions and under ``TYPE_CHECKING`` count as well; names that are put together at run time (``import_module``) do not.
"""

import ast
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("datasets", "results", "methods", "benchmark", "reports")
ALLOWED = {
    "datasets": {"datasets"},
    "results": {"results"},
    "methods": {"methods", "datasets", "results"},
    "benchmark": {"benchmark", "methods", "datasets", "results"},
    "reports": {"reports", "results"},
}
SEES_REPORTS = {f"benchmark/verbs/{verb}.py" for verb in ("report", "cards", "store", "audit")}
HEAVY = {
    "datasets": {"torch", "torch_geometric", "sklearn"},
    "results": {"torch", "torch_geometric"},
    "reports": {"torch", "torch_geometric", "sklearn"},
}
USE_GRAPHS = {"methods/hgmf/__init__.py", "methods/raindrop/graph.py"}
"""Where torch_geometric is imported, which takes a second: in the methods that use it, which nothing else imports."""
RUNS_A_MODEL = {"datasets/mimic_iv/encoder.py"}
"""Where torch is imported after all: inside functions, which encode notes when a cohort is built."""
OTHERS = "*"
FLOORS = {
    "methods": (OTHERS, "common", "base"),  # a method, and the registry, which reads files and imports none of them
    "datasets": ("registry", "eicu mimic_iv synthetic describe", "raw storage", "cohort"),
    "results": ("audit", "gate statistics merge speed disclosure", "rows", "storage", "plan", "cell metrics"),
    "benchmark": ("__main__", "cli", "verbs", "audit check", "plan", "executors", "cell", "errors overrides show terminal"),
    "reports": (
        "audit public cards speed", "build", "sections formats", "figures", "report", "published", "tables", "frames",
    ),
}  # fmt: skip
"""The files and folders of each room, floor by floor from the top. What stands on a floor imports from lower floors alone: neither from
above nor from its neighbours. ``OTHERS``: all that no floor names; in a room without it, everything has to be named."""

Module = tuple[str, ...]
"""A module's path below the root, ``__init__`` included: ``("methods", "com", "__init__")``."""


def list_modules(root: Path) -> dict[Module, Path]:
    """Return the modules of the rooms below ``root``, each with its file."""
    files = sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))
    return {path.relative_to(root).with_suffix("").parts: path for path in files}


@cache
def find_import_statements(source: str) -> list[ast.Import | ast.ImportFrom]:
    """Return the import statements of a source, wherever they stand in it."""
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]


def list_imports(module: Module, path: Path, modules: dict[Module, Path]) -> Iterator[tuple[Module, int]]:
    """Yield what a module imports, with the line: a module of the rooms in full, any other one by its first name."""

    def resolve(*names: str) -> Module | None:
        return next((m for m in (names, (*names, "__init__")) if m in modules), None)

    for node in find_import_statements(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names = alias.name.split(".")
                yield resolve(*names) or (names[0],), node.lineno
        else:
            package = (*(module[: -node.level] if node.level else ()), *(node.module.split(".") if node.module else ()))
            for alias in node.names:  # a name is a module of the package, or something that the package defines
                yield resolve(*package, alias.name) or resolve(*package) or package[:1], node.lineno


def list_arrows(root: Path) -> list[tuple[Module, Module, str]]:
    """Return who imports whom in the rooms below ``root``, and where: (from, to, ``file:line``)."""
    modules = list_modules(root)
    return [
        (module, target, f"{path.relative_to(root).as_posix()}:{line}")
        for module, path in modules.items()
        for target, line in list_imports(module, path, modules)
        if target in modules and target != module
    ]


def find_floor(room: str, name: str) -> int | None:
    """Return the floor of a file or folder of a room, 0 at the top; None where no floor names it."""
    named = {own: level for level, floor in enumerate(FLOORS[room]) for own in floor.split()}
    return named.get(name, named.get(OTHERS))


def find_wrong_arrows(root: Path) -> dict[str, str]:
    """Return the imports inside a room that do not lead to a lower floor: ``file imports room.name`` -> ``file:line``."""
    wrong = {}
    for module, target, where in list_arrows(root):
        room, own, other = module[0], module[1], target[1]
        if room != target[0] or own == other or "__init__" in (own, other):
            continue
        above, below = find_floor(room, own), find_floor(room, other)
        if above is None or below is None or above >= below:
            wrong[f"{where.rpartition(':')[0]} imports {room}.{other}"] = where
    return wrong


def find_circles(root: Path) -> dict[str, list[str]]:
    """Return the circles of imports at every level: ``package: name, name`` -> the places of their arrows.

    An import is an arrow between two names in the innermost package that holds both ends, so that files, folders and rooms are each
    judged among their like.
    """
    graphs: dict[Module, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(dict))
    for module, target, where in list_arrows(root):
        depth = next(i for i, (a, b) in enumerate(zip(module, target, strict=False)) if a != b)
        graphs[module[:depth]][module[depth]].setdefault(target[depth], []).append(where)
    circles = {}
    for package, graph in graphs.items():
        reached = {name: reach(graph, name) for name in list(graph)}
        for name in reached:
            ring = {other for other in reached[name] if name in reached.get(other, ())}
            if ring:
                places = {where for a in ring for b in ring for where in graph[a].get(b, ())}
                circles[f"{'/'.join(package)}: {', '.join(sorted(ring))}"] = sorted(places)
    return circles


def reach(graph: dict[str, dict[str, list[str]]], start: str) -> set[str]:
    """Return the names that arrows lead to from ``start``; ``start`` itself only where it lies on a circle."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = set(graph.get(todo.pop(), ())) - seen
        seen |= new
        todo += new
    return seen


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_between_rooms_run_one_way_and_are_light(room):
    modules = list_modules(ROOT)
    wrong = []
    for module, path in modules.items():
        if module[0] != room:
            continue
        name = path.relative_to(ROOT).as_posix()
        allowed = ALLOWED[room] | ({"reports"} if name in SEES_REPORTS else set())
        heavy = HEAVY.get(room, set()) - ({"torch"} if name in RUNS_A_MODEL else set())
        for (top, *_), line in list_imports(module, path, modules):
            if (top in ROOMS and top not in allowed) or top in heavy:
                wrong.append(f"{name}:{line} imports {top}")
    assert not wrong


def test_methods_that_use_no_graph_library_do_not_wait_for_it():
    modules = list_modules(ROOT)
    users = {
        path.relative_to(ROOT).as_posix()
        for module, path in modules.items()
        for (top, *_), _ in list_imports(module, path, modules)
        if top == "torch_geometric"
    }
    assert users == USE_GRAPHS


def test_imports_inside_a_room_run_down():
    found = find_wrong_arrows(ROOT)
    assert [f"{where}: {arrow}" for arrow, where in found.items()] == []


def test_nothing_is_imported_in_a_circle():
    found = find_circles(ROOT)
    assert [f"{circle} ({', '.join(places)})" for circle, places in found.items()] == []


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_everything_in_a_room_stands_on_a_floor(room):
    names = {path.relative_to(ROOT / room).parts[0].removesuffix(".py") for path in (ROOT / room).rglob("*.py")}
    assert [name for name in sorted(names - {"__init__"}) if find_floor(room, name) is None] == []


@pytest.fixture
def rooms(tmp_path):
    """A copy of the rooms' sources, into which faults are planted."""
    for path in list_modules(ROOT).values():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return tmp_path


def plant(rooms, name, line):
    """Append a line to a file of the copy, new where there is none, and return its number."""
    path = rooms / name
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{text}{line}\n", encoding="utf-8")
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    ("name", "line", "imported"),
    [
        ("results/rows.py", "from results.statistics.derive import derive", "results.statistics"),
        ("results/storage/store.py", "def late():\n    import results.rows", "results.rows"),
        ("results/storage/files.py", "from ..merge import merge_stores", "results.merge"),
        ("methods/zero_fill.py", "from methods.muse import graph", "methods.muse"),
        ("methods/common/layers.py", "if TYPE_CHECKING:\n    from methods import drfuse", "methods.drfuse"),
        ("datasets/raw/tables.py", "from datasets import eicu", "datasets.eicu"),
        ("benchmark/cell/inputs.py", "from benchmark.plan.config import RunConfig", "benchmark.plan"),
        ("reports/frames/tidy.py", "from reports.tables.table import make_text_entry", "reports.tables"),
        ("results/unplanned.py", "from results.cell import Cell", "results.cell"),
    ],
)
def test_a_planted_arrow_is_found_by_file_line_and_name(rooms, name, line, imported):
    where = f"{name}:{plant(rooms, name, line)}"
    found = find_wrong_arrows(rooms)
    assert found == {f"{name} imports {imported}": where}


@pytest.mark.parametrize(
    ("lines", "circle"),
    [
        (  # two modules of a folder, one way only for annotations
            {
                "methods/muse/graph.py": "if TYPE_CHECKING:\n    from methods.muse.fresh import a",
                "methods/muse/fresh.py": "from . import graph",
            },
            "methods/muse: fresh, graph",
        ),
        (  # a module and the package that it lies in
            {"methods/com/networks.py": "from methods.com import Config"},
            "methods/com: __init__, networks",
        ),
        (  # two folders of a room through different modules
            {"results/storage/locks.py": "import results.statistics.paired"},
            "results: statistics, storage",
        ),
        (  # two rooms
            {"datasets/describe.py": "from methods.base import Method"},
            ": datasets, methods",
        ),
    ],
)
def test_a_planted_circle_is_found_with_its_places(rooms, lines, circle):
    planted = [f"{name}:{plant(rooms, name, line)}" for name, line in lines.items()]
    found = find_circles(rooms)
    assert set(found) == {circle}
    assert set(planted) <= set(found[circle])


@pytest.mark.parametrize("command", ["--help", "list methods", "list datasets", "list experiments"])
def test_looking_around_imports_nothing_heavy(command):
    code = f"""
import sys
from benchmark.cli import main
assert main({command.split()!r}) == 0
print(sorted({{"torch", "torch_geometric", "sklearn", "scipy", "pandas", "hydra"}} & set(sys.modules)), file=sys.stderr)
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
