import html
import re
import shutil
import string
import subprocess

import pytest

from reports.build import assemble_report, write_report
from reports.figures.drawing import create_figure, make_label
from reports.formats.files import FORMATS
from reports.formats.latex import escape_text, render_document, render_entry, render_table, render_tabular
from reports.formats.pictures import render_figure
from reports.report import Figure
from reports.tables.table import Entry, Table
from results.statistics.derive import derive
from tests.stores import fabricate

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
        ("[Ours] *", "{[}Ours{]} {*}"),
        ("a--b ''", "a-{}-b '{}'"),
    ],
)
def test_escape(text, latex):
    assert escape_text(text) == latex


def test_number_forms():
    bold = r"{\bfseries\boldmath\num{0.812}}\,{\scriptsize$\pm$\,\num{0.013}}"
    assert render_entry(Entry(0.8125, 0.0125, "", "", True)) == bold
    assert render_entry(Entry(-0.25, None, "", "†", False)) == r"\num{-0.250}\textsuperscript{\dag}"
    assert render_entry(Entry(0.25, None, "", "(a)", False, signed=True)) == r"\num{+0.250}\textsuperscript{(a)}"
    interval = Entry(0.1, None, "", "", False, interval=(-0.05, 0.25), digits=2)
    assert render_entry(interval) == r"\num{0.10}\,{\scriptsize[\num{-0.05}, \num{0.25}]}"
    assert render_entry(Entry(None, None, "n/a", "‡", False)) == r"n/a\textsuperscript{\ddag}"


def test_tabular_groups_tasks_and_sets_known_rows_apart():
    lines = render_tabular(example()).splitlines()
    assert lines[0] == r"\begin{tabular}{@{}lccc@{}}"
    assert lines[2] == r" & \multicolumn{2}{c}{Task\_1} & \multicolumn{1}{c}{Task 2 (50 \%)} \\"
    assert lines[3] == r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}"
    assert lines[4] == r" & AUC & Brier & AUC \\"
    assert [line for line in lines if line.startswith("\\midrule")] == ["\\midrule"] * 2
    assert lines.index("\\midrule", 6) == 7
    assert lines[8].startswith("ceiling & ")
    assert all(line.count(" & ") == 3 for line in (lines[4], lines[6], lines[8]))


def test_long_tables_are_cut_into_equal_parts_under_the_heading():
    entry = (Entry(0.5, None, "", "", False),)
    table = Table((("Task", "AUC"),), tuple((f"row {i}", i > 40, entry) for i in range(60)), "c", ())
    parts = render_table(table).split(r"\begin{tabular}")[1:]
    assert [len(re.findall("^row", part, flags=re.MULTILINE)) for part in parts] == [20, 20, 20]
    assert all(part.count("AUC") == 1 for part in parts)
    assert re.findall("^row .*? ", render_table(table), flags=re.MULTILINE) == [f"row {i} " for i in range(60)]


def compiled(folder, without=()):
    """Compile t.tex; the log's lines. ``without``: packages that are hidden."""
    engine = shutil.which("pdflatex") or shutil.which("tectonic")
    if engine is None:
        pytest.skip("neither pdflatex nor tectonic is installed")
    if without and not engine.endswith("pdflatex"):
        pytest.skip("a package can only be hidden from pdflatex")
    source = (folder / "t.tex").read_text(encoding="utf-8")
    for package in without:
        source = source.replace(rf"\IfFileExists{{{package}.sty}}", rf"\IfFileExists{{no-such-{package}.sty}}")
    (folder / "t.tex").write_text(source, encoding="utf-8")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if engine.endswith("pdflatex") else []
    done = subprocess.run([engine, *options, "t.tex"], cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "t.pdf").stat().st_size > 10_000
    return done.stdout.splitlines()


@pytest.mark.parametrize("without", [(), ("siunitx",)], ids=["all packages", "without siunitx"])
def test_document_is_compiled(tmp_path, fabricated, without):
    store, plan = fabricated
    report = assemble_report(store.root, [plan])
    wide = Table(
        tuple((f"Task {t}", m) for t in range(6) for m in ("AUC", "AUPRC", "Brier")),
        tuple((f"row {r}", r > 70, (Entry(0.5, 0.1, "", "†", False),) * 18) for r in range(80)),
        NASTY,
        (NASTY,) * 40,
    )
    figures = [(figure, f"{i}.pdf") for i, figure in enumerate(report.section.figures)]
    for figure, name in figures:
        (tmp_path / name).write_bytes(render_figure(figure, "pdf"))
    assert len(figures) == 2
    text = render_document([example(NASTY, NASTY), wide, *report.tables], figures)
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    lines = compiled(tmp_path, without)
    assert [line for line in lines if line.startswith(("Overfull \\hbox", "Overfull \\vbox"))] == []


PRINTABLE = "".join(map(chr, range(32, 127)))
TITLES = (
    "[Ours] Best & 100%_net",
    r"bad $\notacommand{$ x",
    "*starred*",
    "$",
    r"$\frac$",
    "--- ?` ''",
    "_hidden",
    "{",
    "%",
    "",
)


def test_rows_tasks_and_captions_that_begin_with_any_character_are_compiled(tmp_path):
    entry = (Entry(0.5, 0.1, "", "", False), Entry(None, None, "[n/a]", "*", False))
    titles = [*TITLES, PRINTABLE, *(f"{c}{c} {c}x" for c in map(chr, range(128)))]
    tables = [
        Table(
            ((title, "AUC"), (title, "*[B]")), tuple((t, i > 100, entry) for i, t in enumerate(titles)), title, (title,)
        )
        for title in (PRINTABLE, "[group]", "*")
    ]
    (tmp_path / "t.tex").write_text(render_document(tables), encoding="utf-8")
    compiled(tmp_path)
    reader = shutil.which("pdftotext")
    if reader:
        printed = subprocess.run([reader, "-layout", "t.pdf", "-"], cwd=tmp_path, capture_output=True, text=True).stdout
        assert "[Ours] Best & 100%_net" in printed
        assert r"bad $\notacommand{$ x" in printed
        assert "*starred*" in printed


@pytest.fixture(scope="module")
def oddly_named(tmp_path_factory):
    """(store, plan) whose methods and task have titles of every printable character."""
    names = [*TITLES[:-1], PRINTABLE]
    rows = [("crl_mmnar", "default", "off", "CRL-MMNAR", "method", 1.0)]
    rows += [(f"m{i}", "default", "off", title, "method", 0.5) for i, title in enumerate(names)]
    landmarks = {"icu_24h": (r"$\task{$ [a]",)}
    root = tmp_path_factory.mktemp("odd")
    store, plan = fabricate(root, rows=rows, n=60, folds=2, landmarks=landmarks, dataset="[d]$x_$")
    store.write_statistics(plan.name, derive(store, plan, resamples=5))
    return store, plan


def test_a_report_with_titles_of_every_character_is_written_whole(oddly_named, tmp_path):
    store, plan = oddly_named
    written = write_report(assemble_report(store.root, [plan]), tmp_path, FORMATS)
    assert {p.suffix for p in written} >= {".csv", ".tex", ".html", ".txt", ".pdf"}
    (tmp_path / "t.tex").write_text(next(tmp_path.glob("table1.tex")).read_text(encoding="utf-8"), encoding="utf-8")
    compiled(tmp_path)
    drawn = "".join(p.read_text(encoding="utf-8") for p in written if p.suffix == ".html")
    assert drawn.count("bad $\\notacommand{$ x") > 1  # in the table and, as text of the SVG, in the figures


@pytest.mark.parametrize("title", TITLES)
def test_figures_print_titles_as_they_are(title):
    figure, (axes,) = create_figure(12, 3)
    axes.plot([1, 2], [1, 2], label=make_label(title))
    axes.set_title(title)
    axes.set_yticks([1, 2], [title, PRINTABLE])
    figure.legend(*axes.get_legend_handles_labels())
    for kind in ("pdf", "svg"):
        drawn = render_figure(Figure("name", "caption", "alt", figure), kind)
    drawn = html.unescape(drawn.decode())
    label = make_label(title)
    assert label.lstrip(" ") == title
    assert drawn.count(f">{title}<") + drawn.count(f"> {title}<") == (3 if title else 0)


def test_a_table_alone_is_compiled_in_somebody_elses_document(tmp_path):
    (tmp_path / "piece.tex").write_text(render_table(example()), encoding="utf-8")
    packages = "".join(rf"\usepackage{{{p}}}" for p in ("booktabs", "graphicx"))
    num = r"\providecommand{\num}[2][]{\ensuremath{#2}}"
    body = r"\begin{document}\begin{table}\input{piece}\end{table}\end{document}"
    (tmp_path / "t.tex").write_text(rf"\documentclass{{article}}{packages}{num}{body}", encoding="utf-8")
    compiled(tmp_path)
