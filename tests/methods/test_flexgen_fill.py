"""FLEXGEN-EHR's report of its fill: by hand, and what it may read."""

import numpy as np
import pytest
import torch

from methods.flexgen_ehr.fill import fill_errors, fill_table, find_nearest


class Guess:
    """A transport that fills everything with a number, and remembers what it was shown."""

    def __init__(self, value):
        self.value, self.shown = value, []

    def fill(self, z, observed):
        self.shown.append(observed.clone())
        return torch.full_like(z, self.value)


def latents(n=40, seed=0):
    rng = np.random.default_rng(seed)
    z, observed = rng.normal(size=(n, 3, 2)), rng.random((n, 3)) < 0.7
    held = np.arange(n) < 12
    observed[held, 2] = np.arange(12) == 0  # too few to say anything
    return z, observed, held


def distance(z, o, other, other_o):
    both = o & other_o
    return ((z - other)[both] ** 2).sum(-1).mean() if both.any() else np.inf


def test_errors_are_those_of_held_stays_whose_modality_was_hidden():
    z, observed, held = latents()
    guess = Guess(0.5)
    found = fill_errors(guess, torch.from_numpy(z), observed, held)
    assert found[2].isnan().all()
    for m in (0, 1):
        query = [i for i in np.flatnonzero(held & observed[:, m]) if observed[i].sum() > 1]
        bank = np.flatnonzero(~held & observed[:, m])
        shown = observed[query] & (np.arange(3) != m)
        np.testing.assert_array_equal(guess.shown[m], shown)
        truth = z[query, m]
        neighbours = []
        for i, o in zip(query, shown, strict=True):
            order = sorted(bank, key=lambda j, i=i, o=o: distance(z[i], o, z[j], observed[j]))
            neighbours.append(z[order[:5], m].mean(0))
        for column, made in enumerate((np.full_like(truth, 0.5), z[bank, m].mean(0), np.stack(neighbours))):
            error = np.sqrt(((made - truth) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum())
            assert found[m, column].item() == pytest.approx(error)


def test_unobserved_latents_are_not_read():
    z, observed, held = latents()
    expected = fill_errors(Guess(0.5), torch.from_numpy(z), observed, held)
    z[~observed] = 1e6
    torch.testing.assert_close(fill_errors(Guess(0.5), torch.from_numpy(z), observed, held), expected, equal_nan=True)


def test_stays_that_share_nothing_are_no_neighbours():
    z = torch.zeros(3, 2, 1)
    z[2] = 9.0
    bank_seen = torch.tensor([[False, True], [False, True], [True, True]])
    assert find_nearest(torch.zeros(1, 2, 1), torch.tensor([[True, False]]), z, bank_seen)[0, 0] == 2


def test_the_table_has_a_line_a_modality():
    text = fill_table({"S": {"ot": 1.0, "mean": 1.01, "knn": 0.9}, "I": {"ot": np.nan, "mean": 1.0, "knn": 1.0}})
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["S", "1.00", "1.01", "0.90"],
        ["I", "nan", "1.00", "1.00"],
    ]
    assert text.splitlines()[0].split()[-3:] == ["ot", "mean", "knn"]
