"""No count of 1 to 9 is printed, and none follows from what is printed."""

import itertools

import numpy as np
import pytest

from results.disclosure import ROWS, Count, Sum, choose_hidden, extend_hidden, find_determined, select_shown_steps


def counts(**n):
    return {name: Count(k, 0) for name, k in n.items()}


@pytest.mark.parametrize(
    ("n", "hidden"),
    [
        ({"a": 50, "b": 20}, ""),
        ({"a": 50, "b": 9}, "ab"),
        ({"a": 50, "b": 20, "c": 3}, "bc"),
        ({"a": 50, "b": 20, "c": 6, "d": 3}, "bcd"),
        ({"a": 50, "b": 20, "c": 6, "d": 4}, "cd"),
        ({"a": 50, "b": 20, "c": 3, "d": 0}, "bc"),
        ({"a": 3, "b": 4}, "ab"),
        ({"a": 10, "b": 1, "c": 0}, "ab"),
    ],
)
def test_rows_of_a_partition(n, hidden):
    kept = choose_hidden(counts(**n), [Sum(tuple(n))])
    assert kept.n == kept.positives == set(hidden)


@pytest.mark.parametrize(
    ("pairs", "positives"),
    [
        ({"a": (50, 20), "b": (50, 20)}, ""),
        ({"a": (50, 20), "b": (50, 12), "c": (50, 5)}, "bc"),
        ({"a": (50, 20), "b": (50, 12), "c": (50, 45)}, "bc"),
        ({"a": (50, 20), "b": (50, 12), "c": (50, 0)}, ""),
    ],
)
def test_positives_and_negatives_of_a_partition(pairs, positives):
    kept = choose_hidden({k: Count(*v) for k, v in pairs.items()}, [Sum(tuple(pairs))])
    assert kept.n == set()
    assert kept.positives == set(positives)


def test_what_is_left_of_a_total_is_a_member_too():
    """Four of five folds are done: the fifth follows, and is small."""
    assert choose_hidden(counts(a=50, b=30), [Sum(("a", "b"), rest=Count(5, 0))]).n == {"b"}
    assert choose_hidden(counts(a=50, b=30), [Sum(("a", "b"), rest=Count(25, 0))]).n == set()


def test_a_pattern_does_not_follow_from_the_modalities_it_is_made_of():
    """S+T is small; hiding S alone beside it would leave it as what T has beyond the other patterns."""
    patterns = counts(**{"S+T": 4, "S": 15, "T": 40, "none": 60})
    both = patterns | counts(s_yes=19, s_no=100, t_yes=44, t_no=75)
    sums = [
        Sum(tuple(patterns)),
        Sum(("S+T", "S"), "s_yes"), Sum(("T", "none"), "s_no"), Sum(("S+T", "T"), "t_yes"), Sum(("S", "none"), "t_no"),
        Sum(("s_yes", "s_no")), Sum(("t_yes", "t_no")),
    ]  # fmt: skip
    hidden = choose_hidden(both, sums).n
    assert {"S+T", "S"} < hidden
    assert not follows(sums, hidden)


def follows(sums, hidden):
    """The hidden counts whose unit vector lies in the span of the sums: by rank, as the textbook has it."""
    names = sorted(hidden)
    matrix = np.array([[(n in s.members) - (n == s.total) for n in names] for s in sums], dtype=float)
    rank = np.linalg.matrix_rank(matrix)
    units = np.eye(len(names))
    return [n for n, unit in zip(names, units, strict=True) if np.linalg.matrix_rank(np.vstack([matrix, unit])) == rank]


@pytest.mark.parametrize("draw", range(30))
def test_nothing_small_follows_from_random_patterns(draw):
    rng = np.random.default_rng(draw)
    modalities = "STIR"[: 2 + draw % 3]
    patterns = ["".join(m for m, has in zip(modalities, on, strict=True) if has) or "none"
                for on in itertools.product((True, False), repeat=len(modalities))]  # fmt: skip
    sizes = {p: int(rng.choice([0, rng.integers(1, 10), rng.integers(10, 200)])) for p in patterns}
    found = {p: Count(n, int(rng.integers(0, n + 1))) for p, n in sizes.items()}
    sums = [Sum(tuple(found))]
    for m in modalities:
        for name, inside in (
            (f"{m}+", [p for p in patterns if m in p]),
            (f"{m}-", [p for p in patterns if m not in p]),
        ):
            found[name] = Count(sum(found[p].n for p in inside), sum(found[p].positives for p in inside))
            sums.append(Sum(tuple(inside), name))
        sums.append(Sum((f"{m}+", f"{m}-")))
    kept = choose_hidden(found, sums)
    whole = Count(sum(found[p].n for p in patterns), sum(found[p].positives for p in patterns))
    for hidden, of in ((kept.n, lambda c: (c.n,)), (kept.positives, lambda c: (c.positives, c.negatives))):
        if any(0 < v < 10 for v in of(whole)):
            continue  # the whole is small: nothing of it is printed
        shown = [v for name, c in found.items() if name not in hidden for v in of(c)]
        assert not any(0 < v < 10 for v in shown)
        assert not [n for n in follows(sums, hidden) if any(0 < v < 10 for v in of(found[n]))]
        for s in sums:
            inside = [found[name] for name in s.members if name in hidden]
            left = [name for name in s.members if name not in hidden and any(of(found[name]))]
            if inside and left and s.total not in hidden:
                assert len(inside) > 1
                assert not any(0 < sum(v) < 10 for v in zip(*map(of, inside), strict=True))


def test_what_follows_is_found():
    sums = [Sum(("a", "b")), Sum(("b", "c"))]
    assert find_determined(sums, {"a"}, ROWS) == ["a"]
    assert find_determined(sums, {"a", "b"}, ROWS) == ["a", "b"]
    assert find_determined(sums, {"a", "b", "c"}, ROWS) == []
    assert find_determined([Sum(("a", "b"), rest=Count(5, 0))], {"a"}, ROWS) == []


def test_where_nothing_is_left_to_hide_it_ends():
    assert extend_hidden(counts(a=5), [Sum(("a",))], {"a"}, ROWS) == {"a"}


@pytest.mark.parametrize(
    ("flow", "shown"),
    [
        ([100, 80, 60], [1, 1, 1]),
        ([100, 95, 60], [1, 0, 1]),
        ([100, 60, 55], [1, 0, 1]),
        ([100, 95, 88, 60], [1, 0, 1, 1]),
        ([100, 100, 60], [1, 1, 1]),
        ([65, 60], [0, 1]),
        ([70, 65, 60], [1, 0, 1]),
        ([100, 50, 5], [1, 1, 0]),
        ([], []),
    ],
)
def test_from_one_printed_step_to_the_next_none_or_at_least_ten_leave(flow, shown):
    assert select_shown_steps(flow) == [bool(s) for s in shown]
