"""Whatever the command line is given, the answer is 0, 1 or 2, in one line where it is 2, and never a fault of the program.

A generator with a fixed seed strings together verbs, options and overrides with values of every kind, the odd ones with preference. Nothing
is computed: the cell, the statistics and the building of raw tables are stood in for, the rest of the way is the real one.
"""

import random
import time

import pytest

from benchmark.cli import VERBS, main

SECONDS = 2.0
LINES = 300
"""Command lines at most of each kind; on a slow machine those that the seconds allow, and ten."""
NAMES = ("table1", "smoke", "sites", "audit", "nothing", "logistic", "eicu-demo", "embedded-mimic", "methods")
VALUES = (
    "", " ", "0", "-1", "1", "2", "3", "1e400", "nan", "inf", "-inf", "null", "true", "~", "~/x", "~nobody/x", "é",
    "ß±",
    "a=b", "a,b", "[", "]", "{a:1}",
    "[nan]", "[1,2]", "${store}", "${oc.env:HOME}", "'", '"', "\\", "a'b\"c", "../..", "/dev/null", "/dev/null/x",
    "/nowhere",
    "\udcff", "\x1b[0m", "\0",
    "x" * 300, "logistic", "logistic:", ":", "all", "logistic,s_only", "logistic:nothing", "embedded-mimic",
    "embedded-eicu",
    "eicu-demo", "icu_24h", "strict", "paper", "sites", "folds", "on", "grid", "random", "stacked",
    "slurm", "cuda", "cuda:99", "cdua", "mps", "short", "own", "1.5", "9" * 30, "%s", "#", "!x",
)  # fmt: skip
KEYS = (
    "dataset", "method", "n", "folds", "seeds", "protocol", "landmark", "rectifier", "calibration", "selection",
    "schedule", "tuning", "budget", "known", "device", "executor", "scheduler", "split", "outcomes", "arm",
    "reference", "bootstrap", "beside", "limits.minutes", "limits.gib", "limits", "slurm.cluster", "slurm",
    "method.lr", "method.penalties", "method.max_epochs", "method.", "dataset.kappa", "dataset.draws", "dataset.seed",
    "dataset.name", "dataset.root", "dataset.", "root", "note_root", "subset", "encoder", "schedule.max_epochs",
    "schedule.name", "hyper", "methods", "experiment", "arms", "+x", "~n", "++store", "hydra.run.dir", "", "=", "é",
)  # fmt: skip
OPTIONS = (
    "-j", "--jobs", "--cell", "--json", "--verify", "--format", "--quick", "--public", "--gate", "--keep", "--only",
    "--slow", "--predictions", "--train", "--declared", "--docs", "--test-folds", "--clip", "--columns", "--help",
    "-x", "--", "-",
)  # fmt: skip
ACTIONS = {
    "data": ("list", "verify", "describe", "build", "fetch"),
    "list": ("methods", "datasets"),
    "store": ("merge", "export"),
}
NOT_HERE = {"new", "cards"}
"""Verbs that write into the repository, or describe all of it each time."""


def draw_command(rng):
    """Draw a command line: mostly a verb with a name, then overrides and options in any order."""
    verb = rng.choice([v for v in VERBS if v not in NOT_HERE]) if rng.random() < 0.98 else rng.choice(VALUES)
    rest = [rng.choice(ACTIONS[verb])] if verb in ACTIONS else []
    rest += [rng.choice(NAMES)] if rng.random() < 0.8 else []
    rest += draw_overrides(rng) if rng.random() < 0.7 else []
    for _ in range(rng.choice((0, 0, 1, 2))):
        rest.append(rng.choice(OPTIONS if rng.random() < 0.6 else (*VALUES, *NAMES)))
    return [verb, *rest]


def draw_overrides(rng):
    """Draw one to three overrides."""
    return [f"{rng.choice(KEYS)}={rng.choice(VALUES)}" for _ in range(rng.choice((1, 1, 2, 3)))]


@pytest.fixture
def nothing_is_computed(monkeypatch, tmp_path):
    """Let commands do all but the work itself, in a folder of their own."""
    from benchmark.check import method as check_method
    from benchmark.verbs import audit, run
    from datasets.raw import fetch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "_execute", lambda *args: [])
    monkeypatch.setattr(run, "renew_statistics", lambda *args: None)
    monkeypatch.setattr(audit, "_compute", lambda *args: ([], []))
    monkeypatch.setattr(audit, "_report", lambda *args: None)
    monkeypatch.setattr(audit, "DOCUMENT", tmp_path / "audit.md")
    monkeypatch.setattr(check_method, "choose_checks", lambda names, slow: [])
    monkeypatch.setattr(check_method, "run_checks", lambda *args, **options: iter(()))
    monkeypatch.setattr(fetch, "fetch_release", lambda *args: [])


def answer(argv, capsys):
    """Return exit status and standard error of a command line, and what is wrong with them, if anything."""
    capsys.readouterr()
    try:
        status = main(argv)
    except SystemExit as left:  # of --help
        status = left.code
    err = capsys.readouterr().err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    wrong = status not in (0, 1, 2) or "a fault of the program" in err or "Traceback" in err
    return status, err, wrong or (status == 2) != (len(errors) == 1)


@pytest.mark.parametrize(
    "start",
    [
        None,
        ["run", "smoke", "n=60", "known=none", "method=logistic"],
        ["run", "sites", "arm=sites", "n=40", "method=logistic"],
        ["status", "smoke"],
    ],
)
@pytest.mark.usefixtures("nothing_is_computed")
def test_whatever_is_typed_is_answered_in_one_line(start, built, tmp_path, capsys):
    rng, until = random.Random(str(start)), time.monotonic() + SECONDS
    places = [f"store={tmp_path / 'cells'}", f"out={tmp_path / 'out'}", f"built={built}"]
    answered = 0
    while answered < LINES and (answered < 10 or time.monotonic() < until):
        argv = draw_command(rng) if start is None else [*start, *places, *draw_overrides(rng)]
        status, err, wrong = answer(argv, capsys)
        assert not wrong, (status, argv, err)
        answered += 1
