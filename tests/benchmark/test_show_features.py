"""What ``data describe`` prints of features: the missing share of each, and those that are constant."""

from benchmark.show import show_description

PART = {
    "n": 3,
    "flow": [],
    "tasks": {},
    "modalities": {"S": 1.0, "T": 0.5},
    "patterns": [],
    "missing": {"S": {"age": 0.0, "urine": 0.25}, "T": {"T_0": 0.5, "T_1": 0.5}},
    "constant": {"S": {"ordered_inotrope": 0.0, "bands_mean": None}},
}


def test_the_missing_share_of_every_feature_and_the_constant_features_are_printed(capsys):
    show_description({"icu_24h": PART}, patterns=True)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "age 0.0%, urine 25.0%" in lines
    assert "50.0% in each of 2" in lines
    assert lines[lines.index("S, the same in every stay that has it: 1 features") + 1] == "ordered_inotrope 0"
    assert lines[lines.index("S, never recorded: 1 features") + 1] == "bands_mean"
    show_description({"icu_24h": PART}, patterns=False)
    assert "urine" not in capsys.readouterr().out
