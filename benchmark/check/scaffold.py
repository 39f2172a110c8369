"""``new``: the file of a method and its test, from ``templates/``, both or neither."""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.errors import UsageError
from benchmark.plan.rows import KNOWN_TITLES
from methods.registry import infos, name_fault

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = Path(__file__).resolve().parent / "templates"


def write_method(name: str, root: Path = ROOT) -> tuple[Path, Path]:
    """Write the files of a new method below ``root``: the method and its test; return both paths.

    Raises:
        UsageError: the name cannot name a method or is taken, or a file cannot be written; nothing is left behind then.
    """
    places = (root / "methods" / f"{name}.py", root / "tests" / "methods" / f"test_{name}.py")
    templates = [(TEMPLATES / file).read_text(encoding="utf-8") for file in ("method.py", "tests.py")]
    fault = name_fault(name) or _find_clash(name, "".join(templates))
    for path in (*places, places[0].with_suffix("")):
        if fault is None and path.exists():
            fault = f"{path.relative_to(root)} exists already: choose another name, or move it away"
    if fault:
        raise UsageError(fault)
    written: list[Path] = []
    try:
        for path, template in zip(places, templates, strict=True):
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(fill_template(template, name))
    except OSError as error:
        for done in written:
            done.unlink()
        raise UsageError(f"{path.relative_to(root)} cannot be written: {error.strerror}") from error
    return places


def fill_template(template: str, name: str) -> str:
    """Return a template's text with the words for ``name`` instead of its placeholders."""
    for placeholder, word in list_placeholders(name).items():
        template = template.replace(placeholder, word)
    return template


def list_placeholders(name: str) -> dict[str, str]:
    """Return what a template says instead of a method's name, class and title: the words for ``name`` by placeholder."""
    class_name = "".join(word.capitalize() for word in name.split("_"))
    return {"new_method": name, "NewMethod": class_name, "New method": name.replace("_", " ").capitalize()}


def _find_clash(name: str, template: str) -> str | None:
    """Return why the name is not free, or None where it is."""
    known = infos()
    if name in known:
        return f"a method named {name} exists already, in {known[name].file}: choose another name"
    if name in KNOWN_TITLES:
        return f"a row of the tables is named {name} already: choose another name"
    own_words = re.sub("|".join(list_placeholders(name)), "", template)
    if re.search(rf"\b({'|'.join(list_placeholders(name).values())})\b", own_words):
        return f"{name!r} has another meaning in the new files: choose a longer name, like late_fusion"
    return None
