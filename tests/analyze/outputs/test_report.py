"""report.html works from a file, offline, with a mouse, with keys and on a telephone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.analyses import an_analysis, nobody, renamed
from helpers.browser import Page, chromium
from helpers.clips.timed_video import write_timed

from peclip_fast.analyze.outputs import report
from peclip_fast.analyze.outputs.pictures import frames_of_file
from peclip_fast.analyze.outputs.report import write_report

TIMES = [9000 * n for n in range(60)]  # as many as an_analysis() has, and at the same moments


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "talk & more.mp4"
    write_timed(path, TIMES, size=(128, 96), sound="aac")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


def data_of(page: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found is not None
    return json.loads(found[1])


def test_a_small_video_is_in_the_page_and_a_large_one_is_linked(tmp_path, video, monkeypatch):
    made, frames = an_analysis(), frames_of_file(video)
    page = tmp_path / "deep" / "report.html"
    page.parent.mkdir()
    write_report(made, page, frames, video)
    assert 'id="video-data"' in page.read_text()
    assert (data_of(page)["video"], data_of(page)["stills"]) == (None, [])
    monkeypatch.setattr(report, "EMBEDDED", 100)
    write_report(made, page, frames, video)
    found = data_of(page)
    assert 'id="video-data"' not in page.read_text()
    assert found["video"] == f"../../{video.parent.name}/talk%20%26%20more.mp4"
    assert len(found["stills"]) == report.STILLS
    assert sum(len(still) for _, still in found["stills"]) < 400_000


def test_what_browsers_do_not_play_has_stills(tmp_path, video):
    for other in (video.with_suffix(".avi"), None, tmp_path / "gone.mp4"):
        write_report(an_analysis(), tmp_path / "r.html", frames_of_file(video), other)
        assert data_of(tmp_path / "r.html")["stills"]
        assert "<video" not in (tmp_path / "r.html").read_text()


class Outline(HTMLParser):
    """Checks that elements are closed, and keeps what could ask for anything outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        given = dict(attrs)
        self.links += [v for k in ("src", "href", "action", "poster") if (v := given.get(k))]
        self.ids += [given["id"]] if given.get("id") else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("made", [an_analysis(), an_analysis(people=8), nobody()])
def test_the_page_is_well_formed_and_asks_for_nothing(tmp_path, video, made):
    write_report(made, tmp_path / "r.html", frames_of_file(video), video)
    outline = Outline()
    outline.feed((tmp_path / "r.html").read_text())
    assert outline.open == []
    assert len(set(outline.ids)) == len(outline.ids)
    assert all(link.startswith("data:") for link in outline.links)


def test_names_are_text_and_never_markup(tmp_path, video):
    evil = "</script><script>document.title='x'</script><!--"
    made = renamed(an_analysis(source=f"/v/{evil}.mp4"), (evil, "&amp;", '"'))
    made.about["model"] = evil
    write_report(made, tmp_path / "r.html", None, None)
    text = (tmp_path / "r.html").read_text()
    assert text.count("<script") == 2
    assert "<!--" not in text
    assert data_of(tmp_path / "r.html")["classes"][0] == evil


def test_two_hours_are_a_small_page(tmp_path):
    """However many frames and segments there are, apart from the video."""
    made = an_analysis(people=1)
    rows = [replace(made.frames[n % 55], frame=n, timestamp=n / 10) for n in range(72_000)]
    tracks = [replace(made.tracks[0], end=7199.9, last_frame=71_999)]
    write_report(replace(made, frames=rows, tracks=tracks), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert len(text) < 2_500_000
    assert "more are in windows.csv" in text


SHOWN = "document.getElementById('clock').textContent"
SPOKEN = "document.getElementById('timeline').getAttribute('aria-valuetext')"
AT = "document.getElementById('video').currentTime"
BRIGHT = """(() => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [128, 96];
  pen.drawImage(document.getElementById("video"), 0, 0);
  const row = pen.getImageData(0, 48, 128, 1).data;
  return row.filter((value, place) => place % 4 === 0 && value > 140).length;
})()"""


def click(page: Page, share: float) -> None:
    """At some share of the timeline's width."""
    page.value("document.getElementById('timeline').scrollIntoView()")
    left, top, width = page.value(
        "(() => { const b = document.querySelector('#timeline svg').getBoundingClientRect();"
        "return [b.left, b.top, b.width]; })()"
    )
    page.click(left + share * width, top + 60)


@pytest.mark.parametrize("linked", [False, True])
def test_a_click_shows_that_moment(tmp_path, video, browser, monkeypatch, linked):
    if linked:
        monkeypatch.setattr(report, "EMBEDDED", 100)
    write_report(an_analysis(), tmp_path / "r.html", frames_of_file(video), video)
    browser.messages.clear()
    browser.requests.clear()
    browser.open(tmp_path / "r.html")
    browser.wait("document.getElementById('video').readyState >= 2")
    click(browser, 0.5)
    browser.wait(f"Math.abs({AT} - 3.0) < 0.06")
    assert abs(float(browser.value(SHOWN).split(":")[1]) - 3.0) < 0.11
    now = browser.value("document.getElementById('now').innerText").split()
    assert now == ["Track", "1", "sadness", "70", "%", "Track", "2", "anger", "60", "%"]
    browser.value("document.querySelector('button[data-time]').click()")
    browser.wait(f"{AT} < 0.06")
    assert browser.messages == []
    assert not [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))]


def test_keys_and_what_a_screen_reader_says(tmp_path, video, browser):
    write_report(an_analysis(), tmp_path / "r.html", frames_of_file(video), video)
    browser.open(tmp_path / "r.html", dark=True)
    browser.wait("document.getElementById('video').readyState >= 2")
    browser.value("document.getElementById('timeline').focus()")
    browser.press("ArrowRight", 39)
    assert browser.value(SPOKEN) == "0:01.0: track 1 happiness (hidden) 80 %, track 2 anger 60 %, speech"  # fmt: skip  # noqa: E501
    browser.press("End", 35)
    assert browser.value(SPOKEN) == "0:06.0: nobody"
    browser.press("PageDown", 34)
    browser.press("Home", 36)
    browser.wait(f"{AT} < 0.06")
    unnamed = browser.value(
        "[...document.querySelectorAll('button, [role], summary, table')].filter(e =>"
        " !(e.textContent || e.getAttribute('aria-label') || '').trim()).length"
    )
    assert unnamed == 0
    # Playing moves the timeline along.
    browser.press(" ", 32)
    browser.wait("Number(document.getElementById('timeline').getAttribute('aria-valuenow')) > 0.3")
    assert browser.messages == []


def test_a_telephone_and_a_video_that_is_gone(tmp_path, video, browser, monkeypatch):
    """Stills stand for it, and nothing is wider than the window."""
    monkeypatch.setattr(report, "EMBEDDED", 100)
    gone = tmp_path / "gone.mp4"
    gone.write_bytes(video.read_bytes())
    write_report(an_analysis(people=6), tmp_path / "r.html", frames_of_file(video), gone)
    gone.unlink()
    browser.open(tmp_path / "r.html", width=360, height=740)
    browser.wait("!document.getElementById('still').hidden")
    assert browser.value("document.documentElement.scrollWidth") <= 360
    first = browser.value("document.getElementById('still').src")
    browser.value("document.querySelectorAll('button[data-time]')[1].click()")
    assert browser.value("document.getElementById('still').src") != first
    assert not browser.value("document.getElementById('missing').hidden")


@pytest.mark.parametrize("late", [0.0, 2.0])
def test_the_page_counts_as_the_file_does(tmp_path, browser, late):
    """Also where the video starts late: the frame of a moment is the one that is shown."""
    made, path = an_analysis(), tmp_path / "late.mp4"
    frames = [replace(row, timestamp=row.timestamp + late) for row in made.frames]
    write_timed(path, [t + round(90_000 * late) for t in TIMES], size=(128, 96))
    write_report(replace(made, frames=frames, tracks=[]), tmp_path / "r.html", None, path)
    browser.open(tmp_path / "r.html")
    browser.wait("document.getElementById('video').readyState >= 2")
    click(browser, 0.5)
    browser.wait(f"Math.abs({AT} - {3 + late}) < 0.06")
    browser.wait("!document.getElementById('video').seeking")
    assert browser.value(SHOWN) in {f"0:0{round(10 * (3 + late) + n) / 10}" for n in (-1, 0, 1)}
    assert abs(browser.value(BRIGHT) - 32) <= 1  # columns of the 30th frame
