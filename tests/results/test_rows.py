import pytest

from results.rows import find_reference_row, hash_keys, list_rows
from tests.stores import made_plan


def plan(*rows, reference="crl_mmnar"):
    return made_plan(*rows, reference=reference)


@pytest.mark.parametrize(
    ("rows", "printed"),
    [
        ([("a", "default", "off")], [("default", "final")]),
        ([("a", "default", "on")], [("default", "final"), ("no_rectifier", "base")]),
        ([("a", "no_mr", "on")], [("no_mr", "final"), ("no_mr+no_rectifier", "base")]),
        ([("a", "default", "on"), ("a", "default", "off")], [("default", "final"), ("rectifier_off", "final")]),
        (
            [("a", "default", "on"), ("a", "default", "shrunk")],
            [
                ("default", "final"),
                ("no_rectifier", "base"),
                ("rectifier_shrunk", "final"),
                ("rectifier_shrunk+no_rectifier", "base"),
            ],
        ),
    ],
)
def test_printed_variants_tell_rows_apart(rows, printed):
    found = list_rows(plan(*rows))
    assert [(r.variant, r.stage) for r in found] == printed
    assert all(len(r.cells) == 1 for r in found)


def test_titles_and_cells_of_the_row_before_the_rectifier():
    after, before = list_rows(plan(("crl_mmnar", "default", "on")))
    assert before.title == "CRL_MMNAR, before the rectifier"
    assert before.cells == after.cells


def test_reference_is_the_first_row_of_its_method():
    p = plan(("cm_ae", "default", "off"), ("crl_mmnar", "default", "on"), ("crl_mmnar", "no_mr", "on"))
    rows = list_rows(p)
    assert find_reference_row(p, rows) is rows[1]
    assert find_reference_row(plan(("cm_ae", "default", "off")), rows[:1]) is None


def test_known_rows_are_marked():
    assert [r.known for r in list_rows(plan(("a", "default", "off"), ("ceiling", "default", "off")))] == [False, True]


def test_basis_depends_on_the_set_of_keys():
    assert hash_keys(["b", "a"]) == hash_keys(["a", "b"])
    assert hash_keys(["a"]) != hash_keys(["a", "b"])


def test_reference_is_the_method_by_default_where_its_variants_come_first():
    p = plan(("crl_mmnar", "concat", "off"), ("crl_mmnar", "default", "on"))
    rows = list_rows(p)
    assert find_reference_row(p, rows) is rows[1]
