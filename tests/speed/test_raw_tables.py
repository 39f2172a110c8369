"""Rows a second and peak memory of each raw table, by its builder and by ``pandas.read_csv`` of the same file (`make bench`).

The file is that of the open demo, repeated (``SCALE_COPIES=1 make bench ONLY=raw_tables`` takes the demo as it is). Each reading is a
process of its own on one thread: the builder, which also converts and cuts the rows at the landmark, pandas with the columns that the
builder asks for, and pandas with all columns, in turn.
"""

import json
import os
import subprocess
import sys
from statistics import median

import pytest

from tests.speed.alternation import children_seconds
from tests.speed.peer import ROOT
from tests.speed.repeated import COPIES, EICU, MIMIC, repeat
from tests.speed.table_reader import BUILDERS

ROUNDS = 3
OTHERS = ("pandas", "pandas_all")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    made = {}

    def root_of(demo):
        if demo not in made:
            made[demo] = tmp_path_factory.mktemp(demo.name)
            repeat(demo, made[demo], COPIES)
        return made[demo]

    return root_of


@pytest.mark.slow
@pytest.mark.benchmark(group="a raw table, start-up of the process included")
@pytest.mark.measures(table="raw", copies=COPIES, threads=1)
@pytest.mark.parametrize(
    ("dataset", "raw"), [(demo, raw) for demo, (_, _, tables) in BUILDERS.items() for raw in tables()]
)
def test_reading(benchmark, roots, dataset, raw):
    root = roots({demo.name: demo for demo in (EICU, MIMIC)}[dataset])

    def read(how, *columns):
        command = [sys.executable, "-m", "tests.speed.table_reader", how, dataset, root, raw, *columns]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return json.loads(subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE).stdout)

    columns = read("builder")["columns"]  # the file is in the system's cache from here on
    found = {how: [] for how in ("builder", *OTHERS)}

    def others():
        found["pandas"].append(read("pandas", *columns))
        found["pandas_all"].append(read("pandas"))

    benchmark._timer = children_seconds
    benchmark.pedantic(lambda: found["builder"].append(read("builder")), setup=others, rounds=ROUNDS)
    rows = found["pandas"][0]["rows"]
    assert rows > 0
    assert {reading["rows"] for how in OTHERS for reading in found[how]} == {rows}
    given = ratios(found)
    benchmark.extra_info |= given | {"rows": rows, "rows_per_second": rows / given["seconds"]}


def ratios(found):
    """Medians of what the builder took (of one reading, where it reads the table more than once), and their ratios to the others'."""
    seconds = {how: median(r["seconds"] / r.get("readings", 1) for r in readings) for how, readings in found.items()}
    peaks = {how: median(r["peak_mib"] for r in readings) for how, readings in found.items()}
    given = {"seconds": seconds["builder"], "peak_mib": peaks["builder"]}
    given |= {f"{how}_before_mib": median(r["before_mib"] for r in readings) for how, readings in found.items()}
    for how in OTHERS:
        given |= {f"{how}_seconds": seconds[how], f"{how}_peak_mib": peaks[how]}
        given |= {
            f"{how}_ratio": seconds["builder"] / seconds[how],
            f"{how}_memory_ratio": peaks["builder"] / peaks[how],
        }
    return given
