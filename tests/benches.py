"""A made JSON of ``make bench``: every table, and in each a row that was not measured."""

import json

PROVENANCE = {
    "commit": "0123456789abcdef",
    "clean": False,
    "versions": {"python": "3.11.0", "torch": "2.0"},
    "hardware": {"cpu": "Some CPU", "cores": 4, "system": "Linux"},
    "finished": "2026-01-02T03:04:05+00:00",
}
STEP = {"table": "public", "threads": 1, "what": "training step", "against": "PyPOTS", "sizes": "64 stays"}
EPOCH = {"table": "growth", "threads": 1, "widths": "eICU-like"}
TABLE = {"table": "raw", "threads": 1, "copies": 24, "dataset": "eicu-demo"}
READ = {
    "seconds": 2.0, "rows": 3_000_000, "rows_per_second": 1_500_000.0, "peak_mib": 300.0, "pandas_ratio": 0.5, "pandas_memory_ratio": 0.75,
    "pandas_all_ratio": 0.25, "pandas_all_memory_ratio": 0.375,
}  # fmt: skip
METHODS = {"zero_fill": ("Plain", 1.0), "muse": ("MUSE+", 8.0), "absent": ("Absent", None)}
CELLS = ((200, 10), (2_000, 10), (2_000, 2))


RUN = {"table": "table1", "threads": 1, "widths": "eICU-like"}
ONE_RUN = {
    "seconds": 3.0,
    "preparation_seconds": 50.0,
    "predict_seconds": 10.0,
    "stays": 5_000,
    "part": 10,
    "epochs": 100,
    "replicas": 5,
}


def rows():
    """(row, its numbers, or None where it was not measured), as the tests state them."""
    found = [
        (STEP | {"title": "GRU-D"}, {"seconds": 0.003, "beside_seconds": 0.006, "ratio": 0.5}),
        (STEP | {"title": "Raindrop"}, None),
    ]
    for n, m in CELLS:
        for method, (title, times) in METHODS.items():
            ratio = times and times + n / 1000 + m / 100
            numbers = times and {"seconds": ratio / 10, "ratio": ratio, "preparation_ratio": 3 * ratio}
            found.append((EPOCH | {"method": method, "title": title, "n": n, "m": m}, numbers))
    found += [
        (RUN | {"method": "muse", "title": "MUSE+"}, ONE_RUN | {"stacked_seconds": 1.5}),
        (RUN | {"method": "gru_d", "title": "GRU-D"}, ONE_RUN),
        (RUN | {"method": "absent", "title": "Absent"}, None),
    ]
    found += [(TABLE | {"raw": "lab"}, READ), (TABLE | {"raw": "patient"}, None)]
    times = {"seconds": 0.25, "beside_seconds": 0.01, "ratio": 25.0, "wall_seconds": 0.3}
    return [
        *found,
        ({"table": "start", "command": "list methods"}, times),
        ({"table": "start", "command": "--help"}, None),
    ]


def document(tables=("public", "growth", "table1", "raw", "start")):
    """The JSON of these tables; of pytest-benchmark's own content, what is read."""
    chosen = [(row, numbers) for row, numbers in rows() if row["table"] in tables]
    measured = [{"extra_info": row | numbers, "stats": {"rounds": 3}} for row, numbers in chosen if numbers]
    return {"benchmarks": measured, "planned": [row for row, _ in chosen], "provenance": PROVENANCE}


def write(folder, name="2026-01-02-machine.json", **changes):
    """The JSON as a file; its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document(**changes)), encoding="utf-8")
    return folder
