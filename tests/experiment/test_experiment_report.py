"""The report: what was published, what ours are, and what may be said of them."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from peclip_fast.config.parser import resolve
from peclip_fast.experiment.cell_folder import Cost, Result
from peclip_fast.experiment.paired import p_of_clips, pairs
from peclip_fast.experiment.plan import find, plan
from peclip_fast.experiment.report import ExperimentReport
from peclip_fast.plots.page import Heading, Sentences, TableBlock, as_html, as_markdown

WITH_FILES = ("--data.cues=cues", "--data.descriptions=fine.jsonl")


def planned(name, argv=(), **options):
    return plan(find(name), lambda layers: resolve(layers, argv), **options)


def result(uar, war=None, **changes):
    one = Result(
        uar, uar + 10 if war is None else war, {}, 1234567, 3700.4, "last epoch", "cpu", "2"
    )
    return replace(one, **changes)


def report(one, scores, failures=None):
    """``scores``: row name -> UAR of its runs, as far as they have ended."""
    results = {}
    for row in one.rows:
        for cell, uar in zip(row.cells, scores.get(row.published.name, []), strict=False):
            results[cell.name] = uar if isinstance(uar, Result) else result(uar)
    return ExperimentReport(one, results, failures or {})


def table(page, start):
    """Rows of the Markdown table whose caption begins so, without its markup."""
    lines = page[page.index(f"*{start}") :].split("\n\n")[1].splitlines()
    return [[c.strip(" *").replace("\\", "") for c in line.split("|")[1:-1]] for line in lines[2:]]


@pytest.fixture(scope="module")
def table8():
    return planned("demo-table8")


def test_published_ours_and_the_difference():
    one = planned("table5")
    page = as_markdown(report(one, {"Baseline": [50.02], "Baseline + adapters": [61]}).blocks())
    assert "PE-CLIP (arXiv 2503.16945), Table 5. Published protocol: DFEW fold 1." in page
    assert "recipe dfew, fold 1, seed 42, 30 epochs, fp32, ViT-B-16-quickgelu" in page
    assert "Protocol: last epoch. Device: cpu; torch 2;" in page
    assert "Runs that have not ended: 1." in page
    assert table(page, "Percent") == [
        ["Baseline", "49.82", "50.02", "+0.20", "63.35", "60.02", "-3.33", "0.8", "1,234,567",
         "1:01:40", "1 of 1"],
        ["Baseline + adapters", "61.74", "61.00", "-0.74", "74.64", "71.00", "-3.64", "6",
         "1,234,567", "1:01:40", "1 of 1"],
        ["Baseline + adapters + prompts", "63.02", "", "", "75.35", "", "", "9", "", "", "0 of 1"],
    ]  # fmt: skip
    assert [row[6] for row in table(page, "Every run")] == ["ended", "ended", "not run yet"]


def test_folds_give_a_mean_a_deviation_and_an_interval():
    one = planned("table3-dfew")
    values = [61.0, 62.0, 63.0, 64.0, 65.0]
    page = as_markdown(report(one, {"PE-CLIP": values}).blocks())
    ((name, published, ours, difference, *_),) = table(page, "Percent")
    # t(0.975, 4 degrees) = 2.776, sd = 1.5811, so 2.776 * 1.5811 / sqrt(5) = 1.963
    assert (name, published, ours) == ("PE-CLIP", "62.82", "63.00 ± 1.96 (sd 1.58)")
    assert difference == "+0.18"
    methods = table(page, "PE-CLIP (arXiv 2503.16945), Table 3")
    assert len(methods) == 20
    assert methods[0] == ["EC-STFL", "MM'20", "C3D / P3D", "78", "45.35", "56.51", "", ""]
    assert methods[-1][:4] == ["PE-CLIP (ours)", "", "ViT-B-16-quickgelu", "1.2"]
    assert methods[-1][4:] == ["63.00", "73.00", "", ""]
    assert "FineCLIPER" in table(page, "FineCLIPER (arXiv 2407.02157), Table 1")[-2][0]


def test_ferv39k_stands_in_its_own_columns():
    page = as_markdown(report(planned("table3-ferv39k"), {"PE-CLIP": [41.0]}).blocks())
    assert table(page, "Percent")[0][1:4] == ["41.57", "41.00", "-0.57"]
    assert table(page, "PE-CLIP (arXiv")[-1][4:] == ["", "", "41.00", "51.00"]


def test_recalls_of_table_4():
    recalls = {"happiness": 91.5, "disgust": 20.0}
    one = planned("table4", folds=(1,))
    page = as_markdown(report(one, {"PE-CLIP": [result(60, recalls=recalls)]}).blocks())
    rows = {row[0]: row[1:] for row in table(page, "Recall")}
    assert rows["happiness"] == ["91.00", "91.50", "+0.50"]
    assert rows["disgust"] == ["15.17", "20.00", "+4.83"]
    assert rows["fear"] == ["45.12", "", ""]


def test_the_demo_says_what_it_is_and_takes_no_difference(table8):
    page = as_markdown(report(table8, {"GRU": [90, 91, 92]}).blocks())
    assert "rendered faces, not real data" in page
    assert [row[3] for row in table(page, "Percent")] == [""] * 4
    assert "seeds 42, 43, 44" in page
    assert "fold" not in re.search(r"Ours: .*", page)[0]


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ([50, 50, 50], "are ahead of rows without (None) by more than"),
        ([50, 99, 50], "are not ahead of rows without (None) by more than"),
    ],
)
def test_what_may_be_said_of_time(table8, without, words):
    ahead = {"RNN": [90, 91, 92], "LSTM": [93, 94, 95], "GRU": [95, 96, 97]}
    said = report(table8, ahead | {"None": without}).verdict()
    assert words in said
    assert "(RNN, LSTM, GRU)" in said
    assert "down to 88.52 (RNN)" in said  # 91 - 4.303 / sqrt(3)
    assert report(table8, ahead | {"None": without[:2]}).verdict() is None


@pytest.mark.parametrize(
    ("video", "words"), [([70, 71, 72], "are ahead of"), ([70, 71, 99], "are not ahead of")]
)
def test_what_cues_are_worth_beside_noisy_frames(video, words):
    """A table of ours: no word of a publication, and no column for it."""
    one = planned("demo-finecliper-noise")
    cues = "Video, face parsing and landmarks"
    page = as_markdown(report(one, {"Video": video, cues: [80, 81, 82]}).blocks())
    assert f"rows with face parsing or landmarks ({cues}) {words} rows without (Video)" in page
    assert "ublished" not in page
    assert [row[0] for row in table(page, "Percent")] == ["Video", cues]
    assert table(page, "Percent")[1][1:3] == ["81.00 ± 2.48 (sd 1.00)", "91.00 ± 2.48 (sd 1.00)"]
    assert "recipe demo finecliper/noise, seeds 42, 43, 44, 12 epochs" in page


def test_finecliper_stands_beside_the_other_methods():
    one = planned("finecliper-table1", argv=WITH_FILES, folds=(1,))
    page = as_markdown(report(one, {"FineCLIPER*": [64.0]}).blocks())
    assert "FineCLIPER (arXiv 2407.02157), Table 1. Published protocol: not said." in page
    assert [row[1:4] for row in table(page, "Percent")][1] == ["64.89", "64.00", "-0.89"]
    methods = table(page, "FineCLIPER (arXiv 2407.02157), Table 1")
    assert methods[0][:3] == ["EC-STFL", "MM'20", "C3D / P3D"]
    assert [row[0] for row in methods[-4:]] == [
        "FineCLIPER (ours)", "FineCLIPER* (ours)", "FineCLIPER† (ours)", "FineCLIPER*† (ours)",
    ]  # fmt: skip
    assert table(page, "PE-CLIP (arXiv 2503.16945), Table 3")[-5][0] == "PE-CLIP"


def test_one_run_says_nothing_of_another():
    one = planned("demo-table8", seeds=(1,))
    scores = {row.published.name: [50.0] for row in one.rows}
    assert "gives no interval" in report(one, scores).verdict()


@pytest.fixture(scope="module")
def peers():
    return planned("demo-peers")


def of_peers(peers, own):
    """Scores of all rows: as given, or 95 with a path over time and about 50 without."""
    found = {}
    for row in peers.rows:
        usual = [95, 95, 95] if row.config.model.models_time else [49, 50, 51]
        found[row.published.name] = own.get(row.published.name, usual)
    return found


@pytest.mark.parametrize(
    ("scores", "behind", "words"),
    [
        ([80, 81, 82], 0, "PE-CLIP (from 88.52), "),
        ([50, 60, 70], 1, "Not by more than that: ST-Adapter (from 35.16)."),
    ],
)
def test_which_rows_see_the_order(peers, scores, behind, words):
    own = {"PE-CLIP": [90, 91, 92], "ST-Adapter": scores, "CLIP-LoRA": [49, 50, 54]}
    said = report(peers, of_peers(peers, own)).verdict()
    number = sum(row.config.model.models_time for row in peers.rows)
    told = f"{number - behind} of {number} rows with a path over time tell the order of the frames"
    assert told in said
    assert words in said
    assert "reach up to 57.57 (CLIP-LoRA)" in said
    without = [row.published.name for row in peers.rows if not row.config.model.models_time]
    assert f"which can't ({', '.join(without)})" in said
    assert ("Not by more" in said) == bool(behind)


def test_rows_of_which_none_sees_the_order(peers):
    scores = {row.published.name: [49, 50, 51] for row in peers.rows}
    assert "By UAR, 0 of " in report(peers, scores).verdict()
    scores = {row.published.name: [50] for row in peers.rows}
    said = report(planned("demo-peers", seeds=(1,)), scores).verdict()
    assert said.startswith("One run of a row")


def test_rows_are_compared_run_by_run_and_clip_by_clip(peers, tmp_path):
    """A row that is a point better in each run is so whatever the runs' spread."""
    one = planned("demo-peers", seeds=(1, 2, 3))
    scores = {"PE-CLIP": [50, 70, 90], "AIM": [51, 71, 91], "CLIP-LoRA": [40, 60]}
    made = report(one, scores)
    page = ExperimentReport(one, made.results, {}, tmp_path)
    for row, right in (("PE-CLIP", 10), ("AIM", 17), ("CLIP-LoRA", 10)):
        cell = next(r for r in one.rows if r.published.name == row).cells[0]
        lines = [f"{i}.mp4,a,{'a' if i < right else 'b'}" for i in range(20)]
        (tmp_path / cell.name).mkdir()
        text = "\n".join(["path,label,prediction", *lines])
        (tmp_path / cell.name / "predictions.csv").write_text(text)
    rows = table(as_markdown(page.blocks()), "Points more than PE-CLIP")
    # Seven clips that only AIM has right: 2 / 2**7.
    assert rows == [
        ["AIM", "+1.00 ± 0.00 (sd 0.00)", "+1.00 ± 0.00 (sd 0.00)", "3", "0.016"],
        ["CLIP-LoRA", "-10.00 ± 0.00 (sd 0.00)", "-10.00 ± 0.00 (sd 0.00)", "2", "1"],
    ]


def test_runs_of_other_seeds_are_no_pairs(peers, tmp_path):
    base = next(row for row in peers.rows if row.published.name == "PE-CLIP")
    others = {row.published.name: row for row in planned("demo-peers", seeds=(44, 45)).rows}
    elsewhere = {row.published.name: row for row in planned("demo-peers", seeds=(5,)).rows}
    results = {c.name: result(60.0) for row in (base, others["AIM"]) for c in row.cells}
    results |= {c.name: result(70.0) for c in elsewhere["AIM"].cells}
    assert len(pairs(base, others["AIM"], results)) == 1
    assert pairs(base, elsewhere["AIM"], results) == []
    assert p_of_clips(base, elsewhere["AIM"], results, tmp_path) is None


def test_what_training_costs(table8):
    cost = Cost(0.0123, 321.96, 3 * 2**30)
    results = {"RNN": [result(50, cost=cost), result(50, cost=replace(cost, step=0.0323))]}
    page = as_markdown(report(table8, {**results, "GRU": [50]}).blocks())
    assert table(page, "Cost of training") == [["RNN", "1,234,567", "22", "322.0", "3.00"]]


def test_failures_are_listed(table8):
    cell = table8.rows[0].cells[1]
    page = as_markdown(report(table8, {}, {cell.name: "exit code 1: no | luck"}).blocks())
    # The bar must not open another column.
    assert "exit code 1: no \\| luck" in page
    assert "no run has ended yet" in page
    assert "intervals.png" not in page


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.open, self.sources, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_files(table8, tmp_path):
    scores = {row.published.name: [90 + i, 91, 92] for i, row in enumerate(table8.rows)}
    report(table8, scores).write(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "intervals.png", "report.html", "report.json", "report.md",
    ]  # fmt: skip
    html = (tmp_path / "report.html").read_text()
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    (source,) = reader.sources  # nothing but the picture, which is inside
    picture = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    assert picture == (tmp_path / "intervals.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert reader.tags.count("table") == 3  # scores, cost, runs
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["missing_runs"] == 0
    assert [row["ours"]["UAR"]["number"] for row in read["rows"]] == [3] * 4
    assert read["rows"][0]["published"] == {"UAR": 58.8, "WAR": 72.23}


def test_a_page_keeps_its_text_as_it_is():
    text = "<b>a*b_c|d & `e`"
    blocks = [Heading("Title", 1), Sentences(text), TableBlock("t", ["A", "B"], [["x", text]], [0])]
    reader = Reader()
    reader.feed(as_html("<t>", blocks))
    assert "".join(reader.text).count(text) == 2
    assert "<t>" in reader.text
    page = as_markdown(blocks)
    assert page.startswith("# Title\n\n")
    assert r"\<b\>a\*b\_c\|d & \`e\`" in page
    assert page.endswith("| **x** | **\\<b\\>a\\*b\\_c\\|d & \\`e\\`** |\n")
