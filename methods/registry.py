"""Which methods exist: read from the source of each file, without importing it, so that listing needs no torch.

A method's file holds a literal ``INFO = {...}`` (see ``Info``); files without one are no methods. Methods outside the repository
register a module through the entry-point group ``crl_mmnar_bench.methods`` and are read in the same way. What is wrong with one of
them is a warning where methods are listed, and an error where it is asked for by name.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import importlib.metadata
import importlib.util
import keyword
import re
import sys
import traceback
import warnings
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from methods.base import Method

GROUP = "crl_mmnar_bench.methods"
FOLDER = Path(__file__).parent


class UnknownMethod(ValueError):
    """A name that is no method; the message lists the nearest known ones."""


class UnreadableInfo(ValueError):
    """An INFO that cannot be read without running its file; the message names the file and the fault."""


class UnusableMethod(ValueError):
    """A method whose module cannot be imported, or defines no one method; the message names the module and the fault."""


class PlugInWarning(UserWarning):
    """A method from outside the repository that is left out; the message names it and says why."""


@dataclass(frozen=True)
class Info:
    """What is printed and known of a method before it is imported.

    ``name`` is the file's stem (a plug-in's entry-point name); ``title`` the name to print, adaptations included; ``based_on`` what
    the implementation rests on; ``rectifier``: on by default; ``uses_seed``: False where nothing is drawn, so that all
    seeds agree; ``weak``: why it stays below the plain network, where it is known to, printed in the report of ``worlds`` and in the
    method's card; ``class_name``: needed where a file defines several methods (INFO's key ``class``).
    """

    name: str
    title: str
    citation: str
    year: int
    family: str
    based_on: str
    uses_series: bool = False
    uses_seed: bool = True
    rectifier: bool = False
    weak: str = ""
    class_name: str | None = None
    kind: str = "method"
    module: str = ""
    file: Path = Path()

    @property
    def is_plug_in(self) -> bool:
        """Whether the method comes from outside this repository."""
        return not self.module.startswith("methods.")


def infos() -> dict[str, Info]:
    """Return the INFO of all methods by name, those of this repository first, each group in alphabetical order.

    A plug-in that cannot be read is left out with a ``PlugInWarning`` that names it.

    Raises:
        UnreadableInfo: a file of this repository has an INFO that is not a literal or lacks a field.
    """
    found, faults = _read_all()
    for fault in faults.values():
        warnings.warn(fault, PlugInWarning, stacklevel=2)
    return found


def info(name: str) -> Info:
    """Return the INFO of the method called ``name``.

    Raises:
        UnknownMethod: there is none.
        UnreadableInfo: it is a plug-in that cannot be read.
    """
    known, faults = _read_all()
    if name in known:
        return known[name]
    if name in faults:
        raise UnreadableInfo(faults[name])
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known)
    raise UnknownMethod(f"no method is called {name!r}; nearest: {', '.join(near)}")


def load(name: str) -> type[Method]:
    """Import the file of the method called ``name`` and return its class.

    Raises:
        UnknownMethod: there is none.
        UnusableMethod: its module cannot be imported, or does not define exactly one subclass of Method (or the one that INFO names)
            with a dataclass as its Config, or its grid or a variant names a field that its Config lacks.
    """
    entry = info(name)
    chosen = _find_class(entry)
    if not is_dataclass(chosen.Config):
        raise UnusableMethod(f"{entry.file}: {chosen.__name__}.Config must be a dataclass")
    fault = find_unknown_field(chosen)
    if fault:
        raise UnusableMethod(f"{entry.file}: {fault}")
    return chosen


def find_unknown_field(cls: type[Method]) -> str | None:
    """Say which field of a method's grid or variants its Config lacks, and which are near; None where it has all of them."""
    known = [f.name for f in fields(cls.Config)]
    for where, named in {"grid": cls.grid, **{f"variant {name!r}": v for name, v in cls.variants.items()}}.items():
        for field in named:
            if field not in known:
                near = difflib.get_close_matches(field, known, n=3, cutoff=0.5) or known
                return f"{cls.__name__}'s {where} names {field!r}, no field of its Config; nearest: {', '.join(near) or 'none'}"
    return None


def name_fault(name: str) -> str | None:
    """Say why ``name`` cannot name a method; None where it can."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        return f"{name!r} cannot name a method: small letters, digits and underscores, like late_fusion"
    return "'all' cannot name a method: method=all stands for every method" if name == "all" else None


def source_file(name: str) -> Path:
    """Return the file that holds the method called ``name``."""
    return info(name).file


def find_distribution(file: Path) -> tuple[str, str] | None:
    """Return name and version of the installed distribution that registers a plug-in's file; None where there is none."""
    for point in importlib.metadata.entry_points(group=GROUP):
        with contextlib.suppress(Exception):  # what is wrong with another plug-in is said where methods are listed
            if point.dist is not None and _find_module_file(point.module).resolve() == file.resolve():
                return point.dist.name, point.dist.version
    return None


def read_info(file: Path, name: str, module: str) -> Info | None:
    """Read the INFO of a source file; None where it has none.

    Raises:
        UnreadableInfo: it is not a literal, or its keys or types are wrong.
    """
    state = file.stat()
    return _read_info(file, name, module, (state.st_mtime_ns, state.st_size))


@cache
def _read_info(file: Path, name: str, module: str, state: tuple[int, int]) -> Info | None:
    """Read the INFO of a file in this state, once: a run asks thousands of times."""
    text = file.read_bytes()  # as Python reads it: with a byte-order mark or an encoding named in its first lines
    if b"INFO" not in text:
        return None
    try:
        body = ast.parse(text, filename=str(file)).body
    except SyntaxError as error:
        raise UnreadableInfo(f"{file}, line {error.lineno}: {error.msg}") from error
    for node in body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(t, ast.Name) and t.id == "INFO" for t in targets):
            try:
                raw = dict(ast.literal_eval(node.value))
            except (ValueError, TypeError) as error:
                raise UnreadableInfo(f"{file}, line {node.lineno}: INFO must be a literal dict") from error
            return _validate_info(raw, file, name, module)
    return None


def _read_all() -> tuple[dict[str, Info], dict[str, str]]:
    """Read the INFO of all methods by name, and what is wrong with the plug-ins that are left out."""
    found: dict[str, Info] = {}
    faults: dict[str, str] = {}
    for file in sorted([*FOLDER.glob("*.py"), *FOLDER.glob("*/__init__.py")]):
        name = file.parent.name if file.name == "__init__.py" else file.stem
        entry = read_info(file, name, f"methods.{name}") if name != FOLDER.name else None
        if entry is not None:
            found[name] = entry
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        try:
            found[point.name] = _read_plug_in(point, found)
        except Exception as error:
            faults[point.name] = f"plug-in method {point.name} ({point.value}) is left out: {error}"
    return found, faults


def _read_plug_in(point: importlib.metadata.EntryPoint, found: dict[str, Info]) -> Info:
    fault = name_fault(point.name)
    if fault:
        raise UnreadableInfo(fault)
    if point.name in found:
        raise UnreadableInfo(f"a method named {point.name} exists already, in {found[point.name].file}")
    entry = read_info(_find_module_file(point.module), point.name, point.module)
    if entry is None:
        raise UnreadableInfo(f"module {point.module} has no INFO")
    return entry


def _find_class(entry: Info) -> type[Method]:
    try:
        # what a module prints when it is imported must not stand in the tables and the JSON of a command
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(entry.module)
    except (Exception, SystemExit) as error:
        where = [
            f"line {frame.lineno}, "
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(entry.file)
        ]
        fault = f"{''.join(where[-1:])}{type(error).__name__}: {error}"
        raise UnusableMethod(f"method {entry.name} cannot be imported: {entry.file}, {fault}") from error
    if entry.class_name:
        chosen = getattr(module, entry.class_name, None)
        if not (isinstance(chosen, type) and issubclass(chosen, Method)):
            raise UnusableMethod(
                f"{entry.file}: INFO names the class {entry.class_name}, which is no subclass of Method there"
            )
        return chosen
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Method) and c.__module__ == module.__name__
    ]
    if len(own) != 1:
        names = ", ".join(c.__name__ for c in own) or "none"
        raise UnusableMethod(f"{entry.file}: needs one subclass of Method (found {names}), or INFO['class'] naming it")
    return own[0]


def _validate_info(raw: dict, file: Path, name: str, module: str) -> Info:
    if "class" in raw:
        raw["class_name"] = raw.pop("class")
    given = [f for f in fields(Info) if f.name not in ("name", "kind", "module", "file")]
    types = {"year": int, "uses_series": bool, "uses_seed": bool, "rectifier": bool}
    for f in given:
        if f.name not in raw:
            if f.default is MISSING:
                raise UnreadableInfo(f"{file}: INFO lacks {f.name!r}")
        elif not isinstance(raw[f.name], types.get(f.name, str)):
            raise UnreadableInfo(
                f"{file}: INFO[{f.name!r}] must be {types.get(f.name, str).__name__}, not {raw[f.name]!r}"
            )
    unknown = set(raw) - {f.name for f in given}
    if unknown:
        raise UnreadableInfo(f"{file}: INFO has unknown keys {', '.join(sorted(unknown))}")
    return Info(name=name, module=module, file=file, **raw)


def _find_module_file(module: str) -> Path:
    """Find the source file of a module without importing it or its packages."""
    top, *rest = module.split(".")
    spec, name = importlib.util.find_spec(top), top
    for part in rest:
        name = f"{name}.{part}"
        inside = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(name, inside) if inside else None
    if spec is None:
        raise UnreadableInfo(f"module {module} cannot be found")
    if not spec.origin or not spec.origin.endswith(".py"):
        raise UnreadableInfo(f"module {module} has no Python source")
    return Path(spec.origin)
