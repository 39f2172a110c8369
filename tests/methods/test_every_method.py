"""What is asked of every method alike: a claim a test, and a table of what is particular to each method."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmark.check import CHECKS
from benchmark.check.cohorts import draw_random_cohort, replace_fields, replace_values, spoil_unobserved
from benchmark.check.method import check_method
from methods import registry
from methods.common.outcomes import base_rate
from methods.common.training import TorchMethod
from methods.hgmf.by_type import map_by_all_types

BRIEF = {"max_epochs": 2, "batch_size": 32, "lr": 1e-3}
SMALL = {
    "cm_ae": {"h_s": 16},
    "com": {"hidden": 16, "width": 12},
    "crl_mmnar": {"hidden": 16, "heads": 4, "pretrain_epochs": 2},
    "drfuse": {"hidden": 16},
    "flexgen_ehr": {
        "hidden": 16,
        "latent": 6,
        "anchors": 20,
        "n_t": 5,
        "vae_epochs": 2,
        "ot_steps": 2,
        "diffusion_epochs": 2,
    },
    "grape": {"hidden": 8, "raw_columns": 5, "components": 3},
    "gru_d": {"hidden": 8},
    "hgmf": {"hidden": 8, "subset_width": 4, "rank": 3, "width": 6, "heads": 2, "k": 3},
    "m3care": {"hidden": 8, "batch_size": 16, "graph": 32},
    "missmodal": {"hidden": 16},
    "mt": {"hidden": 16, "heads": 2, "search_epochs": 1, "search_frozen": 0},
    "muse": {"hidden": 8},
    "raindrop": {},
    "smil": {"hidden": 16, "width": 8, "clusters": 4, "first_epochs": 2, "meta_iterations": 6},
}
"""Sizes at which a method of several variants is fitted in a fraction of a second; BRIEF where they say nothing."""
NAMES = list(registry.infos())
VARIANTS = [f"{name}:{variant}" for name in NAMES for variant in registry.load(name).variants]
WIDE = {"com:paper_width", "flexgen_ehr:latent_128"}
"""Variants that undo the small size, and nothing else."""
LIKE_THE_DEFAULT = {"mt:late", "muse:muse", "raindrop:unpruned", "smil:pretrain_complete"}
"""Variants that may fit few easy stays as the default does: the search finds late fusion itself, every stay has a label, as many edges
as are pruned carry nothing, and complete stays are too few to be chosen."""
FURTHER = [
    ("drfuse", {"modalities": "m0+m2"}),
    ("gru_d", {"decay_init": "uniform", "dropout": 0.0}),
    ("muse", {"layers": 1}),
    ("muse", {"layers": 3}),
    ("raindrop:released+modality_as_sensor", {}),
    ("smil", {"beta_kl": 0.1}),
    ("smil", {"inner_steps": 2}),
]
"""Configurations of another network or other losses that are no variants."""
BY_THE_BATCH = ("m3care:transductive", "muse:as_released", "muse:batch_inference")
"""Variants whose rows depend on the stays predicted with them, as their titles or docstrings say."""


def method_of(spec, /, **changes):
    """The untrained method of ``NAME``, ``NAME:VARIANT`` or ``NAME:VARIANT+VARIANT``, whose fields prevail over ``changes``."""
    name, _, variants = spec.partition(":")
    cls = registry.load(name)
    for variant in filter(None, variants.split("+")):
        changes = changes | cls.variants[variant]
    return cls(cls.Config(**changes), seed=3)


def small_method(spec, further=()):
    name = spec.partition(":")[0]
    trains = hasattr(registry.load(name).Config(), "max_epochs")
    return method_of(spec, **{**(BRIEF if trains else {}), **SMALL.get(name, {}), **dict(further)})


@cache
def fitted(spec, further=()):
    return small_method(spec, further).fit(draw_random_cohort(97), draw_random_cohort(40, seed=1))


def stays_to_predict():
    return draw_random_cohort(30, seed=2).without_outcomes()


@cache
def predicted(spec, further=()):
    return fitted(spec, further).predict_proba(stays_to_predict())


@pytest.mark.parametrize(("spec", "changes"), [(spec, {}) for spec in VARIANTS if spec not in WIDE] + FURTHER, ids=str)
def test_a_variant_changes_the_fit_keeps_its_state_and_treats_rows_alone(spec, changes, tmp_path):
    of, default = (spec, tuple(changes.items())), spec.partition(":")[0]
    method, test, p = fitted(*of), stays_to_predict(), predicted(*of)
    assert p.shape == (30, 2)
    assert ((p > 0) & (p < 1)).all()
    if spec not in LIKE_THE_DEFAULT:
        assert np.array_equal(p, predicted(default)) == (method.config == fitted(default).config)
    np.testing.assert_array_equal(method.predict_proba(test), p)
    np.testing.assert_array_equal(method.predict_proba(spoil_unobserved(test, 1)), p)
    some = method.predict_proba(test.take(np.arange(3, 9)))
    assert (np.abs(some - p[3:9]).max() > 1e-6) == (spec in BY_THE_BATCH)
    np.savez(tmp_path / "state.npz", **method.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as stored:
        again = type(method)(method.config, seed=9).load_state(dict(stored))
    np.testing.assert_array_equal(again.predict_proba(test), p)


@pytest.mark.parametrize("spec", [*NAMES, "grape:feature"])
def test_stays_with_nothing_observed_have_one_answer(spec):
    test = stays_to_predict()
    series = replace(test.series, mask=np.zeros_like(test.series.mask))
    p = fitted(spec).predict_proba(replace_fields(test, observed=np.zeros_like(test.observed), series=series))
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p, p[:1].repeat(30, axis=0), atol=1e-7)
    few = replace_fields(test, observed=test.observed & (np.arange(30) >= 10)[:, None])
    if not registry.info(spec.partition(":")[0]).uses_series:
        np.testing.assert_allclose(fitted(spec).predict_proba(few)[:10], p[:10], atol=1e-6)


HEADS = {
    "s_only": lambda net: net.net[-1],
    "mean_impute": lambda net: net.net[-1],
    "zero_fill": lambda net: net.net[-1],
    "cm_ae": lambda net: net.head,
    "com": lambda net: net.fuse.head,
    "crl_mmnar": lambda net: lambda h: torch.cat([head(h) for head in net.heads], dim=1),
    "crl_mmnar:concat": lambda net: lambda h: torch.cat([head(h) for head in net.heads], dim=1),
    "flexgen_ehr": lambda net: net.head.net,
    "grape": lambda net: lambda h: net.predict(net.impute_row(h, net.states[-1])),
    "gru_d": lambda net: net.head,
    "gru_d:modality_as_sensor": lambda net: net.head,
    "hgmf": lambda net: net.head,
    "m3care": lambda net: net.net.head,
    "missmodal": lambda net: net.predict,
    "mt": lambda net: net.head,
    "muse": lambda net: net.head,
    "raindrop": lambda net: net.head,
    "smil": lambda net: net.core.fc2,
}
"""The part of a network that takes the vector of a stay, for every method that has one."""
NO_VECTOR = (
    "logistic",
    "gbdt",
    "drfuse",
    "smil:paper",
    "muse:per_task",
    "muse:as_released",
    "muse:batch_inference",
    "m3care:transductive",
)
"""No network, a vector for each task, means over noise, a network a task, vectors that depend on the batch."""


@pytest.mark.parametrize("spec", HEADS)
def test_probabilities_follow_from_the_representation_alone(spec):
    method, test = fitted(spec), stays_to_predict()
    h = method.represent(test)
    assert (h.dtype, h.ndim, len(h)) == (np.float32, 2, 30)
    with torch.inference_mode():
        logits = HEADS[spec](method.module.eval())(torch.from_numpy(h)) + method.offset
    np.testing.assert_allclose(torch.sigmoid(logits.double()), predicted(spec), atol=1e-6)
    np.testing.assert_array_equal(method.represent(test), h)
    np.testing.assert_array_equal(method.represent(spoil_unobserved(test, 3)), h)
    some = [7, 21, 2]
    np.testing.assert_allclose(method.represent(test.take(some)), h[some], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spec", NO_VECTOR)
def test_no_representation_where_no_one_vector_decides(spec):
    assert fitted(spec).represent(stays_to_predict()) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("only", [0.0, np.nan], ids=["one class", "never labelled"])
def test_a_task_without_two_classes_gets_its_smoothed_base_rate(name, only):
    train, valid, test = (draw_random_cohort(n, seed=s) for s, n in enumerate((97, 40, 60)))
    outcomes = train.outcomes.copy()
    outcomes[:, 0] = np.where(np.isnan(outcomes[:, 0]), np.nan, only)
    p = small_method(name).fit(replace_fields(train, outcomes=outcomes), valid).predict_proba(test)
    np.testing.assert_allclose(p[:, 0], base_rate(outcomes)[0], atol=1e-9)
    assert p[:, 1].std() > 0


OF_ANOTHER_FORM = {
    "drfuse:pair": (
        "unseen_pattern",
        "single_modality",
        "nothing_observed",
        "absent_modality",
        "last_batch",
        "one_modality_one_task",
        "save_and_load",
        "unobserved_in_fit",
        "arguments",
    ),
    "grape:feature": None,
    "muse:per_task": ("probabilities", "other_rows", "save_and_load", "nothing_observed", "single_class", "tiny"),
    "raindrop:released": None,
    "raindrop:modality_as_sensor": None,
}
OF_ANOTHER_FORM["drfuse:pairwise"] = OF_ANOTHER_FORM["drfuse:pair"]
"""Variants that are another network, and the checks of the contract on each: None for all that look at a cohort and are quick."""


@pytest.mark.parametrize("spec", OF_ANOTHER_FORM)
def test_a_variant_of_another_form_keeps_the_contract(spec):
    names = OF_ANOTHER_FORM[spec]
    checks = [c for c in CHECKS if (c.given and not c.slow if names is None else c.name in names)]
    found = {r.name: f"{r.verdict} {r.detail}" for r in check_method(spec, [], checks)}
    assert len(found) == len(names or checks)
    assert not {name: said for name, said in found.items() if not said.startswith("passed")}


@pytest.fixture(scope="module")
def easy():
    """Training, validation and test part in which everything is observed, and the mean AUC that filling with zeros reaches."""
    parts = []
    for n, seed in ((300, 0), (100, 1), (500, 2)):
        c, rng = draw_random_cohort(n, seed=seed, undefined=0.0), np.random.default_rng(seed + 10)
        full = [np.where(np.isnan(m.values), rng.normal(size=m.values.shape), m.values) for m in c.modalities]
        parts.append(replace_fields(replace_values(c, full), observed=np.ones_like(c.observed)))
    reached = mean_auc(method_of("zero_fill", max_epochs=6, lr=3e-3, batch_size=64), parts)
    assert reached > 0.78
    return parts, reached


def mean_auc(method, parts):
    train, valid, test = parts
    return roc_auc_score(test.outcomes, method.fit(train, valid).predict_proba(test))


EASY = {
    "cm_ae": {"max_epochs": 20},
    "cm_ae:faithful": {"max_epochs": 20},
    "com": {"lr": 1e-3},
    "crl_mmnar": {},
    "drfuse": {},
    "flexgen_ehr": {},
    "gbdt": None,
    "grape": {},
    "grape:feature": {"max_epochs": 40},
    "gru_d": {},
    "gru_d:modality_as_sensor": {},
    "hgmf": {"batch_size": 32},
    "logistic": None,
    "m3care": {},
    "mean_impute": {},
    "missmodal": {},
    "mt": {"hidden": 16, "heads": 2, "max_epochs": 12, "search_epochs": 3, "search_frozen": 1},
    "muse": {},
    "raindrop": {},
    "raindrop:released": {},
    "s_only": {},
    "smil": {"first_epochs": 6, "meta_iterations": 12},
}
"""What differs from 6 epochs of batches of 64 with a rate of 3e-3; None where nothing is trained by epochs."""


@pytest.mark.parametrize("spec", EASY)
def test_an_easy_complete_cohort_is_learned_as_well_as_by_zero_filling(spec, easy):
    parts, plain = easy
    changes = {} if EASY[spec] is None else {"max_epochs": 6, "lr": 3e-3, "batch_size": 64, **EASY[spec]}
    margin = 0.06 if spec == "grape:feature" else 0.03
    assert mean_auc(method_of(spec, **changes), parts) > plain - margin


HALF = {
    "cm_ae:faithful": (0.05, 0.05),
    "cm_ae:modern": (0.05, 0.05),
    "com": (0.1, 0.1),
    "crl_mmnar": (0.1, 0.1),
    "drfuse": (0.05, 0.1),
    "flexgen_ehr": (0.05, 0.02),
    "grape:joint": (0.1, 0.1),
    "gru_d": (0.05, 0.1),
    "gru_d:modality_as_sensor": (0.05, 0.1),
    "hgmf": (0.05, 0.1),
    "hgmf:own_maps": (0.05, 0.1),
    "m3care": (0.05, 0.1),
    "missmodal": (0.05, 0.05),
    "missmodal:mmd": (0.05, 0.05),
    "mt": (0.1, 0.1),
    "muse": (0.1, 0.1),
    "raindrop": (0.05, 0.1),
    "raindrop:released": (0.05, 0.1),
    "raindrop:modality_as_sensor": (0.05, 0.1),
    "raindrop:released+modality_as_sensor": (0.05, 0.1),
    "smil": (0.05, 0.1),
    "zero_fill": (0.05, 0.1),
}
"""How far logits may be moved, and losses as a share of themselves."""
IN_HALF_PRECISION = {"edges"}
"""Losses that are not computed in single precision: Raindrop's, of edges."""
TURNS = {"rank"}
"""Losses that turn over where half precision orders two equals another way: DrFuse's, of tokens that attention weighs alike."""


@pytest.mark.parametrize("spec", HALF)
def test_half_precision_changes_logits_and_losses_little_in_every_phase(spec, monkeypatch):
    seen = []

    def both(self, batch):
        for half in (False, True):
            torch.manual_seed(4)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                yield self.module.train()(batch)

    def trained(self, train, valid, own=TorchMethod._train):
        own(self, train, valid)
        batch = self._batch(train, outcomes=True)
        exact, rough = both(self, batch.take(torch.arange(min(64, len(train)))))
        self.module.zero_grad()
        (rough.logits.float().sum() + sum(rough.losses.values())).backward()
        seen.append((exact, rough, [p.grad for p in self.module.parameters() if p.grad is not None]))

    monkeypatch.setattr(TorchMethod, "_train", trained)
    monkeypatch.setattr(
        "methods.hgmf.map_by_type", map_by_all_types
    )  # as on a GPU: on a CPU nothing is trained in half precision
    small_method(spec).fit(draw_random_cohort(97), draw_random_cohort(40, seed=1))
    assert seen
    moved, (shift, share) = False, HALF[spec]
    for exact, rough, gradients in seen:
        torch.testing.assert_close(rough.logits.float(), exact.logits, atol=shift, rtol=0)
        assert exact.losses.keys() == rough.losses.keys()
        for name in exact.losses.keys() - TURNS:
            assert rough.losses[name].item() == pytest.approx(exact.losses[name].item(), rel=share, abs=1e-3), name
            assert rough.losses[name].dtype == torch.float32 or name in IN_HALF_PRECISION, name
        assert gradients
        assert all(g.isfinite().all() for g in gradients)
        moved |= not torch.equal(rough.logits.float(), exact.logits)
    assert moved


# fmt: off
DEFAULTS = {
    "cm_ae": {"h_s": 256, "h_most": 512, "act": "relu", "dropout": 0.0, "rho": 0.05, "lambda_rec": 0.1, "lr": 1e-3,
              "batch_size": 256, "max_epochs": 100, "patience": 10, "finetune_lr": 0.1},
    "com": {"hidden": 128, "layers": 3, "heads": 4, "dropout": 0.1, "lr": 1e-4, "lam": 0.01, "tau": 0.07, "weight_decay": 0.0,
            "batch_size": 256, "max_epochs": 100, "train_disc": True, "contrast": 256},
    "crl_mmnar": {"hidden": 128, "heads": 8, "dropout": 0.2, "lr": 2e-4, "weight_decay": 1e-5, "batch_size": 32, "patience": 30,
                  "max_epochs": 100, "lambda_miss": 0.5, "lambda_rec": 1.0, "lambda_con": 0.15, "temperature": 0.1, "gamma": 0.0,
                  "pretrain_epochs": 20, "anneal_epochs": 10, "left_out": "each", "project": True, "detach_target": True},
    "drfuse": {"lr": 1e-4, "dropout": 0.3, "weight_decay": 0.0, "batch_size": 16, "max_epochs": 100, "patience": 10,
               "lambda_pred": 1.0, "lambda_pred_shared": 1.0, "lambda_jsd": 1.0, "lambda_orth": 1.0, "lambda_attn": 1.0},
    "flexgen_ehr": {"latent": 32, "anchors": 256, "neighbours": 5, "mass": 0.9, "eps": 1e-3, "n_t": 50, "drop": 0.1,
                    "guidance": 0.5, "vae_epochs": 60, "diffusion_epochs": 50, "ot_steps": 50},
    "grape": {"layers": 2, "known": 0.7, "lr": 1e-3, "lambda_imp": 0.0, "weight_decay": 0.0, "batch_size": 256, "max_epochs": 200},
    "gru_d": {"hidden": 64, "lr": 1e-3, "dropout": 0.3, "batch_size": 32, "max_epochs": 100, "patience": 10,
              "inputs": "true_series", "static": "encoder", "steps": "hours", "cell": "paper", "decay_init": "zeros"},
    "m3care": {"hidden": 128, "dropout": 0.5, "lam": 1e-7, "lr": 1e-4, "weight_decay": 1e-4, "grad_clip": 20.0, "batch_size": 512,
               "graph": 512, "max_epochs": 100, "patience": 100, "l_init": 0.0, "kernel": "odir", "row_norm": True},
    "missmodal": {"hidden": 128, "dropout": 0.2, "tau": 0.3, "views": 1, "a": 0.1, "b": 0.1, "c": 1.0, "lr": 1e-3,
                  "weight_decay": 1e-4, "batch_size": 128, "max_epochs": 100, "dist": "mean", "pos_in_denominator": True,
                  "complete_only": False, "mask_input": False},
    "mt": {"lr": 1e-4, "weight_decay": 0.01, "batch_size": 128, "max_epochs": 60, "warm_up": 0.05, "search_epochs": 20,
           "search_frozen": 3, "search_share": 0.2, "alpha_lr": 3e-3},
    "smil": {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 64, "first_epochs": 60, "fusion_dropout": 0.5, "clusters": 10,
             "inner_lr": 1e-3, "inner_decay": 1000, "inner_steps": 1, "align": 0.01},
    "muse": {"hidden": 128, "layers": 2, "dropout": 0.25, "lr": 2e-4, "weight_decay": 0.0, "batch_size": 512, "max_epochs": 100,
             "patience": 100, "tau": 0.07, "w_unsup": 0.5, "w_sup": 0.5},
}
# fmt: on
"""Values that a paper or its released program states, or that a card settles."""


@pytest.mark.parametrize("name", NAMES)
def test_rows_beside_a_method_are_variants_and_stage_lengths_are_fields(name):
    cls = registry.load(name)
    assert set(cls.beside) <= set(cls.variants)
    assert all(isinstance(getattr(cls.Config(), field), int) for field in cls.stage_lengths)


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_the_card(name):
    config = registry.load(name).Config()
    assert {field: getattr(config, field) for field in DEFAULTS[name]} == DEFAULTS[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "logistic"])
def test_tuning_tries_the_default_too(name):
    """But for logistic, whose default is a list of penalties to choose from, and whose grid has one at a time."""
    cls = registry.load(name)
    config = cls.Config()
    assert {field for field, values in cls.grid.items() if getattr(config, field) not in values} == set()


SEVERAL_FIELDS = {
    "cm_ae:faithful", "crl_mmnar:concat", "crl_mmnar:detached", "crl_mmnar:end_to_end", "crl_mmnar:per_modality", "flexgen_ehr:tstr",
    "grape:feature", "hgmf:own_maps", "hgmf:pairwise", "m3care:as_released_odir", "m3care:as_released_ov", "missmodal:backbone",
    "missmodal:on_zero_fill", "mt:wide", "muse:as_released", "muse:masked_muse", "muse:paper", "smil:paper",
}  # fmt: skip


def test_a_variant_changes_one_field_unless_it_is_named_here():
    """Or none, where it gives the default a name; and each that it changes to another value than the default's."""
    for spec in VARIANTS:
        cls, default = registry.load(spec.split(":")[0]), method_of(spec.split(":")[0]).config
        changes = cls.variants[spec.split(":")[1]]
        assert (len(changes) > 1) == (spec in SEVERAL_FIELDS)
        assert not [field for field, value in changes.items() if getattr(default, field) == value]


IMPOSSIBLE = [
    ("cm_ae", {"act": "tanh"}, "act is 'tanh'; it must be"),
    ("cm_ae", {"views": "all"}, "views is 'all'; it must be one or subset"),
    ("com", {"positives": "all"}, "task or exact"),
    ("com", {"norm_rows": "none"}, "observed or all"),
    ("com", {"hidden": 30}, "multiple of"),
    ("com", {"contrast": 0}, "contrast=0"),
    ("crl_mmnar", {"fusion": "sum"}, "mmnar or concat"),
    ("crl_mmnar", {"heads": 3}, "multiple of heads=3"),
    ("crl_mmnar", {"average": "all"}, "mean or modality or stay"),
    ("crl_mmnar", {"left_out": "two"}, "each or one"),
    ("flexgen_ehr", {"mass": 0.0}, "mass=0.0 must be above 0"),
    ("flexgen_ehr", {"mass": 1.1}, "at most 1"),
    ("flexgen_ehr", {"synthetic": -0.5}, "at least 0"),
    ("flexgen_ehr", {"synthetic": 0.0, "tstr": True}, "above 0 with tstr"),
    ("flexgen_ehr", {"anchors": 0}, "at least 1"),
    ("grape", {"graph": "patient"}, "modality or feature"),
    ("grape", {"known": 0.0}, "above 0"),
    ("grape", {"layers": 0}, "at least 1"),
    ("gru_d", {"inputs": "other"}, "inputs is 'other'; it must be"),
    ("gru_d", {"static": "other"}, "static is 'other'; it must be"),
    ("gru_d", {"steps": "other"}, "steps is 'other'; it must be"),
    ("gru_d", {"cell": "other"}, "cell is 'other'; it must be"),
    ("gru_d", {"decay_init": "other"}, "decay_init is 'other'; it must be"),
    ("hgmf", {"encoder": "outer"}, "encoder is"),
    ("hgmf", {"k": 0}, "k is"),
    ("hgmf", {"layers": 0}, "layers is"),
    ("m3care", {"kernel": "rbf"}, "kernel is"),
    ("m3care", {"hidden": 6}, "hidden is"),
    ("m3care", {"hidden": 0}, "hidden is"),
    ("m3care", {"act": "tanh"}, "relu or selu"),
    ("m3care", {"graph": 0}, "graph is 0"),
    ("missmodal", {"dist": "kl"}, "mean or paired"),
    ("missmodal", {"network": "gru"}, "encoders or concat"),
    ("missmodal", {"views": 0}, "at least 1"),
    ("mt", {"policy": "sum"}, "it must be search or"),
    ("mt", {"heads": 3}, "multiple of heads=3"),
    ("mt", {"search_epochs": 2}, "at most search_epochs=2"),
    ("muse", {"inference": "test"}, "inductive or batch"),
    ("muse", {"init": "zeros"}, "he or torch"),
    ("muse", {"norm_rows": "none"}, "observed or all"),
    ("muse", {"view": "bernoulli"}, "code or bernoulli15"),
    ("muse", {"nodes": "random"}, "learned or one_hot"),
    ("muse", {"head": "separate"}, "joint or per_task"),
    ("muse", {"mask_labels": 1.0}, "less than 1"),
    ("muse", {"layers": 0}, "at least 1"),
    ("muse", {"tau": 0.0}, "above 0"),
    ("raindrop", {"inputs": "both"}, "true_series or modality_as_sensor"),
    ("raindrop", {"variant": "v2"}, "paper or released"),
    ("raindrop", {"static": "both"}, "linear or encoder"),
    ("raindrop", {"steps": "bins"}, "hours or records"),
    ("raindrop", {"layers": 0}, "at least 1"),
    ("raindrop", {"d_t": 5}, "even"),
    ("raindrop", {"prune": 1.0}, "less than 1"),
    ("smil", {"form": "x"}, "code or paper"),
    ("smil", {"operation": "sub"}, "add or mul"),
    ("smil", {"pretrain": "no"}, "all or"),
    ("smil", {"clusters": 0}, "at least 1"),
    ("smil", {"meta_iterations": -1}, "at least 0"),
]


@pytest.mark.parametrize(("name", "changes", "fault"), IMPOSSIBLE, ids=str)
def test_impossible_configurations_are_refused(name, changes, fault):
    with pytest.raises(ValueError, match=fault):
        registry.load(name).Config(**changes)
