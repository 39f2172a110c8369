import html.parser
import re
import shutil
import subprocess
from dataclasses import replace

import pandas as pd
import pytest

from reports.build import assemble_report, write_report
from reports.formats.html import MEANINGS, lay_out_cell, render_page
from reports.frames.provenance import Provenance
from reports.tables.table import Entry, Table, make_text_entry, split_entry
from tests.stores import made_plan

NASTY = "<script>alert(1)</script> & \"quoted\" 'single' {{ 7 * 7 }}"
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Reader(html.parser.HTMLParser):
    """Tags in the order opened, those left open, and the text outside of script and style."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text, self.wrong = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


@pytest.fixture(scope="module")
def files(with_curves, tmp_path_factory):
    store, plan = with_curves
    out = tmp_path_factory.mktemp("html")
    return {p.name: p for p in write_report(assemble_report(store.root, [plan]), out, ("csv", "html"))}


@pytest.fixture(scope="module")
def text(files):
    return files["table1.html"].read_text(encoding="utf-8")


def small(title="Row", note="a note", caption="A caption."):
    entries = (Entry(0.5, 0.1, "", "", True), make_text_entry("12"), Entry(None, None, "failed", "", False))
    columns = (("Task", "AUC"), ("Task", "N"), ("Task", "Brier"))
    return Table(columns, ((title, False, entries), ("known", True, entries)), caption, (note,))


def plan_of(**changes):
    facts = {"name": "n", "experiment": "e", "description": "x", "folds": 5, "schedule": "short", "commit": "0" * 40}
    return made_plan(**facts | {"written": "2026-01-02T03:04:05"} | changes)


def test_the_page_is_well_formed(text):
    reader = read(text)
    assert reader.wrong == []
    assert reader.open == []
    names = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(names) == len(set(names))
    targets = {a["href"][1:] for tag, a in reader.tags if tag == "a" and a["href"].startswith("#")}
    assert targets <= set(names)
    used = {a[k][1:] for _, a in reader.tags for k in ("xlink:href", "href") if a.get(k, "").startswith("#")}
    assert used <= set(names)


def test_nothing_is_loaded_from_anywhere(text):
    reader = read(text)
    for tag, attributes in reader.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(name) or ""
            assert "//" not in value, (tag, value)
    assert not {"script", "link", "iframe", "img", "object"} & {
        t for t, a in reader.tags if a.get("src") or a.get("rel") == "stylesheet"
    }
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    assert "http://" not in text


def test_every_printed_number_is_on_the_page_in_full(files, text):
    frame = pd.read_csv(files["table1.csv"])
    printed = frame[
        frame["metric"].isin(["auc", "auprc", "brier", "share_auc", "share_log_loss"]) & frame["mean"].notna()
    ]
    assert len(printed) > 40
    assert set(printed["mean"].map(repr)) <= set(re.findall(r'data-sort="([^"]+)"', text))
    assert {f"{v:.3f}" for v in printed["mean"]} <= {t.strip() for t in read(text).text}


def test_words_for_numbers_that_are_not_there(text):
    shown = " ".join(read(text).text)
    for word in ("failed", "skipped", "–"):
        assert MEANINGS[word] in shown
    assert MEANINGS["missing"] not in shown
    assert re.search(r'<td class="absent" title="[^"]+">failed</td>', text)
    assert "5 failed" in shown
    assert "out of memory at layer_2 (100 %)" in shown
    assert "embedded-mimic/icu_24h/strict/cm_ae/default/rectifier-off/tuning-none/fold-3/seed-0" in shown


def test_header_says_cohort_protocol_commit_date_and_counts(text):
    header = " ".join(" ".join(read(text[text.index("<header>") : text.index("</header>")]).text).split())
    for part in (
        "a fabricated cohort of 100 % noise_and_signal",
        "Protocol strict",
        "icu_24h N = 150",
        "Commit 0123456789",
        "2026-01-02",
    ):
        assert part in header
    assert "39 done" in header
    assert "5 failed" in header
    assert "5 skipped" in header
    assert "1 missing" in header


def test_figures_have_captions_and_words(text):
    reader = read(text)
    drawings = [a for _, a in reader.tags if a.get("role") == "img"]
    assert len(drawings) == 5
    assert all(len(a["aria-label"]) > 40 for a in drawings)
    assert text.count("<figcaption>") == 5


def test_text_is_escaped():
    plan = plan_of(description=NASTY, dataset=NASTY)
    found = Provenance({"done": 1, "failed": 1}, ((NASTY, "failed", NASTY),), {NASTY: NASTY}, {NASTY: NASTY})
    made = render_page("e", [(plan, found)], [small(NASTY, NASTY, NASTY)], [], [], [NASTY], [])
    reader = read(made)
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert reader.wrong == []
    assert "".join(reader.text).count(NASTY) == 13
    assert "49" not in "".join(reader.text)


def test_columns_are_buttons_that_say_how_they_sort():
    made = render_page("e", [(plan_of(), Provenance({"done": 1}, (), {}, {}))], [small()], [], [], [], [])
    buttons = [a for tag, a in read(made).tags if tag == "button"]
    assert [a["data-column"] for a in buttons] == ["0", "1", "2", "3"]
    assert buttons[1]["aria-label"] == "Task AUC"
    assert made.count('aria-sort="none"') == 4


@pytest.mark.parametrize(
    ("entry", "kind", "sort", "full"),
    [
        (Entry(0.8123456, 0.01, "", "", False), "number", "0.8123456", "0.8123456 ± 0.01"),
        (Entry(-0.25, None, "", "†", False, interval=(-0.5, 0.125)), "number", "-0.25", "-0.25 [-0.5, 0.125]"),
        (make_text_entry("1,234"), "text", "1234.0", ""),
        (make_text_entry("S+T"), "text", "", ""),
        (Entry(None, None, "skipped", "", False), "absent", "", MEANINGS["skipped"]),
    ],
)
def test_places(entry, kind, sort, full):
    found = lay_out_cell(entry)
    assert (found.kind, found.sort, found.full) == (kind, sort, full)
    assert (found.number, found.spread) == split_entry(entry)


def test_several_plans_are_told_apart(with_curves, tmp_path):
    store, plan = with_curves
    report = assemble_report(store.root, [plan, replace(plan, protocol="paper")])
    titles = [t.heading for t in report.tables]
    assert titles[0] == "Every task (embedded-mimic, strict)"
    assert len(titles) == len(set(titles))
    names = [f.name for f in report.section.figures]
    assert len(names) == 10 == len(set(names))


def opened(path, fragment, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is installed")
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        *quiet.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*command, f"{path.as_uri()}{fragment}"], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0 or "<html" not in done.stdout:
        pytest.skip(f"chromium does not start here (exit {done.returncode})")
    return done.stdout


def rows_shown(dom):
    first = dom[dom.index('id="table-1"') :]
    body = first[first.index("<tbody") : first.index("</table>")]
    rows = re.findall(r'<tr([^>]*)><th scope="row">([^<]*)</th>(.*?)</tr>', body, flags=re.DOTALL)
    return [(html.unescape(title), cells) for attributes, title, cells in rows if "hidden" not in attributes]


@pytest.mark.slow
def test_a_browser_sorts_and_filters(files, tmp_path):
    path = files["table1.html"]
    plain = [title for title, _ in rows_shown(opened(path, "", tmp_path))]
    assert plain[:3] == ["CRL-MMNAR", "CRL-MMNAR, before the rectifier", "CM-AE (adapted)"]
    dom = opened(path, "#sort=table-1.1.descending", tmp_path)
    assert dom.count('scope="col" aria-sort="descending"') == 1
    down, up = rows_shown(dom), rows_shown(opened(path, "#sort=table-1.1.ascending", tmp_path))
    for shown, backwards in ((down, True), (up, False)):
        values = [re.findall(r'^<td[^>]*?data-sort="([^"]+)"', cells) for _, cells in shown]
        numbers = [float(v[0]) for v in values[:-1] if v]
        assert len(numbers) == 4
        assert numbers == sorted(numbers, reverse=backwards)
        assert shown[-1][0] == "ceiling"  # what is known stays apart
        assert shown[-2][0] == "CM-AE (adapted)"  # no number: last in both directions
    found = opened(path, "#q=before%20crl", tmp_path)
    assert [title for title, _ in rows_shown(found)] == ["CRL-MMNAR, before the rectifier"]
    assert re.search(r"<output[^>]*>\d+ of \d+ rows</output>", found)
