"""How far a printed or stored probability can be from the one it was rounded from."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

SHARE = 0.99
"""Share of a column's values that have to fit a number of digits, so that a few values of another form do not set it."""
DISTINCT = 20
"""Distinct values from which on a column may be taken for one of half precision."""


def compute_half_widths(values: np.ndarray, text: Sequence[str]) -> np.ndarray:
    """Return half the width [N] of the interval that each value stands for.

    The largest of three: half a unit of the column's last decimal (``%.4f``), half a unit of its last significant digit (``%.6g``), and
    a unit of the last binary place of a 32-bit float (or of a 16-bit one, if all values fit it: 11 or 8 bits). Decimals and digits of a
    column are those that 99 % of its values do not exceed.

    Args:
        values: [N], at least 0.
        text: [N] as in the file, else as Python prints them.
    """
    if not len(values):
        return np.zeros(0)
    distinct, place = np.unique(np.asarray(text, dtype=str), return_inverse=True)
    forms = np.array([_count_digits(t) for t in distinct]).reshape(-1, 2)[place]
    decimals, significant = (int(np.quantile(f, SHARE, method="higher")) for f in forms.T)
    magnitude = np.floor(np.log10(np.where(values > 0, values, 1.0)))
    decimal = 0.5 * 10.0**-decimals
    digits = np.where(values > 0, 0.5 * 10.0 ** (magnitude + 1 - significant), 0.0)
    return (
        np.maximum.reduce([np.full(len(values), decimal), digits, _compute_binary_place(values)]) * (1 + 1e-9) + 1e-15
    )


def _count_digits(text: str) -> tuple[int, int]:
    """Return decimals and significant digits of a printed number."""
    number = Decimal(text).normalize()
    return max(0, -int(number.as_tuple().exponent)), len(number.as_tuple().digits)


def _compute_binary_place(values: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(values)
    bits = 24
    if len(np.unique(values)) >= DISTINCT:
        bits = next((b for b in (8, 11) if np.all(mantissa * 2.0**b == np.floor(mantissa * 2.0**b))), 24)
    return np.ldexp(1.0, exponent - bits)
