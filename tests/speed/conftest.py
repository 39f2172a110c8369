"""What a measurement is of goes into the JSON file beside its seconds, so that the report reads no names of tests.

A test that fills a row of ``report speed`` states it, ``@pytest.mark.measures(table="growth", method="muse")``; its parameters are
added. Rows that could have been measured are kept as well (``planned``): those deselected, skipped or failed are printed as missing.
"""

from contextlib import nullcontext

import pytest

from benchmark.cell import provenance
from benchmark.executors.attempt import limit_to_one_thread
from tests.speed.peer import versions

PLANNED = pytest.StashKey[list]()


def row_of(item):
    """Table and row that a test fills, from its markers (the nearest wins) and parameters; None where it fills none."""
    stated = [marker.kwargs for marker in item.iter_markers("measures")]
    if not stated:
        return None
    row = {key: value for kwargs in reversed(stated) for key, value in kwargs.items()}
    return row | (item.callspec.params if hasattr(item, "callspec") else {})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Before -k and -m deselect."""
    config.stash[PLANNED] = [row for item in items if (row := row_of(item))]


@pytest.fixture(autouse=True)
def stated(request):
    """The row in the benchmark's ``extra_info``; where it states one thread, this process is as a run's."""
    row = row_of(request.node) or {}
    if "benchmark" in request.fixturenames:
        request.getfixturevalue("benchmark").extra_info |= row
    with limit_to_one_thread() if row.get("threads") == 1 else nullcontext():
        yield


def pytest_benchmark_update_json(config, output_json):
    commit, clean = provenance.read_commit()
    output_json["planned"] = config.stash[PLANNED]
    output_json["provenance"] = {
        "commit": commit,
        "clean": clean,
        "versions": provenance.collect_versions() | versions(),
        "hardware": provenance.describe_hardware(),
        "finished": provenance.now(),
    }
