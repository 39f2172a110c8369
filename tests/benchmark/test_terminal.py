"""What is printed where a terminal shows ASCII alone, and on long work where there is none."""

import io
import sys
import time

import pytest

from benchmark import show
from benchmark.cli import VERBS, main
from benchmark.plan.build_progress import BuildProgress
from benchmark.show import format_duration, format_progress, report_every_minute
from benchmark.verbs import common
from datasets.registry import DATASETS
from tests.benchmark.conftest import SMALL


def use_ascii_streams(monkeypatch):
    """Make standard output and standard error what PYTHONIOENCODING=ascii makes them; return a function that reads both.

    In the body of a test: pytest puts its own streams back between a fixture and the test.
    """
    files = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, file in files.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(file, encoding="ascii", errors="strict", write_through=True))
    return lambda: [file.getvalue().decode("ascii") for file in files.values()]


def test_an_ascii_terminal_gets_plain_characters(monkeypatch):
    read = use_ascii_streams(monkeypatch)
    assert main(["--help"]) == 0
    print("± 0.1 – “Café”, Łódź → 3 × 2 ≤ 漢字 \udcff")
    out, _ = read()
    assert out.endswith('+/- 0.1 - "Cafe", ?odz -> 3 x 2 <= ?? ?\n')


@pytest.mark.parametrize(
    "argv",
    [
        ["report", "smoke", "--format", "csv"], ["status", "smoke"], ["list", "methods"], ["list", "datasets"], ["cards"],
        ["data", "describe", "embedded-mimic"], ["compare", "{}/é", "{}/é", "smoke"], ["why", "logistic/default"],
        ["store", "merge", "{}/é"], ["lock", "{}/é", "{}/ü.csv"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)  # fmt: skip
def test_every_verb_writes_to_an_ascii_terminal(argv, built, tmp_path_factory, monkeypatch):
    read = use_ascii_streams(monkeypatch)
    root = tmp_path_factory.getbasetemp() / "ascii"
    store, small = root / "é", [*SMALL, "landmark=icu_24h", "known=none", "method=logistic"]
    where = [f"store={store}", f"out={root / 'ü'}", f"built={built}"]
    if not store.exists():
        assert main(["run", "smoke", *small, *where]) == 0
    chosen = {
        "run": [*small, *where],
        "report": where,
        "status": where,
        "why": [where[0], where[2]],
        "cards": where[:2],
    }
    chosen |= {"data": ["n=160", "dataset.draws=16", where[2]]}
    status = main([text.format(root) for text in argv] + chosen.get(argv[0], []))
    out, err = read()
    assert "a fault of the program" not in err
    assert status == (2 if argv[0] in ("why", "lock") else 0), err
    assert argv[0] in VERBS
    assert out or err


def test_an_argument_that_is_no_text_is_one_line(capsys):
    for text in ("store=\udcff", "store=a\0b", "method=\x1b[0m"):
        assert main(["status", "smoke", text]) == 2
        assert "is no plain text in UTF-8" in capsys.readouterr().err


def test_without_a_terminal_a_run_says_every_minute_what_is_done_failed_and_left(monkeypatch, capsys):
    from benchmark import executors

    class Answer:
        cell = None

        def __init__(self, status):
            self.status = status

    def run_slowly(*args):
        for status in ("done", "failed", "done"):
            yield Answer(status)
            time.sleep(0.1)

    monkeypatch.setattr(executors, "make_job", lambda *args: ())
    monkeypatch.setattr(executors, "run_job", run_slowly)
    monkeypatch.setattr(show, "EVERY", 0.02)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as continuous integration sets it: rich takes its log for a terminal
    common.compute_rounds([["work"]], 5, None, 1, describe=str)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(" left after 0 s, about " in line for line in lines)
    assert {line.partition(" after ")[0] for line in lines} == {
        "1 done, 0 failed, 4 left", "1 done, 1 failed, 3 left", "2 done, 1 failed, 2 left",
    }  # fmt: skip


def test_nothing_is_said_before_a_minute_is_over_or_on_a_terminal(monkeypatch, capsys):
    with report_every_minute(lambda seconds: "never"):
        pass
    monkeypatch.setattr(show, "EVERY", 0.001)
    monkeypatch.setattr(show, "_can_show_bars", lambda: True)
    with report_every_minute(lambda seconds: "never"):
        time.sleep(0.02)
    assert capsys.readouterr().err == ""


def test_intervals_and_reading_a_store_are_reported_too(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(show, "EVERY", 0.001)
    places = [f"store={tmp_path}", f"built={tmp_path / 'built'}"]
    assert main(["run", "smoke", *SMALL, "landmark=icu_24h", "known=none", "method=logistic", *places]) == 0
    err = capsys.readouterr().err
    assert "preparing embedded-mimic: 0 s so far" in err
    assert "intervals and comparisons of smoke-embedded-mimic-strict" in err
    main(["compare", str(tmp_path), str(tmp_path), "smoke"])
    assert "reading 2 cells: " in capsys.readouterr().err


def test_a_build_counts_tables_and_landmarks():
    said = []
    building = BuildProgress(DATASETS["eicu-demo"], said.append)
    assert building.describe(60) == "preparing eicu-demo: 60 s so far"
    for line in (
        "building eicu-demo from its raw tables",
        "lab: 1,234 rows kept",
        "icu_24h: 1,500 stays, 120 features",
    ):
        building.say(line)
    assert len(said) == 3
    total = building._count_steps()
    assert building.describe(60) == (
        f"building eicu-demo: tables and landmarks {format_progress(2, 0, total - 2, 60)} (icu_24h: 1,500 stays, 120 features)"
    )


@pytest.mark.slow
def test_a_build_says_the_lines_that_are_counted(data_root, tmp_path):
    """Of the demo of eICU: as many lines as there are steps, so that none is left at the end."""
    from datasets import registry

    building = BuildProgress(DATASETS["eicu-demo"], None)
    registry.prepare("eicu-demo", {"root": str(data_root / "eicu-demo")}, tmp_path, progress=building.say)
    assert " 0 failed, 0 left after " in building.describe(60)


def test_times_are_said_in_their_own_unit():
    assert [format_duration(s) for s in (3.4, 89, 90, 600, 7199, 12_000)] == [
        "3 s",
        "89 s",
        "2 min",
        "10 min",
        "2 h 0 min",
        "3 h 20 min",
    ]
    assert format_progress(10, 2, 6, 120) == "10 done, 2 failed, 6 left after 2 min, about 60 s more"
    assert format_progress(0, 0, 6, 120) == "0 done, 0 failed, 6 left after 2 min, no estimate yet"
