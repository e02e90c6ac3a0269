"""What analyze wrote is read again: with pandas, without, and not at all where it is damaged."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
from helpers.analyses import an_analysis, nobody, write_folder

import peclip_fast
from peclip_fast.analyze.reading import read_results
from peclip_fast.analyze.results import Analysis
from peclip_fast.errors import InputError


@pytest.mark.parametrize("made", [an_analysis(), an_analysis(people=1), nobody()])
def test_rows_come_back(tmp_path, made):
    assert read_results(write_folder(tmp_path, made)) == made


def test_lazy_rows_are_the_same_each_time(tmp_path):
    made = an_analysis()
    lazy = read_results(write_folder(tmp_path, made), lazily=True).frames
    assert list(lazy) == list(lazy) == made.frames
    assert len(lazy) == len(made.frames)
    assert made.frames[3] in lazy


def test_without_pandas_the_rows_are_typed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    made = an_analysis()
    found = peclip_fast.read_analysis(write_folder(tmp_path, made))
    assert isinstance(found, Analysis)
    assert found == made


def test_pandas_frames(tmp_path):
    pandas = pytest.importorskip("pandas")
    made = an_analysis()
    found = peclip_fast.read_analysis(write_folder(tmp_path, made))
    assert isinstance(found.frames, pandas.DataFrame)
    assert list(found.frames.columns[:4]) == ["frame", "timestamp", "track", "success"]
    assert list(found.frames.columns[-4:]) == ["p_happiness", "p_sadness", "p_anger", "speech"]
    assert found.frames.success.sum() == sum(row.success for row in made.frames)
    hidden = found.frames[(found.frames.track == 1) & (found.frames.success == 0)]
    assert hidden.FaceRectX.isna().all()
    assert len(hidden) == 4
    assert found.frames[found.frames.track.isna()].prediction.isna().all()
    assert found.windows.groupby("track").window.max().tolist() == [1, 1]
    assert found.tracks.track.tolist() == [1, 2]
    assert (found.cuts, found.speech) == (made.cuts, made.speech)
    assert found.about["model"] == "runs/demo"


def test_classes_that_look_like_nothing_stay_names(tmp_path):
    pytest.importorskip("pandas")
    made = dataclasses.replace(an_analysis(), classes=("None", "NA", "nan"))
    made.about["classes"] = list(made.classes)
    found = peclip_fast.read_analysis(write_folder(tmp_path, made))
    assert set(found.windows.prediction) == {"None", "NA", "nan"}


BROKEN = {
    "no number": ("windows.csv", lambda t: t.replace("0.7", "much", 1), ":3: p_sadness: expected"),
    "no whole number": ("tracks.csv", lambda t: t.replace("\n1,", "\n1.5,"), ":2: track: expected"),
    "a field too few": ("frames.csv", lambda t: t[: t.rindex(",")], "expected 14 fields, got 13"),
    "infinite": ("frames.csv", lambda t: t.replace(",0.9,", ",inf,", 1), "FaceScore: expected"),
    "another class": ("tracks.csv", lambda t: t.replace("p_anger", "p_envy"), "the columns"),
    "empty": ("frames.csv", lambda t: "", "the columns frame, timestamp"),
    "a quote": ("frames.csv", lambda t: t + '"', "not a row"),
    "no JSON": ("run.json", lambda t: t[:-1], "broken JSON"),
    "no classes": ("run.json", lambda t: json.dumps({"source": "", "classes": [], "cuts": []}),
                   "classes: expected"),
    "half a span": ("run.json", lambda t: t.replace("[0.5, 1.5]", "[0.5]"), "speech: expected"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_damage_is_named(tmp_path, kind):
    name, broken, message = BROKEN[kind]
    file = write_folder(tmp_path, an_analysis()) / name
    file.write_text(broken(file.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        read_results(tmp_path)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize("kind", [kind for kind in BROKEN if kind not in ("infinite", "a quote")])
def test_damage_is_named_with_pandas_too(tmp_path, kind):
    pytest.importorskip("pandas")
    name, broken, _ = BROKEN[kind]
    file = write_folder(tmp_path, an_analysis()) / name
    file.write_text(broken(file.read_text()))
    if kind == "a field too few":  # pandas takes it for an empty field
        assert peclip_fast.read_analysis(tmp_path).frames.speech.isna().iloc[-1]
        return
    with pytest.raises(InputError) as caught:
        peclip_fast.read_analysis(tmp_path)
    assert str(caught.value).startswith(str(file))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="expected a folder that analyze has written"):
        read_results(tmp_path / "nothing")
    (write_folder(tmp_path, an_analysis()) / "windows.csv").unlink()
    for read in (read_results, peclip_fast.read_analysis):
        with pytest.raises(InputError, match=r"windows\.csv: can't be read"):
            read(tmp_path)
