from pathlib import Path

import pytest

from reports.build import assemble_report, write_report
from reports.formats.files import FORMATS
from reports.frames.records import Records


@pytest.fixture
def read(monkeypatch):
    """Every file that is read, with its number of readings."""
    counts = {}

    def counting(original):
        def reading(path, *args, **kwargs):
            counts[path] = counts.get(path, 0) + 1
            return original(path, *args, **kwargs)

        return reading

    for name in ("read_text", "read_bytes"):
        monkeypatch.setattr(Path, name, counting(getattr(Path, name)))
    return counts


def test_a_report_reads_each_record_once(fabricated, tmp_path, read):
    store, plan = fabricated
    write_report(assemble_report(store.root, [plan]), tmp_path, FORMATS)
    records = {path: count for path, count in read.items() if path.name == "cell.json"}
    stored = [p for p in plan.cells if store.folder(p).exists()]
    assert set(records) == {store.folder(p) / "cell.json" for p in stored}
    assert set(records.values()) == {1}
    assert [count for path, count in read.items() if path.name.endswith(".statistics.json")] == [1]


def test_records_are_those_of_the_store(fabricated, read):
    store, plan = fabricated
    records = Records(store.root)
    for planned in plan.cells:
        assert records.record(planned) == store.record(planned)
        assert records.record(planned) is records.record(planned)
    assert records.statistics(plan.name) == store.statistics(plan.name)
    assert records.statistics("nothing") is None
    assert records.groups("nothing") is None
