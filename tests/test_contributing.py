"""CONTRIBUTING.md and README.md as a reader follows them: in a copy of the repository, with the guide's code pasted where it says."""

import ast
import re

import pytest

from benchmark.cli import VERBS, build_parser
from benchmark.plan.config import load_config
from benchmark.verbs.report import SPEED
from tests.guides import ROOT, blocks, commands

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def paste(guide, clone):
    """Put the guide's Python into the new files: the import and the class in place of their namesakes, the test in place of all tests."""
    network, test = [text for language, text in blocks(guide) if language == "python"]
    (line,) = re.findall(r"`(from methods\.common\.layers import [^`]+)`", guide)
    method = clone / "methods" / "late_fusion.py"
    text = re.sub(r"^from methods\.common\.layers import .*$", line, method.read_text(), count=1, flags=re.MULTILINE)
    method.write_text(replaced(text, network, lambda node: getattr(node, "name", None) == "LateFusionModule"))
    tests = clone / "tests" / "methods" / "test_late_fusion.py"
    tests.write_text(replaced(tests.read_text(), test, lambda node: getattr(node, "name", "").startswith("test_")))


def replaced(source, block, out):
    """``source`` with ``block`` where the first top-level statement stood that is ``out``, and without the others that are."""
    lines, nodes = source.splitlines(), [node for node in ast.parse(source).body if out(node)]
    assert nodes
    for node in reversed(nodes):
        lines[node.lineno - 1 : node.end_lineno] = block.splitlines() if node is nodes[0] else []
    return "\n".join(lines).rstrip() + "\n"


def test_the_guide_is_short():
    assert len(GUIDE.splitlines()) <= 150


def test_the_guide_leads_from_new_to_a_row_in_a_table(shell):
    start, check_and_run, _ = [text for language, text in blocks(GUIDE) if language == "sh"]
    said = shell(start)
    assert "unobserved_in_fit" in said
    assert "\n  python -m benchmark check late_fusion\n  python -m benchmark run smoke method=late_fusion\n" in said
    paste(GUIDE, shell.clone)
    assert "Late fusion" in shell(check_and_run)
    assert "late_fusion" in (shell.clone / "reports" / "build" / "smoke.csv").read_text()


def test_the_guide_leads_to_a_package_of_ones_own(shell):
    start, _, package = [text for language, text in blocks(GUIDE) if language == "sh"]
    shell(start.splitlines()[0])
    paste(GUIDE, shell.clone)
    said = shell(package)
    assert "Late fusion" in said
    assert "1 passed" in said
    assert not (shell.clone / "methods" / "late_fusion.py").exists()


def test_the_guide_fences_nothing_that_is_not_run():
    assert [language for language, _ in blocks(GUIDE)] == ["sh", "python", "python", "sh", "sh"]


@pytest.mark.parametrize("argv", commands(GUIDE) + commands(README), ids=" ".join)
def test_a_command_line_that_is_named_can_be_run(argv):
    verb, rest = argv[0], argv[1:]
    assert verb in VERBS
    options = build_parser(verb)[0].parse_intermixed_args(rest)
    if verb in ("run", "report", "status") and options.experiment != SPEED:
        overrides = [o for o in options.overrides if "late_fusion" not in o]
        assert load_config(options.experiment, overrides).experiment == options.experiment
    if verb == "data" and options.dataset:
        load_config("table1", [f"dataset={options.dataset}", *options.overrides])


def test_make_targets_and_variables_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split())
    variables = set(re.findall(r"^(\w+) +\?=", makefile, flags=re.MULTILINE))
    named = re.findall(r"(?:^|`)make (\w+)((?: \w+=\w+)*)", GUIDE + README, flags=re.MULTILINE)
    assert {"table1", "test", "install"} <= {target for target, _ in named} <= targets
    assert {v.split("=")[0] for _, given in named for v in given.split()} <= variables


def test_files_that_are_named_exist():
    named = set(re.findall(r"`((?:methods|datasets|tests|benchmark|results|reports)/[\w/.]+\.\w+)`", GUIDE + README))
    made = {"methods/late_fusion.py", "tests/methods/test_late_fusion.py"}
    assert made < named
    assert [name for name in sorted(named - made) if not (ROOT / name).exists()] == []
