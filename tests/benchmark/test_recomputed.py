"""The main table of a real run, recomputed from its predictions by a script that knows nothing of this project but where files lie."""

import json

import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from tests.benchmark.conftest import SMALL

METRICS = {"auc": roc_auc_score, "auprc": average_precision_score, "brier": brier_score_loss, "log_loss": log_loss}
AT = ["landmark", "method", "variant", "task", "metric"]


def recomputed(cells):
    """Mean over folds, then over seeds, of each metric of the test part, the two spreads, and the sums over folds of n and positives."""
    values = []
    for path in cells.glob("**/predictions.parquet"):
        cell = json.loads((path.parent / "cell.json").read_text())["cell"]
        test = pd.read_parquet(path).query("split == 'test'").dropna(subset=["label", "probability"])
        stages = {"default": "probability"} | (
            {} if cell["rectifier"] == "off" else {"no_rectifier": "probability_base"}
        )
        for (task, own), (variant, column), (metric, of) in (
            (t, s, m) for t in test.groupby("task", observed=True) for s in stages.items() for m in METRICS.items()
        ):
            where = cell | {"variant": variant, "task": task, "metric": metric}
            values.append(where | {"value": of(own.label, own[column]), "n": len(own), "positives": own.label.sum()})
    table = pd.DataFrame(values).groupby([*AT, "fold", "seed"])[["value", "n", "positives"]].first()
    means = {level: table["value"].groupby([*AT, level]).mean().groupby(AT) for level in ("fold", "seed")}
    counts = table.groupby([*AT, "fold"]).first().groupby(AT)[["n", "positives"]].sum()
    return counts.assign(mean=means["fold"].mean(), sd_folds=means["fold"].std(), sd_seeds=means["seed"].std())


def test_every_number_of_the_main_table(cli, tmp_path):
    chosen = ("method=logistic,s_only,crl_mmnar", "method.max_epochs=2", "method.hidden=16", "seeds=2")
    status, _, err = cli("run", "table1", *SMALL, *chosen)
    assert status == 0, err
    assert cli("report", "table1")[0] == 0
    table = pd.read_csv(tmp_path / "out" / "table1.csv")
    table = table[table["metric"].isin(METRICS)]
    # every output names what was set; a cell does not, since its name gives the seed
    named = table["method"].isin(["crl_mmnar", "s_only"])
    assert table.loc[named, "variant"].str.startswith("hidden=16+max_epochs=2").all()
    plain = table["variant"].str.replace(r"^hidden=16\+max_epochs=2\+?", "", regex=True).replace("", "default")
    table = table.assign(variant=plain).set_index(AT)
    found = recomputed(tmp_path / "cells").reindex(table.index)
    assert {"crl_mmnar", "logistic", "s_only", "ceiling", "oracle_features"} <= set(table.index.unique("method"))
    assert {"default", "no_rectifier"} == set(table.index.unique("variant"))
    assert len(table) == len(recomputed(tmp_path / "cells")) > 80
    for column in ("mean", "sd_folds", "sd_seeds", "n", "positives"):
        assert found[column].tolist() == pytest.approx(table[column].tolist(), abs=1e-6, nan_ok=True), column
    assert table["mean"].notna().all()
