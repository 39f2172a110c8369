"""The ablation ladder of the paper's Table 2: its rungs, and which rows of a plan they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.rows import TableRow


@dataclass(frozen=True)
class Step:
    """A rung: its name in the paper, the variant it is, with the rectifier or not, and the one thing it changes of the rung before."""

    name: str
    variant: str
    rectified: bool
    changes: str


LADDER = (
    Step("Basic baseline", "concat", False, "tokens side by side, one affine map, heads"),
    Step(
        "+ MMNAR",
        "mmnar",
        False,
        "fusion: the embedded pattern gates the tokens, attention joins them, and a loss, which has a first phase to itself, decodes "
        "the pattern",
    ),
    Step(
        "+ MR", "default", False, "reconstruction of each observed modality left out in turn, with its contrastive loss"
    ),
    Step("+ Rectifier", "default", True, "the rectifier after prediction, on the same fits"),
)
"""The last rung is the third's own cells after their rectifier, so that it needs no second fit and is paired exactly."""


def find_rung(step: Step, method: str | None, rows: Sequence[TableRow]) -> TableRow | None:
    """Return the row of ``method`` that is this step, or None where a plan has none."""
    for row in rows:
        # the variant printed says "no_rectifier" of a row before its rectifier; its cells have the variant's own name
        if row.cells and row.method == method and row.cells[0].cell.variant == step.variant:
            rectified = row.stage == "final" and row.cells[0].cell.rectifier != "off"
            if rectified == step.rectified:
                return row
    return None
