import json

import pytest

from results.speed import parse_benchmarks, read_newest
from results.storage.files import StoreError
from tests.benches import PROVENANCE, document, rows, write


def test_every_planned_row_is_there_measured_or_missing():
    bench = parse_benchmarks(document())
    assert set(bench.frames) == {"public", "growth", "table1", "raw", "start"}
    assert sum(map(len, bench.frames.values())) == len(rows())
    growth = bench.frames["growth"].set_index(["method", "n", "m"]).sort_index()
    assert growth.loc[("muse", 2_000, 10), "ratio"] == pytest.approx(10.1)
    assert set(growth.loc["absent", "status"]) == {"missing"}
    assert growth.loc["absent", "seconds"].isna().all()
    assert set(growth.loc["muse", "rounds"]) == {3}
    assert bench.provenance == PROVENANCE


def test_a_measurement_may_state_its_own_rounds():
    made = document(tables=("public",))
    made["benchmarks"][0]["extra_info"]["rounds"] = 24
    assert list(parse_benchmarks(made).frames["public"]["rounds"]) == [24, 0]


def test_a_row_of_which_nothing_was_measured_keeps_its_place():
    made = document() | {"benchmarks": []}
    tidy = parse_benchmarks(made).tidy()
    assert len(tidy) == len(rows())
    assert set(tidy["status"]) == {"missing"}


def test_the_tidy_frame_has_one_row_a_number():
    tidy = parse_benchmarks(document()).tidy()
    one = tidy[(tidy["table"] == "growth") & (tidy["method"] == "muse") & (tidy["metric"] == "preparation_ratio")]
    assert list(one["value"]) == pytest.approx([3 * 8.3, 3 * 10.1, 3 * 10.02])
    assert not tidy.duplicated(["table", "title", "raw", "command", "method", "n", "m", "metric"]).any()


def test_the_newest_file_counts_and_one_that_is_being_written_does_not(tmp_path):
    write(tmp_path, "2026-01-01-a.json", tables=("public",))
    write(tmp_path, "2026-01-02-b.json", tables=("start",))
    (tmp_path / "2026-01-03-c.json").touch()
    assert set(read_newest(tmp_path).frames) == {"start"}


@pytest.mark.parametrize("content", ["{", json.dumps({"benchmarks": []})])
def test_another_file_is_named_in_one_line(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(StoreError, match=r"other\.json cannot be read"):
        read_newest(tmp_path)


def test_nothing_measured_says_how_to_measure(tmp_path):
    with pytest.raises(StoreError, match="make bench"):
        read_newest(tmp_path / "nowhere")
