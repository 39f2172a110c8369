"""Which methods exist: read from the source of each file, without importing it, so that listing needs no torch.

A method's file holds a literal ``INFO = {...}`` (see ``Info``); files without one are no methods. Methods outside the repository
register a module through the entry-point group ``crl_mmnar_bench.methods`` and are read in the same way.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.metadata
import sys
import warnings
from dataclasses import MISSING, dataclass, fields
from importlib.machinery import PathFinder
from pathlib import Path

from methods.base import Method

GROUP = "crl_mmnar_bench.methods"
FOLDER = Path(__file__).parent


class UnknownMethod(ValueError):
    """A name that is no method; the message lists the nearest known ones."""


class UnreadableInfo(ValueError):
    """An INFO that cannot be read without running its file; the message names the file and the fault."""


@dataclass(frozen=True)
class Info:
    """What is printed and known of a method before it is imported.

    ``name`` is the file's stem (a plug-in's entry-point name); ``title`` the name to print, adaptations included; ``based_on`` what
    the implementation rests on; ``rectifier``: on by default; ``class_name``: needed where a file defines several methods
    (INFO's key ``class``).
    """

    name: str
    title: str
    citation: str
    year: int
    family: str
    based_on: str
    uses_series: bool = False
    rectifier: bool = False
    class_name: str | None = None
    kind: str = "method"
    module: str = ""
    file: Path = Path()


def infos() -> dict[str, Info]:
    """All methods by name, those of this repository first, each group in alphabetical order.

    A plug-in that cannot be read is left out with a warning that names it.

    Raises:
        UnreadableInfo: a file of this repository has an INFO that is not a literal or lacks a field.
    """
    found = {}
    for file in sorted([*FOLDER.glob("*.py"), *FOLDER.glob("*/__init__.py")]):
        name = file.parent.name if file.name == "__init__.py" else file.stem
        info = read_info(file, name, f"methods.{name}") if name != FOLDER.name else None
        if info is not None:
            found[name] = info
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda e: e.name):
        try:
            if entry.name in found:
                raise UnreadableInfo(f"a method named {entry.name} exists already")
            info = read_info(_module_file(entry.module), entry.name, entry.module)
            if info is None:
                raise UnreadableInfo(f"module {entry.module} has no INFO")
        except Exception as error:
            warnings.warn(f"plug-in method {entry.name} ({entry.value}) is left out: {error}", stacklevel=2)
        else:
            found[entry.name] = info
    return found


def info(name: str) -> Info:
    """The method called ``name``.

    Raises:
        UnknownMethod: there is none.
    """
    known = infos()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known)
        raise UnknownMethod(f"no method is called {name!r}; nearest: {', '.join(near)}")
    return known[name]


def load(name: str) -> type[Method]:
    """The class of the method called ``name``; imports its file.

    Raises:
        UnknownMethod: there is none.
        TypeError: its module does not define exactly one subclass of Method, or not the one that INFO names.
    """
    entry = info(name)
    module = importlib.import_module(entry.module)
    if entry.class_name:
        chosen = getattr(module, entry.class_name, None)
        if not (isinstance(chosen, type) and issubclass(chosen, Method)):
            raise TypeError(
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
        raise TypeError(f"{entry.file}: needs one subclass of Method (found {names}), or INFO['class'] naming it")
    return own[0]


def source_file(name: str) -> Path:
    """The file that holds the method called ``name``."""
    return info(name).file


def read_info(file: Path, name: str, module: str) -> Info | None:
    """The INFO of a source file, or None where it has none.

    Raises:
        UnreadableInfo: it is not a literal, or its keys or types are wrong.
    """
    text = file.read_text(encoding="utf-8")
    if "INFO" not in text:
        return None
    for node in ast.parse(text, filename=str(file)).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(t, ast.Name) and t.id == "INFO" for t in targets):
            try:
                raw = dict(ast.literal_eval(node.value))
            except (ValueError, TypeError) as error:
                raise UnreadableInfo(f"{file}, line {node.lineno}: INFO must be a literal dict") from error
            return _checked(raw, file, name, module)
    return None


def _checked(raw: dict, file: Path, name: str, module: str) -> Info:
    if "class" in raw:
        raw["class_name"] = raw.pop("class")
    given = [f for f in fields(Info) if f.name not in ("name", "kind", "module", "file")]
    types = {"year": int, "uses_series": bool, "rectifier": bool}
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


def _module_file(module: str) -> Path:
    """The source file of a module, found without importing it or its packages."""
    path, spec = None, None
    parts = module.split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), sys.path if path is None else path)
        if spec is None:
            raise UnreadableInfo(f"module {module} cannot be found")
        path = spec.submodule_search_locations
    if not spec.origin or not spec.origin.endswith(".py"):
        raise UnreadableInfo(f"module {module} has no Python source")
    return Path(spec.origin)
