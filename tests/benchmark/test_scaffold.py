"""``new`` writes a method that is short, clean and complete, or nothing; that it passes ``check`` is shown in test_contributing."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.check.scaffold import write_method
from benchmark.errors import UsageError
from methods.registry import read_info

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def clone(tmp_path):
    """The two folders that ``new`` writes into, empty."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "tests" / "methods").mkdir(parents=True)
    return tmp_path


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", ["ab", "some_fusion", "new_method", "a_name_that_goes_on_and_on_4_2"])
def test_a_new_method_is_short_clean_and_named_throughout(clone, name):
    method, test = write_method(name, clone)
    assert files(clone) == [f"methods/{name}.py", f"tests/methods/test_{name}.py"]
    assert len(method.read_text().splitlines()) <= 60
    assert read_info(method, name, f"methods.{name}").title == name.replace("_", " ").capitalize()
    if name != "new_method":
        assert not any(
            word in p.read_text() for p in (method, test) for word in ("new_method", "NewMethod", "New method")
        )
    (clone / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        done = subprocess.run(ruff, cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2fast", "'2fast' cannot name a method: small letters, digits and underscores, like late_fusion"),
        ("LateFusion", "cannot name a method"),
        ("late-fusion", "cannot name a method"),
        ("../late", "cannot name a method"),
        ("lambda", "cannot name a method"),
        ("all", "method=all stands for every method"),
        ("crl_mmnar", "a method named crl_mmnar exists already, in "),
        ("ceiling", "a row of the tables is named ceiling already"),
        ("batch", "'batch' has another meaning in the new files"),
        ("torch_method", "has another meaning in the new files"),
        ("base", "methods/base.py exists already"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_line_and_writes_nothing(cli, name, message):
    places = (ROOT / "methods" / f"{name}.py", ROOT / "tests" / "methods" / f"test_{name}.py")
    before = [p.read_bytes() if p.exists() else None for p in places]
    status, out, err = cli("new", name)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("error: ")
    assert message in err
    assert [p.read_bytes() if p.exists() else None for p in places] == before


@pytest.mark.parametrize("taken", ["methods/mine.py", "methods/mine/inside.py", "tests/methods/test_mine.py"])
def test_an_existing_file_is_left_alone(clone, taken):
    (clone / taken).parent.mkdir(exist_ok=True)
    (clone / taken).write_text("mine\n")
    with pytest.raises(UsageError, match=r"exists already: choose another name, or move it away"):
        write_method("mine", clone)
    assert files(clone) == [taken]
    assert (clone / taken).read_text() == "mine\n"


def test_both_files_or_neither(clone):
    (clone / "tests" / "methods").rmdir()
    with pytest.raises(UsageError, match=r"tests/methods/test_mine\.py cannot be written: No such file"):
        write_method("mine", clone)
    assert files(clone) == []
