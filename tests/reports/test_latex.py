import shutil
import string
import subprocess

import pytest

from reports.latex import document, escape, number, tabular
from reports.published import published_tables
from reports.tables import Entry, Table

NASTY = string.printable + "±×≤≥−–—→Δδταβλσμ°²†‡…’‘“”éüßøåñÅÐþłőΩ漢字🙂\x00\x7f\u200b"


def example(title="A & B_c", note="50 % of $x_1$ failed: C:\\tmp {#3} ~ ^"):
    entries = (
        Entry(0.8125, 0.0125, "", "", True),
        Entry(-0.25, None, "", "†", False),
        Entry(None, None, "n/a", "‡", False),
    )
    known = (Entry(0.9, 0.1, "", "", False), Entry(None, None, "failed", "", False), Entry(0.1, 0.2, "", "", False))
    columns = (("Task_1", "AUC"), ("Task_1", "Brier"), ("Task 2 (50 %)", "AUC"))
    return Table(columns, ((title, False, entries), ("ceiling", True, known)), "A caption ± 1 % of_it.", (note,))


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % of a_b & c", r"50 \% of a\_b \& c"),
        (r"C:\x{1}$#", r"C:\textbackslash{}x\{1\}\$\#"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("a ± b ≤ c", r"a $\pm$ b $\le$ c"),
        ("é ł 漢", "é ? ?"),
        ("ﬁ\n½", "fi 1/2"),
    ],
)
def test_escape(text, latex):
    assert escape(text) == latex


def test_number_forms():
    assert number(Entry(0.8125, 0.0125, "", "", True)) == r"\textbf{0.812}\,{\scriptsize$\pm$\,0.013}"
    assert number(Entry(-0.25, None, "", "†", False)) == r"$-$0.250\textsuperscript{\dag}"
    assert number(Entry(None, None, "n/a", "‡", False)) == r"n/a\textsuperscript{\ddag}"


def test_tabular_groups_tasks_and_sets_known_rows_apart():
    lines = tabular(example()).splitlines()
    assert lines[0] == r"\begin{tabular}{@{}lccc@{}}"
    assert lines[2] == r" & \multicolumn{2}{c}{Task\_1} & \multicolumn{1}{c}{Task 2 (50 \%)} \\"
    assert lines[3] == r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}"
    assert lines[4] == r" & AUC & Brier & AUC \\"
    assert [line for line in lines if line.startswith("\\midrule")] == ["\\midrule"] * 2
    assert lines.index("\\midrule", 6) == 7
    assert lines[8].startswith("ceiling & ")
    assert all(line.count(" & ") == 3 for line in (lines[4], lines[6], lines[8]))


def test_document_is_compiled(tmp_path):
    engine = shutil.which("pdflatex") or shutil.which("tectonic")
    if engine is None:
        pytest.skip("neither pdflatex nor tectonic is installed")
    wide = Table(
        tuple((f"Task {t}", m) for t in range(6) for m in ("AUC", "AUPRC", "Brier")),
        tuple((f"row {r}", r > 20, (Entry(0.5, 0.1, "", "†", False),) * 18) for r in range(24)),
        NASTY,
        (NASTY,) * 40,
    )
    (tmp_path / "t.tex").write_text(
        document([example(NASTY, NASTY), wide, *published_tables("table1")]), encoding="utf-8"
    )
    options = ["-interaction=nonstopmode", "-halt-on-error"] if engine.endswith("pdflatex") else []
    done = subprocess.run([engine, *options, "t.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 10_000
    overfull = [line for line in done.stdout.splitlines() if line.startswith("Overfull \\hbox") and "alignment" in line]
    assert overfull == []
