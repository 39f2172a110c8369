"""Words that a shell completes a command line with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.cli import VERBS, main
from benchmark.overrides import STORED
from benchmark.verbs.completion import SCRIPTS, complete
from benchmark.verbs.declarations import import_declarations
from methods.registry import infos

ROOT = Path(__file__).resolve().parent.parent.parent


def words(text):
    return complete(f"python -m benchmark {text}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ru", ["run"]),
        ("run smo", ["smoke"]),
        ("run -j 2 smo", ["smoke"]),
        ("run smoke smo", []),
        ("report spe", ["speed"]),
        ("run smoke dataset=eicu", ["dataset=eicu", "dataset=eicu-demo"]),
        ("run smoke method=logi", ["method=logistic"]),
        ("run smoke method=s_only,logi", ["method=s_only,logistic"]),
        ("run smoke method=grape:j", ["method=grape:joint"]),
        ("run smoke protocol=", ["protocol=paper", "protocol=strict"]),
        ("run smoke method.tau_f", ["method.tau_first="]),
        ("run smoke --dry", ["--dry-run"]),
        ("run smoke store=", []),  # a folder: the shell's own completion
        ("status smoke executor=", []),  # not one of its overrides
        ("audit prot", []),
        ("list me", ["methods"]),
        ("list methods logi", ["logistic"]),
        ("list datasets logi", []),
        ("check logi", ["logistic"]),
        ("data build eicu-", ["eicu-demo"]),
        ("nothing ru", []),
    ],
)
def test_a_line_is_completed(line, expected):
    assert words(line) == expected


def test_all_verbs_methods_variants_and_own_overrides_are_offered():
    assert words("") == sorted([*VERBS, "--help", "--version"])
    assert set(words("run smoke method=")) == {f"method={name}" for name in ("all", *infos())}
    variants = import_declarations("crl_mmnar").variants
    assert set(words("run smoke method=crl_mmnar:")) == {f"method=crl_mmnar:{name}" for name in variants}
    keys = {word[:-1] for word in words("status smoke ") if word.endswith("=")}
    assert keys == {key for key in STORED if "." not in key}


def test_the_script_of_bash_completes_as_bash_does(capsys):
    """What stands before the last = or : of a word stays, as bash keeps it; other commands of Python keep their own completion."""
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    asked = ["run smoke method=grape:j", "run smoke meth", "status smo"]
    lines = "".join(
        f"COMP_WORDS=({sys.executable}); COMP_LINE='{command} {line}'; COMP_POINT=${{#COMP_LINE}}; COMPREPLY=(); "
        '_crl_mmnar_bench; echo "<${COMPREPLY[*]}>"\n'
        for command, line in [*(("python -m benchmark", line) for line in asked), ("python -m pytest", "ru")]
    )
    done = subprocess.run(
        ["bash", "-c", f"compopt() {{ :; }}\n{script}\n{lines}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["<joint>", "<method.", "method=>", "<smoke>", "<>"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_scripts_are_valid(capsys, shell):
    assert main(["completion", shell]) == 0
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n"], input=capsys.readouterr().out, text=True, check=True)
