"""The picture of a run's history."""

from __future__ import annotations

import io

import pytest
from matplotlib.axes import Axes
from PIL import Image

from peclip_fast.errors import InputError
from peclip_fast.plots.curves import curves_png, read_history

HEAD = "epoch,step,loss,lr_adapters,lr_prompts,test_uar,test_war,clips_per_second,data_wait\n"


def history(tmp_path, text):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    return read_history(path)


def size(png):
    with Image.open(io.BytesIO(png)) as picture:
        return picture.size


def test_epochs_without_a_test_have_no_point(tmp_path):
    rows = history(tmp_path, HEAD + "1,5,1.5,0.1,0.2,,,3,0\n2,10,nan,0.1,0.2,0.5,0.6,3,0\n")
    assert rows[0]["test_war"] is None
    assert rows[1]["test_war"] == 0.6
    assert size(curves_png(rows, "title"))[0] > 1200  # three panels


def test_a_panel_without_numbers_is_left_out(tmp_path):
    tested = history(tmp_path, HEAD + "1,5,1.5,0.1,,0.5,0.6,3,0\n")
    untested = history(tmp_path, HEAD + "1,5,1.5,0.1,,,,3,0\n")
    assert size(curves_png(untested, "title"))[0] < size(curves_png(tested, "title"))[0]


def test_a_line_for_each_learning_rate(tmp_path, monkeypatch):
    """However many groups there are, each with a look of its own."""
    lines, plot = {}, Axes.plot

    def plotting(axes, *points, label, **look):
        lines[label] = look
        return plot(axes, *points, label=label, **look)

    monkeypatch.setattr(Axes, "plot", plotting)
    groups = ["backbone", "head", "time", "text", "prompts"]
    head = ",".join(["epoch", "loss", *(f"lr_{name}" for name in groups)])
    curves_png(history(tmp_path, f"{head}\n1,1.5,.1,.2,.3,.4,.5\n2,1,.1,.2,.3,.4,.5\n"), "title")
    assert list(lines) == ["loss", *groups]
    assert len({(lines[name]["color"], lines[name]["marker"]) for name in groups}) == len(groups)


def test_nothing_was_trained(tmp_path):
    assert history(tmp_path, HEAD) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; expected the history that train writes"),
        ("", "expected the columns epoch, loss"),
        ("a,b\n1,2\n", "expected the columns epoch, loss"),
        (HEAD + "1,many,1,1,1,1,1,1,1\n", "expected a number, got 'many'"),
        (HEAD + "1,1,1,1,1,1,1,1,1,1\n", "expected 9 fields, got 10"),
        (HEAD.replace("epoch", "loss"), "expected the columns epoch, loss, each once"),
        (b"\xff\xfe\x00", "it begins as UTF-16 and isn't"),
        (HEAD.encode() + b"\xe9", "2: expected text in UTF-8"),
    ],
)
def test_what_is_no_history(tmp_path, text, message):
    path = tmp_path / "metrics.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=f"metrics.csv:.*{message}"):
        read_history(path)
